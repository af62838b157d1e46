//! All end-to-end tests, one binary: the real program on real traffic, in labs of network namespaces.
//!
//! They want root and the kernel object, and fail without; those in `http` need neither, nor those in `resilience` but
//! the one that takes an address away. All are serialised by
//! `support::one_at_a_time`: the machine is small, and three nodes on two cores miss heartbeats when a second lab runs
//! beside them.

#![expect(clippy::expect_used, reason = "helpers of tests fail as the tests do")]

#[path = "end_to_end/changes.rs"]
mod changes;
#[path = "end_to_end/datagrams.rs"]
mod datagrams;
#[path = "end_to_end/deaths.rs"]
mod deaths;
#[path = "end_to_end/explained.rs"]
mod explained;
#[path = "end_to_end/failover.rs"]
mod failover;
#[path = "end_to_end/host.rs"]
mod host;
#[path = "end_to_end/http.rs"]
mod http;
#[path = "end_to_end/interfaces.rs"]
mod interfaces;
#[path = "end_to_end/ipv6_only.rs"]
mod ipv6_only;
#[path = "end_to_end/lab.rs"]
mod lab;
#[path = "end_to_end/lifecycle.rs"]
mod lifecycle;
#[path = "end_to_end/load.rs"]
mod load;
#[path = "end_to_end/path_mtu.rs"]
mod path_mtu;
#[path = "end_to_end/protection.rs"]
mod protection;
#[path = "end_to_end/readme.rs"]
mod readme;
#[path = "end_to_end/resilience.rs"]
mod resilience;
#[path = "end_to_end/routed.rs"]
mod routed;
#[path = "end_to_end/start.rs"]
mod start;
#[path = "end_to_end/support.rs"]
mod support;
#[path = "end_to_end/tags.rs"]
mod tags;
#[path = "end_to_end/takeover.rs"]
mod takeover;
#[path = "end_to_end/traced.rs"]
mod traced;
#[path = "end_to_end/traffic.rs"]
mod traffic;
