//! A request's way: `listener → connection → route → balance → attempt → respond`.
//!
//! N workers, each an OS thread with a runtime of its own, its own listening sockets (`SO_REUSEPORT`), connections,
//! upstream pools and balancer turns. What workers share is [`Shared`]: the snapshot, counters, the count of
//! connections, and the access log's queue; none of it makes a worker wait. Files in reading order: `workers` (the
//! control side), `bind`, `worker` (a thread's life), `accept` and `admission`, `connection` (its task, over `stream`
//! and the inspector, with its `client_text`), `server`, `serve` (**the** request's way), `admit` (its part that
//! waits for nobody), `host`, `path`, `target`, `headers`, `switch`,
//! `deadline`, `filter`, `faults`, `forward`, `mirror`, `attempt`, `pool`, `body`, `tunnel`, `respond`, `answers`, `record` (how each request
//! ends), `exchange`
//! (what the sweep sees of it) and `ends`, `metrics`.
//! This module knows neither `l4`, `cluster` nor `admin`.

mod accept;
mod admission;
mod admit;
mod answers;
mod attempt;
mod authority;
mod bind;
mod body;
mod client_hello;
mod client_socket;
mod client_text;
mod clock;
mod collect;
mod connection;
mod deadline;
mod ends;
mod error;
mod exchange;
mod executor;
pub mod explain;
mod faults;
mod filter;
mod forward;
mod gather;
mod grpc;
mod handshakes;
mod hash_key;
mod headers;
mod host;
mod mailbox;
mod metrics;
mod mirror;
mod path;
mod patience;
mod pool;
mod record;
mod request_ids;
mod resolved;
mod respond;
mod retired;
mod seats;
mod serve;
mod server;
mod sticky;
mod stream;
mod switch;
mod target;
mod tcp;
mod transport;
mod tunnel;
mod websocket;
mod worker;
mod workers;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::snapshot::Snapshot;
use crate::telemetry::access_log::AccessLog;
use admission::Admission;
use ends::Snapshots;

pub use bind::BindError;
pub use error::{Fault, ProxyError, Retry};
pub use metrics::Metrics;
pub use workers::{Cutter, Drained, Keeping, Prepared, Workers};

/// What all workers share; nothing in it makes one wait for another.
#[derive(Debug)]
pub struct Shared {
    /// The configuration in force; each request loads it once.
    pub snapshot: ArcSwap<Snapshot>,
    /// Counters, kept per worker and summed when they are asked for.
    pub metrics: Arc<Metrics>,
    /// One line a request.
    pub access_log: Arc<AccessLog>,
    admission: Admission,
    snapshots: Snapshots,
}

impl Shared {
    /// What the workers of a node need to begin with that snapshot.
    pub fn new(snapshot: Arc<Snapshot>, access_log: Arc<AccessLog>) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::new(snapshot),
            metrics: Arc::default(),
            access_log,
            admission: Admission::default(),
            snapshots: Snapshots::default(),
        })
    }
}

/// Adds the metrics of requests, connections, endpoints and the access log; names begin with `gateway_`.
pub fn register_metrics(registry: &mut prometheus_client::registry::Registry, shared: &Arc<Shared>) {
    registry.register_collector(Box::new(collect::L7(Arc::clone(shared))));
}

#[cfg(test)]
mod tests;
