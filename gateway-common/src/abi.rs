//! What the kernel program and user space agree on: names, sizes and layouts of the maps.

use crate::flow::{FlowEntry, FlowKey};
use crate::maglev::{SLOTS, Slot};
use crate::node::{NodeEntry, NodeId, Settings};
use crate::vip::{Address, VipEntry, VipKey};

/// Changes with every layout or meaning below; pinned maps of another version are not reused.
pub const ABI_VERSION: u32 = 1;

/// Name of the program that steers.
pub const PROGRAM: &str = "gateway";
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
/// LRU hash from [`FlowKey`] to [`FlowEntry`].
pub const FLOWS: &str = "FLOWS";
/// Hash from interface index to 1: where encapsulated packets are taken from.
pub const CLUSTER_INTERFACES: &str = "CLUSTER_INTERFACES";
/// Per-CPU array of [`Count`]s by reason.
pub const REASON_COUNTS: &str = "REASON_COUNTS";
/// Per-CPU array of [`Count`]s by VIP.
pub const VIP_COUNTS: &str = "VIP_COUNTS";
/// Per-CPU array of [`Count`]s by the node that packets were sent to.
pub const NODE_COUNTS: &str = "NODE_COUNTS";

/// Every map of the program that is pinned, so that it outlives user space.
pub const PINNED_MAPS: [&str; 11] = [
    SETTINGS,
    VIPS,
    NODES,
    NODE_ADDRESSES,
    SLOT_WORDS,
    HALVES,
    FLOWS,
    CLUSTER_INTERFACES,
    REASON_COUNTS,
    VIP_COUNTS,
    NODE_COUNTS,
];

/// Entries of [`VIPS`]: addresses times ports.
pub const VIP_ENTRIES_MAX: u32 = 4_096;
/// VIPs that are counted apart; also the bound of VIPs in a configuration.
pub const VIPS_MAX: u32 = 512;
/// Nodes of a cluster, and the highest node number.
pub const NODES_MAX: u32 = 1_024;
/// Maglev tables, unless the loader says another number.
pub const TABLES_MAX: u32 = 64;
/// Entries of [`FLOWS`], unless the loader says another number.
pub const FLOWS_DEFAULT: u32 = 1_000_000;
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

/// Packets and bytes, one pair a CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Count {
    /// Frames.
    pub packets: u64,
    /// Their bytes as they came, Ethernet included.
    pub bytes: u64,
}

const _: () = assert!(size_of::<Settings>() == 56);
const _: () = assert!(size_of::<VipKey>() == 20);
const _: () = assert!(size_of::<VipEntry>() == 12);
const _: () = assert!(size_of::<NodeEntry>() == 48);
const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<FlowEntry>() == 16);
const _: () = assert!(size_of::<Slot>() == 8);
const _: () = assert!(size_of::<Address>() == 16);
const _: () = assert!(size_of::<NodeId>() == 2);
const _: () = assert!(size_of::<Count>() == 16);

/// Lets aya copy these types to and from maps.
#[cfg(feature = "aya")]
mod pod {
    use super::{Address, Count, FlowEntry, FlowKey, NodeEntry, Settings, Slot, VipEntry, VipKey};

    macro_rules! pod {
        ($($type:ty),+) => {
            $(
                // SAFETY: `repr(C)` or `repr(transparent)` over integers, without padding, as the sizes above show.
                unsafe impl aya::Pod for $type {}
            )+
        };
    }

    pod!(
        Address, Count, FlowEntry, FlowKey, NodeEntry, Settings, Slot, VipEntry, VipKey
    );
}
