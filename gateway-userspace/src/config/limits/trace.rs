//! Defaults and bounds of traces, of `[trace]` and of readers.

/// Packets that each core tells a second: what a person still reads, and a file of some minutes.
pub const TRACE_RATE: u32 = 1_000;
/// Of `[trace]`, which goes on: the log gets as many lines.
pub const TRACE_LOG_RATE: u32 = 10;
/// The highest rate: one reader's lines take a tenth of a core then.
pub const TRACE_RATE_MAX: u32 = 10_000;
/// Of so many packets at most one is told.
pub const TRACE_SAMPLE_MAX: u32 = 1_000_000_000;
/// Of `[trace]`, unless it says another number.
pub const TRACE_SAMPLE: u32 = 1_000;
/// The longest time for which is asked at once: a year.
pub const TRACE_SECONDS_MAX: u64 = 366 * 24 * 3_600;
/// Bytes of a frame's start that are told at most.
pub const TRACE_SNAP_MAX: usize = gateway_common::trace::HEAD_BYTES;
/// Bytes of it that a file of packets gets, unless somebody says another number: all headers.
pub const TRACE_SNAP: usize = 128;
