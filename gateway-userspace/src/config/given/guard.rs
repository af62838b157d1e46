//! `upstream.hash`, `upstream.limits`, `upstream.circuit_breaker` and `upstream.outlier` as given: who is picked, how much
//! may be under way, and who is left alone.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Time, TimeOrNone, limits, time_text};
use crate::config::snapshot::HashAlgorithm;

/// What a request is told apart by, for the balancers `consistent-hash` and `ip-hash`. Of `header`, `cookie`, `query`,
/// `path` and `client` exactly one; `ip-hash` takes the client's address and none of them. A request that lacks it goes
/// anywhere.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hash {
    /// Value of this header field, in lower case.
    #[schemars(extend("examples" = ["x-tenant"]))]
    pub header: Option<String>,
    /// Value of this cookie.
    #[schemars(extend("examples" = ["session"]))]
    pub cookie: Option<String>,
    /// First value of this query parameter, as it stands in the request.
    #[schemars(extend("examples" = ["user"]))]
    pub query: Option<String>,
    /// The path, without query.
    #[schemars(extend("examples" = [true]))]
    pub path: Option<bool>,
    /// The client's address, which trusted proxies may tell.
    #[schemars(extend("examples" = [true]))]
    pub client: Option<bool>,
    /// How a key finds its endpoint.
    #[schemars(extend("default" = HashAlgorithm::Maglev))]
    pub algorithm: Option<HashAlgorithm>,
    /// For `ring`: how many requests an endpoint may have under way, as a multiple of its fair part; beyond it the next one
    /// on the ring is asked.
    #[schemars(range(min = limits::LOAD_FACTOR_MIN, max = limits::LOAD_FACTOR_MAX), extend("default" = limits::LOAD_FACTOR))]
    pub load_factor: Option<f64>,
}

/// How much may be under way on this node, all workers together: exact. There is no limit but what is written here, so
/// that a busy site is not cut at a figure that nobody chose. Where one is reached, the request gets 503
/// (`upstream-overloaded`), or the route's fallback if `fallback_on` has `unavailable`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamLimits {
    /// Open connections to all its endpoints. A request that would need one more waits, at most for `connect_timeout`. Default: no
    /// limit.
    #[schemars(range(min = 1, max = limits::LIMIT_MAX), extend("examples" = [1000]))]
    pub connections: Option<u32>,
    /// Requests that wait for a connection because `connections` is reached; one more gets 503.
    #[schemars(range(min = 0, max = limits::LIMIT_MAX), extend("default" = limits::PENDING))]
    pub pending: Option<u32>,
    /// Requests under way, from the choice of an endpoint to the end of the answer, those that wait included. One more gets 503. Default: no limit.
    #[schemars(range(min = 1, max = limits::LIMIT_MAX), extend("examples" = [5000]))]
    pub requests: Option<u32>,
    /// Retries under way or in back-off, of requests that were sent already; `retry_budget` counts beside it. Default: no limit.
    #[schemars(range(min = 0, max = limits::LIMIT_MAX), extend("examples" = [50]))]
    pub retries: Option<u32>,
    /// Of each endpoint.
    pub endpoint: Option<EndpointLimits>,
}

/// How much may be under way at each endpoint on this node.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointLimits {
    /// Open connections to it. A request that would need one more waits, at most for `connect_timeout`. Default: no
    /// limit.
    #[schemars(range(min = 1, max = limits::LIMIT_MAX), extend("examples" = [100]))]
    pub connections: Option<u32>,
    /// Requests that wait for a connection because `connections` is reached; one more gets 503.
    #[schemars(range(min = 0, max = limits::LIMIT_MAX), extend("default" = limits::PENDING))]
    pub pending: Option<u32>,
    /// Requests under way, from the choice of it to the end of the answer, those that wait included. One that has as many is passed over while another has room. Default: no limit.
    #[schemars(range(min = 1, max = limits::LIMIT_MAX), extend("examples" = [200]))]
    pub requests: Option<u32>,
    /// Retries under way at it, of requests that were sent already; `retry_budget` counts beside it. Default: no limit.
    #[schemars(range(min = 0, max = limits::LIMIT_MAX), extend("examples" = [5]))]
    pub retries: Option<u32>,
}

