//! What the kernel program and user space agree on: names, sizes and layouts of the maps.

use crate::flow::set::{SET_WORDS_V4, SET_WORDS_V6};
use crate::flow::{FlowEntry, FlowKey};
use crate::fragment::{FragmentEntry, FragmentKey};
use crate::maglev::{SLOTS, Slot};
use crate::node::{NodeEntry, NodeId, Settings};
use crate::protection::{Protection, SourceSet, VipBuckets};
use crate::trace::{PacketEvent, Trace, TraceCount, Traces};
use crate::verdict::REASONS;
use crate::vip::table::VipCell;
use crate::vip::{Address, VipEntry, VipKey};

/// Changes with every layout or meaning below; pinned maps of another version are not reused, but copied where
/// [`layout_since`] allows.
pub const ABI_VERSION: u32 = 5;

/// The version since which the entries of a map have the layout and meaning that they have now: pinned ones of that version
/// or a later one can be copied.
pub fn layout_since(map: &str) -> u32 {
    match map {
        FLOWS | FLOWS_V6 | UDP_FLOWS | UDP_FLOWS_V6 => 4,
        VIP_COUNTS => 5,
        _ => 2,
    }
}

/// Name of the program that steers.
pub const PROGRAM: &str = "gateway";
/// Name of the program that steers, and undoes what it did: a benchmark runs it on one frame again and again.
pub const BENCH_PROGRAM: &str = "bench";
/// Name of the program that does and undoes to a frame what the other one does, and decides nothing.
pub const FLOOR_PROGRAM: &str = "bench_floor";
/// Per-CPU array of one [`Bench`]: what these programs run on. Not pinned.
pub const BENCH: &str = "BENCH";

/// Name of the program that goes on with a frame that the program in [`BEFORE`] has seen, or that takes the long way.
pub const STEER_PROGRAM: &str = "steer";
/// Programs that steer a frame, in the order of its way. Neither leaves the other anything but the frame as it came: while they are
/// replaced, an old one goes on in a new one.
pub const PROGRAMS: [&str; 2] = [PROGRAM, STEER_PROGRAM];
/// Name of the program that passes everything: the far end of a veth needs one for `XDP_TX` to reach it.
pub const PASS_PROGRAM: &str = "pass";

/// Array of two [`Settings`], of which the word [`SETTINGS_HALF`] of [`HALVES`] says which one is live.
pub const SETTINGS: &str = "SETTINGS";
/// Memory-mapped array of [`VipCell`]s: half, cell. The word [`VIPS_HALF`] of [`HALVES`] is a
/// [`VipHalf`](crate::vip::table::VipHalf).
pub const VIPS: &str = "VIPS";
/// Memory-mapped array of [`NodeCell`]s by node number.
pub const NODES: &str = "NODES";
/// Hash from [`Address`] to node number (`u32`).
pub const NODE_ADDRESSES: &str = "NODE_ADDRESSES";
/// Memory-mapped array of [`Slot`]s: table, half, slot.
pub const SLOT_WORDS: &str = "SLOT_WORDS";
/// Memory-mapped array of words: which half of the settings is live (0 or 1), which half of the VIPs, then which half of
/// each table.
pub const HALVES: &str = "HALVES";
/// Hash from [`MacKey`] to node number (`u32`).
pub const NODE_MACS: &str = "NODE_MACS";
/// Array of sets of IPv4 flows ([`crate::flow::set`]), of TCP.
pub const FLOWS: &str = "FLOWS";
/// The same of IPv6.
pub const FLOWS_V6: &str = "FLOWS_V6";
/// Array of sets of IPv4 flows, of UDP.
pub const UDP_FLOWS: &str = "UDP_FLOWS";
/// The same of IPv6.
pub const UDP_FLOWS_V6: &str = "UDP_FLOWS_V6";
/// Read-only word of the program: flows of TCP that [`FLOWS`] has sets for.
pub const FLOWS_MAX: &str = "FLOWS_MAX";
/// The same of UDP.
pub const UDP_FLOWS_MAX: &str = "UDP_FLOWS_MAX";
/// LRU hash from [`FragmentKey`] to [`FragmentEntry`].
pub const FRAGMENTS: &str = "FRAGMENTS";
/// Memory-mapped array of one word: when user space last said that it is alive, in nanoseconds since the boot.
pub const LEASE: &str = "LEASE";
/// Array of words by node number: when it was last heard, in nanoseconds since the boot.
pub const HEARD: &str = "HEARD";
/// Per-CPU array of one [`Budget`]: of the ICMP errors that the program may send.
pub const ERROR_BUDGET: &str = "ERROR_BUDGET";
/// Hash from interface index to 1: where encapsulated packets are taken from.
pub const CLUSTER_INTERFACES: &str = "CLUSTER_INTERFACES";
/// Hash of devices from interface index to that interface: by which frames may leave that came in by another.
pub const EXITS: &str = "EXITS";
/// Per-CPU array of [`Count`]s by reason.
pub const REASON_COUNTS: &str = "REASON_COUNTS";
/// Per-CPU array of [`Count`]s by VIP and reason: where each lies says [`vip_count`].
pub const VIP_COUNTS: &str = "VIP_COUNTS";
/// Per-CPU array of [`Count`]s by the node that packets were sent to.
pub const NODE_COUNTS: &str = "NODE_COUNTS";

