//! Listening sockets: how they are made, and how one is closed without losing whoever stands in its queue.
//!
//! Source: socket(7), tcp(7); Linux `net/core/sock_reuseport.c` for the group that `SO_REUSEPORT` makes.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, Type};

use crate::config::snapshot::Listener;

/// Connections that wait to be accepted, per socket: bursts of a second at some 4,000 new ones a second.
const BACKLOG: i32 = 4096;

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("opening listener {listener:?} at {address}: {step} failed; {remedy}")]
pub struct BindError {
    /// Its name.
    pub listener: String,
    /// Its address.
    pub address: SocketAddr,
    /// What was being done.
    pub step: &'static str,
    /// What helps.
    pub remedy: &'static str,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Whether that address is free: binds it once as a program would that shares it with nobody. `SO_REUSEPORT` alone
/// lets a second gateway of the same user take half of the connections, and nobody is told. What earlier
/// connections left on the port (established, TIME_WAIT) is no obstacle, thanks to `SO_REUSEADDR`.
///
/// Two that start within the same instant may still miss each other: the probe is closed before the port is opened.
///
/// # Errors
/// The port is taken, or cannot be had.
pub(super) fn probe(listener: &Listener) -> Result<(), BindError> {
    bound(listener.address, None, Sharing::Alone)
        .map(drop)
        .map_err(|(step, source)| BindError {
            listener: listener.name.clone(),
            address: listener.address,
            step,
            remedy: remedy(&source),
            source,
        })
}

/// Who may bind the same port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// Nobody.
    Alone,
    /// The other workers.
    Workers,
}

/// One socket for each of `count` workers, all listening; the second field is where (port 0 is resolved).
///
/// # Errors
/// Any step on any of them; those opened before are closed again.
pub(super) fn open(listener: &Listener, count: usize) -> Result<(Vec<TcpListener>, SocketAddr), BindError> {
    let mut address = listener.address;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let failed = |(step, source): (&'static str, io::Error)| BindError {
            listener: listener.name.clone(),
            address,
            step,
            remedy: remedy(&source),
            source,
        };
        let socket = listen(address, listener.segment_bytes_max).map_err(failed)?;
        address = socket
            .local_addr()
            .map_err(|source| failed(("asking for the socket's address", source)))?;
        sockets.push(socket);
    }
    Ok((sockets, address))
}

fn listen(
    address: SocketAddr,
    segment_bytes_max: Option<u16>,
) -> Result<TcpListener, (&'static str, io::Error)> {
    let socket = bound(address, segment_bytes_max, Sharing::Workers)?;
    socket.listen(BACKLOG).map_err(|source| ("listen", source))?;
    Ok(socket.into())
}

fn bound(
    address: SocketAddr,
    segment_bytes_max: Option<u16>,
    sharing: Sharing,
) -> Result<Socket, (&'static str, io::Error)> {
    let at = |step: &'static str| move |source: io::Error| (step, source);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
        .map_err(at("making a socket"))?;
    socket
        .set_nonblocking(true)
        .map_err(at("making it non-blocking"))?;
    // Connections inherit it: one system call less for each.
    socket.set_tcp_nodelay(true).map_err(at("setting TCP_NODELAY"))?;
    socket
        .set_reuse_address(true)
        .map_err(at("setting SO_REUSEADDR"))?;
    if sharing == Sharing::Workers {
        socket.set_reuse_port(true).map_err(at("setting SO_REUSEPORT"))?;
    }
    if address.is_ipv6() {
        // `[::]` serves IPv4 too, whatever net.ipv6.bindv6only says.
        socket
            .set_only_v6(!address.ip().is_unspecified())
            .map_err(at("setting IPV6_V6ONLY"))?;
    }
    if let Some(bytes) = segment_bytes_max {
        // Before listen: connections inherit it, and clients learn it from the SYN-ACK.
        socket
            .set_tcp_mss(u32::from(bytes))
            .map_err(at("setting TCP_MAXSEG"))?;
    }
    socket.bind(&SockAddr::from(address)).map_err(at("bind"))?;
    Ok(socket)
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has this port: stop it, or choose another (`ss -ltnp` shows which)"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface has this address: add it, or listen on `[::]` or `0.0.0.0`"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 want CAP_NET_BIND_SERVICE: grant it, or choose another port"
        }
        _ => "see the cause",
    }
}

