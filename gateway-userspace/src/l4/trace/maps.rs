//! The maps of traces: what the kernel is asked for, what it counted, and the ring buffer.

use std::sync::atomic::{Ordering, fence};

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use gateway_common::abi::{self, TraceCounts};
use gateway_common::trace::{TRACES_MAX, Trace, Traces};

use crate::l4::L4Error;
use crate::l4::mapped::Mapped;
use crate::l4::maps::{mapped, take, typed};
use crate::trace::Counts;

/// Words of [`Traces`], and of a trace in it.
const WORDS: usize = size_of::<Traces>() / 8;
const TRACE_WORDS: usize = size_of::<Trace>() / 8;

/// The maps, but for the ring buffer.
pub(super) struct TraceMaps {
    traces: Mapped,
    counts: PerCpuArray<MapData, TraceCounts>,
}

impl TraceMaps {
    /// Takes them, and the ring buffer, out of a loaded object.
    ///
    /// # Errors
    /// The object is not what this program expects.
    pub(super) fn take(object: &mut Ebpf) -> Result<(Self, RingBuf<MapData>), L4Error> {
        let maps = Self {
            traces: mapped(take(object, abi::TRACES)?, abi::TRACES, WORDS as u32)?,
            counts: typed(take(object, abi::TRACE_COUNTS)?, abi::TRACE_COUNTS)?,
        };
        Ok((maps, typed(take(object, abi::TRACE_EVENTS)?, abi::TRACE_EVENTS)?))
    }

    /// What the trace in that place has counted, in its life and in those before it.
    ///
    /// # Errors
    /// The map cannot be read.
    pub(super) fn counts(&self, index: usize) -> Result<Counts, L4Error> {
        let values = self.counts.get(&0, 0).map_err(|source| L4Error::Map {
            action: "read",
            map: abi::TRACE_COUNTS,
            source,
        })?;
        let each = values.iter().filter_map(|counts| counts.get(index));
        Ok(each.fold(Counts::default(), |sum, count| Counts {
            seen: sum.seen + count.seen,
            sampled: sum.sampled + count.sampled,
            limited: sum.limited + count.limited,
            lost: sum.lost + count.lost,
        }))
    }

    /// Until when the trace in that place runs, in nanoseconds since the boot; 0: there is none.
    pub(super) fn until_ns(&self, index: usize) -> Option<u64> {
        self.traces.load(place(index))
    }

    /// Writes a trace: what it wants first, then that it runs.
    pub(super) fn write(&mut self, index: usize, trace: &Trace) {
        let [until_ns, wishes @ ..] = words(trace);
        let at = place(index);
        for (offset, word) in wishes.into_iter().enumerate() {
            let stored = self.traces.store(at + 1 + offset, word);
            debug_assert!(stored);
        }
        fence(Ordering::Release);
        self.renew(index, until_ns);
    }

    /// Has a trace run until then, and the kernel look at traces at all, if any runs: it may have given up by itself.
    pub(super) fn renew(&mut self, index: usize, until_ns: u64) {
        let stored = self.traces.store(place(index), until_ns);
        debug_assert!(stored);
        let running =
            (0..TRACES_MAX).filter(|index| self.until_ns(*index).is_some_and(|until_ns| until_ns > 0));
        let most = running
            .filter_map(|index| self.traces.load(place(index) + 1))
            .max();
        let stored = self.traces.store(0, most.unwrap_or(0));
        debug_assert!(stored);
    }
}

/// Where a trace begins, behind the word that says whether any runs.
const fn place(index: usize) -> usize {
    1 + index * TRACE_WORDS
}

/// A trace as its words lie in memory.
fn words(trace: &Trace) -> [u64; TRACE_WORDS] {
    let Trace {
        until_ns,
        drawn_below,
        rate,
        mask,
        prefix,
        vip,
    } = trace;
    [
        *until_ns,
        *drawn_below,
        rate.token_ns,
        rate.burst_ns,
        mask[0],
        mask[1],
        prefix[0],
        prefix[1],
        *vip,
    ]
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn words_lie_where_the_kernel_reads_them() {
        let trace = Trace {
            until_ns: 1,
            drawn_below: 2,
            rate: gateway_common::protection::Rate {
                token_ns: 3,
                burst_ns: 4,
            },
            mask: [5, 6],
            prefix: [7, 8],
            vip: 9,
        };
        assert_eq!(words(&trace), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let places = [
            (offset_of!(Trace, until_ns), 1),
            (offset_of!(Trace, drawn_below), 2),
            (offset_of!(Trace, rate), 3),
            (offset_of!(Trace, mask), 5),
            (offset_of!(Trace, prefix), 7),
            (offset_of!(Trace, vip), 9),
        ];
        for (offset, word) in places {
            assert_eq!(words(&trace)[offset / 8], word);
        }
        assert_eq!(offset_of!(Traces, each), 8);
        assert_eq!(
            (offset_of!(Traces, drawn_below), offset_of!(Trace, drawn_below)),
            (0, 8)
        );
    }
}
