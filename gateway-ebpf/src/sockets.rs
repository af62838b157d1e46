//! What the kernel knows of a TCP packet: whether a listener or a connection of this namespace would take it.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_sock_tuple;
use aya_ebpf::helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp};
use aya_ebpf::programs::XdpContext;
use gateway_common::flow::FlowKey;
use gateway_common::parse::Family;
use gateway_common::tables::Socket;

/// The namespace of the interface that the frame came in by (`BPF_F_CURRENT_NETNS`).
const CURRENT_NETNS: u64 = u64::MAX;

/// `TCP_LISTEN` (include/net/tcp_states.h).
const TCP_LISTEN: u32 = 10;

/// Bytes of the IPv4 member of `bpf_sock_tuple`: two addresses, two ports.
const IPV4_TUPLE_BYTES: u32 = 12;

/// Bytes of its IPv6 member.
const IPV6_TUPLE_BYTES: u32 = 36;

/// Looks up the socket that would take a packet of that flow.
///
/// # Kernel
/// 5.8: `bpf_skc_lookup_tcp` from XDP, which also finds connections in handshake and in TIME_WAIT.
#[inline(always)]
pub fn look_up(context: &XdpContext, flow: &FlowKey, family: Family) -> Socket {
    match family {
        Family::V4 => {
            let [s, d] = [flow.source.ipv4_words(), flow.destination.ipv4_words()];
            let tuple = [s[0], s[1], d[0], d[1], flow.ports[0], flow.ports[1]];
            look_up_tuple(context, tuple.as_ptr(), IPV4_TUPLE_BYTES)
        }
        // A flow's key begins as the tuple does: source, destination, source port, destination port.
        Family::V6 => look_up_tuple(context, core::ptr::from_ref(flow).cast(), IPV6_TUPLE_BYTES),
    }
}

#[inline(always)]
fn look_up_tuple(context: &XdpContext, tuple: *const u16, bytes: u32) -> Socket {
    let tuple = tuple.cast_mut().cast::<bpf_sock_tuple>();
    // SAFETY: the context is the kernel's; the tuple lies on this stack, is as long as said, and is only read.
    let socket = unsafe { bpf_skc_lookup_tcp(context.as_ptr(), tuple, bytes, CURRENT_NETNS, 0) };
    if socket.is_null() {
        return Socket::None;
    }
    // SAFETY: the kernel gave a socket and holds it until it is released.
    let state = unsafe { (*socket).state };
    // SAFETY: released once, and not used after.
    unsafe { bpf_sk_release(socket.cast()) };
    if state == TCP_LISTEN {
        Socket::Listener
    } else {
        Socket::Connection
    }
}
