//! The maps, and `Tables` over them. Names and sizes are those of `gateway_common::abi`.

use aya_ebpf::bindings::{BPF_ANY, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, xdp_action};
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::{Key as TrieKey, LpmTrie};
use aya_ebpf::maps::{Array, DevMapHash, HashMap, LruHashMap, PerCpuArray, ProgramArray};
use aya_ebpf::programs::XdpContext;
use gateway_common::abi::{
    self, Budget, FLOWS_DEFAULT, FRAGMENTS_MAX, FlowSet, FlowSetV6, INTERFACES_MAX, MacKey, NODES_MAX,
    NodeCell, PREFIXES_DEFAULT, TABLES_MAX, UDP_FLOWS_DEFAULT, VIPS_MAX,
};
use gateway_common::flow::set::{self, Key};
use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::fragment::{FragmentEntry, FragmentKey};
use gateway_common::frame::Frame;
use gateway_common::maglev::Slot;
use gateway_common::node::{NodeEntry, NodeId, Settings};
use gateway_common::parse::{About, Network};
use gateway_common::protection::{Protection, SOURCE_SETS, SourceSet, VipBuckets};
use gateway_common::tables::{Noted, Socket, Tables};
use gateway_common::verdict::{Fate, Reason, Verdict};
use gateway_common::vip::table::{CELLS, VipCell, VipHalf};
use gateway_common::vip::{Address, TableId, VipEntry, VipId, VipKey};

use crate::run::Clock;
use crate::sets::SetAt;
use crate::sockets;

#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(2, 0);

#[map]
static VIPS: Array<VipCell> = Array::with_max_entries(2 * CELLS, BPF_F_MMAPABLE);

#[map]
static NODES: Array<NodeCell> = Array::with_max_entries(NODES_MAX + 1, BPF_F_MMAPABLE);

// Not preallocated: then an update swaps one entry for another, and no reader sees half of it.
#[map]
static NODE_ADDRESSES: HashMap<Address, u32> = HashMap::with_max_entries(2 * NODES_MAX, BPF_F_NO_PREALLOC);

#[map]
static SLOT_WORDS: Array<u64> = Array::with_max_entries(abi::slot_words(TABLES_MAX), BPF_F_MMAPABLE);

#[map]
static HALVES: Array<u32> = Array::with_max_entries(abi::table_half(TABLES_MAX), BPF_F_MMAPABLE);

// Mapped by nobody: but such an array begins with a page, so that its sets lie on as few lines of the cache as they can.
#[map]
static FLOWS: Array<FlowSet> = Array::with_max_entries(set::sets_v4(FLOWS_DEFAULT), BPF_F_MMAPABLE);

#[map]
static FLOWS_V6: Array<FlowSetV6> = Array::with_max_entries(set::sets_v6(FLOWS_DEFAULT), BPF_F_MMAPABLE);

#[map]
static UDP_FLOWS: Array<FlowSet> = Array::with_max_entries(set::sets_v4(UDP_FLOWS_DEFAULT), BPF_F_MMAPABLE);

#[map]
static UDP_FLOWS_V6: Array<FlowSetV6> =
    Array::with_max_entries(set::sets_v6(UDP_FLOWS_DEFAULT), BPF_F_MMAPABLE);

/// Flows of TCP that there are sets for, 0 if none are to be remembered; the loader writes it with the sizes of the maps.
#[unsafe(no_mangle)]
static FLOWS_MAX: u32 = FLOWS_DEFAULT;

/// The same of UDP.
#[unsafe(no_mangle)]
static UDP_FLOWS_MAX: u32 = UDP_FLOWS_DEFAULT;

#[map]
static NODE_MACS: HashMap<MacKey, u32> = HashMap::with_max_entries(2 * NODES_MAX, BPF_F_NO_PREALLOC);

#[map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry> = LruHashMap::with_max_entries(FRAGMENTS_MAX, 0);

#[map]
static LEASE: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static HEARD: Array<u64> = Array::with_max_entries(NODES_MAX + 1, 0);

#[map]
static ERROR_BUDGET: PerCpuArray<Budget> = PerCpuArray::with_max_entries(1, 0);

#[map]
static CLUSTER_INTERFACES: HashMap<u32, u32> = HashMap::with_max_entries(INTERFACES_MAX, BPF_F_NO_PREALLOC);

