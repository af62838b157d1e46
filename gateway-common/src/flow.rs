//! The flow tables' keys and entries: what a director remembers of the connections and datagrams that it steered.

use crate::headers::{TcpFlags, halves};
use crate::node::NodeId;
use crate::vip::Address;

pub mod set;

/// How long a connection is still steered by its entry after a FIN passed, in nanoseconds.
///
/// As long as Linux keeps TIME_WAIT: the other side may still be sending.
pub const FINISHED_NS: u64 = 60_000_000_000;

/// How long after a RST, in nanoseconds: it can be forged, so it does not end the entry at once.
pub const RESET_NS: u64 = 5_000_000_000;

/// A UDP flow's entry is written again only once it is this old, in nanoseconds: a write a second, not one a datagram.
pub const UDP_REFRESH_NS: u64 = 1_000_000_000;

/// How long a UDP flow without datagrams is remembered unless user space says another time, in nanoseconds: as long as
/// Linux's connection tracking remembers one that got no answer.
pub const UDP_IDLE_NS: u64 = 30_000_000_000;

/// A flow, as seen from the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// The client.
    pub source: Address,
    /// The VIP.
    pub destination: Address,
    /// Client's port, VIP's port, in the network's order.
    pub ports: [u16; 2],
    /// 6 or 17.
    pub protocol: u16,
    /// Zero, so that the key has no padding and its size is a multiple of 4.
    pub zero: u16,
}

impl FlowKey {
    /// Both ports, as they lie in a packet.
    #[inline(always)]
    pub const fn port_word(&self) -> u32 {
        halves::join(self.ports)
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct FlowPhase(pub u16);

impl FlowPhase {
    /// Neither side was seen to end it.
    pub const OPEN: Self = Self(0);
    /// A FIN of the client passed.
    pub const FINISHED: Self = Self(1);
    /// A RST of the client passed.
    pub const RESET: Self = Self(2);

    /// The phase after a packet with these flags; a phase never goes back.
    #[inline(always)]
    pub fn after(self, flags: TcpFlags) -> Self {
        if flags.resets() {
            Self::RESET
        } else if flags.finishes() && self == Self::OPEN {
            Self::FINISHED
        } else {
            self
        }
    }
}

/// Who owns a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowEntry {
    /// The owner.
    pub node: NodeId,
    /// How far the connection has come.
    pub phase: FlowPhase,
    /// The life of the owner's sockets in which it was accepted.
    pub incarnation: u32,
    /// When the phase began, on the clock of `Tables::now_ns`; of a UDP flow, when it was last seen to move.
    pub since_ns: u64,
}

impl FlowEntry {
    /// A flow that begins, of that life of a node.
    #[inline(always)]
    pub const fn new(node: NodeId, incarnation: u32, since_ns: u64) -> Self {
        Self {
            node,
            phase: FlowPhase::OPEN,
            incarnation,
            since_ns,
        }
    }

    /// Whether the entry still says where the flow goes.
    #[inline(always)]
    pub fn is_live(&self, now_ns: u64) -> bool {
        let kept_ns = match self.phase {
            FlowPhase::FINISHED => FINISHED_NS,
            FlowPhase::RESET => RESET_NS,
            _ => return true,
        };
        // Another CPU may have written a time that is later than ours.
        now_ns.saturating_sub(self.since_ns) < kept_ns
    }

    /// How long ago a UDP flow was last seen to move, in nanoseconds.
    #[inline(always)]
    pub fn idle_ns(&self, now_ns: u64) -> u64 {
        // Another CPU may have written a time that is later than ours.
        now_ns.saturating_sub(self.since_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_go_forward() {
        let rows = [
            (FlowPhase::OPEN, TcpFlags::ACK, FlowPhase::OPEN),
            (
                FlowPhase::OPEN,
                TcpFlags::FIN | TcpFlags::ACK,
                FlowPhase::FINISHED,
            ),
            (FlowPhase::OPEN, TcpFlags::RST, FlowPhase::RESET),
            (FlowPhase::FINISHED, TcpFlags::ACK, FlowPhase::FINISHED),
            (FlowPhase::FINISHED, TcpFlags::RST, FlowPhase::RESET),
            (FlowPhase::RESET, TcpFlags::FIN, FlowPhase::RESET),
        ];
        for (before, flags, after) in rows {
            assert_eq!(
                before.after(TcpFlags(flags)),
                after,
                "{before:?} and flags {flags:#x}"
            );
        }
    }

    #[test]
    fn fin_and_rst_shorten_an_entry_and_do_not_remove_it() {
        let entry = |phase| FlowEntry {
            phase,
            since_ns: 1_000,
            ..FlowEntry::default()
        };
        assert!(entry(FlowPhase::OPEN).is_live(u64::MAX));
        assert!(entry(FlowPhase::FINISHED).is_live(1_000 + FINISHED_NS - 1));
        assert!(!entry(FlowPhase::FINISHED).is_live(1_000 + FINISHED_NS));
        assert!(entry(FlowPhase::RESET).is_live(1_000 + RESET_NS - 1));
        assert!(!entry(FlowPhase::RESET).is_live(1_000 + RESET_NS));
    }
}
