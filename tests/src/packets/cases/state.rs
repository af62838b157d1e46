//! What there is before a frame comes in, and what is left after it: the harness's two sides of a row.

use gateway_common::flow::{FlowEntry, FlowKey, FlowPhase};
use gateway_common::fragment::{FragmentEntry, FragmentKey};
use gateway_common::node::{NodeId, Settings};
use gateway_common::prefix::Prefix;
use gateway_common::protection::{FOREVER_NS, Protection, SOURCE_SET_WORDS, VIP_BUCKETS_WORDS};
use gateway_common::verdict::{Fate, Reason};
use gateway_common::vip::VipId;

use super::super::world::{self, Situation};

/// Where a frame comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Where nodes are reached, too.
    Cluster,
    /// Where they are not.
    Foreign,
}

/// ICMP errors that may still be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorsLeft {
    /// One at least.
    Some,
    /// None.
    None,
}

/// How long a prefix is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// For good.
    ForGood,
    /// For so many nanoseconds more.
    Longer(u64),
    /// Until a moment ago.
    Over,
}

impl Lasts {
    /// Until when, at that time.
    pub fn until_ns(self, now_ns: u64) -> u64 {
        match self {
            Self::ForGood => FOREVER_NS,
            Self::Longer(ns) => now_ns + ns,
            // The kernel program reads the clock once a tick, which is a hundredth of a second at most.
            Self::Over => now_ns - 10_000_000,
        }
    }
}

/// What the client, or its /64, and all VIPs that it may mean have used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Nothing.
    Nothing,
    /// The client's new connections.
    SourceConnections,
    /// Those of them that may be remembered.
    SourceFlows,
    /// New connections of the VIPs of situations.
    VipConnections,
    /// Those of them that may be remembered.
    VipFlows,
    /// In the window of time that runs, the client has begun so many connections, and all clients so many.
    Share(u32, u32),
}

impl Spent {
    /// What the map of sources says of a client then.
    pub fn source(self, tag: u64, now_ns: u64) -> [u64; SOURCE_SET_WORDS] {
        let mut words = [0; SOURCE_SET_WORDS];
        words[0] = tag;
        match self {
            // More than the case takes.
            Self::SourceConnections => words[1] = now_ns + 60_000_000_000,
            Self::SourceFlows => words[2] = now_ns + 60_000_000_000,
            Self::Share(source, _) => words[3] = window(source, now_ns),
            _ => {}
        }
        words
    }

    /// What the buckets of a VIP say then.
    pub fn vip(self, now_ns: u64) -> [u64; VIP_BUCKETS_WORDS] {
        match self {
            Self::VipConnections => [now_ns + 60_000_000_000, 0, 0, 0],
            Self::VipFlows => [0, now_ns + 60_000_000_000, 0, 0],
            Self::Share(_, vip) => [0, 0, window(vip, now_ns), 0],
            _ => [0; VIP_BUCKETS_WORDS],
        }
    }
}

/// So many connections in the window of that time.
fn window(connections: u32, now_ns: u64) -> u64 {
    now_ns >> 30 << 32 | u64::from(connections)
}

/// What there is before a frame comes in, beside the world.
#[derive(Clone, Debug)]
pub struct Before {
    /// What the program knows of its node; `None`: user space has written nothing yet.
    pub settings: Option<Settings>,
    /// Where the frame comes in.
    pub interface: Interface,
    /// What the table of all members says.
    pub table_of_all: Situation,
    /// How long ago user space said that it is alive; `None`: it never did.
    pub lease_age_ns: Option<u64>,
    /// Nodes, and how long ago they were heard.
    pub heard: Vec<(u16, u64)>,
    /// What the flow table knows of TCP, and how long ago its phase began.
    pub flows: Vec<(FlowKey, FlowEntry, u64)>,
    /// What the flow table knows of UDP, and how long ago it moved.
    pub udp_flows: Vec<(FlowKey, FlowEntry, u64)>,
    /// Fragmented packets, and how long ago the first fragment came.
    pub fragments: Vec<(FragmentKey, FragmentEntry, u64)>,
    /// ICMP errors that may still be sent.
    pub errors_left: ErrorsLeft,
    /// Which lists hold, and the bounds of new connections.
    pub protection: Protection,
    /// VIPs that have bounds of their own.
    pub bounds: Vec<(VipId, Protection)>,
    /// Denied prefixes.
    pub denied: Vec<(Prefix, Lasts)>,
    /// Allowed prefixes.
    pub allowed: Vec<Prefix>,
    /// What is used up; `None`: nobody was seen before.
    pub spent: Option<Spent>,
}