/// Array of [`Protection`]s: that of all VIPs first, then that of each by its number, whose lists and share nobody reads.
pub const PROTECTION: &str = "PROTECTION";
/// Longest-prefix trie from [`Address`] to the time until which it is denied, in nanoseconds since the boot.
pub const DENIED: &str = "DENIED";
/// Longest-prefix trie from [`Address`] to the same; those that it has are never denied.
pub const ALLOWED: &str = "ALLOWED";
/// Array of [`SourceSet`]s.
pub const SOURCES: &str = "SOURCES";
/// Array of [`VipBuckets`] by VIP.
pub const VIP_BUCKETS: &str = "VIP_BUCKETS";
/// Per-CPU array of words: what is counted of packets beside their reasons.
pub const NOTED_COUNTS: &str = "NOTED_COUNTS";
/// Array of programs: an operator's own before ours, ours, and an operator's own after it.
pub const CHAIN: &str = "CHAIN";

/// Memory-mapped array of one [`Traces`]: which packets are told of. Not pinned, as nothing of traces is: they are of one
/// life of user space, and end by themselves after it.
pub const TRACES: &str = "TRACES";
/// Per-CPU array of one [`TraceCounts`].
pub const TRACE_COUNTS: &str = "TRACE_COUNTS";
/// Ring buffer of [`PacketEvent`]s.
pub const TRACE_EVENTS: &str = "TRACE_EVENTS";

/// Bytes of [`TRACE_EVENTS`], a power of two: 2,788 events.
pub const TRACE_EVENTS_BYTES: u32 = 1 << 20;

/// What one CPU counts of each trace.
pub type TraceCounts = [TraceCount; crate::trace::TRACES_MAX];

/// Where [`CHAIN`] has a program that sees each frame first, if any.
pub const BEFORE: u32 = 0;
/// Where it has ours: where the first one goes on.
pub const STEER: u32 = 1;
/// Where it has a program that gets what ours would pass to the stack, if any.
pub const AFTER: u32 = 2;
/// Entries of [`CHAIN`].
pub const CHAIN_SLOTS: u32 = 3;

/// Every map of the program that is pinned, so that it outlives user space.
pub const PINNED_MAPS: [&str; 27] = [
    SETTINGS,
    VIPS,
    NODES,
    NODE_ADDRESSES,
    SLOT_WORDS,
    HALVES,
    NODE_MACS,
    FLOWS,
    FLOWS_V6,
    UDP_FLOWS,
    UDP_FLOWS_V6,
    FRAGMENTS,
    LEASE,
    HEARD,
    ERROR_BUDGET,
    CLUSTER_INTERFACES,
    EXITS,
    REASON_COUNTS,
    VIP_COUNTS,
    NODE_COUNTS,
    PROTECTION,
    DENIED,
    ALLOWED,
    SOURCES,
    VIP_BUCKETS,
    NOTED_COUNTS,
    CHAIN,
];

