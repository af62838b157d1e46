//! What a director remembers of a fragmented packet: only its first fragment has ports.
//!
//! Source: RFC 791, 3.2 and RFC 8200, 4.5: source, destination, identification and, for IPv4, protocol are what the
//! fragments of one packet have in common.

use crate::node::NodeId;
use crate::vip::Address;

/// How long the rest of a packet may follow its first fragment, in nanoseconds: as long as Linux waits for it
/// (`net.ipv4.ipfrag_time`).
pub const FRAGMENT_LIFETIME_NS: u64 = 30_000_000_000;

/// A fragmented packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey {
    /// The sender.
    pub source: Address,
    /// The VIP.
    pub destination: Address,
    /// What its fragments have in common.
    pub identification: u32,
    /// 6 or 17, as a word so that the key has no padding.
    pub protocol: u32,
}

/// Where the first fragment went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FragmentEntry {
    /// The node that got it; this one, if it was for this one.
    pub node: NodeId,
    /// Zero: the struct has no padding.
    pub zero: [u16; 3],
    /// When, on the clock of `Tables::now_ns`.
    pub at_ns: u64,
}

impl FragmentEntry {
    /// Whether the rest of the packet may still come.
    #[inline(always)]
    pub fn is_live(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.at_ns) < FRAGMENT_LIFETIME_NS
    }
}
