//! What the kernel's sockets know of a flow, as the kernel program asks for it: one exact look-up by netlink.
//!
//! # Kernel
//! `SOCK_DIAG_BY_FAMILY` without `NLM_F_DUMP` (3.3) finds the one socket that would take a packet, listeners included, with the
//! modules `tcp_diag` and `udp_diag`. Source: sock_diag(7); net/ipv4/inet_diag.c, net/ipv4/udp_diag.c. aya and rtnetlink
//! have no such call.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use gateway_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use gateway_common::tables::Socket;
use socket2::{Domain, Protocol, Type};

use crate::config::snapshot::Transport;

/// `NETLINK_SOCK_DIAG`.
const NETLINK_SOCK_DIAG: i32 = 4;
/// `SOCK_DIAG_BY_FAMILY`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST`.
const NLM_F_REQUEST: u16 = 1;
/// `NLMSG_ERROR`.
const NLMSG_ERROR: u16 = 2;
/// Bytes of a netlink header.
const HEADER_BYTES: usize = 16;
/// Bytes of `inet_diag_req_v2`.
const REQUEST_BYTES: usize = 56;
/// Bytes of an answer that are read: one socket, with attributes that nobody asked for.
const ANSWER_BYTES_MAX: usize = 8_192;
/// The kernel answers within the call that asks.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// `TCP_LISTEN`; of UDP, a socket that is connected to nobody is in `TCP_CLOSE` (include/net/tcp_states.h).
const TCP_LISTEN: u8 = 10;
const TCP_ESTABLISHED: u8 = 1;
/// `idiag_timer` of what is kept of a connection in TIME_WAIT, or in FIN_WAIT2 without a process.
const TIMER_TIME_WAIT: u8 = 3;

/// Which socket would take a packet.
///
/// Whether an ACK answers a SYN cookie only the packet itself could tell: it is taken not to.
///
/// # Errors
/// The kernel does not say.
pub fn look_up(from: SocketAddr, to: SocketAddr, protocol: Transport) -> io::Result<Socket> {
    let mut socket = socket2::Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::DGRAM,
        Some(Protocol::from(NETLINK_SOCK_DIAG)),
    )?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    socket.send(&request(from, to, protocol))?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let read = socket.read(&mut answer)?;
    answer.truncate(read);
    found(&answer, protocol)
}

/// The question: a netlink header, then `inet_diag_req_v2`.
fn request(from: SocketAddr, to: SocketAddr, protocol: Transport) -> Vec<u8> {
    let (ours, theirs) = match protocol {
        Transport::Tcp => (to, from),
        // Source and destination are swapped there, for historical reasons (`udp_dump_one`).
        Transport::Udp => (from, to),
    };
    let family = match ours.ip() {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    let number = match protocol {
        Transport::Tcp => PROTOCOL_TCP,
        Transport::Udp => PROTOCOL_UDP,
    };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + REQUEST_BYTES);
    bytes.extend_from_slice(&((HEADER_BYTES + REQUEST_BYTES) as u32).to_ne_bytes());
    bytes.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    // No extensions, every state.
    bytes.extend_from_slice(&[family as u8, number, 0, 0]);
    bytes.extend_from_slice(&u32::MAX.to_ne_bytes());
    bytes.extend_from_slice(&ours.port().to_be_bytes());
    bytes.extend_from_slice(&theirs.port().to_be_bytes());
    for address in [ours.ip(), theirs.ip()] {
        match address {
            IpAddr::V4(v4) => {
                bytes.extend_from_slice(&v4.octets());
                bytes.extend_from_slice(&[0; 12]);
            }
            IpAddr::V6(v6) => bytes.extend_from_slice(&v6.octets()),
        }
    }
    // Any interface, and no cookie.
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[u8::MAX; 8]);
    bytes
}

/// What the answer says.
fn found(answer: &[u8], protocol: Transport) -> io::Result<Socket> {
    let odd = || io::Error::other("the kernel's answer about a socket cannot be read");
    let kind = answer
        .get(4..6)
        .and_then(|bytes| bytes.first_chunk())
        .ok_or_else(odd)?;
    let body = answer.get(HEADER_BYTES..).ok_or_else(odd)?;
    match u16::from_ne_bytes(*kind) {
        NLMSG_ERROR => {
            let number = i32::from_ne_bytes(*body.first_chunk().ok_or_else(odd)?);
            match number.saturating_neg() {
                libc::ENOENT => Ok(Socket::None),
                other => Err(io::Error::from_raw_os_error(other)),
            }
        }
        SOCK_DIAG_BY_FAMILY => {
            // Family, state, timer: `inet_diag_msg`.
            let [_, state, timer] = *body.first_chunk().ok_or_else(odd)?;
            Ok(match (protocol, state, timer) {
                (Transport::Tcp, TCP_LISTEN, _) => Socket::Listener,
                (Transport::Tcp, _, TIMER_TIME_WAIT) => Socket::TimeWait,
                (Transport::Tcp, ..) | (Transport::Udp, TCP_ESTABLISHED, _) => Socket::Connection,
                (Transport::Udp, ..) => Socket::Listener,
            })
        }
        _ => Err(odd()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn sockets_are_found_as_packets_would_find_them() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(local).unwrap();
            let to = listener.local_addr().unwrap();
            let client = TcpStream::connect(to).unwrap();
            let from = client.local_addr().unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let mut stranger = from;
            stranger.set_port(from.port() ^ 1);
            let tcp = |from| look_up(from, to, Transport::Tcp).unwrap();
            assert_eq!(tcp(from), Socket::Connection, "{local}");
            assert_eq!(tcp(stranger), Socket::Listener, "{local}");
            drop((accepted, listener));
            assert_eq!(tcp(stranger), Socket::None, "{local}");

            let [server, peer] = [local; 2].map(|local| UdpSocket::bind(local).unwrap());
            let (to, from) = (server.local_addr().unwrap(), peer.local_addr().unwrap());
            let udp = |from| look_up(from, to, Transport::Udp).unwrap();
            assert_eq!(udp(from), Socket::Listener, "{local}");
            server.connect(from).unwrap();
            assert_eq!(udp(from), Socket::Connection, "{local}");
            drop(server);
            assert_eq!(udp(from), Socket::None, "{local}");
        }
    }
}
