//! What is counted of frames: by reason, by VIP and reason, and by the node that they are sent to.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use gateway_common::abi::{self, Count, NODES_MAX};
use gateway_common::verdict::{REASONS, Verdict};

#[map]
static REASON_COUNTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(REASONS, 0);

#[map]
static VIP_COUNTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(abi::VIP_COUNTS_MAX, 0);

#[map]
static NODE_COUNTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(NODES_MAX + 1, 0);

/// Counts a verdict by reason, by VIP and reason, and by the node that the packet goes to.
#[inline(always)]
pub fn count(verdict: &Verdict, bytes: u64) {
    let reason = verdict.reason as u32;
    add(&REASON_COUNTS, reason, bytes);
    if verdict.vip.0 != 0 {
        let at = abi::vip_count(u32::from(verdict.vip.0), reason);
        add(&VIP_COUNTS, at, bytes);
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
