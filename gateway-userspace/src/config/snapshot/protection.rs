//! `[protection]`: what the data plane keeps from VIPs.

use std::sync::Arc;

use gateway_common::prefix::Prefix;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::limits;

/// Lists and bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Protection {
    /// What the lists hold for.
    pub scope: Scope,
    /// Who is never denied.
    pub allow: Prefixes,
    /// Whose packets are dropped.
    pub deny: Prefixes,
    /// Above which share of a VIP's new connections a source is spread; `None`: none is.
    pub hot_source_share: Option<f64>,
    /// Of each source.
    pub source: Bounds,
    /// Of each VIP.
    pub vip: Bounds,
}

impl Default for Protection {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            allow: Prefixes::default(),
            deny: Prefixes::default(),
            hot_source_share: None,
            source: Bounds::OF_SOURCE,
            vip: Bounds::OF_VIP,
        }
    }
}

/// `protection.scope`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// What is sent to VIPs.
    #[default]
    Vips,
    /// Whatever comes in by the data plane's interface: also answers to connections that this machine began.
    Host,
}

/// A list of prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// In their order, each once.
    pub all: Arc<[Prefix]>,
    /// Where they come from, and how many from there: the key, or the path of a file.
    pub sources: Vec<(String, usize)>,
}

impl Prefixes {
    /// Whether one of them has all addresses of that one.
    pub fn cover(&self, prefix: &Prefix) -> bool {
        (0..=prefix.bits()).any(|bits| self.all.binary_search(&prefix.with_bits(bits)).is_ok())
    }
}

/// What a VIP has of its own; `None`: what all have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VipProtection {
    /// Of each source there.
    pub source: Option<Bounds>,
    /// Of all sources together.
    pub vip: Option<Bounds>,
}

/// Rates of new connections, in whole ones a second, and bursts; a rate of 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Bounds {
    /// New connections.
    pub connections_per_second: u64,
    /// At once.
    pub connections_burst: u64,
    /// Those that the flow table remembers.
    pub flows_per_second: u64,
    /// At once.
    pub flows_burst: u64,
}

impl Bounds {
    /// Of a source, where nothing is said.
    pub const OF_SOURCE: Self = Self {
        connections_per_second: limits::SOURCE_CONNECTIONS_PER_SECOND,
        connections_burst: limits::SOURCE_CONNECTIONS_BURST,
        flows_per_second: limits::SOURCE_FLOWS_PER_SECOND,
        flows_burst: limits::SOURCE_FLOWS_BURST,
    };
    /// Of a VIP, where nothing is said.
    pub const OF_VIP: Self = Self {
        connections_per_second: limits::VIP_CONNECTIONS_PER_SECOND,
        connections_burst: limits::VIP_CONNECTIONS_BURST,
        flows_per_second: limits::VIP_FLOWS_PER_SECOND,
        flows_burst: limits::VIP_FLOWS_BURST,
    };
}
