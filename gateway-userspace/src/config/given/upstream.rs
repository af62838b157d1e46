//! `[[upstream]]` as given: its endpoints, and how they are reached.

use schemars::JsonSchema;
use serde::Deserialize;

use super::health::{Health, Registration};
use super::{
    Channel, CircuitBreaker, Failback, Hash, Outlier, Place, Sticky, Subset, SubsetBy, Time, TimeOrNone,
    UpstreamLimits, UpstreamTls, limits, time_text,
};
use crate::config::metadata::Metadata;
use crate::config::snapshot::{Balancer, HttpMode, SubsetPolicy, UpstreamProtocol};

/// A backend service.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct Upstream {
    /// Unique among upstreams.
    #[schemars(extend("examples" = ["users"]))]
    pub name: Option<String>,
    /// Which endpoint takes a request.
    #[schemars(extend("default" = Balancer::RoundRobin))]
    pub balancer: Option<Balancer>,
    /// What the hashing balancers go by.
    pub hash: Option<Hash>,
    /// Parts of its endpoints that requests may be sent to, by the endpoints' `metadata`.
    #[schemars(length(min = 1, max = limits::SUBSETS_MAX))]
    pub subsets: Option<Vec<Subset>>,
    /// A request header that chooses among them, where the route names none.
    pub subset_by: Option<SubsetBy>,
    /// Who is asked where none of a subset may be picked, or where a header chooses one that is not there.
    #[schemars(extend("default" = SubsetPolicy::Any))]
    pub subset_fallback: Option<SubsetPolicy>,
    /// The subset of `subset_fallback = "default"`, and of requests that choose none.
    #[schemars(extend("examples" = ["stable"]))]
    pub subset_default: Option<String>,
    /// How clients stay with the endpoint that answered them first. Without this table they do not.
    pub sticky: Option<Sticky>,
    /// How long the share of an endpoint that comes back grows from a tenth to all. Default: it has all at once.
    #[schemars(extend("x-range" = [time_text(limits::TIME_MIN), time_text(limits::BREAKER_TIME_MAX)]))]
    pub slow_start: Option<Time>,
    /// Whether endpoints of this node's zone come first, as long as they can bear the traffic.
    #[schemars(extend("default" = false))]
    pub prefer_zone: Option<bool>,
    /// Where a smaller share of the endpoints than this may get traffic, all get it: the few would not bear it. Where none
    /// may, all get it in any case.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.0))]
    pub panic_threshold: Option<f64>,
    /// What is spoken to the endpoints.
    #[schemars(extend("default" = UpstreamProtocol::Http1))]
    pub protocol: Option<UpstreamProtocol>,
    /// The header by which endpoints are told whose connection it is, in front of each. For upstreams of `tcp` and
    /// `tls_passthrough` listeners alone. Checks that ask at an endpoint's own port say by it that they speak for nobody.
    pub proxy_protocol: Option<ProxyHeader>,
    /// How TLS is spoken to the endpoints; checks are made by it, too. Without this table it is not.
    pub tls: Option<UpstreamTls>,
    /// What becomes of responses that break a rule of syntax but can be read in one way only. What can be read in two
    /// ways gives 502 in every mode. That of `[defaults]` is for requests and does not hold here.
    #[schemars(extend("default" = HttpMode::Strict))]
    pub mode: Option<HttpMode>,
    /// Bound of one connection attempt.
    #[schemars(extend(
        "default" = time_text(limits::CONNECT_TIMEOUT),
        "x-range" = [time_text(limits::TIME_MIN), time_text(limits::CONNECT_TIMEOUT_MAX)]
    ))]
    pub connect_timeout: Option<Time>,
    /// Idle connections kept for each endpoint on this node, divided among its workers.
    #[schemars(range(min = 0, max = limits::IDLE_PER_ENDPOINT_MAX), extend("default" = limits::IDLE_PER_ENDPOINT))]
    pub idle_per_endpoint: Option<usize>,
    /// After it an idle connection is closed. Shorter than the time for which the endpoints keep theirs.
    #[schemars(extend(
        "default" = time_text(limits::IDLE_TIMEOUT),
        "x-range" = [time_text(limits::TIME_MIN), time_text(limits::IDLE_TIME_MAX)]
    ))]
    pub idle_timeout: Option<Time>,
    /// After it a connection takes no further request, so that endpoints behind a balancer of their own are found anew.
    #[schemars(extend(
        "default" = "none",
        "x-range" = [time_text(limits::CONNECTION_AGE_MIN), time_text(limits::CONNECTION_AGE_MAX)]
    ))]
    pub connection_age: Option<TimeOrNone>,
    /// How long requests under way may go on at an endpoint that a reload, or its name, has taken out.
    #[schemars(extend(
        "default" = time_text(limits::DRAIN_TIMEOUT),
        "x-range" = [time_text(limits::TIME_MIN), time_text(limits::DRAIN_TIMEOUT_MAX)]
    ))]
    pub drain_timeout: Option<Time>,
    /// HTTP/2: connections to each endpoint on this node at most, divided among its workers, of which each has one.
    #[schemars(range(min = 1, max = limits::H2_CONNECTIONS_MAX_MAX), extend("default" = limits::H2_CONNECTIONS_MAX))]
    pub h2_connections_max: Option<usize>,
    /// HTTP/2: streams on one connection before another is opened; the endpoint's own limit counts where it is lower.
    #[schemars(range(min = 1, max = limits::H2_STREAMS_MAX_MAX), extend("default" = limits::H2_UPSTREAM_STREAMS_MAX))]
    pub h2_streams_max: Option<usize>,
    /// Its addresses. Required, but where endpoints may register themselves.
    #[schemars(length(min = 1, max = limits::ENDPOINTS_MAX))]
    pub endpoints: Option<Vec<Endpoint>>,
    /// Other ways to each endpoint that names none itself, in the order in which they are taken.
    #[schemars(length(min = 1, max = limits::CHANNELS_MAX))]
    pub channels: Option<Vec<Channel>>,
    /// How the first way is taken again.
    pub failback: Option<Failback>,
    /// How many retries may be under way, so that they do not multiply an outage. Tries of which nothing was sent do not count.
    pub retry_budget: Option<RetryBudget>,
    /// How much may be under way at it and at each of its endpoints. Without this table nothing is bounded.
    pub limits: Option<UpstreamLimits>,
    /// When it, or an endpoint, is left alone. Without this table never.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Which endpoints are taken out by what their calls show. Without this table none.
    pub outlier: Option<Outlier>,
    /// How it is watched. Without this table its endpoints are always taken to be ready.
    pub health: Option<Health>,
    /// Which endpoints may come by themselves, by the admin API. Without this table none may.
    pub registration: Option<Registration>,
}

