//! Defaults and bounds of the configuration, each with its unit and its reason.
//!
//! The schema takes its `default`, `minimum` and `maximum` from here, and so do the checks and the reference.

mod choices;
mod filters;
mod protection;
mod routing;
mod tls;
mod trace;

use std::time::Duration;

use super::snapshot::Failure;

pub use choices::*;
pub use filters::*;
pub use protection::*;
pub use routing::*;
pub use tls::*;
pub use trace::*;

/// Largest configuration file read, in bytes: some 10,000 routes, and small enough to parse in a blink.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// Problems listed for one file; more would hide the first ones.
pub const PROBLEMS_MAX: usize = 100;

/// Characters of a name: a DNS label, as node names become paths and names become metric labels.
pub const NAME_CHARS_MAX: usize = 63;

/// Share of a node or an endpoint where none is given.
pub const WEIGHT: u32 = 1;
/// Smallest share; a node gets less only by `gateway drain`.
pub const WEIGHT_MIN: u32 = 1;
/// Largest share: 1000 to 1 still leaves the lightest of a few nodes its slots among 65,537.
pub const WEIGHT_MAX: u32 = 1000;
/// Worker threads at most: no machine in sight has more cores that one process should keep busy.
pub const WORKERS_MAX: usize = 256;

/// Where the admin API listens.
pub const ADMIN_LISTEN: &str = "127.0.0.1:9900";
/// Bytes of a unix socket's path, less the terminating zero (`sun_path` in unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Flow table entries: 96 MB of kernel memory at the default, 48 bytes each for either family.
pub const FLOW_TABLE_ENTRIES: u32 = 1_000_000;
/// No table: every packet goes by its slot.
pub const FLOW_TABLE_ENTRIES_MIN: u32 = 0;
/// Above this the table takes more than 2 GB of kernel memory.
pub const FLOW_TABLE_ENTRIES_MAX: u32 = 16_777_216;
/// Default of `dataplane.udp_flow_table_entries`.
pub const UDP_FLOW_TABLE_ENTRIES: u32 = gateway_common::abi::UDP_FLOWS_DEFAULT;
/// Default of `dataplane.udp_idle`.
pub const UDP_IDLE: Duration = Duration::from_nanos(gateway_common::flow::UDP_IDLE_NS);
/// Least `dataplane.udp_idle`: an entry is renewed once a second.
pub const UDP_IDLE_MIN: Duration = Duration::from_secs(2);
/// Greatest `dataplane.udp_idle`.
pub const UDP_IDLE_MAX: Duration = Duration::from_secs(3600);
/// Maglev tables, one for each distinct set of members and weights; 1 MB of kernel memory each.
pub const TABLES_MAX: u32 = 64;
/// Below this directory on bpffs the node's maps and links are pinned.
pub const PIN_DIRECTORY: &str = "/sys/fs/bpf/gateway";
/// Path MTU between nodes, in bytes, where none is given: Ethernet.
pub const PATH_MTU: u16 = 1500;
/// Smallest path MTU: IPv6 promises no more (RFC 8200, section 5).
pub const PATH_MTU_MIN: u16 = 1280;
/// Largest path MTU: jumbo frames.
pub const PATH_MTU_MAX: u16 = 9000;
/// Interfaces at most: more than a machine has cards for; those of tenants are not for it.
pub const INTERFACES_MAX: usize = 16;
/// Characters of an interface's name (`IFNAMSIZ` in if.h, less the terminating zero).
pub const INTERFACE_CHARS_MAX: usize = 15;

/// Seeds at most: enough for a new node to find any live one.
pub const SEEDS_MAX: usize = 64;

