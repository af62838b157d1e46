//! What one run of the program keeps beside the stack: notes of its decision, and the time.

use core::cell::Cell;

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::helpers::generated::bpf_jiffies64;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use gateway_common::forward::Notes;
use gateway_common::verdict::Verdict;

use crate::trace::TraceNotes;

#[map]
static NOTES: PerCpuArray<RunNotes> = PerCpuArray::with_max_entries(1, 0);

/// What one CPU keeps beside the stack.
pub struct RunNotes {
    /// What time it is.
    pub clock: Clock,
    /// What was decided. Here, for the compiler would carry it in registers through each step of the short way that may leave
    /// the frame to the long one, and the verifier would follow each verdict through all that is done by it.
    pub verdict: Verdict,
    /// What is noted while a frame is decided.
    pub decision: Notes,
    /// What is noted of a frame while somebody traces.
    pub trace: TraceNotes,
}

/// Where one run of the program notes what it decides by.
#[inline(always)]
pub fn notes<'a>() -> Option<&'a mut RunNotes> {
    let notes = NOTES.get_ptr_mut(0)?;
    // SAFETY: the entry of this CPU, and XDP is not preempted by itself; zeroes are notes, and so is what an earlier run
    // left.
    Some(unsafe { &mut *notes })
}

/// The time, read from the kernel's clock once in each of its ticks, some milliseconds.
///
/// Reading a clock takes longer than all the rest of what a known flow needs, while nothing here is decided by less than a
/// hundredth of a second. The count of ticks is a load.
pub struct Clock {
    tick: Cell<u64>,
    now_ns: Cell<u64>,
}

// SAFETY: each CPU has one of its own, and XDP is not preempted by itself.
unsafe impl Sync for Clock {}

impl Clock {
    /// What it was when it was read, in nanoseconds since the boot.
    #[inline(always)]
    pub fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    /// Reads the kernel's clock, if a tick has passed since it was read. Once for each frame: the verifier follows both ways
    /// at every place where it is done.
    ///
    /// # Kernel
    /// 5.5: `bpf_jiffies64`, which the verifier compiles in line.
    #[inline(always)]
    pub fn read(&self) {
        // SAFETY: reads a counter.
        let tick = unsafe { bpf_jiffies64() };
        if tick != self.tick.get() {
            self.tick.set(tick);
            // SAFETY: reads a clock.
            self.now_ns.set(unsafe { bpf_ktime_get_boot_ns() });
        }
    }
}
