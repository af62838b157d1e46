//! Which node a QUIC packet names: the scheme of connection ids for servers behind this gateway.
//!
//! QUIC connections outlive the client's address, so that 5-tuples cannot steer them. A server here chooses connection
//! ids of [`ID_BYTES`] bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | [`SCHEME`] in the two high bits, random below them |
//! | 2 | the node's number, combined with the two bytes behind it by exclusive or |
//! | 5 | random |
//!
//! A packet with a short header carries the id that the server chose last, right behind its first byte. One with a long
//! header may carry an id that the client made up; those go by flow table and slot. An id that names nobody does so, too.
//! The exclusive or hides nothing: it keeps ids of one node from looking alike.
//!
//! Source: RFC 9000, 5.1 and 17.3; in the spirit of draft-ietf-quic-load-balancers.

use crate::frame::Wire;
use crate::node::NodeId;

/// Bytes of a connection id.
pub const ID_BYTES: usize = 8;

/// The scheme of these ids, in the two high bits of their first byte. 3 is kept for ids that name nobody.
pub const SCHEME: u8 = 0;

/// Of a packet's first byte: the long form of the header.
const LONG_HEADER: u8 = 0x80;

/// Of a packet's first byte: always set (RFC 9000, 17.3).
const FIXED: u8 = 0x40;

/// The first byte of a packet, and as much of the id behind it as names a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ShortHeader(pub [u8; 6]);

// SAFETY: six u8, no padding, every pattern valid.
unsafe impl Wire for ShortHeader {}

impl ShortHeader {
    /// The node that the id names; nobody for a long header or another scheme.
    #[inline(always)]
    pub fn node(&self) -> NodeId {
        let [first, scheme, a, b, c, d] = self.0;
        if first & (LONG_HEADER | FIXED) != FIXED || scheme >> 6 != SCHEME {
            return NodeId::NOBODY;
        }
        NodeId(u16::from_be_bytes([a ^ c, b ^ d]))
    }
}

/// A connection id that names `node`, from random bytes.
pub fn connection_id(node: NodeId, random: [u8; ID_BYTES]) -> [u8; ID_BYTES] {
    let [scheme, _, _, c, d, e, f, g] = random;
    let [a, b] = node.0.to_be_bytes();
    [scheme & 0x3f | SCHEME << 6, a ^ c, b ^ d, c, d, e, f, g]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short_header(first: u8, id: [u8; ID_BYTES]) -> ShortHeader {
        ShortHeader([first, id[0], id[1], id[2], id[3], id[4]])
    }

    #[test]
    fn ids_name_their_node_whatever_is_random() {
        for node in [1, 2, 255, 256, 65_535] {
            for random in [[0; 8], [0xff; 8], [1, 2, 3, 4, 5, 6, 7, 8]] {
                let id = connection_id(NodeId(node), random);
                assert_eq!(short_header(0x40, id).node(), NodeId(node), "{random:?}");
                assert_eq!(short_header(0x7f, id).node(), NodeId(node), "{random:?}");
            }
        }
    }

    #[test]
    fn what_is_no_short_header_of_the_scheme_names_nobody() {
        let id = connection_id(NodeId(7), [9; 8]);
        let mut other_scheme = id;
        other_scheme[0] |= 0xc0;
        for (name, header) in [
            ("long header", short_header(0xc0, id)),
            ("no QUIC", short_header(0x00, id)),
            ("other scheme", short_header(0x40, other_scheme)),
        ] {
            assert!(header.node().is_nobody(), "{name}");
        }
    }
}
