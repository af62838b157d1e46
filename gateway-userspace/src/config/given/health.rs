//! `[upstream.health]` and `[upstream.registration]` as given: how endpoints are watched, and which may come by
//! themselves.
//!
//! The four kinds of check share their keys; only their defaults differ, and what one kind alone has.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Time, limits, time_text};
use crate::config::snapshot::{CheckMethod, UpstreamProtocol};

/// How an upstream is watched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Is an endpoint there at all? Asked at a short interval, or pushed: then the endpoint renews itself by the admin
    /// API. An endpoint whose heartbeat fails gets no traffic.
    pub heartbeat: Option<Heartbeat>,
    /// May an endpoint go on living? Failing is reported (event, metric, status) as "restart or replace it"; it takes
    /// no traffic away by itself.
    pub liveness: Option<Liveness>,
    /// May an endpoint get traffic?
    pub readiness: Option<Readiness>,
    /// Has an endpoint started? Until this check has passed, or `grace` is over, failures of the others do not count:
    /// the endpoint is still starting, and gets traffic only while none of its upstream is ready.
    pub startup: Option<Startup>,
}

/// Which endpoints may come by themselves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Endpoints at most that the file does not list and that have registered by the admin API. They are kept in
    /// memory only: after a restart of the node they register anew. Wants a pushed heartbeat.
    #[schemars(range(min = 1, max = limits::ENDPOINTS_MAX), extend("default" = limits::REGISTERED_MAX))]
    pub endpoints_max: Option<usize>,
}

/// What all kinds of check share, out of their tables.
#[derive(Clone, Debug)]
pub struct Common {
    /// Path.
    pub http: Option<String>,
    /// Method.
    pub method: Option<CheckMethod>,
    /// `Host`.
    pub host: Option<String>,
    /// Those that pass.
    pub statuses: Option<Vec<String>>,
    /// What is spoken.
    pub protocol: Option<UpstreamProtocol>,
    /// Whether a connection is enough.
    pub tcp: Option<bool>,
    /// Service.
    pub grpc: Option<String>,
    /// Program and arguments.
    pub command: Option<Vec<String>>,
    /// Another than the endpoint's.
    pub port: Option<u16>,
    /// Between two checks.
    pub interval: Option<Time>,
    /// Bound of one.
    pub timeout: Option<Time>,
    /// Successes in a row.
    pub rise: Option<u32>,
    /// Failures in a row.
    pub fall: Option<u32>,
}

