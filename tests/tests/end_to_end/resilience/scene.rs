//! A gateway before three servers, and what waits and looks at it.

use std::net::SocketAddr;
use std::time::Instant;

use gateway_tests::lab::wait::wait_until;

use crate::http::gateway::{Gateway, Setup, route, sum};
use crate::http::within::PATIENCE;

use gateway_tests::servers::sick::{Health, Sick};

/// Lines of a route that tries again after everything that may be tried again.
pub const RETRIES: &str = "try_timeout = \"400ms\"\n\
     retry = { attempts = 2, on = [\"connect-failure\", \"reset\", \"timeout\", \"500-599\"] }\n";

/// Lines of a route that never tries again.
pub const NO_RETRIES: &str = "try_timeout = \"400ms\"\nretry = { attempts = 0 }\n";

/// A line of an upstream whose budget has room for every client of a load.
pub const BUDGET: &str = "retry_budget = { share = 1.0, min = 64 }\n";

/// A line of an upstream that ejects after five failures.
pub const OUTLIER: &str = "outlier = { consecutive_failures = 5 }\n";

/// A line of an upstream with breakers that open early and stay open.
pub const BREAKER: &str = "circuit_breaker = { min_calls = 5, open_for = \"50s\" }\n";

/// A line of an upstream that is checked ten times a second.
pub const CHECKS: &str = "health = { readiness = { http = \"/readyz\", interval = \"100ms\", timeout = \"400ms\", rise = 2, fall = 2 } }\n";

/// How a server goes bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its connections end, and nobody listens.
    Dead,
    /// It takes requests and never answers.
    Hung,
    /// It answers 500.
    Failing,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dead, Self::Hung, Self::Failing];

    /// Lets it happen.
    pub fn strike(self, server: &mut Sick) {
        match self {
            Self::Dead => server.die(),
            Self::Hung => server.set(Health::Hangs),
            Self::Failing => server.set(Health::Fails),
        }
    }
}

/// Three well servers.
pub async fn three() -> [Sick; 3] {
    [
        Sick::start(Health::Well).await.expect("a server"),
        Sick::start(Health::Well).await.expect("a server"),
        Sick::start(Health::Well).await.expect("a server"),
    ]
}

/// Every request to one upstream of these endpoints.
pub fn setup(endpoints: &[SocketAddr], route_lines: &str, upstream_lines: &str) -> Setup {
    setup_of(&tables(endpoints), route_lines, upstream_lines)
}

/// Every request to one upstream of these endpoints, given as tables.
pub fn setup_of(endpoints: &[String], route_lines: &str, upstream_lines: &str) -> Setup {
    Setup {
        workers: 1,
        listener: String::new(),
        defaults: String::new(),
        tables: route("all", "path_prefix = \"/\"", "pool", route_lines)
            + &pool_of("pool", endpoints, upstream_lines),
    }
}

/// An upstream of these endpoints.
pub fn pool(name: &str, endpoints: &[SocketAddr], lines: &str) -> String {
    pool_of(name, &tables(endpoints), lines)
}

fn tables(endpoints: &[SocketAddr]) -> Vec<String> {
    let endpoints = endpoints.iter();
    endpoints
        .map(|address| format!("{{ address = \"{address}\" }}"))
        .collect()
}

fn pool_of(name: &str, endpoints: &[String], lines: &str) -> String {
    format!(
        "\n[[upstream]]\nname = \"{name}\"\nendpoints = [{}]\n{lines}",
        endpoints.join(", ")
    )
}

/// Waits until `probe` holds; it may look at a gateway.
pub async fn until(what: &str, mut probe: impl FnMut() -> bool) {
    let held =
        tokio::task::block_in_place(|| wait_until(Instant::now() + PATIENCE, || probe().then_some(())));
    assert!(held.is_some(), "{what}: not within {} s", PATIENCE.as_secs());
}

/// The metrics that tell what was found out; each is a sum over the upstream's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Endpoints that are ejected.
    pub ejected: u64,
    /// Ejections so far.
    pub ejections: u64,
    /// Breakers, weighed by their state: 3 for each that is open.
    pub breakers: u64,
    /// The breaker of the whole: 3 if open.
    pub whole: u64,
    /// Openings so far.
    pub openings: u64,
    /// Endpoints that may get traffic.
    pub ready: u64,
    /// Times that another way to an endpoint was taken.
    pub switches: u64,
    /// Changes of what checks say so far.
    pub transitions: u64,
}

impl Findings {
    /// What a gateway says of the upstream `pool`.
    pub fn of(gateway: &Gateway) -> Self {
        let metrics = tokio::task::block_in_place(|| gateway.metrics());
        let of = |name: &str| sum(&metrics, &format!("{name}{{upstream=\"pool\""));
        Self {
            ejected: of("gateway_endpoint_ejected"),
            ejections: of("gateway_ejections_total"),
            breakers: of("gateway_breaker"),
            whole: sum(&metrics, "gateway_breaker{upstream=\"pool\",endpoint=\"all\"}"),
            openings: of("gateway_breaker_openings_total"),
            ready: of("gateway_endpoint_ready"),
            switches: of("gateway_channel_switches_total"),
            transitions: of("gateway_check_transitions_total"),
        }
    }
}

/// Tries at an endpoint of the upstream `pool` so far.
pub fn tries(gateway: &Gateway, address: SocketAddr) -> u64 {
    let label = format!("gateway_endpoint_requests_total{{upstream=\"pool\",endpoint=\"{address}\"}}");
    tokio::task::block_in_place(|| gateway.counted(&label))
}
