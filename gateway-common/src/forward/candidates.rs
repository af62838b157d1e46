//! Which nodes may take a packet, in order: the slot's owner, its successor, its previous owners; and, while this node's
//! control plane is dead, only those that were heard lately.

use super::arrive::Arrival;
use crate::encap::HOPS_MAX;
use crate::hash::Spread;
use crate::maglev::{SLOTS, Slot};
use crate::node::{NodeId, Settings};
use crate::tables::{Socket, Tables};
use crate::verdict::Reason;
use crate::vip::TableId;

/// Age of the lease, in nanoseconds, above which the control plane is taken for dead: ten times what lies between two
/// renewals.
pub const LEASE_NS: u64 = 1_000_000_000;

/// How long ago a node must have been heard to be sent anything by a node without a control plane, in nanoseconds: ten
/// heartbeats.
pub const HEARD_NS: u64 = 1_000_000_000;

/// Other slots that are tried for one whose owner was not heard: where one node of three is left, one flow in 400,000
/// finds none.
const OTHER_SLOTS_MAX: u32 = 32;

/// The slots that a packet falls on.
#[derive(Clone, Copy)]
pub(super) struct Slots {
    table: TableId,
    half: u32,
    spread: Spread,
    /// The one that all nodes agree on.
    pub(super) slot: Slot,
}

impl Slots {
    /// Reads the slot, from whichever half of the table is live.
    #[inline(always)]
    pub(super) fn read<T: Tables>(tables: &T, table: TableId, spread: Spread) -> Self {
        let half = tables.half(table);
        Self {
            table,
            half,
            spread,
            slot: tables.slot(table, half, spread.slot(SLOTS)),
        }
    }

    /// None was read: of a packet that goes to another node by what is remembered of its flow.
    #[inline(always)]
    pub(super) fn unread() -> Self {
        Self {
            table: TableId(0),
            half: 0,
            spread: Spread::default(),
            slot: Slot::default(),
        }
    }

    /// Whether this node may have accepted a connection of the slot: it owned it at some time that the slot tells of, or
    /// before so many others that the slot cannot tell.
    #[inline(always)]
    pub(super) fn may_be_known(&self, settings: &Settings) -> bool {
        let slot = self.slot;
        slot.owner() == settings.node
            || slot.previous() == settings.node
            || !slot.second_previous().is_nobody()
    }

    /// Who takes a new connection: the owner; or, if it is lost, the owner of another slot that is not.
    #[inline(always)]
    pub(super) fn owner<T: Tables>(&self, tables: &T, settings: &Settings) -> (NodeId, Reason) {
        let owner = self.slot.owner();
        if !is_lost(tables, settings, owner) {
            return (owner, Reason::ToOwner);
        }
        match self.heard(tables, settings, NodeId::NOBODY) {
            Some(node) => (node, Reason::ToHeardNode),
            // Nobody else is left, either: perhaps it is this node that cannot hear.
            None => (owner, Reason::ToOwner),
        }
    }

    /// The owner of another slot, that was heard lately and is not `except`. Only of a node without a control plane.
    #[inline(always)]
    fn heard<T: Tables>(&self, tables: &T, settings: &Settings, except: NodeId) -> Option<NodeId> {
        let long_ago = tables.now_ns().saturating_sub(HEARD_NS);
        let mut spread = self.spread;
        for _ in 0..OTHER_SLOTS_MAX {
            spread = spread.again();
            let owner = tables.slot(self.table, self.half, spread.slot(SLOTS)).owner();
            let is_heard = owner == settings.node || tables.heard_ns(owner) > long_ago;
            if is_heard && owner != except && !owner.is_nobody() {
                return Some(owner);
            }
        }
        None
    }

    /// Who else may know a packet that nothing here knows.
    ///
    /// Without a listener here the proxy has crashed: its slots are the successor's. Otherwise the first of the owner
    /// and the previous owners in this node's table that is not this node. An owner that sent the packet itself is passed
    /// over: it looked for a socket before it sent. A sender that is a previous owner is not, for a director that finds
    /// the flow in its table does not look.
    #[inline(always)]
    pub(super) fn next<T: Tables>(
        &self,
        tables: &T,
        settings: &Settings,
        socket: Socket,
        arrival: Option<Arrival>,
    ) -> Option<(NodeId, Reason)> {
        let slot = self.slot;
        let may_take =
            |node: NodeId| !node.is_nobody() && node != settings.node && !is_lost(tables, settings, node);
        if socket == Socket::None {
            let is_mine = slot.owner() == settings.node;
            if is_mine && may_take(slot.successor()) {
                return Some((slot.successor(), Reason::ToSuccessor));
            }
            let is_lost_beyond = if is_mine {
                !slot.successor().is_nobody()
            } else {
                is_lost(tables, settings, slot.owner())
            };
            if is_lost_beyond && let Some(node) = self.heard(tables, settings, settings.node) {
                return Some((node, Reason::ToHeardNode));
            }
        }
        let sender = arrival.map_or(NodeId::NOBODY, |arrival| arrival.sender);
        if slot.owner() != sender && may_take(slot.owner()) {
            return Some((slot.owner(), Reason::ToOtherOwner));
        }
        if may_take(slot.previous()) {
            return Some((slot.previous(), Reason::ToPreviousOwner));
        }
        if may_take(slot.second_previous()) {
            return Some((slot.second_previous(), Reason::ToPreviousOwner));
        }
        None
    }

    /// The owner, if it is another node than this one and the sender.
    #[inline(always)]
    pub(super) fn other_owner<T: Tables>(
        &self,
        tables: &T,
        settings: &Settings,
        arrival: Option<Arrival>,
    ) -> Option<NodeId> {
        let owner = self.slot.owner();
        let sender = arrival.map_or(NodeId::NOBODY, |arrival| arrival.sender);
        let may = !owner.is_nobody() && owner != settings.node && owner != sender;
        (may && !is_lost(tables, settings, owner)).then_some(owner)
    }

    /// Who may know a VIP that this node does not, of those that did not send the packet; once for each packet.
    #[inline(always)]
    pub(super) fn who_knows(&self, settings: &Settings, arrival: &Arrival) -> Option<NodeId> {
        const { assert!(HOPS_MAX > 1) };
        if arrival.hops > 1 {
            return None;
        }
        let may_know = |node: NodeId| !node.is_nobody() && node != settings.node && node != arrival.sender;
        [
            self.slot.owner(),
            self.slot.previous(),
            self.slot.second_previous(),
        ]
        .into_iter()
        .find(|node| may_know(*node))
    }
}

/// Whether nothing should be sent to that node: this node's control plane is dead, and has not noticed, if the other died,
/// too.
#[inline(always)]
pub(super) fn is_lost<T: Tables>(tables: &T, settings: &Settings, node: NodeId) -> bool {
    let lease = tables.lease_ns();
    if lease == 0 || node == settings.node {
        return false;
    }
    let now = tables.now_ns();
    now.saturating_sub(lease) > LEASE_NS && now.saturating_sub(tables.heard_ns(node)) > HEARD_NS
}
