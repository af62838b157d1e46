//! A SYN cookie of the kernel's own: a SYN goes in by a raw socket, and the cookie is read off the SYN-ACK.
//!
//! Source: `net.ipv4.tcp_syncookies`, which 2 makes unconditional, and which serves IPv6, too.

use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::packets::build::{ACK, SYN, internet_checksum};
use crate::packets::world::{COOKIE_PORT, Situation, Version};

/// The client's first sequence number.
const FIRST: u32 = 0x0102_0304;

/// How long the kernel may take to answer a SYN on its own loopback.
const DEADLINE: Duration = Duration::from_secs(5);

/// Lets a listener answer a SYN with a cookie: sequence number and acknowledgement of the packet that completes that
/// handshake.
///
/// # Errors
/// The namespace does not let us, or no cookie comes.
pub fn obtain(version: Version) -> Result<[u8; 8]> {
    std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2").context("cannot ask for SYN cookies")?;
    let (client, vip) = (version.client(), version.vip());
    let port = Situation::Mine.port();
    let mut segment = Vec::new();
    segment.extend(COOKIE_PORT.to_be_bytes());
    segment.extend(port.to_be_bytes());
    segment.extend(FIRST.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, SYN, 0x20, 0, 0, 0, 0, 0]);
    let mut pseudo = Vec::new();
    for address in [client, vip] {
        match address {
            std::net::IpAddr::V4(address) => pseudo.extend(address.octets()),
            std::net::IpAddr::V6(address) => pseudo.extend(address.octets()),
        }
    }
    pseudo.extend([0, 6, 0, segment.len() as u8]);
    pseudo.extend(&segment);
    segment.splice(16..18, internet_checksum(&pseudo).to_be_bytes());
    let address = SocketAddr::new(client, 0);
    let mut socket = Socket::new(Domain::for_address(address), Type::RAW, Some(Protocol::TCP))
        .context("cannot open a raw socket")?;
    socket.bind(&address.into())?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        socket.send_to(&segment, &SocketAddr::new(vip, 0).into())?;
        let mut buffer = [0; 256];
        while let Ok(length) = socket.read(&mut buffer) {
            let received = buffer.get(..length).unwrap_or_default();
            if let Some(cookie) = cookie_in(version, received, port) {
                let acknowledged = cookie.wrapping_add(1).to_be_bytes();
                let [a, b, c, d] = (FIRST + 1).to_be_bytes();
                let [e, f, g, h] = acknowledged;
                return Ok([a, b, c, d, e, f, g, h]);
            }
        }
        ensure!(Instant::now() < deadline, "no SYN cookie from {vip}");
    }
}

/// The sequence number of a SYN-ACK from that port; raw IPv4 sockets get the IP header, too.
fn cookie_in(version: Version, received: &[u8], port: u16) -> Option<u32> {
    let tcp = match version {
        Version::V4 => received.get(20..)?,
        Version::V6 => received,
    };
    let ports = [port.to_be_bytes(), COOKIE_PORT.to_be_bytes()].concat();
    let is_answer = tcp.starts_with(&ports) && tcp.get(13) == Some(&(SYN | ACK));
    is_answer
        .then(|| {
            tcp.get(4..8)?
                .first_chunk()
                .map(|bytes| u32::from_be_bytes(*bytes))
        })
        .flatten()
}

/// Puts eight bytes in the place of eight others, wherever those stand.
pub fn replace(bytes: &mut [u8], from: &[u8; 8], to: &[u8; 8]) {
    let found = bytes.windows(from.len()).position(|window| window == from);
    if let Some(place) = found.and_then(|at| bytes.get_mut(at..at + to.len())) {
        place.copy_from_slice(to);
    }
}