/// Changes the segment size that new connections of a listening socket get.
///
/// # Errors
/// What the kernel says.
pub(super) fn set_segment_bytes_max(socket: &impl std::os::fd::AsFd, bytes: u16) -> io::Result<()> {
    SockRef::from(socket).set_tcp_mss(u32::from(bytes))
}

/// Lets no more connections begin at a listening socket, while those in handshake may still end it.
///
/// A classic BPF filter that drops segments with SYN and without ACK. The client's retransmission, a second later,
/// finds the socket closed, or another node. Without this, what arrives between the last accept and the close is
/// reset. Accepted connections inherit the filter; it does them no harm, for they get no such segment.
///
/// # Errors
/// What the kernel says.
pub(super) fn refuse_new(socket: &impl std::os::fd::AsFd) -> io::Result<()> {
    /// Classic BPF: load byte absolute, and, jump if equal, return (`linux/bpf_common.h`).
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// Offset of the flags in the TCP header, where the filter's view of a segment begins.
    const FLAGS: u32 = 13;
    const FIN_SYN_RST_ACK: u32 = 0x17;
    const SYN: u32 = 0x02;
    SockRef::from(socket).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, FIN_SYN_RST_ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::time::Duration;

    fn listener(address: &str, segment_bytes_max: Option<u16>) -> Listener {
        Listener {
            name: "web".to_owned(),
            address: address.parse().unwrap(),
            segment_bytes_max,
            carries: crate::config::snapshot::Carries::Requests,
            proxies: crate::config::snapshot::Networks::default(),
            tls: None,
            challenges: None,
            http: crate::config::snapshot::ListenerHttp::default(),
            filters: Vec::new(),
            router: std::sync::Arc::default(),
            routes: Vec::new(),
        }
    }

    #[test]
    fn workers_share_one_port() {
        let (sockets, address) = open(&listener("127.0.0.1:0", None), 3).unwrap();
        assert_eq!(sockets.len(), 3);
        assert_ne!(address.port(), 0);
        for socket in &sockets {
            assert_eq!(socket.local_addr().unwrap(), address);
        }
    }

    #[test]
    fn ipv6_wildcard_serves_ipv4_too() {
        let (sockets, address) = open(&listener("[::]:0", None), 1).unwrap();
        TcpStream::connect(("127.0.0.1", address.port())).unwrap();
        assert!(sockets[0].accept().is_ok());
    }

    #[test]
    fn connections_inherit_the_segment_size() {
        let (sockets, address) = open(&listener("127.0.0.1:0", Some(1200)), 1).unwrap();
        let client = TcpStream::connect(address).unwrap();
        let mss = SockRef::from(&client).tcp_mss().unwrap();
        assert!(mss <= 1200, "{mss}");
        drop(sockets);
    }

    #[test]
    fn connections_inherit_that_nothing_waits_for_more() {
        let (sockets, address) = open(&listener("127.0.0.1:0", None), 1).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let (accepted, _) = sockets[0].accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }

    #[test]
    fn a_taken_port_names_the_listener_and_the_remedy() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let text = open(&listener(&address, None), 2).unwrap_err().to_string();
        assert!(
            text.contains("web") && text.contains(&address) && text.contains("another program"),
            "{text}"
        );
    }

    #[test]
    fn what_connections_left_on_a_port_does_not_make_it_taken() {
        let (sockets, address) = open(&listener("127.0.0.1:0", None), 2).unwrap();
        let web = listener(&address.to_string(), None);
        assert!(probe(&web).is_err(), "it listens");
        let client = TcpStream::connect(address).unwrap();
        // Either socket of the group may have it.
        let accepted = sockets.iter().find_map(|socket| socket.accept().ok()).unwrap();
        drop(sockets);
        probe(&web).unwrap();
        // The side that closes first is left in TIME_WAIT.
        drop(accepted);
        drop(client);
        probe(&web).unwrap();
    }

    #[test]
    fn after_refuse_new_nobody_begins_and_the_queue_stays() {
        let (sockets, address) = open(&listener("127.0.0.1:0", None), 1).unwrap();
        let queued = TcpStream::connect(address).unwrap();
        refuse_new(&sockets[0]).unwrap();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(200));
        assert_eq!(
            late.unwrap_err().kind(),
            io::ErrorKind::TimedOut,
            "its SYN is dropped, not answered"
        );
        let (_, peer) = sockets[0].accept().unwrap();
        assert_eq!(peer, queued.local_addr().unwrap());
    }
}