/// From a request's head to the response's, where none is given.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// Shortest time limit of anything; less is a typing error.
pub const TIME_MIN: Duration = Duration::from_millis(1);
/// Longest timeout of a request: beyond it nobody waits any more.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Bound of a connection attempt, where none is given.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest bound of a connection attempt: the kernel itself gives up soon after.
pub const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Longest time limit of a client's part in a request: beyond it a slow client holds a connection for nothing.
pub const CLIENT_TIME_MAX: Duration = Duration::from_secs(3600);
/// Longest idle time of a connection or a response: a day covers every job that says something now and then.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Shortest age of a connection: a shorter one would end connections in their first requests.
pub const CONNECTION_AGE_MIN: Duration = Duration::from_secs(1);
/// Longest age of a connection; longer ones are said by `"none"`.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest time from a request's head to the response's last byte; longer ones are said by `"none"`.
pub const TIMEOUT_TOTAL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Bytes of a request's head, where none is given: what nginx and Envoy take by default, or more.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Smallest bound of a head: RFC 9112, section 3, wants request lines of 8000 bytes taken, and hyper's smallest buffer
/// is that.
pub const HEAD_BYTES_MAX_MIN: usize = 8 << 10;
/// Largest bound of a head: it is held in memory until it is complete, for each connection.
pub const HEAD_BYTES_MAX_MAX: usize = 1 << 20;
/// Fields of a request's head, where none is given.
pub const FIELDS_MAX: usize = 100;
/// Smallest bound of the number of fields: browsers send up to a score.
pub const FIELDS_MAX_MIN: usize = 16;
/// Largest bound of the number of fields: each costs a look-up or more.
pub const FIELDS_MAX_MAX: usize = 1000;
/// Bytes of a request's target, where none is given (RFC 9112, section 3, asks for 8000 at least).
pub const TARGET_BYTES_MAX: usize = 8 << 10;
/// Smallest bound of a target: less would refuse ordinary links.
pub const TARGET_BYTES_MAX_MIN: usize = 256;
/// Largest bound of a target: what `http::Uri` can hold.
pub const TARGET_BYTES_MAX_MAX: usize = 65_534;
/// From accept to the first byte, where none is given.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// From a head's first byte to its last, where none is given.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a peer may take nothing or owe its body, where none is given.
pub const STALLED_TIMEOUT: Duration = Duration::from_secs(30);
/// HTTP/1 between two requests, where none is given.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// HTTP/2 without a stream, where none is given.
pub const H2_IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// Age of a connection, where none is given: so that clients find new nodes within that time.
pub const CONNECTION_AGE: Duration = Duration::from_secs(3600);
/// Networks of trusted proxies at most: they are looked through one by one.
pub const TRUSTED_PROXIES_MAX: usize = 256;
/// HTTP/2 streams of a client's connection, where none is given.
pub const H2_STREAMS_MAX: u32 = 100;
/// Largest bound of streams on one connection, either side: one peer must not hold all requests of a node.
pub const H2_STREAMS_MAX_MAX: u32 = 10_000;
/// HTTP/2 bytes in flight of one request's body, where none is given.
pub const H2_STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// Smallest window of a stream: one frame of the size that every peer may send (RFC 9113, section 4.2).
pub const H2_STREAM_WINDOW_BYTES_MIN: u32 = 16 << 10;
/// Largest window of a stream: each may fill that much memory; 100 MB/s over 160 ms.
pub const H2_STREAM_WINDOW_BYTES_MAX: u32 = 16 << 20;
/// HTTP/2 bytes in flight of a connection's request bodies, where none is given.
pub const H2_CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Smallest window of a connection: it begins with that, and cannot shrink (RFC 9113, section 6.9.2).
pub const H2_CONNECTION_WINDOW_BYTES_MIN: u32 = 65_535;
/// Largest window of a connection: each may fill that much memory.
pub const H2_CONNECTION_WINDOW_BYTES_MAX: u32 = 64 << 20;
/// HTTP/2 bytes of a decoded head, where none is given.
pub const H2_HEAD_BYTES_MAX: u32 = 16 << 10;
/// Smallest bound of a decoded head: a head with a few cookies.
pub const H2_HEAD_BYTES_MAX_MIN: u32 = 4 << 10;
/// Largest bound of a decoded head: compression makes much of it from few bytes, and each stream may have one.
pub const H2_HEAD_BYTES_MAX_MAX: u32 = 1 << 20;
/// Silence inside a response's body, where none is given.
pub const RESPONSE_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Silence in a tunnel, where none is given.
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Bytes of a request's body, where none is given.
pub const BODY_BYTES_MAX: u64 = 8 << 20;
/// Largest bound of a request's body: 1 TiB, which is no longer a request.
pub const BODY_BYTES_MAX_MAX: u64 = 1 << 40;
/// Bytes of one gRPC message, where none is given: what gRPC's own libraries take.
pub const GRPC_MESSAGE_BYTES_MAX: u32 = 4 << 20;
/// Largest bound of a gRPC message: protobuf itself takes no more than 2 GiB less one.
pub const GRPC_MESSAGE_BYTES_MAX_MAX: u32 = i32::MAX as u32;
/// Bytes of a request's body kept to send it again, where none is given.
pub const REPLAY_BYTES_MAX: usize = 64 << 10;
/// Largest bound of what is kept of one request: 64 such requests fill the node's 64 MB.
pub const REPLAY_BYTES_MAX_MAX: usize = 1 << 20;
/// Protocols that clients may switch to at most: there are hardly as many.
pub const UPGRADES_MAX: usize = 16;
/// Characters of such a protocol's name: more than any registered one has.
pub const UPGRADE_CHARS_MAX: usize = 64;
/// Idle connections to an endpoint are closed after this, where none is given: below what common servers keep.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Requests at an endpoint that was taken out may go on for so long, where nothing is given.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest such time: as long as a tunnel may be idle.
pub const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// HTTP/2 connections to an endpoint, where none is given.
pub const H2_CONNECTIONS_MAX: usize = 8;
/// Most HTTP/2 connections to an endpoint: with 100 streams each, more requests than a node has connections.
pub const H2_CONNECTIONS_MAX_MAX: usize = 1024;
/// HTTP/2 streams on a connection to an endpoint, where none is given.
pub const H2_UPSTREAM_STREAMS_MAX: usize = 100;
/// Largest bound of a node's connections: 1,000 times what Debian lets a process open, so a typing error beyond.
pub const CONNECTIONS_MAX_MAX: usize = 16_777_216;