macro_rules! check_table {
    ($(#[$about:meta])* $name:ident { $defaults:expr $(, $fall:ident)? } { $($extra:tt)* }) => {
        $(#[$about])*
        #[derive(Debug, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($extra)*
            /// Path that is asked for over HTTP. A check has exactly one of `http`, `tcp`, `grpc` and `command`.
            #[schemars(extend("examples" = ["/readyz"]))]
            pub http: Option<String>,
            /// HTTP: with which method.
            #[schemars(extend("default" = CheckMethod::Get))]
            pub method: Option<CheckMethod>,
            /// HTTP and gRPC: what is sent as `Host`. Default: the endpoint's name where it has one, else its address.
            #[schemars(extend("examples" = ["users.internal"]))]
            pub host: Option<String>,
            /// HTTP: statuses that pass, each as `"204"`, `"200-299"` or `"2xx"`.
            #[schemars(
                length(min = 1, max = limits::CHECK_STATUSES_MAX),
                extend("default" = limits::CHECK_STATUSES, "examples" = [["2xx", "401"]])
            )]
            pub statuses: Option<Vec<String>>,
            /// HTTP: what is spoken for this check. Default: that of the upstream.
            pub protocol: Option<UpstreamProtocol>,
            /// Passes where a TCP connection can be made.
            pub tcp: Option<bool>,
            /// Service that is asked for by the gRPC health protocol (`grpc.health.v1`, over HTTP/2); `""` is the whole
            /// server. `SERVING` passes.
            #[schemars(extend("examples" = ["shop.Orders"]))]
            pub grpc: Option<String>,
            /// Program (absolute path) and arguments; exit status 0 passes. It runs on this node as the gateway's user,
            /// with `GATEWAY_ENDPOINT`, `GATEWAY_ENDPOINT_ADDRESS`, `GATEWAY_ENDPOINT_PORT`, `GATEWAY_UPSTREAM`,
            /// `GATEWAY_CHECK` and `PATH` as its only environment, and is killed at the time-out.
            #[schemars(
                length(min = 1, max = limits::CHECK_ARGUMENTS_MAX),
                extend("examples" = [["/usr/local/bin/check-users", "--quick"]])
            )]
            pub command: Option<Vec<String>>,
            /// Port that is asked instead of the endpoint's own.
            #[schemars(range(min = 1, max = u16::MAX), extend("examples" = [9090]))]
            pub port: Option<u16>,
            /// Between two checks of one endpoint, give or take a tenth at random.
            #[schemars(extend(
                "default" = time_text($defaults.interval),
                "x-range" = [time_text(limits::CHECK_INTERVAL_MIN), time_text(limits::CHECK_TIME_MAX)]
            ))]
            pub interval: Option<Time>,
            /// Bound of one check.
            #[schemars(extend(
                "default" = time_text($defaults.timeout),
                "x-range" = [time_text(limits::TIME_MIN), time_text(limits::CHECK_TIME_MAX)]
            ))]
            pub timeout: Option<Time>,
            /// Successes in a row that end a failure, or a start.
            #[schemars(range(min = 1, max = limits::CHECK_COUNT_MAX), extend("default" = $defaults.rise))]
            pub rise: Option<u32>,
            $(
                /// Failures in a row that begin one.
                #[schemars(range(min = 1, max = limits::CHECK_COUNT_MAX), extend("default" = $defaults.fall))]
                pub $fall: Option<u32>,
            )?
        }

        impl $name {
            /// The keys that it shares with the other kinds.
            pub fn common(&self) -> Common {
                Common {
                    http: self.http.clone(),
                    method: self.method,
                    host: self.host.clone(),
                    statuses: self.statuses.clone(),
                    protocol: self.protocol,
                    tcp: self.tcp,
                    grpc: self.grpc.clone(),
                    command: self.command.clone(),
                    port: self.port,
                    interval: self.interval,
                    timeout: self.timeout,
                    rise: self.rise,
                    fall: None$(.or(self.$fall))?,
                }
            }
        }
    };
}

check_table! {
    /// Is an endpoint there at all?
    Heartbeat { limits::HEARTBEAT_CHECK, fall } {
        /// The endpoint renews itself: `PUT /v1/upstreams/{name}/endpoints/{address}` at the admin API with
        /// `{ "ttl": "10s" }`. When the time is over without another, the heartbeat fails. In place of a way to ask; only
        /// `ttl_max` goes with it.
        pub pushed: Option<bool>,
        /// Pushed: longest time to live that a renewal may ask for, and how long a new endpoint may take to its first.
        #[schemars(extend(
            "default" = time_text(limits::TTL_MAX),
            "x-range" = [time_text(limits::TTL_MIN), time_text(limits::TTL_MAX_MAX)]
        ))]
        pub ttl_max: Option<Time>,
    }
}

check_table! {
    /// May an endpoint go on living?
    Liveness { limits::LIVENESS_CHECK, fall } {}
}

check_table! {
    /// May an endpoint get traffic?
    Readiness { limits::READINESS_CHECK, fall } {}
}

check_table! {
    /// Has an endpoint started?
    Startup { limits::STARTUP_CHECK } {
        /// How long an endpoint may take to start; after it the other checks count, whatever this one says.
        #[schemars(extend(
            "default" = time_text(limits::STARTUP_GRACE),
            "x-range" = [time_text(limits::TIME_MIN), time_text(limits::STARTUP_GRACE_MAX)]
        ))]
        pub grace: Option<Time>,
    }
}
