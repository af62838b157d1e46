//! What the kernel knows of a TCP packet: whether a listener or a connection of this namespace would take it.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
};
use aya_ebpf::helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp};
use aya_ebpf::programs::XdpContext;
use gateway_common::flow::FlowKey;
use gateway_common::parse::Family;
use gateway_common::tables::Socket;

/// The namespace of the interface that the frame came in by (`BPF_F_CURRENT_NETNS`).
const CURRENT_NETNS: u64 = u64::MAX;

/// `TCP_LISTEN` (include/net/tcp_states.h).
const TCP_LISTEN: u32 = 10;

/// Looks up the socket that would take a packet of that flow.
///
/// # Kernel
/// 5.8: `bpf_skc_lookup_tcp` from XDP, which also finds connections in handshake and in TIME_WAIT.
#[inline(always)]
pub fn look_up(context: &XdpContext, flow: &FlowKey, family: Family) -> Socket {
    let (mut tuple, bytes) = match family {
        Family::V4 => (
            ipv4_tuple(flow),
            size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>(),
        ),
        Family::V6 => (
            ipv6_tuple(flow),
            size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>(),
        ),
    };
    // SAFETY: the context is the kernel's, the tuple lives on this stack and is as long as said.
    let socket = unsafe { bpf_skc_lookup_tcp(context.as_ptr(), &mut tuple, bytes as u32, CURRENT_NETNS, 0) };
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

#[inline(always)]
fn ipv4_tuple(flow: &FlowKey) -> bpf_sock_tuple {
    let word = |words: [u16; 2]| u32::from(words[0]) | u32::from(words[1]) << 16;
    bpf_sock_tuple {
        __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 {
            ipv4: bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
                saddr: word(flow.source.ipv4_words()),
                daddr: word(flow.destination.ipv4_words()),
                sport: flow.ports[0],
                dport: flow.ports[1],
            },
        },
    }
}

#[inline(always)]
fn ipv6_tuple(flow: &FlowKey) -> bpf_sock_tuple {
    let words = |a: &[u16; 8]| {
        [
            u32::from(a[0]) | u32::from(a[1]) << 16,
            u32::from(a[2]) | u32::from(a[3]) << 16,
            u32::from(a[4]) | u32::from(a[5]) << 16,
            u32::from(a[6]) | u32::from(a[7]) << 16,
        ]
    };
    bpf_sock_tuple {
        __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 {
            ipv6: bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
                saddr: words(&flow.source.0),
                daddr: words(&flow.destination.0),
                sport: flow.ports[0],
                dport: flow.ports[1],
            },
        },
    }
}