/// `upstream.proxy_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyHeader {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How many retries of an upstream's requests may be under way on this node.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryBudget {
    /// Share of its requests under way.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = limits::RETRY_SHARE))]
    pub share: Option<f64>,
    /// So many are allowed in any case.
    #[schemars(range(min = 0, max = limits::RETRY_MIN_MAX), extend("default" = limits::RETRY_MIN))]
    pub min: Option<u32>,
}

/// One address of an upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub struct Endpoint {
    /// IP address or host name, and port. A name stands for all its IPv4 and IPv6 addresses, each of which is an
    /// endpoint; it is asked for again when its answer expires (after 1 s to 10 min), and the last good answer is kept
    /// while none comes.
    #[schemars(extend("examples" = ["10.0.1.1:8080"]))]
    pub address: Option<Place>,
    /// Share of requests against the other endpoints of its upstream. Each address of a name gets as much. 0: no new
    /// requests; clients whose cookie names it (`sticky`) stay.
    #[schemars(range(min = limits::ENDPOINT_WEIGHT_MIN, max = limits::WEIGHT_MAX), extend("default" = limits::WEIGHT))]
    pub weight: Option<u32>,
    /// Endpoints of a higher number get traffic where those of lower ones cannot bear it all: from 71% of their weight on
    /// they can.
    #[schemars(range(min = 0, max = limits::PRIORITY_MAX), extend("default" = 0))]
    pub priority: Option<u8>,
    /// The zone that it stands in.
    #[schemars(extend("examples" = ["rack-1"]))]
    pub zone: Option<String>,
    /// What is said of it, for `subsets` to go by: names and values. All addresses of a name have it.
    #[schemars(extend("examples" = [{ "version": "v2" }]))]
    pub metadata: Option<Metadata>,
    /// Other ways to it, in the order in which they are taken.
    #[schemars(length(min = 1, max = limits::CHANNELS_MAX))]
    pub channels: Option<Vec<Channel>>,
}
