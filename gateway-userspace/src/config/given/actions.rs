//! What a route does with a request, as given: `split`, `respond`, `redirect`, `rewrite`, `fault`, `mirror`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Time, limits, time_text};
use crate::config::snapshot::Scheme;

/// One of the upstreams that share a route's requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["upstream", "weight"]))]
pub struct Share {
    /// Its name.
    #[schemars(extend("examples" = ["users-next"]))]
    pub upstream: Option<String>,
    /// Its share, against the weights of the others; 0: no request.
    #[schemars(range(min = 0, max = limits::WEIGHT_MAX), extend("examples" = [5]))]
    pub weight: Option<u32>,
}

/// What keeps a client with its share: exactly one of these. A request that lacks it goes by chance. Where a weight changes, no
/// more clients move than must.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitBy {
    /// Value of this cookie.
    #[schemars(extend("examples" = ["session"]))]
    pub cookie: Option<String>,
    /// Value of this header field, in lower case.
    #[schemars(extend("examples" = ["x-user"]))]
    pub header: Option<String>,
    /// The client's address, which trusted proxies may tell.
    #[schemars(extend("examples" = [true]))]
    pub client: Option<bool>,
}

/// An answer without any upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["status"]))]
pub struct Respond {
    /// The status.
    #[schemars(range(min = 200, max = 599), extend("examples" = [200]))]
    pub status: Option<u16>,
    /// At most 64 kB. `{request_id}`, `{route}` and `{reason}` (why the upstream was given up) are filled in.
    #[schemars(extend("default" = ""))]
    pub body: Option<String>,
    /// What the body is.
    #[schemars(extend("default" = limits::RESPOND_CONTENT_TYPE, "examples" = ["application/json"]))]
    pub content_type: Option<String>,
    /// Sent as `Retry-After`, in whole seconds. Default: not sent.
    #[schemars(extend("x-range" = [time_text(limits::RESPOND_RETRY_AFTER_MIN), time_text(limits::RESPOND_RETRY_AFTER_MAX)]))]
    pub retry_after: Option<Time>,
}

/// Where the client is sent: a `Location` with another scheme, host, port or path. What is not said stays as the client asked
/// for it; so does the query.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308. By 307 and 308 the client sends method and body again; 301 and 308 are for good.
    #[schemars(range(min = 301, max = 308), extend("default" = limits::REDIRECT_STATUS))]
    pub status: Option<u16>,
    /// The scheme. Default: the client's, as trusted proxies say it (`X-Forwarded-Proto`).
    pub scheme: Option<Scheme>,
    /// The host, without a port. Default: the request's.
    #[schemars(extend("examples" = ["www.example.com"]))]
    pub host: Option<String>,
    /// The port; that of the scheme is left out. Default: that of `scheme`, if it is given, else the request's.
    #[schemars(range(min = 1, max = 65535), extend("examples" = [8443]))]
    pub port: Option<u16>,
    /// The whole path. `{name}` is filled in with that parameter of `match.path`.
    #[schemars(extend("examples" = ["/v2/users/{id}"]))]
    pub path: Option<String>,
    /// What comes in place of `match.path_prefix`. At most one of `path` and `path_prefix`.
    #[schemars(extend("examples" = ["/v2"]))]
    pub path_prefix: Option<String>,
}

/// What the upstream is asked for in place of what the client asked for. The query stays.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// The host, with a port where it needs one. `X-Forwarded-Host` still says what the client asked for.
    #[schemars(extend("examples" = ["users.internal"]))]
    pub host: Option<String>,
    /// The whole path. `{name}` is filled in with that parameter of `match.path`.
    #[schemars(extend("examples" = ["/users/{id}"]))]
    pub path: Option<String>,
    /// What comes in place of `match.path_prefix`. At most one of `path` and `path_prefix`.
    #[schemars(extend("examples" = ["/"]))]
    pub path_prefix: Option<String>,
}

/// What is done to requests on purpose: a part of them, by chance, is made late, and a part of them fails.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// They wait before an upstream is asked. It counts for `timeout`.
    pub delay: Option<Delay>,
    /// They are answered, and no upstream is asked; neither `retry` nor `fallback` holds for them. After `delay`, if both
    /// are for a request.
    pub abort: Option<Abort>,
    /// Only requests that have this header field, whatever its value. Default: all.
    #[schemars(extend("examples" = ["x-fault"]))]
    pub only_with_header: Option<String>,
}

/// Requests that wait.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["time", "percent"]))]
pub struct Delay {
    /// How long.
    #[schemars(extend(
        "x-range" = [time_text(limits::TIME_MIN), time_text(limits::TIMEOUT_MAX)],
        "examples" = ["2s"]
    ))]
    pub time: Option<Time>,
    /// How many of a hundred.
    #[schemars(range(min = 0.0, max = 100.0), extend("examples" = [10.0]))]
    pub percent: Option<f64>,
}

/// Requests that fail.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["status", "percent"]))]
pub struct Abort {
    /// What the client gets.
    #[schemars(range(min = 400, max = 599), extend("examples" = [503]))]
    pub status: Option<u16>,
    /// How many of a hundred.
    #[schemars(range(min = 0.0, max = 100.0), extend("examples" = [0.5]))]
    pub percent: Option<f64>,
}

/// Another upstream that gets copies of requests; its answers are thrown away. A copy goes out when the request has passed
/// whole, and no request waits for it. Those with a body longer than `replay_bytes_max` are not copied, and upgrades are not.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["upstream"]))]
pub struct Mirror {
    /// Its name.
    #[schemars(extend("examples" = ["users-next"]))]
    pub upstream: Option<String>,
    /// Of how many requests in a hundred.
    #[schemars(range(min = 0.0, max = 100.0), extend("default" = limits::MIRRORED_PERCENT))]
    pub percent: Option<f64>,
    /// Copies under way at that upstream at most, on this node, of all routes; above it none are made.
    #[schemars(range(min = 1, max = limits::MIRRORED_MAX_MAX), extend("default" = limits::MIRRORED_MAX))]
    pub requests_max: Option<u32>,
}
