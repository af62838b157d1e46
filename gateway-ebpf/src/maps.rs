//! The maps, and `Tables` over them. Names and sizes are those of `gateway_common::abi`.

use aya_ebpf::bindings::{BPF_ANY, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray};
use aya_ebpf::programs::XdpContext;
use gateway_common::abi::{
    self, Budget, CLUSTER_INTERFACES_MAX, Count, FLOWS_DEFAULT, FRAGMENTS_MAX, MacKey, NODES_MAX, TABLES_MAX,
    UDP_FLOWS_DEFAULT, VIP_ENTRIES_MAX, VIPS_MAX,
};
use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::forward::Notes;
use gateway_common::fragment::{FragmentEntry, FragmentKey};
use gateway_common::frame::Frame;
use gateway_common::maglev::Slot;
use gateway_common::node::{NodeEntry, NodeId, Settings};
use gateway_common::parse::{About, Network};
use gateway_common::tables::{Socket, Tables};
use gateway_common::verdict::{REASONS, Verdict};
use gateway_common::vip::{Address, TableId, VipEntry, VipKey};

use crate::sockets;

#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(2, 0);

// Not preallocated: then an update swaps one entry for another, and no reader sees half of it.
#[map]
static VIPS: HashMap<VipKey, VipEntry> = HashMap::with_max_entries(VIP_ENTRIES_MAX, BPF_F_NO_PREALLOC);

#[map]
static NODES: HashMap<u32, NodeEntry> = HashMap::with_max_entries(NODES_MAX, BPF_F_NO_PREALLOC);

#[map]
static NODE_ADDRESSES: HashMap<Address, u32> = HashMap::with_max_entries(2 * NODES_MAX, BPF_F_NO_PREALLOC);

#[map]
static SLOT_WORDS: Array<u64> = Array::with_max_entries(abi::slot_words(TABLES_MAX), BPF_F_MMAPABLE);

#[map]
static HALVES: Array<u32> = Array::with_max_entries(abi::table_half(TABLES_MAX), BPF_F_MMAPABLE);

#[map]
static FLOWS: LruHashMap<FlowKey, FlowEntry> = LruHashMap::with_max_entries(FLOWS_DEFAULT, 0);

#[map]
static NODE_MACS: HashMap<MacKey, u32> = HashMap::with_max_entries(2 * NODES_MAX, BPF_F_NO_PREALLOC);

#[map]
static UDP_FLOWS: LruHashMap<FlowKey, FlowEntry> = LruHashMap::with_max_entries(UDP_FLOWS_DEFAULT, 0);

#[map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry> = LruHashMap::with_max_entries(FRAGMENTS_MAX, 0);

#[map]
static LEASE: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static HEARD: Array<u64> = Array::with_max_entries(NODES_MAX + 1, 0);

#[map]
static ERROR_BUDGET: PerCpuArray<Budget> = PerCpuArray::with_max_entries(1, 0);

#[map]
static NOTES: PerCpuArray<Notes> = PerCpuArray::with_max_entries(1, 0);

#[map]
static CLUSTER_INTERFACES: HashMap<u32, u32> =
    HashMap::with_max_entries(CLUSTER_INTERFACES_MAX, BPF_F_NO_PREALLOC);

#[map]
static REASON_COUNTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(REASONS, 0);

#[map]
static VIP_COUNTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(VIPS_MAX + 1, 0);

#[map]
static NODE_COUNTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(NODES_MAX + 1, 0);

#[map]
static CHAIN: ProgramArray = ProgramArray::with_max_entries(abi::CHAIN_SLOTS, 0);

/// Goes on in a program of the chain, and does not come back; comes back where there is none.
#[inline(always)]
pub fn go_on_in(context: &XdpContext, slot: u32) {
    // SAFETY: nothing of this run is needed after it.
    unsafe { CHAIN.tail_call(context, slot) };
}

/// Where one run of the program notes what it decides by.
#[inline(always)]
pub fn notes<'a>() -> Option<&'a mut Notes> {
    let notes = NOTES.get_ptr_mut(0)?;
    // SAFETY: the entry of this CPU, and XDP is not preempted by itself; zeroes are notes, and so is what an earlier run
    // left.
    Some(unsafe { &mut *notes })
}

/// The maps, as one run of the program sees them.
pub struct KernelTables<'a> {
    context: &'a XdpContext,
}

impl<'a> KernelTables<'a> {
    /// The maps, and the sockets of the namespace that the frame came in by.
    #[inline(always)]
    pub fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }
}