/// Host names of endpoints at most, in all: each is asked for on its own.
pub const NAMES_MAX: usize = 4096;
/// DNS servers at most: more are never asked before the time is over.
pub const DNS_SERVERS_MAX: usize = 8;

/// VIPs at most: so many are counted apart in the kernel.
pub const VIPS_MAX: usize = gateway_common::abi::VIPS_MAX as usize;
/// Ports of all VIPs together: the size of the kernel's VIP map.
pub const VIP_PORTS_IN_ALL_MAX: usize = 4_096;
const _: () = assert!(
    VIP_PORTS_IN_ALL_MAX + 3 * gateway_common::abi::VIPS_MAX as usize
        <= gateway_common::abi::VIP_ENTRIES_MAX as usize
);
/// Ports of one VIP at most.
pub const VIP_PORTS_MAX: usize = 64;
/// Listeners at most: each takes one socket per worker.
pub const LISTENERS_MAX: usize = 256;
/// Routes at most.
pub const ROUTES_MAX: usize = 10_000;
/// Upstreams at most.
pub const UPSTREAMS_MAX: usize = 4096;
/// Endpoints of one upstream at most.
pub const ENDPOINTS_MAX: usize = 1024;
/// Other channels of an endpoint at most: each keeps connections of its own.
pub const CHANNELS_MAX: usize = 4;
/// Good probes in a row before the first channel is taken again, where none is given.
pub const FAILBACK_RISE: u32 = 3;
/// Most of them.
pub const FAILBACK_RISE_MAX: u32 = 100;
/// Least time away from the first channel, where none is given.
pub const FAILBACK_STAY: Duration = Duration::from_secs(5);
/// What that time may grow to, where none is given.
pub const FAILBACK_STAY_MAX: Duration = Duration::from_secs(60);
/// Time between probes of the first channel, where none is given.
pub const FAILBACK_INTERVAL: Duration = Duration::from_secs(1);
/// What that time may grow to, where none is given.
pub const FAILBACK_INTERVAL_MAX: Duration = Duration::from_secs(30);
/// A probe of the first channel fails after this, where none is given.
pub const FAILBACK_TIMEOUT: Duration = Duration::from_secs(2);
/// Further tries after the first, where none is given: with three endpoints that cannot be reached, a fourth would only
/// make the client wait.
pub const RETRY_ATTEMPTS: u32 = 2;
/// Further tries at most: more are an outage multiplied.
pub const RETRY_ATTEMPTS_MAX: u32 = 10;
/// Outcomes that are tried again where none are given. A time-out is one only where `try_timeout` is set.
pub const RETRY_ON: [Failure; 2] = [Failure::Connect, Failure::Timeout];
/// The same as the file has them.
pub const RETRY_ON_WORDS: [&str; 2] = ["connect-failure", "timeout"];
/// Words of one list of outcomes at most: there are fewer that differ and are of use.
pub const OUTCOMES_MAX: usize = 64;
/// The first back-off at most, where none is given.
pub const RETRY_BACKOFF: Duration = Duration::from_millis(25);
/// The longest back-off, where none is given.
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_millis(250);
/// The shortest back-off that may be given: the budget of retries bounds what comes of it.
pub const RETRY_BACKOFF_MIN: Duration = Duration::ZERO;
/// The longest back-off that may be given: clients do not wait longer.
pub const RETRY_BACKOFF_MAX_MAX: Duration = Duration::from_secs(60);
/// The longest `Retry-After` that is waited for, where none is given.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);
/// Share of the live requests of an upstream that may be retries, where none is given.
pub const RETRY_SHARE: f64 = 0.2;
/// Retries that are always allowed, where none is given: with few requests, a share of them is none.
pub const RETRY_MIN: u32 = 3;
/// Most retries that may always be allowed.
pub const RETRY_MIN_MAX: u32 = 10_000;
/// Priorities of endpoints: nobody has more places to fail over to.
pub const PRIORITY_MAX: u8 = 15;
/// Where an endpoint on a hash ring is too busy, where none is given.
pub const LOAD_FACTOR: f64 = 1.25;
/// Below it nearly every key is passed on.
pub const LOAD_FACTOR_MIN: f64 = 1.01;
/// Above it nothing is bounded.
pub const LOAD_FACTOR_MAX: f64 = 100.0;
/// The least ratio that opens or ejects: 0 would do so without a failure.
pub const RATIO_MIN: f64 = 0.001;
/// Most calls that a rule may wait for.
pub const CALLS_MAX: u32 = 1_000_000;
/// Most trial calls.
pub const TRIALS_MAX: u32 = 1_000;
/// Shortest window, open time or ejection: the machines are stepped ten times a second.
pub const BREAKER_TIME_MIN: Duration = Duration::from_millis(500);
/// Longest of these.
pub const BREAKER_TIME_MAX: Duration = Duration::from_secs(3600);
/// `circuit_breaker.failure_ratio` where none is given.
pub const BREAKER_FAILURE_RATIO: f64 = 0.5;
/// `circuit_breaker.slow_ratio` where none is given.
pub const BREAKER_SLOW_RATIO: f64 = 0.5;
/// `circuit_breaker.window` and `outlier.interval` where none are given.
pub const BREAKER_WINDOW: Duration = Duration::from_secs(10);
/// `circuit_breaker.min_calls` where none is given (Hystrix).
pub const BREAKER_MIN_CALLS: u32 = 20;
/// `circuit_breaker.open_for` where none is given.
pub const BREAKER_OPEN_FOR: Duration = Duration::from_secs(5);
/// `circuit_breaker.open_for_max` where none is given.
pub const BREAKER_OPEN_FOR_MAX: Duration = Duration::from_secs(60);
/// `circuit_breaker.half_open_calls` where none is given.
pub const BREAKER_TRIALS: u32 = 5;
/// `circuit_breaker.ramp` where none is given.
pub const BREAKER_RAMP: Duration = Duration::from_secs(5);
/// A trial call without an outcome counts as failed after it.
pub const BREAKER_TRIAL_TIMEOUT: Duration = Duration::from_secs(15);
/// `outlier.consecutive_failures` where none is given (Envoy).
pub const OUTLIER_CONSECUTIVE: u32 = 5;
/// `outlier.min_calls` where none is given.
pub const OUTLIER_MIN_CALLS: u32 = 50;
/// `outlier.base_ejection` where none is given (Envoy).
pub const OUTLIER_EJECTION: Duration = Duration::from_secs(30);
/// `outlier.max_ejection` where none is given (Envoy).
pub const OUTLIER_EJECTION_MAX: Duration = Duration::from_secs(300);
/// `outlier.max_ejected_share` where none is given.
pub const OUTLIER_SHARE_MAX: f64 = 0.5;

