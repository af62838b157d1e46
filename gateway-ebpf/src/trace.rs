//! Tells user space of packets while somebody traces, and costs a look at one word while nobody does.
//!
//! All frames go the long way then: before one is decided, [`begin`] notes its start as it came; once that is done, [`end`] asks
//! which traces want it. Both call global functions: the verifier proves those once for themselves, and what they branch on is
//! no state of the programs that steer, which it would else follow from there on for each. Which packets are wanted, and how
//! many, `gateway_common::trace` says.

use core::arch::asm;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, xdp_md};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::programs::XdpContext;
use gateway_common::abi::{self, TraceCounts};
use gateway_common::frame::{Frame, Opaque};
use gateway_common::protection::Bucket;
use gateway_common::trace::{HEAD_BYTES, HEAD_WORDS, PacketEvent, TRACES_MAX, Traces};

use crate::frame::XdpFrame;
use crate::run::{self, RunNotes};

#[map]
static TRACES: Array<Traces> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static TRACE_COUNTS: PerCpuArray<TraceCounts> = PerCpuArray::with_max_entries(1, 0);

#[map]
static TRACE_EVENTS: RingBuf = RingBuf::with_byte_size(abi::TRACE_EVENTS_BYTES, 0);

/// What one CPU notes of a frame while somebody traces.
pub struct TraceNotes {
    /// Whether this frame was noted: 1, or 0.
    is_noted: u64,
    /// The number that it drew.
    drawn: u64,
    /// Whether any trace runs: 1, or 0. In memory, as what follows is: so the verifier knows one state behind each trace, not
    /// one for each way through it.
    any_runs: u64,
    /// How much each trace has told here.
    buckets: [Bucket; TRACES_MAX],
    /// What is told.
    event: PacketEvent,
}

/// Whether somebody traces.
#[inline(always)]
pub fn is_on() -> bool {
    drawn_below() != 0
}

/// Below which number a frame is drawn for any trace; 0: nobody traces.
#[inline(always)]
fn drawn_below() -> u64 {
    let Some(traces) = TRACES.get_ptr(0) else {
        return 0;
    };
    // SAFETY: a word of the map's value.
    let drawn_below = unsafe { &raw const (*traces).drawn_below };
    // SAFETY: as above, and aligned: user space writes it while packets pass.
    unsafe { drawn_below.read_volatile() }
}

/// Notes a frame as it came, if somebody traces.
#[inline(always)]
pub fn begin(context: &XdpContext) {
    let _nothing = note_traced(context.ctx);
}

/// Tells of a frame that was noted, if a trace wants it.
#[inline(always)]
pub fn end(notes: &RunNotes) {
    if notes.trace.is_noted != 0 {
        let _nothing = tell_traces();
    }
}

/// [`begin`], as a function that the verifier proves for itself; it wants those to give something, which says nothing here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_traced(context: *mut xdp_md) -> u64 {
    let drawn_below = drawn_below();
    if drawn_below == 0 {
        return 0;
    }
    let Some(notes) = run::notes() else {
        return 0;
    };
    let context = &XdpContext::new(context);
    notes.decision.forget();
    let frame = XdpFrame::new(context);
    let trace = &mut notes.trace;
    trace.is_noted = 1;
    // SAFETY: makes a number.
    trace.drawn = u64::from(unsafe { bpf_get_prandom_u32() });
    trace.event.frame_bytes = frame.len() as u32;
    trace.event.interface = context.ingress_ifindex() as u32;
    if trace.drawn < drawn_below {
        copy_head(context, &frame, &mut trace.event);
    }
    1
}

/// Copies the frame's start: by words of eight bytes, and what is left behind the last one byte by byte.
#[inline(always)]
fn copy_head(context: &XdpContext, frame: &XdpFrame<'_>, event: &mut PacketEvent) {
    let mut at = 0;
    for word in &mut event.head {
        let Some(Opaque(words)) = frame.read::<Opaque<4>>(at) else {
            break;
        };
        *word = words;
        at += 8;
    }
    if at >= HEAD_WORDS * 8 {
        return;
    }
    let to = event.head.as_mut_ptr().cast::<u8>();
    for _ in 0..7 {
        let from = context.data() + at;
        let mut end = from;
        // The compiler would compare the byte's own address with the frame's end, which the verifier takes for nothing.
        // SAFETY: an addition.
        unsafe { asm!("{end} += 1", end = inout(reg) end, options(nomem, nostack)) };
        if end > context.data_end() || at >= HEAD_BYTES {
            return;
        }
        // SAFETY: compared with the frame's end.
        let byte = unsafe { (from as *const u8).read_volatile() };
        // SAFETY: `at` is below the bytes of the head.
        let to = unsafe { to.add(at) };
        // SAFETY: as above.
        unsafe { to.write_volatile(byte) };
        at += 1;
    }
}

/// [`end`], in the same way: asks each trace whether it wants the packet that was decided on.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_traces() -> u64 {
    let (Some(notes), Some(traces), Some(counts)) =
        (run::notes(), TRACES.get_ptr_mut(0), TRACE_COUNTS.get_ptr_mut(0))
    else {
        return 0;
    };
    notes.trace.is_noted = 0;
    // SAFETY: the entry of this CPU, and XDP is not preempted by itself.
    let counts = unsafe { &mut *counts };
    // SAFETY: user space writes it while packets pass, by whole words; of a trace that is half written a packet is told or not.
    let each = unsafe { &(*traces).each };
    let now_ns = notes.clock.now_ns();
    let trace = &mut notes.trace;
    trace.event.note(&notes.decision);
    trace.event.decide(&notes.verdict);
    trace.event.traces = 0;
    trace.any_runs = 0;
    for (place, ((one, bucket), count)) in each.iter().zip(&trace.buckets).zip(counts.iter_mut()).enumerate()
    {
        if !one.runs(now_ns) {
            continue;
        }
        trace.any_runs = 1;
        if one.wants(&trace.event) && one.takes(trace.drawn, bucket, count, now_ns) {
            trace.event.traces |= 1 << place;
        }
    }
    if trace.any_runs == 0 {
        // User space has not renewed them: it is gone.
        // SAFETY: a word of the map's value.
        let drawn_below = unsafe { &raw mut (*traces).drawn_below };
        // SAFETY: as above, and aligned; user space that lives after all writes it again.
        unsafe { drawn_below.write_volatile(0) };
    }
    if trace.event.traces == 0 {
        return 0;
    }
    // SAFETY: reads a clock.
    trace.event.at_ns = unsafe { bpf_ktime_get_boot_ns() };
    if TRACE_EVENTS.output::<PacketEvent>(&trace.event, 0).is_err() {
        for (place, count) in counts.iter_mut().enumerate() {
            if trace.event.traces & 1 << place != 0 {
                count.lost += 1;
            }
        }
    }
    1
}
