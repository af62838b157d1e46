//! Bounds of what chooses an endpoint beside the balancer: metadata, subsets, sticky cookies, and a weight of 0.

use std::time::Duration;

/// Smallest share of an endpoint: it drains.
pub const ENDPOINT_WEIGHT_MIN: u32 = 0;
/// Names that are said of an endpoint at most.
pub const METADATA_MAX: usize = 16;
/// Characters of such a value: what a header that chooses by it may well have.
pub const METADATA_CHARS_MAX: usize = 128;
/// Subsets of an upstream at most: each has a table of the balancer's and a roster for each worker.
pub const SUBSETS_MAX: usize = 32;

/// Where clients send a sticky cookie with their requests.
pub const STICKY_PATH: &str = "/";
/// Shortest life of a sticky cookie: cookies count in seconds.
pub const STICKY_TTL_MIN: Duration = Duration::from_secs(1);
/// Longest life of a sticky cookie: browsers keep none longer (the draft after RFC 6265, section 5.5).
pub const STICKY_TTL_MAX: Duration = Duration::from_secs(400 * 86_400);