/// Any of `upstream.limits` at most: beyond it ports and descriptors run out first.
pub const LIMIT_MAX: u32 = 1_000_000;
/// `limits.pending` where none is given.
pub const PENDING: u32 = crate::resilience::limits::PENDING;

/// Fallbacks of a route at most.
pub const FALLBACKS_MAX: usize = 4;
/// Outcomes that lead to a fallback where none are given: whatever is not an answer.
pub const FALLBACK_ON: [Failure; 5] = [
    Failure::Connect,
    Failure::Reset,
    Failure::Timeout,
    Failure::BadAnswer,
    Failure::Unavailable,
];
/// The same as the file has them.
pub const FALLBACK_ON_WORDS: [&str; 5] = ["connect-failure", "reset", "timeout", "bad-answer", "unavailable"];

/// Idle connections per endpoint, where none is given.
pub const IDLE_PER_ENDPOINT: usize = 8;
/// Idle connections per endpoint at most: beyond it descriptors run out first.
pub const IDLE_PER_ENDPOINT_MAX: usize = 1024;

/// What holds for a kind of check where its table says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckDefaults {
    /// Between two checks of one endpoint.
    pub interval: Duration,
    /// Bound of one check.
    pub timeout: Duration,
    /// Successes in a row that end a failure.
    pub rise: u32,
    /// Failures in a row that begin one.
    pub fall: u32,
}

