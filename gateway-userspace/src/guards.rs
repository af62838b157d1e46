//! Drives breakers and passive health: takes over what a snapshot says of them, and tells them that time passes.
//!
//! The machines are pure (`resilience`), their state lies in the registry's cells and outlives snapshots. A task of the
//! control runtime, never of a worker.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::snapshot::{Snapshot, Upstream};
use crate::health;
use crate::registry::{EndpointState, Probe, Reachable};

/// Between two steps of the machines: short against every time that may be configured.
const TICK: Duration = Duration::from_millis(100);

/// The machines of the node.
#[derive(Debug)]
pub struct Driver {
    upstreams: Arc<Mutex<Vec<Arc<Upstream>>>>,
    task: JoinHandle<()>,
}

impl Driver {
    /// None yet.
    pub fn start(runtime: &Handle) -> Self {
        let upstreams = Arc::new(Mutex::new(Vec::new()));
        let task = runtime.spawn(run(Arc::clone(&upstreams)));
        Self { upstreams, task }
    }

    /// Takes over what a snapshot says. State of what stays is kept.
    pub fn apply(&self, snapshot: &Snapshot) {
        for upstream in &snapshot.upstreams {
            upstream.state.guard(&upstream.guards, &endpoints(upstream));
            upstream.state.reach(upstream.failback, &reachable(upstream));
        }
        *lock(&self.upstreams) = snapshot.upstreams.clone();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(upstreams: Arc<Mutex<Vec<Arc<Upstream>>>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let upstreams = lock(&upstreams).clone();
        for upstream in upstreams {
            upstream.state.tick(&endpoints(&upstream));
            let has_channels = upstream.endpoints.iter().any(|one| !one.channels.is_empty());
            let reachable = if has_channels {
                reachable(&upstream)
            } else {
                Vec::new()
            };
            for probe in upstream.state.tick_channels(&reachable) {
                drop(tokio::spawn(try_first(Arc::clone(&upstream), probe)));
            }
            if is_starting(&upstream) {
                upstream.state.changed();
            }
        }
    }
}

/// Whether the first way to an endpoint works again. It ends within the machine's own limit, so few are under way.
async fn try_first(upstream: Arc<Upstream>, probe: Probe) {
    let mut endpoints = upstream.endpoints.iter();
    let endpoint = endpoints.find(|endpoint| endpoint.address == probe.endpoint);
    let host = endpoint.and_then(|endpoint| endpoint.host.as_deref());
    let passed = health::reaches(
        probe.channel,
        host,
        upstream.tls.clone(),
        upstream.failback.probe_timeout,
    )
    .await;
    upstream.state.channel_probed(&probe, passed);
}

/// Whether the share of an endpoint still grows.
fn is_starting(upstream: &Upstream) -> bool {
    let slow_start = upstream.balancing.slow_start;
    // One tick more, for the last step to a whole share.
    let is_starting = |state: &EndpointState| state.since() < slow_start + 2 * TICK;
    !slow_start.is_zero()
        && upstream
            .endpoints
            .iter()
            .any(|endpoint| is_starting(&endpoint.state))
}

fn endpoints(upstream: &Upstream) -> Vec<(SocketAddr, &EndpointState)> {
    let endpoints = upstream.endpoints.iter();
    endpoints
        .map(|endpoint| (endpoint.address, &*endpoint.state))
        .collect()
}

fn reachable(upstream: &Upstream) -> Vec<Reachable<'_>> {
    let endpoints = upstream.endpoints.iter();
    endpoints
        .map(|endpoint| Reachable {
            address: endpoint.address,
            protocol: upstream.protocol,
            security: upstream.security(),
            others: &endpoint.channels,
            state: &endpoint.state,
        })
        .collect()
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
