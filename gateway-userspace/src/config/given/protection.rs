//! `[protection]` as given: who may not send to VIPs, and how many connections a source and a VIP may begin.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Network, limits};
use crate::config::snapshot::Scope;

/// What the data plane keeps from VIPs. `docs/protection.md` says more.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    /// What `deny` and `deny_files` hold for.
    #[schemars(extend("default" = Scope::Vips))]
    pub scope: Option<Scope>,
    /// Networks or addresses that are never denied, by whatever list or order. Nodes never are, either.
    #[schemars(length(max = limits::PREFIXES_INLINE_MAX), extend("examples" = [["10.0.0.0/8"]]))]
    pub allow: Option<Vec<Network>>,
    /// Files of more of them, one a line; what follows a `#` is for people. Read at the start and at each reload.
    #[schemars(length(max = limits::PREFIX_FILES_MAX), extend("examples" = [["/etc/gateway/partners.txt"]]))]
    pub allow_files: Option<Vec<PathBuf>>,
    /// Networks or addresses whose packets are dropped.
    #[schemars(length(max = limits::PREFIXES_INLINE_MAX), extend("examples" = [["198.51.100.0/24", "2001:db8:bad::/48"]]))]
    pub deny: Option<Vec<Network>>,
    /// Files of more of them, as in `allow_files`.
    #[schemars(length(max = limits::PREFIX_FILES_MAX), extend("examples" = [["/etc/gateway/drop.txt"]]))]
    pub deny_files: Option<Vec<PathBuf>>,
    /// Above this share of the new connections of a VIP with `ip-hash`, those of one source are spread over all nodes, as by
    /// `flow-hash`. Default: none is.
    #[schemars(range(min = limits::HOT_SHARE_MIN, max = 1.0), extend("examples" = [0.25]))]
    pub hot_source_share: Option<f64>,
    /// Bounds of one source: an IPv4 address, or a /64 of IPv6.
    pub source: Option<SourceBounds>,
    /// Bounds of each VIP.
    pub vip: Option<VipBounds>,
}

/// What one source may begin, at each node that gets its packets.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceBounds {
    /// New TCP connections a second; 0: no limit. Of those above it the SYN is dropped, and the client sends it again.
    #[schemars(
        range(min = 0, max = limits::PER_SECOND_MAX),
        extend("default" = limits::SOURCE_CONNECTIONS_PER_SECOND)
    )]
    pub connections_per_second: Option<u64>,
    /// Of these, so many at once after a while without any.
    #[schemars(range(min = 1, max = limits::BURST_MAX), extend("default" = limits::SOURCE_CONNECTIONS_BURST))]
    pub connections_burst: Option<u64>,
    /// New connections a second that the flow table remembers; 0: no limit. Those above it go by their slot alone.
    #[schemars(range(min = 0, max = limits::PER_SECOND_MAX), extend("default" = limits::SOURCE_FLOWS_PER_SECOND))]
    pub flows_per_second: Option<u64>,
    /// Of these, so many at once after a while without any.
    #[schemars(range(min = 1, max = limits::BURST_MAX), extend("default" = limits::SOURCE_FLOWS_BURST))]
    pub flows_burst: Option<u64>,
}

/// What may begin at one VIP, at each node that gets its packets.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VipBounds {
    /// New TCP connections a second; 0: no limit. Of those above it the SYN is dropped, whoever sends it.
    #[schemars(
        range(min = 0, max = limits::PER_SECOND_MAX),
        extend("default" = limits::VIP_CONNECTIONS_PER_SECOND)
    )]
    pub connections_per_second: Option<u64>,
    /// Of these, so many at once after a while without any.
    #[schemars(range(min = 1, max = limits::BURST_MAX), extend("default" = limits::VIP_CONNECTIONS_BURST))]
    pub connections_burst: Option<u64>,
    /// New connections a second that the flow table remembers; 0: no limit. Those above it go by their slot alone.
    #[schemars(range(min = 0, max = limits::PER_SECOND_MAX), extend("default" = limits::VIP_FLOWS_PER_SECOND))]
    pub flows_per_second: Option<u64>,
    /// Of these, so many at once after a while without any.
    #[schemars(range(min = 1, max = limits::BURST_MAX), extend("default" = limits::VIP_FLOWS_BURST))]
    pub flows_burst: Option<u64>,
}

/// Bounds that one VIP has of its own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VipProtection {
    /// Of one source at this VIP, which then has tokens of its own here.
    pub source: Option<OwnBounds>,
    /// Of all sources together.
    pub vip: Option<OwnBounds>,
}

/// What differs from `protection.source`, or from `protection.vip`; what is not said is as there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnBounds {
    /// New TCP connections a second; 0: no limit.
    #[schemars(range(min = 0, max = limits::PER_SECOND_MAX), extend("examples" = [50]))]
    pub connections_per_second: Option<u64>,
    /// Of these, so many at once after a while without any.
    #[schemars(range(min = 1, max = limits::BURST_MAX), extend("examples" = [200]))]
    pub connections_burst: Option<u64>,
    /// New connections a second that the flow table remembers; 0: no limit.
    #[schemars(range(min = 0, max = limits::PER_SECOND_MAX), extend("examples" = [50]))]
    pub flows_per_second: Option<u64>,
    /// Of these, so many at once after a while without any.
    #[schemars(range(min = 1, max = limits::BURST_MAX), extend("examples" = [200]))]
    pub flows_burst: Option<u64>,
}