#[map]
static EXITS: DevMapHash = DevMapHash::with_max_entries(INTERFACES_MAX, 0);

#[map]
static PROTECTION: Array<Protection> = Array::with_max_entries(VIPS_MAX + 1, 0);

#[map]
static DENIED: LpmTrie<Address, u64> = LpmTrie::with_max_entries(PREFIXES_DEFAULT, 0);

#[map]
static ALLOWED: LpmTrie<Address, u64> = LpmTrie::with_max_entries(PREFIXES_DEFAULT, 0);

#[map]
static SOURCES: Array<SourceSet> = Array::with_max_entries(SOURCE_SETS, 0);

#[map]
static VIP_BUCKETS: Array<VipBuckets> = Array::with_max_entries(VIPS_MAX + 1, 0);

#[map]
static NOTED_COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Noted::ALL.len() as u32, 0);

#[map]
static CHAIN: ProgramArray = ProgramArray::with_max_entries(abi::CHAIN_SLOTS, 0);

/// Goes on in a program of the chain, and does not come back; comes back where there is none.
#[inline(always)]
pub fn go_on_in(context: &XdpContext, slot: u32) {
    // SAFETY: nothing of this run is needed after it.
    unsafe { CHAIN.tail_call(context, slot) };
}

/// Bits of an [`Address`]: a look into a trie is one for the longest prefix of all of them.
const ADDRESS_BITS: u32 = 128;

/// The maps, as one run of the program sees them.
pub struct KernelTables<'a> {
    context: &'a XdpContext,
    clock: &'a Clock,
}

impl<'a> KernelTables<'a> {
    /// The maps, and the sockets of the namespace that the frame came in by.
    #[inline(always)]
    pub fn new(context: &'a XdpContext, clock: &'a Clock) -> Self {
        Self { context, clock }
    }

    #[inline(always)]
    fn known(
        &self,
        v4: &Array<FlowSet>,
        v6: &Array<FlowSetV6>,
        flows: u32,
        key: &FlowKey,
        hash: u64,
    ) -> Option<FlowEntry> {
        if flows == 0 {
            return None;
        }
        let now = || self.now_ns();
        if key.source.is_ipv4() {
            let set = v4.get_ptr_mut(set::set_of(hash, set::sets_v4(flows)))?;
            set::find(&SetAt(set.cast()), &Key::<2>::words(key), now)
        } else {
            let set = v6.get_ptr_mut(set::set_of(hash, set::sets_v6(flows)))?;
            set::find(&SetAt(set.cast()), &Key::<5>::words(key), now)
        }
    }

    #[inline(always)]
    fn note(
        &self,
        v4: &Array<FlowSet>,
        v6: &Array<FlowSetV6>,
        flows: u32,
        key: &FlowKey,
        hash: u64,
        entry: FlowEntry,
    ) {
        if flows == 0 {
            return;
        }
        let now = self.now_ns();
        if key.source.is_ipv4() {
            if let Some(set) = v4.get_ptr_mut(set::set_of(hash, set::sets_v4(flows))) {
                set::put(&SetAt(set.cast()), &Key::<2>::words(key), entry, hash, now);
            }
        } else if let Some(set) = v6.get_ptr_mut(set::set_of(hash, set::sets_v6(flows))) {
            set::put(&SetAt(set.cast()), &Key::<5>::words(key), entry, hash, now);
        }
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
        let half = VipHalf(*HALVES.get(abi::VIPS_HALF)?);
        let [first, second] = half.places(key);
        let entry = VIPS.get(first)?.entry(key);
        entry.or_else(|| VIPS.get(second)?.entry(key))
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
        let cell = NODES.get_ptr(u32::from(id.0))?;
        // SAFETY: a word of the map's value, written whole by user space.
        let half = unsafe { &raw const (*cell).half };
        // SAFETY: as above, and aligned: user space flips it while packets pass.
        let half = unsafe { half.read_volatile() };
        // SAFETY: the half that is live is not written while a packet may read it.
        let entries = unsafe { &(*cell).entries };
        let entry = if half & 1 == 0 { &entries[0] } else { &entries[1] };
        entry.is_there().then_some(entry)
    }

