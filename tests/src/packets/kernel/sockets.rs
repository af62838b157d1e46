//! Real sockets, which the kernel program looks up: of the VIPs' ports in the namespace of the cases.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use anyhow::{Context, Result};

use super::connect::{connect, datagram_socket};
use super::cookie;
use crate::packets::world::{ANY_PORT_LISTENER, CONNECTED_PORT, ENDED_PORT, QUIC_PORT, SITUATIONS, Version};

/// The sockets of this world.
pub(super) struct Sockets {
    /// By version: the numbers that acknowledge a SYN cookie.
    cookies: [[u8; 8]; 2],
    _connections: Vec<(TcpStream, TcpStream)>,
    _listeners: Vec<TcpListener>,
    _datagrams: Vec<UdpSocket>,
}

impl Sockets {
    /// A listener at each situation's port, and two connections to each, one of which has ended; the same of UDP, without
    /// one that ended; and a SYN cookie.
    pub(super) fn open() -> Result<Self> {
        let (mut listeners, mut connections, mut datagrams) = (Vec::new(), Vec::new(), Vec::new());
        for version in Version::BOTH {
            let client = SocketAddr::new(version.client(), CONNECTED_PORT);
            for situation in SITUATIONS {
                let address = SocketAddr::new(version.vip(), situation.port());
                let listener =
                    TcpListener::bind(address).with_context(|| format!("cannot listen at {address}"))?;
                let socket =
                    connect(client, address).with_context(|| format!("cannot connect to {address}"))?;
                let (accepted, _) = listener.accept()?;
                connections.push((socket, accepted));
                let ended = connect(SocketAddr::new(version.client(), ENDED_PORT), address)?;
                let (accepted, _) = listener.accept()?;
                // The side that closes first keeps it in TIME_WAIT, for a minute.
                drop(accepted);
                drop(ended);
                listeners.push(listener);
                datagrams.push(datagram_socket(address)?);
                let connected = datagram_socket(address)?;
                connected.connect(client)?;
                datagrams.push(connected);
            }
            datagrams.push(datagram_socket(SocketAddr::new(version.vip(), QUIC_PORT))?);
            let any = SocketAddr::new(version.vip_of_all_ports(), ANY_PORT_LISTENER);
            listeners.push(TcpListener::bind(any)?);
        }
        let [v4, v6] = Version::BOTH;
        Ok(Self {
            cookies: [cookie::obtain(v4)?, cookie::obtain(v6)?],
            _connections: connections,
            _listeners: listeners,
            _datagrams: datagrams,
        })
    }

    pub(super) fn cookie(&self, version: Version) -> [u8; 8] {
        let [v4, v6] = self.cookies;
        match version {
            Version::V4 => v4,
            Version::V6 => v6,
        }
    }
}