/// When an upstream, or an endpoint of it, is left alone for a while. Both have a breaker of their own, with these figures.
/// A call fails if no answer can be had, if its status is 500 or more, or if its `grpc-status` is the server's fault.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreaker {
    /// Share of failed calls from which it opens.
    #[schemars(range(min = limits::RATIO_MIN, max = 1.0), extend("default" = limits::BREAKER_FAILURE_RATIO))]
    pub failure_ratio: Option<f64>,
    /// A call is slow whose answer takes longer to begin. With it, `slow_ratio` counts.
    #[schemars(extend(
        "default" = "none",
        "x-range" = [time_text(limits::TIME_MIN), time_text(limits::TIMEOUT_MAX)]
    ))]
    pub slow_call: Option<TimeOrNone>,
    /// Share of slow calls from which it opens.
    #[schemars(range(min = limits::RATIO_MIN, max = 1.0), extend("default" = limits::BREAKER_SLOW_RATIO))]
    pub slow_ratio: Option<f64>,
    /// Calls of this last while count.
    #[schemars(extend(
        "default" = time_text(limits::BREAKER_WINDOW),
        "x-range" = [time_text(limits::BREAKER_TIME_MIN), time_text(limits::BREAKER_TIME_MAX)]
    ))]
    pub window: Option<Time>,
    /// Calls in the window without which nothing is decided.
    #[schemars(range(min = 1, max = limits::CALLS_MAX), extend("default" = limits::BREAKER_MIN_CALLS))]
    pub min_calls: Option<u32>,
    /// How long it stays open; twice as long each time that it opens again soon, up to `open_for_max`.
    #[schemars(extend(
        "default" = time_text(limits::BREAKER_OPEN_FOR),
        "x-range" = [time_text(limits::BREAKER_TIME_MIN), time_text(limits::BREAKER_TIME_MAX)]
    ))]
    pub open_for: Option<Time>,
    /// But never longer.
    #[schemars(extend(
        "default" = time_text(limits::BREAKER_OPEN_FOR_MAX),
        "x-range" = [time_text(limits::BREAKER_TIME_MIN), time_text(limits::BREAKER_TIME_MAX)]
    ))]
    pub open_for_max: Option<Time>,
    /// Trial calls after that, in all and so at most at once; by them it closes or opens again.
    #[schemars(range(min = 1, max = limits::TRIALS_MAX), extend("default" = limits::BREAKER_TRIALS))]
    pub half_open_calls: Option<u32>,
    /// How long its share grows from a tenth to all after it closed.
    #[schemars(extend(
        "default" = time_text(limits::BREAKER_RAMP),
        "x-range" = [time_text(limits::TIME_MIN), time_text(limits::BREAKER_TIME_MAX)]
    ))]
    pub ramp: Option<Time>,
}

/// Which endpoints are taken out by what their calls show, beside any checks. What a failure is, `circuit_breaker` says.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outlier {
    /// Failures in a row that take an endpoint out; 0: none do.
    #[schemars(range(min = 0, max = limits::CALLS_MAX), extend("default" = limits::OUTLIER_CONSECUTIVE))]
    pub consecutive_failures: Option<u32>,
    /// Share of failed calls that takes it out. Default: no such rule.
    #[schemars(range(min = limits::RATIO_MIN, max = 1.0), extend("examples" = [0.85]))]
    pub failure_ratio: Option<f64>,
    /// Whether one is taken out that fails far more often than the others.
    #[schemars(extend("default" = true))]
    pub success_rate: Option<bool>,
    /// Calls in `interval` without which the two rules above do not judge.
    #[schemars(range(min = 1, max = limits::CALLS_MAX), extend("default" = limits::OUTLIER_MIN_CALLS))]
    pub min_calls: Option<u32>,
    /// Calls of this last while count.
    #[schemars(extend(
        "default" = time_text(limits::BREAKER_WINDOW),
        "x-range" = [time_text(limits::BREAKER_TIME_MIN), time_text(limits::BREAKER_TIME_MAX)]
    ))]
    pub interval: Option<Time>,
    /// How long it is out; the nth time n times as long, up to `max_ejection`.
    #[schemars(extend(
        "default" = time_text(limits::OUTLIER_EJECTION),
        "x-range" = [time_text(limits::BREAKER_TIME_MIN), time_text(limits::BREAKER_TIME_MAX)]
    ))]
    pub base_ejection: Option<Time>,
    /// But never longer.
    #[schemars(extend(
        "default" = time_text(limits::OUTLIER_EJECTION_MAX),
        "x-range" = [time_text(limits::BREAKER_TIME_MIN), time_text(limits::BREAKER_TIME_MAX)]
    ))]
    pub max_ejection: Option<Time>,
    /// Share of the endpoints that may be out at once, rounded down; but one, if there are two or more.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = limits::OUTLIER_SHARE_MAX))]
    pub max_ejected_share: Option<f64>,
}
