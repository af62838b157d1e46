//! The gateway daemon: one program per node that steers connections in the kernel and proxies requests above it.
//!
//! Modules stand in the order in which a node's life meets them: what is configured, what is true of the
//! cluster, the packet's side, the request's side, and what watches over both.
//! `l7` knows neither `l4`, `cluster` nor `admin`, and `l4` does not know `l7`: they share only the plain data
//! of `config::snapshot`, `view`, `registry` and `router`.

pub mod acme;
pub mod admin;
pub mod allocator;
pub mod background;
pub mod balance;
pub mod cluster;
pub mod config;
pub mod control;
pub mod events;
pub mod explain;
pub mod fetch;
pub mod filters;
pub mod gateway;
pub mod guards;
pub mod health;
pub mod inspect;
pub mod json_line;
pub mod jwks;
pub mod l4;
pub mod l7;
pub mod names;
pub mod proxy_protocol;
pub mod registry;
pub mod resilience;
pub mod retry_after;
pub mod router;
pub mod simulate;
pub mod telemetry;
pub mod tls;
pub mod trace;
pub mod view;
