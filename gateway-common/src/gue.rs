//! Generic UDP Encapsulation as nodes speak it: the packet in UDP, with hop count and cookie in GUE's private data.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | UDP: source port from the flow's hash, destination port [`PORT`], no checksum (RFC 6935, 6936) |
//! | 4 | GUE: version 0, no control message, 3 words of private data, protocol 4 or 41, no flags |
//! | 2 | [`MAGIC`] |
//! | 2 | hops: times that the packet was sent from node to node, this time included |
//! | 8 | cookie: what the sender proves itself with |
//!
//! The cookie is no encryption: it keeps out whoever cannot read the packets between nodes. It follows from the
//! cluster's secret and the sender's number, so that a node cannot pass for another by its own.
//!
//! Source: draft-ietf-intarea-gue-09, 3 (variant 0), 5.6 (source port).

use crate::frame::Wire;
use crate::hash::SipHash;
use crate::headers::{PROTOCOL_IPIP, PROTOCOL_IPV6, UDP_BYTES};
use crate::node::NodeId;

/// The UDP port of GUE, by IANA.
pub const PORT: u16 = 6080;

/// Begins the private data: a `g`, and the version of the layout.
pub const MAGIC: u16 = 0x6701;

/// Bytes of UDP, GUE and private data.
pub const BYTES: usize = UDP_BYTES + 16;

/// The first four bytes of a header: version 0, no control message, three words of private data; the protocol; no flags.
const FIRST_WORD: u32 = 3 << 24;

/// Keeps the cookies apart from every other use of the secret.
const COOKIE_DOMAIN: u64 = u64::from_be_bytes(*b"gue-cook");

/// GUE's header and private data, behind UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Gue([u64; 2]);

// SAFETY: two u64, no padding, every pattern valid.
unsafe impl Wire for Gue {}

/// What is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// An IPv4 packet.
    V4,
    /// An IPv6 packet.
    V6,
    /// Nothing that a node sends.
    Unexpected,
}

impl Gue {
    /// A header before a packet of that protocol number, 4 or 41.
    #[inline(always)]
    pub fn new(protocol: u8, hops: u16, cookie: u64) -> Self {
        let first = before_hops(protocol) | u64::from(hops);
        Self([first.to_be(), cookie.to_be()])
    }

    /// Its bytes, as they stand on the wire.
    pub fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (eight, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            eight.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// What is inside; a header of another kind, or with anything that nodes do not write, holds nothing.
    #[inline(always)]
    pub fn inside(&self) -> Inside {
        let first = u64::from_be(self.0[0]) & !u64::from(u16::MAX);
        if first == before_hops(PROTOCOL_IPIP) {
            Inside::V4
        } else if first == before_hops(PROTOCOL_IPV6) {
            Inside::V6
        } else {
            Inside::Unexpected
        }
    }

    /// Times that the packet was sent from node to node.
    #[inline(always)]
    pub fn hops(&self) -> u16 {
        u64::from_be(self.0[0]) as u16
    }

    /// What the sender proves itself with.
    #[inline(always)]
    pub fn cookie(&self) -> u64 {
        u64::from_be(self.0[1])
    }
}

/// All that stands before the hop count, and a count of none.
#[inline(always)]
const fn before_hops(protocol: u8) -> u64 {
    ((FIRST_WORD | (protocol as u32) << 16) as u64) << 32 | (MAGIC as u64) << 16
}

/// The source port for a flow of that hash: one of the dynamic ports (RFC 6335, 6), so that equal paths and receive
/// queues spread flows.
#[inline(always)]
pub const fn source_port(entropy: u16) -> u16 {
    0xc000 | (entropy & 0x3fff)
}

/// What a node proves itself with, from the cluster's secret; never zero.
pub fn cookie(hash_key: [u64; 2], node: NodeId) -> u64 {
    let hash = SipHash::new(hash_key)
        .write(COOKIE_DOMAIN)
        .write(u64::from(node.0));
    hash.finish() | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_gives_back_what_it_was_made_of() {
        for (protocol, inside) in [(4, Inside::V4), (41, Inside::V6), (6, Inside::Unexpected)] {
            let header = Gue::new(protocol, 2, 0x0123_4567_89ab_cdef);
            assert_eq!(header.inside(), inside, "protocol {protocol}");
            assert_eq!(header.hops(), 2);
            assert_eq!(header.cookie(), 0x0123_4567_89ab_cdef);
        }
    }

    #[test]
    fn header_with_anything_that_nodes_do_not_write_holds_nothing() {
        let good = Gue::new(4, 1, 1);
        let rows = [
            ("version 1", 0x4304_0000_6701_0001_u64),
            ("control message", 0x2304_0000_6701_0001),
            ("two words of private data", 0x0204_0000_6701_0001),
            ("flags", 0x0304_0001_6701_0001),
            ("other private data", 0x0304_0000_6702_0001),
        ];
        assert_eq!(good.0[0], 0x0304_0000_6701_0001_u64.to_be());
        for (name, first) in rows {
            let bad = Gue([first.to_be(), good.0[1]]);
            assert_eq!(bad.inside(), Inside::Unexpected, "{name}");
        }
    }

    #[test]
    fn cookies_differ_by_node_and_by_secret() {
        let cookies = [
            cookie([1, 2], NodeId(1)),
            cookie([1, 2], NodeId(2)),
            cookie([1, 3], NodeId(1)),
        ];
        assert_ne!(cookies[0], cookies[1]);
        assert_ne!(cookies[0], cookies[2]);
        assert!(cookies.iter().all(|cookie| *cookie != 0));
    }

    #[test]
    fn source_ports_are_dynamic_ports() {
        for entropy in [0, 1, 0x3fff, 0x4000, 0xffff] {
            assert!(source_port(entropy) >= 49_152);
        }
    }
}