impl Tables for KernelTables<'_> {
    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        let half = HALVES.get(abi::SETTINGS_HALF)?;
        let settings = SETTINGS.get(*half & 1)?;
        // User space sets a key before anything else; an array starts as zeroes.
        (settings.hash_key[0] | settings.hash_key[1] != 0).then_some(settings)
    }

    #[inline(always)]
    fn vip(&self, key: &VipKey) -> Option<&VipEntry> {
        // SAFETY: entries are never changed in place, only swapped, and live until the run ends.
        unsafe { VIPS.get(key) }
    }

    #[inline(always)]
    fn half(&self, table: TableId) -> u32 {
        HALVES.get(abi::table_half(table.0)).map_or(0, |half| *half & 1)
    }

    #[inline(always)]
    fn slot(&self, table: TableId, half: u32, slot: u32) -> Slot {
        let word = SLOT_WORDS.get(abi::slot_word(table.0, half, slot));
        word.map_or(Slot::default(), |word| Slot(*word))
    }

    #[inline(always)]
    fn node(&self, id: NodeId) -> Option<&NodeEntry> {
        // SAFETY: as for `vip`.
        unsafe { NODES.get(u32::from(id.0)) }
    }

    #[inline(always)]
    fn node_at(&self, address: &Address) -> Option<NodeId> {
        // SAFETY: as for `vip`.
        unsafe { NODE_ADDRESSES.get(address) }.map(|id| NodeId(*id as u16))
    }

    #[inline(always)]
    fn node_with(&self, mac: [u16; 3]) -> Option<NodeId> {
        // SAFETY: as for `vip`.
        unsafe { NODE_MACS.get(abi::mac_key(mac)) }.map(|id| NodeId(*id as u16))
    }

    #[inline(always)]
    fn is_cluster_interface(&self) -> bool {
        let index = self.context.ingress_ifindex() as u32;
        // SAFETY: nothing is read but whether there is an entry.
        unsafe { CLUSTER_INTERFACES.get(index) }.is_some()
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<FlowEntry> {
        // SAFETY: an entry that is reused while it is read can name a node that did not accept this flow; that node
        // knows no socket for it and sends the packet on by its slot.
        unsafe { FLOWS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember(&self, key: &FlowKey, entry: FlowEntry) {
        // Fails only where another CPU holds the bucket: the packet is steered all the same, and the flow is
        // remembered with its next one that opens or ends it.
        let _is_remembered = FLOWS.insert(key, entry, u64::from(BPF_ANY)).is_ok();
    }

    #[inline(always)]
    fn udp_flow(&self, key: &FlowKey) -> Option<FlowEntry> {
        // SAFETY: as for `flow`; the datagram goes to a node that has not seen its flow.
        unsafe { UDP_FLOWS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_udp(&self, key: &FlowKey, entry: FlowEntry) {
        // As for `remember`; the next datagram tries again.
        let _is_remembered = UDP_FLOWS.insert(key, entry, u64::from(BPF_ANY)).is_ok();
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry> {
        // SAFETY: as for `flow`; the fragment is lost with its packet.
        unsafe { FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, entry: FragmentEntry) {
        // As for `remember`; the rest of the packet goes by addresses.
        let _is_remembered = FRAGMENTS.insert(key, entry, u64::from(BPF_ANY)).is_ok();
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: reads a clock.
        unsafe { bpf_ktime_get_boot_ns() }
    }

    #[inline(always)]
    fn lease_ns(&self) -> u64 {
        LEASE.get(0).map_or(0, |at| *at)
    }

    #[inline(always)]
    fn heard_ns(&self, node: NodeId) -> u64 {
        HEARD.get(u32::from(node.0)).map_or(0, |at| *at)
    }

    #[inline(always)]
    fn hear(&self, node: NodeId) {
        if let Some(at) = HEARD.get_ptr_mut(u32::from(node.0)) {
            // SAFETY: one aligned word, written whole; of two CPUs that hear the node at once, either is right.
            unsafe { at.write(self.now_ns()) };
        }
    }

    #[inline(always)]
    fn may_send_error(&self) -> bool {
        let Some(budget) = ERROR_BUDGET.get_ptr_mut(0) else {
            return false;
        };
        // SAFETY: the entry of this CPU, and XDP is not preempted by itself.
        let budget = unsafe { &mut *budget };
        budget.take(self.now_ns())
    }

    #[inline(always)]
    fn tcp_socket<F: Frame>(&self, frame: &F, packet: &Network, about: &About) -> Socket {
        sockets::tcp(self.context, frame, packet, about)
    }

    #[inline(always)]
    fn udp_socket(&self, packet: &Network, about: &About) -> Socket {
        sockets::udp(self.context, packet, about)
    }
}

/// Counts a verdict by reason, VIP and node.
#[inline(always)]
pub fn count(verdict: &Verdict<'_>, bytes: u64) {
    add(&REASON_COUNTS, verdict.reason as u32, bytes);
    if verdict.vip.0 != 0 {
        add(&VIP_COUNTS, u32::from(verdict.vip.0), bytes);
    }
    if !verdict.node.is_nobody() {
        add(&NODE_COUNTS, u32::from(verdict.node.0), bytes);
    }
}

#[inline(always)]
fn add(counts: &PerCpuArray<Count>, index: u32, bytes: u64) {
    if let Some(count) = counts.get_ptr_mut(index) {
        // SAFETY: the entry of this CPU, and XDP is not preempted by itself.
        let count = unsafe { &mut *count };
        count.packets += 1;
        count.bytes += bytes;
    }
}