/// Entries of [`VIPS`]: addresses times ports, and one or more an address.
pub const VIP_ENTRIES_MAX: u32 = 8_192;
/// VIPs that are counted apart; also the bound of VIPs in a configuration.
pub const VIPS_MAX: u32 = 512;
/// Nodes of a cluster, and the highest node number.
pub const NODES_MAX: u32 = 1_024;
/// Maglev tables, unless the loader says another number.
pub const TABLES_MAX: u32 = 64;
/// Flows of TCP that are remembered, unless the loader says another number.
pub const FLOWS_DEFAULT: u32 = 1_000_000;
/// Flows of UDP that are remembered, unless the loader says another number.
pub const UDP_FLOWS_DEFAULT: u32 = 262_144;
/// Entries of [`FRAGMENTS`]: fragmented packets that are under way at once, at 88 bytes.
pub const FRAGMENTS_MAX: u32 = 16_384;
/// Entries of [`CLUSTER_INTERFACES`] and of [`EXITS`].
pub const INTERFACES_MAX: u32 = 64;

/// Prefixes of [`DENIED`], and of [`ALLOWED`], unless the loader says another number. Memory is taken for those there are.
pub const PREFIXES_DEFAULT: u32 = 1_000_000;

/// Entries of [`VIP_COUNTS`]: VIPs are numbered from 1.
pub const VIP_COUNTS_MAX: u32 = (VIPS_MAX + 1) * REASONS;

/// Where [`VIP_COUNTS`] counts a reason of a VIP, each by its number.
#[inline(always)]
pub const fn vip_count(vip: u32, reason: u32) -> u32 {
    vip * REASONS + reason
}

/// Where [`HALVES`] says which half of the settings is live.
pub const SETTINGS_HALF: u32 = 0;

/// Where [`HALVES`] says which half of the VIPs is live, and how it was filled.
pub const VIPS_HALF: u32 = 1;

/// Where [`HALVES`] says which half of a table is live.
#[inline(always)]
pub const fn table_half(table: u32) -> u32 {
    table + 2
}

/// Words of [`SLOT_WORDS`] for that many tables.
pub const fn slot_words(tables: u32) -> u32 {
    tables * 2 * SLOTS
}

/// Where a slot lies in [`SLOT_WORDS`].
#[inline(always)]
pub const fn slot_word(table: u32, half: u32, slot: u32) -> u32 {
    (table * 2 + half) * SLOTS + slot
}

/// Words of a set of IPv4 flows.
pub type FlowSet = [u64; SET_WORDS_V4];

/// Words of a set of IPv6 flows.
pub type FlowSetV6 = [u64; SET_WORDS_V6];

/// Bytes of Ethernet before a benchmark's packets.
pub const LINK_BYTES: usize = crate::headers::ETHERNET_BYTES;

/// The same with a VLAN tag.
pub const TAGGED_LINK_BYTES: usize = LINK_BYTES + crate::headers::VLAN_TAG_BYTES;

/// Bytes of a frame up to what a benchmark leaves alone: Ethernet, IPv6 and GUE.
pub const BENCH_LINK_BYTES: usize = 14 + 64;

/// What a benchmark's frames are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Bench {
    /// Flows that the frames are of, by turns; 1: nothing is changed.
    pub flows: u32,
    /// Whose turn it is.
    pub next: u32,
    /// Where the last four bytes of the client's address stand, whose last three say which flow it is.
    pub client_at: u32,
    /// Bytes that the floor puts before the packet: those of an outer header.
    pub grow_bytes: u32,
    /// Bytes that it takes away first.
    pub shrink_bytes: u32,
    /// Bytes of the frame's start that are put back after each run: those of Ethernet and what a node put around the packet.
    pub restored_bytes: u32,
    /// Bytes of the frame before a run.
    pub frame_bytes: u32,
    /// The frame's start.
    pub start: [u16; BENCH_LINK_BYTES / 2],
    /// Zero: the struct has no padding.
    pub zero: u16,
}

/// A node in [`NODES`]: both halves of its entry, and which one is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NodeCell {
    /// 0 or 1; read once for each look.
    pub half: u64,
    /// The entries. One without a cookie is none.
    pub entries: [NodeEntry; 2],
}

/// A hardware address, as the words of an Ethernet header, and a zero.
pub type MacKey = [u16; 4];

/// The key of a hardware address.
#[inline(always)]
pub const fn mac_key(mac: [u16; 3]) -> MacKey {
    [mac[0], mac[1], mac[2], 0]
}

/// ICMP errors that each CPU may send a second, on average and at once: a tenth of what Linux lets a host send
/// (`net.ipv4.icmp_msgs_per_sec`), for there are as many CPUs.
pub const ERRORS_PER_SECOND: u64 = 100;