impl Default for Before {
    fn default() -> Self {
        Self {
            settings: Some(world::settings()),
            interface: Interface::Cluster,
            table_of_all: Situation::Mine,
            lease_age_ns: None,
            heard: Vec::new(),
            flows: Vec::new(),
            udp_flows: Vec::new(),
            fragments: Vec::new(),
            errors_left: ErrorsLeft::Some,
            protection: Protection::default(),
            bounds: Vec::new(),
            denied: Vec::new(),
            allowed: Vec::new(),
            spent: None,
        }
    }
}

impl Before {
    /// The entries for TCP, with their times; `at` gives the time of an age.
    pub fn flows(&self, at: impl Fn(u64) -> u64) -> impl Iterator<Item = (FlowKey, FlowEntry)> {
        timed(&self.flows, at)
    }

    /// The entries for UDP.
    pub fn udp_flows(&self, at: impl Fn(u64) -> u64) -> impl Iterator<Item = (FlowKey, FlowEntry)> {
        timed(&self.udp_flows, at)
    }

    /// The fragmented packets.
    pub fn fragments(&self, at: impl Fn(u64) -> u64) -> impl Iterator<Item = (FragmentKey, FragmentEntry)> {
        self.fragments.iter().map(move |(key, entry, age_ns)| {
            let at_ns = at(*age_ns);
            (*key, FragmentEntry { at_ns, ..*entry })
        })
    }
}

fn timed(
    entries: &[(FlowKey, FlowEntry, u64)],
    at: impl Fn(u64) -> u64,
) -> impl Iterator<Item = (FlowKey, FlowEntry)> {
    entries.iter().map(move |(key, entry, age_ns)| {
        let since_ns = at(*age_ns);
        (*key, FlowEntry { since_ns, ..*entry })
    })
}

/// When a time was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Before this frame, or never.
    Before,
    /// For this frame.
    Now,
}

/// An entry of a flow table after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The flow.
    pub key: FlowKey,
    /// Whose it is.
    pub node: NodeId,
    /// In which life.
    pub incarnation: u32,
    /// How far it has come.
    pub phase: FlowPhase,
    /// When that was written.
    pub since: Written,
}

/// All that the tables remember after a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct After {
    /// Of TCP.
    pub flows: Vec<Kept>,
    /// Of UDP.
    pub udp_flows: Vec<Kept>,
    /// Fragmented packets.
    pub fragments: Vec<(FragmentKey, NodeId, Written)>,
    /// Nodes that this frame was heard of.
    pub heard: Vec<u16>,
}

impl After {
    /// From what is in the tables; `written` says when a time was.
    pub fn new(
        flows: impl Iterator<Item = (FlowKey, FlowEntry)>,
        udp_flows: impl Iterator<Item = (FlowKey, FlowEntry)>,
        fragments: impl Iterator<Item = (FragmentKey, FragmentEntry)>,
        heard: impl Iterator<Item = (u16, u64)>,
        written: impl Fn(u64) -> Written,
    ) -> Self {
        let kept = |(key, entry): (FlowKey, FlowEntry)| Kept {
            key,
            node: entry.node,
            incarnation: entry.incarnation,
            phase: entry.phase,
            since: written(entry.since_ns),
        };
        let after = Self {
            flows: flows.map(kept).collect(),
            udp_flows: udp_flows.map(kept).collect(),
            fragments: fragments
                .map(|(key, entry)| (key, entry.node, written(entry.at_ns)))
                .collect(),
            heard: heard
                .filter(|(_, at)| written(*at) == Written::Now)
                .map(|(node, _)| node)
                .collect(),
        };
        after.in_order()
    }

    /// The same in an order that depends on nothing else.
    pub(super) fn in_order(mut self) -> Self {
        self.flows.sort_by_key(|kept| format!("{:?}", kept.key));
        self.udp_flows.sort_by_key(|kept| format!("{:?}", kept.key));
        self.fragments.sort_by_key(|(key, ..)| format!("{key:?}"));
        self.heard.sort_unstable();
        self
    }
}

/// What became of a frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What the kernel does with it.
    pub fate: Fate,
    /// Why, by the counter.
    pub reason: Reason,
    /// The frame after it.
    pub bytes: Vec<u8>,
    /// What the tables remember.
    pub after: After,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, "{:?} for {}\n  {bytes}", self.fate, self.reason.name())?;
        if self.after != After::default() {
            write!(f, "\n  {:?}", self.after)?;
        }
        Ok(())
    }
}
