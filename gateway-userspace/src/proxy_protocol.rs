//! The PROXY protocol: a header in front of a connection's bytes, by which a proxy says for whom it connects.
//!
//! Pure: bytes in, addresses out, and the other way round. Who may say such a thing, how long it may take, and what the
//! bytes are read from, is for others. Source: "The PROXY protocol, Versions 1 & 2", HAProxy, 2020-03-05.

mod crc32c;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::net::{IpAddr, SocketAddr};

/// Bytes of a header at most. Version 1 ends within 107; of version 2 the addresses take 232, the rest is for what else
/// proxies say, which is skipped.
pub const HEADER_BYTES_MAX: usize = 4096;

/// `upstream.proxy_protocol`: how a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who connected.
    pub client: SocketAddr,
    /// What the client connected to.
    pub server: SocketAddr,
}

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes that it takes; what follows is the connection's.
    pub bytes: usize,
    /// Whose connection it is; `None`: the proxy's own, or of a kind that has no IP addresses.
    pub ends: Option<Ends>,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They begin otherwise.
    Missing,
    /// They begin so, and go on otherwise.
    Malformed,
    /// It says that it takes more than [`HEADER_BYTES_MAX`].
    TooLong,
    /// Its checksum is that of other bytes.
    Checksum,
}

/// Reads the header that a connection's bytes begin with; `None`: it may go on.
///
/// # Errors
/// There is none, whatever follows.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => v1::read(bytes),
        Some(_) => v2::read(bytes),
    }
}

/// The header for a connection on behalf of somebody; `None`: the connection is this program's own.
pub fn header(version: Version, ends: Option<Ends>) -> Vec<u8> {
    let ends = ends.map(Ends::of_one_family);
    match version {
        Version::V1 => v1::header(ends),
        Version::V2 => v2::header(ends),
    }
}

impl Ends {
    /// IPv4 where both are, mapped to IPv6 or not; else both IPv6: a header has one family for both.
    fn of_one_family(self) -> Self {
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let (client, server) = (plain(self.client), plain(self.server));
        if client.is_ipv4() == server.is_ipv4() {
            return Self { client, server };
        }
        let wide = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            IpAddr::V6(_) => address,
        };
        Self {
            client: wide(client),
            server: wide(server),
        }
    }
}