/// A bucket of tokens: each ICMP error takes one, each hundredth of a second adds one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Budget {
    /// When the bucket would have been empty, in nanoseconds since the boot.
    pub empty_at_ns: u64,
}

impl Budget {
    /// Takes a token at that time; `false` if there is none.
    #[inline(always)]
    pub fn take(&mut self, now_ns: u64) -> bool {
        const TOKEN_NS: u64 = 1_000_000_000 / ERRORS_PER_SECOND;
        const BUCKET_NS: u64 = TOKEN_NS * ERRORS_PER_SECOND;
        let earliest = now_ns.saturating_sub(BUCKET_NS);
        if self.empty_at_ns < earliest {
            self.empty_at_ns = earliest;
        }
        if self.empty_at_ns + TOKEN_NS > now_ns {
            return false;
        }
        self.empty_at_ns += TOKEN_NS;
        true
    }
}

/// Packets and bytes, one pair a CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Count {
    /// Frames.
    pub packets: u64,
    /// Their bytes as they came, Ethernet included.
    pub bytes: u64,
}

const _: () = assert!(size_of::<Settings>() == 72);
const _: () = assert!(size_of::<VipKey>() == 24);
const _: () = assert!(size_of::<VipEntry>() == 16);
const _: () = assert!(size_of::<VipCell>() == 40);
const _: () = assert!(size_of::<NodeEntry>() == 80);
const _: () = assert!(size_of::<NodeCell>() == 168);
const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<FlowEntry>() == 16);
const _: () = assert!(size_of::<FragmentKey>() == 40);
const _: () = assert!(size_of::<FragmentEntry>() == 16);
const _: () = assert!(size_of::<Budget>() == 8);
const _: () = assert!(size_of::<Slot>() == 8);
const _: () = assert!(size_of::<Address>() == 16);
const _: () = assert!(size_of::<NodeId>() == 2);
const _: () = assert!(size_of::<Count>() == 16);
const _: () = assert!(size_of::<Bench>() == 108);
const _: () = assert!(size_of::<Protection>() == 88);
const _: () = assert!(size_of::<SourceSet>() == 128);
const _: () = assert!(size_of::<VipBuckets>() == 32);
const _: () = assert!(size_of::<Trace>() == 72);
const _: () = assert!(size_of::<Traces>() == 296);
const _: () = assert!(size_of::<TraceCount>() == 32);
const _: () = assert!(size_of::<PacketEvent>() == 368);

/// Lets aya copy these types to and from maps.
#[cfg(feature = "aya")]
mod pod {
    use super::{
        Address, Bench, Budget, Count, FragmentEntry, FragmentKey, NodeEntry, PacketEvent, Protection,
        Settings, Slot, Trace, TraceCount, Traces, VipCell,
    };

    macro_rules! pod {
        ($($type:ty),+) => {
            $(
                // SAFETY: `repr(C)` or `repr(transparent)` over integers, without padding, as the sizes above show.
                unsafe impl aya::Pod for $type {}
            )+
        };
    }

    pod!(
        Address,
        Bench,
        Budget,
        Count,
        FragmentEntry,
        FragmentKey,
        NodeEntry,
        PacketEvent,
        Protection,
        Settings,
        Slot,
        Trace,
        TraceCount,
        Traces,
        VipCell
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_vips_are_counted_apart() {
        assert_eq!(vip_count(1, 0), vip_count(0, REASONS - 1) + 1);
        assert_eq!(vip_count(VIPS_MAX, REASONS - 1), VIP_COUNTS_MAX - 1);
    }

    #[test]
    fn budget_allows_a_burst_and_then_the_rate() {
        const SECOND: u64 = 1_000_000_000;
        let mut budget = Budget::default();
        let mut taken = |from: u64, until: u64, tries: u64| {
            (0..tries)
                .filter(|index| budget.take(from + (until - from) / tries * index))
                .count() as u64
        };
        let burst = taken(100 * SECOND, 100 * SECOND + 1_000, 1_000);
        assert_eq!(burst, ERRORS_PER_SECOND);
        let next = taken(101 * SECOND, 111 * SECOND, 100_000);
        assert!(next.abs_diff(11 * ERRORS_PER_SECOND) <= 1, "{next}");
    }
}