/// A heartbeat notices a dead endpoint within two seconds, even one that swallows packets.
pub const HEARTBEAT_CHECK: CheckDefaults = CheckDefaults {
    interval: Duration::from_millis(500),
    timeout: Duration::from_millis(500),
    rise: 2,
    fall: 2,
};
/// Liveness asks for a restart: seldom and patiently, or a busy endpoint would be killed for being busy.
pub const LIVENESS_CHECK: CheckDefaults = CheckDefaults {
    interval: Duration::from_secs(5),
    timeout: Duration::from_secs(2),
    rise: 1,
    fall: 3,
};
/// Readiness steers traffic: soon, but not by one lost answer.
pub const READINESS_CHECK: CheckDefaults = CheckDefaults {
    interval: Duration::from_secs(1),
    timeout: Duration::from_secs(1),
    rise: 2,
    fall: 3,
};
/// Startup is over with its first success; its failures are what everybody expects.
pub const STARTUP_CHECK: CheckDefaults = CheckDefaults {
    interval: Duration::from_secs(1),
    timeout: Duration::from_secs(1),
    rise: 1,
    fall: 1,
};
/// How long an endpoint may take to start, where nothing is given.
pub const STARTUP_GRACE: Duration = Duration::from_secs(60);
/// Longest time to start: beyond it somebody should look.
pub const STARTUP_GRACE_MAX: Duration = Duration::from_secs(3600);
/// Shortest time between two checks: more often is load, not health.
pub const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Longest time between or for checks.
pub const CHECK_TIME_MAX: Duration = Duration::from_secs(600);
/// Most checks in a row that a change of state may take.
pub const CHECK_COUNT_MAX: u32 = 100;
/// Statuses that pass where none are given: whoever redirects is there.
pub const CHECK_STATUSES: [&str; 1] = ["200-399"];
/// Entries of a list of statuses: more than a check can mean.
pub const CHECK_STATUSES_MAX: usize = 16;
/// Program and arguments of a command at most; more belong into a script.
pub const CHECK_ARGUMENTS_MAX: usize = 32;
/// Longest time to live of a pushed heartbeat, where nothing is given.
pub const TTL_MAX: Duration = Duration::from_secs(60);
/// Shortest time to live of a pushed heartbeat: renewals come by HTTP from machines that are busy with other things.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// Greatest `ttl_max`: an endpoint that is believed for longer is not watched.
pub const TTL_MAX_MAX: Duration = Duration::from_secs(3600);
/// Endpoints that may register with one upstream, where nothing is given.
pub const REGISTERED_MAX: usize = 64;
/// Bytes of the name of a gRPC service in a check: a path of packages; the request stays one small frame.
pub const CHECK_SERVICE_BYTES_MAX: usize = 255;
