//! Real sockets for VIPs that have `listeners`, in the namespace that the run makes for itself.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use gateway_common::headers::PROTOCOL_TCP;
use socket2::{Domain, Protocol, Socket, Type};

use super::config::Config;

/// Connections that may wait to be accepted: none ever comes, for frames of test runs do not reach the stack.
const BACKLOG: i32 = 1;

/// Opens a listener, or a datagram socket, at each port that the configuration names.
///
/// # Errors
/// The kernel refuses one.
pub fn open(config: &Config) -> Result<Vec<Socket>> {
    let ports = config.vips.iter().flat_map(|vip| {
        (vip.listeners.iter()).map(|port| (SocketAddr::new(vip.address, *port), vip.protocol))
    });
    ports
        .map(|(address, protocol)| {
            socket(address, protocol).with_context(|| format!("cannot open a socket at {address}"))
        })
        .collect()
}

fn socket(address: SocketAddr, protocol: u8) -> Result<Socket> {
    let is_tcp = protocol == PROTOCOL_TCP;
    let (kind, transport) = if is_tcp {
        (Type::STREAM, Protocol::TCP)
    } else {
        (Type::DGRAM, Protocol::UDP)
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(transport))?;
    // The namespace has no such address; a lookup by address and port finds the socket all the same.
    match address.ip() {
        IpAddr::V4(_) => socket.set_freebind_v4(true)?,
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.bind(&address.into())?;
    if is_tcp {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}
