//! What the kernel program and user space agree on: names, sizes and layouts of the maps.

use crate::flow::{FlowEntry, FlowKey};
use crate::fragment::{FragmentEntry, FragmentKey};
use crate::maglev::{SLOTS, Slot};
use crate::node::{NodeEntry, NodeId, Settings};
use crate::vip::{Address, VipEntry, VipKey};

/// Changes with every layout or meaning below; pinned maps of another version are not reused, but copied where
/// [`layout_since`] allows.
pub const ABI_VERSION: u32 = 2;

/// The version since which the entries of a map have the layout and meaning that they have now: pinned ones of that version
/// or a later one can be copied.
pub const fn layout_since(_map: &str) -> u32 {
    2
}

/// Name of the program that steers.
pub const PROGRAM: &str = "gateway";
/// Name of the program that steers a frame that the program in [`BEFORE`] has seen.
pub const STEER_PROGRAM: &str = "steer";
/// Name of the program that passes everything: the far end of a veth needs one for `XDP_TX` to reach it.
pub const PASS_PROGRAM: &str = "pass";

/// Array of two [`Settings`], of which the word [`SETTINGS_HALF`] of [`HALVES`] says which one is live.
pub const SETTINGS: &str = "SETTINGS";
/// Hash from [`VipKey`] to [`VipEntry`].
pub const VIPS: &str = "VIPS";
/// Hash from node number (`u32`) to [`NodeEntry`].
pub const NODES: &str = "NODES";
/// Hash from [`Address`] to node number (`u32`).
pub const NODE_ADDRESSES: &str = "NODE_ADDRESSES";
/// Memory-mapped array of [`Slot`]s: table, half, slot.
pub const SLOT_WORDS: &str = "SLOT_WORDS";
/// Memory-mapped array of words, 0 or 1: which half of the settings is live, then which half of each table.
pub const HALVES: &str = "HALVES";
/// Hash from [`MacKey`] to node number (`u32`).
pub const NODE_MACS: &str = "NODE_MACS";
/// LRU hash from [`FlowKey`] to [`FlowEntry`], of TCP.
pub const FLOWS: &str = "FLOWS";
/// LRU hash from [`FlowKey`] to [`FlowEntry`], of UDP.
pub const UDP_FLOWS: &str = "UDP_FLOWS";
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
/// Per-CPU array of [`Count`]s by reason.
pub const REASON_COUNTS: &str = "REASON_COUNTS";
/// Per-CPU array of [`Count`]s by VIP.
pub const VIP_COUNTS: &str = "VIP_COUNTS";
/// Per-CPU array of [`Count`]s by the node that packets were sent to.
pub const NODE_COUNTS: &str = "NODE_COUNTS";

/// Array of programs: an operator's own before ours, ours, and an operator's own after it.
pub const CHAIN: &str = "CHAIN";

/// Where [`CHAIN`] has a program that sees each frame first, if any.
pub const BEFORE: u32 = 0;
/// Where it has ours: where the first one goes on.
pub const STEER: u32 = 1;
/// Where it has a program that gets what ours would pass to the stack, if any.
pub const AFTER: u32 = 2;
/// Entries of [`CHAIN`].
pub const CHAIN_SLOTS: u32 = 3;

/// Every map of the program that is pinned, so that it outlives user space.
pub const PINNED_MAPS: [&str; 18] = [
    SETTINGS,
    VIPS,
    NODES,
    NODE_ADDRESSES,
    SLOT_WORDS,
    HALVES,
    NODE_MACS,
    FLOWS,
    UDP_FLOWS,
    FRAGMENTS,
    LEASE,
    HEARD,
    ERROR_BUDGET,
    CLUSTER_INTERFACES,
    REASON_COUNTS,
    VIP_COUNTS,
    NODE_COUNTS,
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
/// Entries of [`FLOWS`], unless the loader says another number.
pub const FLOWS_DEFAULT: u32 = 1_000_000;
/// Entries of [`UDP_FLOWS`], unless the loader says another number.
pub const UDP_FLOWS_DEFAULT: u32 = 262_144;
/// Entries of [`FRAGMENTS`]: fragmented packets that are under way at once, at 88 bytes.
pub const FRAGMENTS_MAX: u32 = 16_384;
/// Entries of [`CLUSTER_INTERFACES`].
pub const CLUSTER_INTERFACES_MAX: u32 = 64;

/// Where [`HALVES`] says which half of the settings is live.
pub const SETTINGS_HALF: u32 = 0;

/// Where [`HALVES`] says which half of a table is live.
#[inline(always)]
pub const fn table_half(table: u32) -> u32 {
    table + 1
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
const _: () = assert!(size_of::<NodeEntry>() == 64);
const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<FlowEntry>() == 16);
const _: () = assert!(size_of::<FragmentKey>() == 40);
const _: () = assert!(size_of::<FragmentEntry>() == 16);
const _: () = assert!(size_of::<Budget>() == 8);
const _: () = assert!(size_of::<Slot>() == 8);
const _: () = assert!(size_of::<Address>() == 16);
const _: () = assert!(size_of::<NodeId>() == 2);
const _: () = assert!(size_of::<Count>() == 16);

/// Lets aya copy these types to and from maps.
#[cfg(feature = "aya")]
mod pod {
    use super::{
        Address, Budget, Count, FlowEntry, FlowKey, FragmentEntry, FragmentKey, NodeEntry, Settings, Slot,
        VipEntry, VipKey,
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
        Budget,
        Count,
        FlowEntry,
        FlowKey,
        FragmentEntry,
        FragmentKey,
        NodeEntry,
        Settings,
        Slot,
        VipEntry,
        VipKey
    );
}

#[cfg(test)]
mod tests {
    use super::*;

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
