//! What a decision may ask of the maps, and the few things it may tell them.

use crate::flow::{FlowEntry, FlowKey};
use crate::fragment::{FragmentEntry, FragmentKey};
use crate::frame::Frame;
use crate::headers::TcpFlags;
use crate::maglev::Slot;
use crate::node::{NodeEntry, NodeId, Settings};
use crate::parse::{About, Network};
use crate::protection::{Protection, SourceSet, VipBuckets};
use crate::vip::{Address, TableId, VipEntry, VipId, VipKey};

/// What this node's kernel knows of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// Nothing listens for it.
    None,
    /// Something listens, and has no such connection; of UDP, a socket that takes everybody's datagrams.
    Listener,
    /// Something listens, and the packet completes a handshake by SYN cookie with it.
    Handshake,
    /// A connection, perhaps one in handshake; of UDP, a socket that takes this peer's datagrams alone.
    Connection,
    /// What is kept of a connection that this side has closed: TIME_WAIT, or FIN_WAIT2 without its process.
    TimeWait,
}

impl Socket {
    /// What it is to a segment with those flags; that a connection is in TIME_WAIT is not asked behind it.
    ///
    /// Of the connection that ended, only the other side's FIN may still come, and a SYN may follow it. Anything else may
    /// be of a newer connection from the same port, which another node has accepted since its slot changed its owner:
    /// TIME_WAIT would hold up each of its packets, with an answer that the client cannot use.
    #[inline(always)]
    pub fn for_segment(self, flags: TcpFlags) -> Self {
        match self {
            Self::TimeWait if flags.opens() || flags.finishes() => Self::Connection,
            Self::TimeWait => Self::Listener,
            other => other,
        }
    }
}

/// What is counted of a packet beside its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Noted {
    /// It opens a connection that is not remembered: its source or its VIP has used up its share of the flow table.
    FlowSpared = 0,
    /// It opens a connection of a source that has more than its share of the VIP, and goes by its 5-tuple.
    SourceSpread = 1,
}

impl Noted {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 2] = [Self::FlowSpared, Self::SourceSpread];
}

/// The maps, the clock and the sockets of a node.
///
/// Entries are handed out by reference: none is changed in place while a packet may read it, and it lives as long as the run.
pub trait Tables {
    /// What the program knows of its node; `None` before user space wrote it.
    fn settings(&self) -> Option<&Settings>;

    /// The VIP of that key.
    fn vip(&self, key: &VipKey) -> Option<&VipEntry>;

    /// Which half of a table is live. Read once for each packet.
    fn half(&self, table: TableId) -> u32;

    /// A slot of one half of a table.
    fn slot(&self, table: TableId, half: u32, slot: u32) -> Slot;

    /// The node of that number, while it is a member.
    fn node(&self, id: NodeId) -> Option<&NodeEntry>;

    /// The member that has that address.
    fn node_at(&self, address: &Address) -> Option<NodeId>;

    /// The member on this segment that has that hardware address.
    fn node_with(&self, mac: [u16; 3]) -> Option<NodeId>;

    /// Whether the frame came in by an interface that nodes are reached by.
    fn is_cluster_interface(&self) -> bool;

    /// Whether the frame came in by that interface.
    fn is_ingress(&self, interface: u32) -> bool;

    /// What protects the VIPs; `None`: nothing does.
    fn protection(&self) -> Option<&Protection>;

    /// The bounds of new connections to one VIP.
    fn bounds(&self, vip: VipId) -> Option<&Protection>;

    /// Until when the closest denied prefix around an address holds, on the clock of `now_ns`; `None`: there is none.
    fn denied_until_ns(&self, address: &Address) -> Option<u64>;

    /// Whether an allowed prefix is around an address.
    fn is_allowed(&self, address: &Address) -> bool;

    /// One set of the sources that began connections.
    fn sources(&self, set: u32) -> Option<&SourceSet>;

    /// What is known of the new connections to a VIP.
    fn vip_buckets(&self, vip: VipId) -> Option<&VipBuckets>;

    /// Counts what is no reason.
    fn note(&self, noted: Noted);

    /// What is remembered of a TCP flow; its hash is [`crate::hash::of_flow`].
    fn flow(&self, key: &FlowKey, hash: u64) -> Option<FlowEntry>;

    /// Remembers a TCP flow, or its new phase. Where the table is full, another flow is forgotten.
    fn remember(&self, key: &FlowKey, hash: u64, entry: FlowEntry);

    /// What is remembered of a UDP flow.
    fn udp_flow(&self, key: &FlowKey, hash: u64) -> Option<FlowEntry>;

    /// Remembers a UDP flow. Where the table is full, another flow is forgotten.
    fn remember_udp(&self, key: &FlowKey, hash: u64, entry: FlowEntry);

    /// What is remembered of a fragmented packet.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry>;

    /// Remembers where a first fragment went. Where the table is full, another packet is forgotten.
    fn remember_fragment(&self, key: &FragmentKey, entry: FragmentEntry);

    /// Time since the boot, in nanoseconds.
    fn now_ns(&self) -> u64;

    /// When user space last said that it is alive, on the same clock; 0: it never did.
    fn lease_ns(&self) -> u64;

    /// When the node was last heard, on the same clock; 0: never.
    fn heard_ns(&self, node: NodeId) -> u64;

    /// Notes that the node was heard now.
    fn hear(&self, node: NodeId);

    /// Whether one more ICMP error may be sent, and counts it.
    fn may_send_error(&self) -> bool;

    /// What this node's kernel knows of a TCP packet, or of the connection that an ICMP error is about.
    fn tcp_socket<F: Frame>(&self, frame: &F, packet: &Network, about: &About) -> Socket;

    /// What it knows of a UDP datagram, or of the flow that an ICMP error is about.
    fn udp_socket(&self, packet: &Network, about: &About) -> Socket;
}