    #[inline(always)]
    fn node_at(&self, address: &Address) -> Option<NodeId> {
        // SAFETY: entries are never changed in place, only swapped, and live until the run ends.
        unsafe { NODE_ADDRESSES.get(address) }.map(|id| NodeId(*id as u16))
    }

    #[inline(always)]
    fn node_with(&self, mac: [u16; 3]) -> Option<NodeId> {
        // SAFETY: as for `node_at`.
        unsafe { NODE_MACS.get(abi::mac_key(mac)) }.map(|id| NodeId(*id as u16))
    }

    #[inline(always)]
    fn is_cluster_interface(&self) -> bool {
        let index = self.context.ingress_ifindex() as u32;
        // SAFETY: nothing is read but whether there is an entry.
        unsafe { CLUSTER_INTERFACES.get(index) }.is_some()
    }

    #[inline(always)]
    fn is_ingress(&self, interface: u32) -> bool {
        self.context.ingress_ifindex() as u32 == interface
    }

    #[inline(always)]
    fn protection(&self) -> Option<&Protection> {
        PROTECTION.get(0)
    }

    #[inline(always)]
    fn bounds(&self, vip: VipId) -> Option<&Protection> {
        PROTECTION.get(u32::from(vip.0))
    }

    #[inline(always)]
    fn denied_until_ns(&self, address: &Address) -> Option<u64> {
        DENIED.get(TrieKey::new(ADDRESS_BITS, *address)).copied()
    }

    #[inline(always)]
    fn is_allowed(&self, address: &Address) -> bool {
        ALLOWED.get(TrieKey::new(ADDRESS_BITS, *address)).is_some()
    }

    #[inline(always)]
    fn sources(&self, set: u32) -> Option<&SourceSet> {
        SOURCES.get(set)
    }

    #[inline(always)]
    fn vip_buckets(&self, vip: VipId) -> Option<&VipBuckets> {
        VIP_BUCKETS.get(u32::from(vip.0))
    }

    #[inline(always)]
    fn note(&self, noted: Noted) {
        if let Some(count) = NOTED_COUNTS.get_ptr_mut(noted as u32) {
            // SAFETY: the entry of this CPU, and XDP is not preempted by itself.
            unsafe { *count += 1 };
        }
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey, hash: u64) -> Option<FlowEntry> {
        self.known(&FLOWS, &FLOWS_V6, flows_max(), key, hash)
    }

    #[inline(always)]
    fn remember(&self, key: &FlowKey, hash: u64, entry: FlowEntry) {
        self.note(&FLOWS, &FLOWS_V6, flows_max(), key, hash, entry);
    }

    #[inline(always)]
    fn udp_flow(&self, key: &FlowKey, hash: u64) -> Option<FlowEntry> {
        self.known(&UDP_FLOWS, &UDP_FLOWS_V6, udp_flows_max(), key, hash)
    }

    #[inline(always)]
    fn remember_udp(&self, key: &FlowKey, hash: u64, entry: FlowEntry) {
        self.note(&UDP_FLOWS, &UDP_FLOWS_V6, udp_flows_max(), key, hash, entry);
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry> {
        // SAFETY: an entry that is reused while it is read can name another packet's node; the fragment is lost with its
        // packet.
        unsafe { FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, entry: FragmentEntry) {
        // Fails only where another CPU holds the bucket: the rest of the packet goes by addresses.
        let _is_remembered = FRAGMENTS.insert(key, entry, u64::from(BPF_ANY)).is_ok();
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
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

/// What the loader wrote; a compiler that knew the word of the object would put that in.
#[inline(always)]
fn flows_max() -> u32 {
    // SAFETY: a word of this program.
    unsafe { (&raw const FLOWS_MAX).read_volatile() }
}

#[inline(always)]
fn udp_flows_max() -> u32 {
    // SAFETY: as above.
    unsafe { (&raw const UDP_FLOWS_MAX).read_volatile() }
}

/// Names to the kernel the interface that a frame leaves by, where that is another than it came in by. An interface that
/// is gone is none of the map any more: then it is dropped.
#[inline(always)]
pub fn exit(fate: Fate, interface: u32, verdict: &mut Verdict) -> Fate {
    if fate == Fate::Redirect
        && EXITS
            .redirect(interface, u64::from(xdp_action::XDP_DROP))
            .is_err()
    {
        verdict.reason = Reason::UnresolvedNextHop;
        return Fate::Drop;
    }
    fate
}
