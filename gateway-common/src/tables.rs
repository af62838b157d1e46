//! What a decision may ask of the maps, and the two things it may tell them.

use crate::flow::{FlowEntry, FlowKey};
use crate::maglev::Slot;
use crate::node::{NodeEntry, NodeId, Settings};
use crate::parse::Family;
use crate::vip::{Address, TableId, VipEntry, VipKey};

/// What this node's kernel knows of a TCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// Nothing listens for it.
    None,
    /// Something listens, and has no such connection.
    Listener,
    /// A connection, perhaps one in handshake or in TIME_WAIT.
    Connection,
}

/// The maps, the clock and the sockets of a node.
pub trait Tables {
    /// What the program knows of its node; `None` before user space wrote it.
    fn settings(&self) -> Option<Settings>;

    /// The VIP of that key.
    fn vip(&self, key: &VipKey) -> Option<VipEntry>;

    /// A slot of the live half of a table. Reads the half word once.
    fn slot(&self, table: TableId, slot: u32) -> Slot;

    /// The node of that number, while it is a member.
    fn node(&self, id: NodeId) -> Option<NodeEntry>;

    /// The member that has that address.
    fn node_at(&self, address: &Address) -> Option<NodeId>;

    /// Whether the frame came in by an interface that nodes are reached by.
    fn is_cluster_interface(&self) -> bool;

    /// What is remembered of a flow.
    fn flow(&self, key: &FlowKey) -> Option<FlowEntry>;

    /// Remembers a flow, or its new phase. Where the table is full, another flow is forgotten.
    fn remember(&self, key: &FlowKey, entry: FlowEntry);

    /// Time since the boot, in nanoseconds.
    fn now_ns(&self) -> u64;

    /// What this node's kernel knows of a TCP packet.
    fn socket(&self, flow: &FlowKey, family: Family) -> Socket;
}
