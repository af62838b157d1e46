//! What the kernel program tells of packets while somebody traces.

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData, PerCpuArray, RingBuf};
use gateway_common::abi::{self, TraceCounts};
use gateway_common::trace::{PacketEvent, Trace, TraceCount, Traces};

use super::{Kernel, boot_ns};

/// The maps of traces.
pub struct Traced {
    traces: Array<MapData, Traces>,
    counts: PerCpuArray<MapData, TraceCounts>,
    events: RingBuf<MapData>,
}

impl Traced {
    /// Takes them.
    ///
    /// # Errors
    /// The object has other ones.
    pub fn take(take: &mut impl FnMut(&'static str) -> Result<Map>) -> Result<Self> {
        Ok(Self {
            traces: take(abi::TRACES)?.try_into()?,
            counts: take(abi::TRACE_COUNTS)?.try_into()?,
            events: take(abi::TRACE_EVENTS)?.try_into()?,
        })
    }
}

/// A trace of every packet, for a minute.
///
/// # Errors
/// There is no clock.
pub fn everything() -> Result<Trace> {
    Ok(Trace {
        until_ns: boot_ns()? + 60_000_000_000,
        drawn_below: Trace::drawn_below(1),
        ..Trace::default()
    })
}

impl Kernel {
    /// Runs these traces and no others, each in its place.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn trace(&mut self, each: &[Trace]) -> Result<()> {
        let mut traces = Traces::default();
        for (place, trace) in traces.each.iter_mut().zip(each) {
            *place = *trace;
        }
        traces.drawn_below = each.iter().map(|trace| trace.drawn_below).max().unwrap_or(0);
        Ok(self.traced.traces.set(0, traces, 0)?)
    }

    /// Whether the program still looks at traces.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn looks_at_traces(&self) -> Result<bool> {
        Ok(self.traced.traces.get(&0, 0)?.drawn_below != 0)
    }

    /// What was told since this was asked last.
    ///
    /// # Errors
    /// It is no event.
    pub fn told(&mut self) -> Result<Vec<PacketEvent>> {
        let mut told = Vec::new();
        while let Some(item) = self.traced.events.next() {
            let bytes: &[u8; size_of::<PacketEvent>()] =
                item.first_chunk().context("an event of another length")?;
            // SAFETY: there are as many bytes, and any are a value of the type, which is `Pod`.
            told.push(unsafe { bytes.as_ptr().cast::<PacketEvent>().read_unaligned() });
        }
        Ok(told)
    }

    /// What all CPUs have counted of the trace in that place.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn trace_count(&self, place: usize) -> Result<TraceCount> {
        let values = self.traced.counts.get(&0, 0)?;
        let mut sum = TraceCount::default();
        for count in values.iter().filter_map(|counts| counts.get(place)) {
            sum.seen += count.seen;
            sum.sampled += count.sampled;
            sum.limited += count.limited;
            sum.lost += count.lost;
        }
        Ok(sum)
    }
}
