//! `channels` and `upstream.failback` as given: other ways to an endpoint, and the way back to the first.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Time, limits, time_text};
use crate::config::snapshot::UpstreamProtocol;

/// Another way to an endpoint, taken while the communication over the first fails: a connection cannot be made, or is
/// reset before any byte of an answer. What it does not say is as the first. The service behind it is the same.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// IP address and port on another network. Of one endpoint, not of an upstream.
    #[schemars(extend("examples" = ["192.168.7.1:8080"]))]
    pub address: Option<SocketAddr>,
    /// Another port of the same address.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// What is spoken there.
    pub protocol: Option<UpstreamProtocol>,
    /// Whether that is encrypted, by `upstream.tls`. Default: as the first way is.
    pub tls: Option<bool>,
}

/// How the first channel of an endpoint is taken again. It is probed by `OPTIONS *`, and any answer is a good one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failback {
    /// Good probes in a row without which it is not taken again.
    #[schemars(range(min = 1, max = limits::FAILBACK_RISE_MAX), extend("default" = limits::FAILBACK_RISE))]
    pub rise: Option<u32>,
    /// Least time away from it; twice as long each time that it fails again soon, up to `stay_max`.
    #[schemars(extend(
        "default" = time_text(limits::FAILBACK_STAY),
        "x-range" = [time_text(limits::BREAKER_TIME_MIN), time_text(limits::BREAKER_TIME_MAX)]
    ))]
    pub stay: Option<Time>,
    /// But never longer.
    #[schemars(extend(
        "default" = time_text(limits::FAILBACK_STAY_MAX),
        "x-range" = [time_text(limits::BREAKER_TIME_MIN), time_text(limits::BREAKER_TIME_MAX)]
    ))]
    pub stay_max: Option<Time>,
    /// Between probes; twice as long after each that fails, up to `interval_max`.
    #[schemars(extend(
        "default" = time_text(limits::FAILBACK_INTERVAL),
        "x-range" = [time_text(limits::BREAKER_TIME_MIN), time_text(limits::BREAKER_TIME_MAX)]
    ))]
    pub interval: Option<Time>,
    /// But never longer.
    #[schemars(extend(
        "default" = time_text(limits::FAILBACK_INTERVAL_MAX),
        "x-range" = [time_text(limits::BREAKER_TIME_MIN), time_text(limits::BREAKER_TIME_MAX)]
    ))]
    pub interval_max: Option<Time>,
    /// Bound of one probe.
    #[schemars(extend(
        "default" = time_text(limits::FAILBACK_TIMEOUT),
        "x-range" = [time_text(limits::TIME_MIN), time_text(limits::CONNECT_TIMEOUT_MAX)]
    ))]
    pub timeout: Option<Time>,
}
