//! What the kernel knows of a packet: whether a socket of this namespace would take it.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{bpf_sock, bpf_sock_tuple};
use aya_ebpf::helpers::generated::{
    bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie,
};
use aya_ebpf::programs::XdpContext;
use gateway_common::flow::FlowKey;
use gateway_common::frame::{Frame, Opaque};
use gateway_common::parse::{About, Family, Matter, Network};
use gateway_common::tables::Socket;

/// The namespace of the interface that the frame came in by (`BPF_F_CURRENT_NETNS`).
const CURRENT_NETNS: u64 = u64::MAX;

/// `TCP_TIME_WAIT` (include/net/tcp_states.h); also of what is left of a connection in FIN_WAIT2 without a process.
const TCP_TIME_WAIT: u32 = 6;

/// `TCP_LISTEN` (the same).
const TCP_LISTEN: u32 = 10;

/// Bytes of the IPv4 member of `bpf_sock_tuple`: two addresses, two ports.
const IPV4_TUPLE_BYTES: u32 = 12;

/// Bytes of its IPv6 member.
const IPV6_TUPLE_BYTES: u32 = 36;

/// The headers that the kernel's check of a SYN cookie reads, each without options.
type Ipv4 = Opaque<10>;
type Ipv6 = Opaque<20>;
type Tcp = Opaque<10>;

/// Looks up the socket that would take a TCP packet.
///
/// # Kernel
/// 5.8: `bpf_skc_lookup_tcp` from XDP, which also finds connections in handshake and in TIME_WAIT. 5.2:
/// `bpf_tcp_check_syncookie`, which costs a look at the listener where it was not flooded lately.
#[inline(always)]
pub fn tcp<F: Frame>(context: &XdpContext, frame: &F, packet: &Network, about: &About) -> Socket {
    let v4 = ipv4_tuple(&about.flow);
    let (tuple, bytes) = tuple_of(packet.family, &v4, &about.flow);
    // SAFETY: the context is the kernel's; the tuple lies on this stack, is as long as said, and is only read.
    let socket = unsafe { bpf_skc_lookup_tcp(context.as_ptr(), tuple, bytes, CURRENT_NETNS, 0) };
    if socket.is_null() {
        return Socket::None;
    }
    // SAFETY: the kernel gave a socket and holds it until it is released.
    let state = unsafe { (*socket).state };
    let found = if state == TCP_TIME_WAIT {
        Socket::TimeWait
    } else if state != TCP_LISTEN {
        Socket::Connection
    } else if about.matter == Matter::Segment
        && about.flags.acknowledges()
        && completes_a_handshake(frame, packet, socket)
    {
        Socket::Handshake
    } else {
        Socket::Listener
    };
    // SAFETY: released once, and not used after.
    unsafe { bpf_sk_release(socket.cast()) };
    found
}

/// Looks up the socket that would take a UDP datagram.
///
/// # Kernel
/// 4.20: `bpf_sk_lookup_udp`, from XDP.
#[inline(always)]
pub fn udp(context: &XdpContext, packet: &Network, about: &About) -> Socket {
    let v4 = ipv4_tuple(&about.flow);
    let (tuple, bytes) = tuple_of(packet.family, &v4, &about.flow);
    // SAFETY: as in `tcp`.
    let socket = unsafe { bpf_sk_lookup_udp(context.as_ptr(), tuple, bytes, CURRENT_NETNS, 0) };
    if socket.is_null() {
        return Socket::None;
    }
    // SAFETY: as in `tcp`. A socket that is connected to nobody has no port of a peer.
    let is_connected = unsafe { (*socket).dst_port } != 0;
    // SAFETY: released once, and not used after.
    unsafe { bpf_sk_release(socket.cast()) };
    if is_connected {
        Socket::Connection
    } else {
        Socket::Listener
    }
}

#[inline(always)]
fn ipv4_tuple(flow: &FlowKey) -> [u32; 3] {
    [flow.source.ipv4(), flow.destination.ipv4(), flow.port_word()]
}

/// The tuple of a flow, as the kernel wants it.
#[inline(always)]
fn tuple_of(family: Family, v4: &[u32; 3], flow: &FlowKey) -> (*mut bpf_sock_tuple, u32) {
    let (tuple, bytes) = match family {
        Family::V4 => (core::ptr::from_ref(v4).cast::<u16>(), IPV4_TUPLE_BYTES),
        // A flow's key begins as the tuple does: source, destination, source port, destination port.
        Family::V6 => (core::ptr::from_ref(flow).cast::<u16>(), IPV6_TUPLE_BYTES),
    };
    (tuple.cast_mut().cast(), bytes)
}

/// Whether the packet answers a SYN cookie of that listener.
#[inline(always)]
fn completes_a_handshake<F: Frame>(frame: &F, packet: &Network, listener: *mut bpf_sock) -> bool {
    let Some(mut tcp) = frame.read::<Tcp>(packet.payload_at) else {
        return false;
    };
    let tcp_at = core::ptr::from_mut(&mut tcp);
    let tcp_bytes = size_of::<Tcp>() as u32;
    let result = match packet.family {
        Family::V4 => {
            let Some(mut ip) = frame.read::<Ipv4>(packet.header_at) else {
                return false;
            };
            let ip_at = core::ptr::from_mut(&mut ip).cast();
            let ip_bytes = size_of::<Ipv4>() as u32;
            // SAFETY: the listener is held; both headers lie on this stack, are as long as said, and are only read.
            unsafe { bpf_tcp_check_syncookie(listener.cast(), ip_at, ip_bytes, tcp_at.cast(), tcp_bytes) }
        }
        Family::V6 => {
            let Some(mut ip) = frame.read::<Ipv6>(packet.header_at) else {
                return false;
            };
            let ip_at = core::ptr::from_mut(&mut ip).cast();
            let ip_bytes = size_of::<Ipv6>() as u32;
            // SAFETY: as above.
            unsafe { bpf_tcp_check_syncookie(listener.cast(), ip_at, ip_bytes, tcp_at.cast(), tcp_bytes) }
        }
    };
    result == 0
}
