//! Defaults and bounds of `[protection]`.

/// Prefixes of a list in the configuration itself; longer ones stand in files.
pub const PREFIXES_INLINE_MAX: usize = 1_024;
/// Files of one list at most.
pub const PREFIX_FILES_MAX: usize = 64;
/// Bytes of one such file at most: a million of the longest prefixes.
pub const PREFIX_FILE_BYTES_MAX: u64 = 64 << 20;
/// Prefixes of each list in the kernel, where nothing is said; memory is taken for those there are, some 100 bytes each.
pub const PREFIXES_MAX: u32 = gateway_common::abi::PREFIXES_DEFAULT;
/// The most that may be said: 1 GB of kernel memory.
pub const PREFIXES_MAX_MAX: u32 = 10_000_000;
/// Prefixes that the admin API may have denied at a time: their file is written whole with each order.
pub const DENIED_SET_MAX: usize = 10_000;
/// Characters of a reason.
pub const REASON_CHARS_MAX: usize = 200;
/// Longest time for which the admin API denies; longer ones are for good.
pub const DENIED_FOR_MAX: std::time::Duration = std::time::Duration::from_secs(366 * 24 * 3600);

/// New connections of one source a second: whoever begins more for long is no user, and not a carrier's address shared by
/// thousands, either; a generator of load may want more.
pub const SOURCE_CONNECTIONS_PER_SECOND: u64 = 10_000;
/// At once: all clients behind one address come back after an outage.
pub const SOURCE_CONNECTIONS_BURST: u64 = 20_000;
/// Of these the flow table remembers: at the default size, one source needs more than eight minutes to fill it.
pub const SOURCE_FLOWS_PER_SECOND: u64 = 2_000;
/// At once: those of such a burst.
pub const SOURCE_FLOWS_BURST: u64 = 20_000;
/// New connections of one VIP a second: more than one machine's stack can accept.
pub const VIP_CONNECTIONS_PER_SECOND: u64 = 1_000_000;
/// At once.
pub const VIP_CONNECTIONS_BURST: u64 = 1_000_000;
/// Of these the flow table remembers: a flood needs some seconds to go once round a table of the default size, in which each
/// live connection says something.
pub const VIP_FLOWS_PER_SECOND: u64 = 50_000;
/// At once: a tenth of the default table.
pub const VIP_FLOWS_BURST: u64 = 100_000;
/// The highest rate: above it, tokens would be closer together than clocks tell.
pub const PER_SECOND_MAX: u64 = 10_000_000;
/// The highest burst: a minute of the highest rate.
pub const BURST_MAX: u64 = 600_000_000;
/// The least share at which a source is hot: below it, most sources of a VIP with a few hundred would be.
pub const HOT_SHARE_MIN: f64 = 0.01;
