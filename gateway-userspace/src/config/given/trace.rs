//! `[trace]` as given: packets that are sampled into the log all the time.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Network, limits};

/// Packets that the data plane tells the log of, each a line with what became of it and why. `docs/trace.md` says more.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// One of so many packets, drawn by chance.
    #[schemars(range(min = 1, max = limits::TRACE_SAMPLE_MAX), extend("default" = limits::TRACE_SAMPLE))]
    pub sample: Option<u32>,
    /// Packets that each core tells a second at most.
    #[schemars(range(min = 1, max = limits::TRACE_RATE_MAX), extend("default" = limits::TRACE_LOG_RATE))]
    pub rate: Option<u32>,
    /// Only packets with an address of that network, as sender, receiver or client.
    #[schemars(extend("examples" = ["198.51.100.0/24"]))]
    pub address: Option<Network>,
    /// Only packets for the VIP of that name.
    #[schemars(extend("examples" = ["public"]))]
    pub vip: Option<String>,
}
