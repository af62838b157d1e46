//! Readiness checks: which endpoints may get traffic.
//!
//! `state` decides (pure), `probe` asks one endpoint once, this file drives: one task for each endpoint, on the
//! control runtime, never on a worker. What is known of an endpoint lives in the registry's cell and outlives
//! snapshots; a changed check begins anew but the endpoint keeps its state until the check says otherwise.

mod collect;
mod probe;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::snapshot::{Endpoint, Readiness as Settings, Snapshot, UpstreamProtocol};
use crate::registry::{EndpointState, Readiness};
use state::{Action, Check, Event};

/// Longest wait of [`Checks::first_round_done`].
pub const FIRST_ROUND_MAX: Duration = Duration::from_secs(5);
/// Probes under way at once, so that a thousand endpoints do not take a thousand descriptors.
const PROBES_MAX: usize = 128;

/// All readiness checks of the node.
#[derive(Debug)]
pub struct Checks {
    runtime: Handle,
    running: Mutex<Running>,
    shared: Arc<Shared>,
}

type Key = (String, SocketAddr);
type Running = HashMap<Key, Task>;

#[derive(Debug)]
struct Task {
    settings: Settings,
    protocol: UpstreamProtocol,
    authority: String,
    handle: JoinHandle<()>,
}

/// What the tasks share.
#[derive(Debug)]
struct Shared {
    probes: Semaphore,
    /// Endpoints whose first probe has not ended.
    unchecked: watch::Sender<usize>,
    counters: Mutex<BTreeMap<Key, Arc<Counters>>>,
}

/// Of one endpoint.
#[derive(Debug, Default)]
struct Counters {
    passed: AtomicU64,
    failed: AtomicU64,
    transitions: AtomicU64,
}

/// Whether every endpoint was checked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstRound {
    /// Each has had at least one probe.
    Done,
    /// That many still wait, after [`FIRST_ROUND_MAX`].
    Late(usize),
}

impl Checks {
    /// None yet; tasks will run on that runtime, which must have time and I/O.
    pub fn start(runtime: Handle) -> Self {
        let shared = Shared {
            probes: Semaphore::new(PROBES_MAX),
            unchecked: watch::Sender::new(0),
            counters: Mutex::default(),
        };
        Self {
            runtime,
            running: Mutex::default(),
            shared: Arc::new(shared),
        }
    }

    /// Starts checks that are new in the snapshot, stops those it has no more, and leaves the others alone.
    ///
    /// Endpoints without a check are ready from now on.
    pub fn apply(&self, snapshot: &Snapshot) {
        let mut running = self.running();
        let mut wanted = HashMap::new();
        for upstream in &snapshot.upstreams {
            for endpoint in &upstream.endpoints {
                match &upstream.readiness {
                    Some(settings) => {
                        let key = (upstream.name.clone(), endpoint.address);
                        wanted.insert(key, (settings, upstream.protocol, endpoint));
                    }
                    None => endpoint.state.set_readiness(Readiness::Ready),
                }
            }
        }
        running.retain(|key, task| {
            let stays = wanted.get(key).is_some_and(|(settings, protocol, endpoint)| {
                task.settings == **settings
                    && task.protocol == *protocol
                    && task.authority == authority(endpoint)
            });
            if !stays {
                task.handle.abort();
            }
            stays
        });
        self.shared.counters().retain(|key, _| wanted.contains_key(key));
        for (key, (settings, protocol, endpoint)) in wanted {
            running
                .entry(key)
                .or_insert_with_key(|key| self.begin(key, settings, protocol, endpoint));
        }
    }

    fn begin(&self, key: &Key, settings: &Settings, protocol: UpstreamProtocol, endpoint: &Endpoint) -> Task {
        let counters = Arc::clone(self.shared.counters().entry(key.clone()).or_default());
        let watch = Watch {
            upstream: key.0.clone(),
            endpoint: endpoint.address,
            protocol,
            authority: authority(endpoint),
            settings: settings.clone(),
            state: Arc::clone(&endpoint.state),
            counters,
            first: Some(FirstProbe::new(Arc::clone(&self.shared))),
            shared: Arc::clone(&self.shared),
        };
        Task {
            settings: settings.clone(),
            protocol,
            authority: authority(endpoint),
            handle: self.runtime.spawn(watch.run()),
        }
    }

    /// Waits until each endpoint that is checked was probed once, at most [`FIRST_ROUND_MAX`]: what `/readyz`
    /// waits for, so that a node takes no traffic that it knows nowhere to send.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn first_round_done(&self) -> FirstRound {
        let mut unchecked = self.shared.unchecked.subscribe();
        let done = timeout(FIRST_ROUND_MAX, unchecked.wait_for(|count| *count == 0)).await;
        match done {
            Ok(Ok(_)) => FirstRound::Done,
            Ok(Err(_)) | Err(_) => FirstRound::Late(self.unchecked()),
        }
    }

    /// Endpoints that were not probed yet.
    pub fn unchecked(&self) -> usize {
        *self.shared.unchecked.borrow()
    }

    /// Stops all checks; endpoints keep their last state.
    pub fn stop(&self) {
        for (_, task) in self.running().drain() {
            task.handle.abort();
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn counters(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Counters>>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a check asks for as `Host`: the name that the endpoint came from, else its address.
fn authority(endpoint: &Endpoint) -> String {
    match &endpoint.host {
        Some(host) => format!("{host}:{}", endpoint.address.port()),
        None => endpoint.address.to_string(),
    }
}

/// Adds the metrics of checks; names begin with `gateway_check`.
pub fn register_metrics(registry: &mut prometheus_client::registry::Registry, checks: &Checks) {
    registry.register_collector(Box::new(collect::Health(Arc::clone(&checks.shared))));
}

/// Counts an endpoint as unchecked while it lives; a stopped check drops it, too.
struct FirstProbe(Arc<Shared>);

impl FirstProbe {
    fn new(shared: Arc<Shared>) -> Self {
        shared.unchecked.send_modify(|count| *count += 1);
        Self(shared)
    }
}

impl Drop for FirstProbe {
    fn drop(&mut self) {
        self.0
            .unchecked
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// The check of one endpoint, as a task.
struct Watch {
    upstream: String,
    endpoint: SocketAddr,
    protocol: UpstreamProtocol,
    authority: String,
    settings: Settings,
    state: Arc<EndpointState>,
    counters: Arc<Counters>,
    first: Option<FirstProbe>,
    shared: Arc<Shared>,
}

impl Watch {
    async fn run(mut self) {
        let seed = rand::random();
        let mut check = Check::new(&self.settings, self.state.readiness(), seed);
        let mut event = Event::Started;
        loop {
            let mut next = None;
            for action in check.step(event, Instant::now()) {
                match action {
                    Action::Become(readiness) => self.become_(readiness, &check),
                    Action::Probe => next = Some(self.probe(&mut check).await),
                    Action::WaitUntil(due) => {
                        // What the first probe found is in the cell now.
                        self.first = None;
                        sleep_until(due).await;
                        next = Some(Event::Due);
                    }
                }
            }
            // Every step ends with a probe or a wait.
            let Some(following) = next else { return };
            event = following;
        }
    }

    async fn probe(&mut self, check: &mut Check) -> Event {
        // The semaphore is never closed; without a permit the probe runs all the same.
        let permit = self.shared.probes.acquire().await.ok();
        let outcome = probe::probe(self.endpoint, &self.authority, self.protocol, &self.settings).await;
        drop(permit);
        match outcome {
            Ok(()) => {
                self.counters.passed.fetch_add(1, Ordering::Relaxed);
                Event::Passed
            }
            Err(fault) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                check.why = fault.to_string();
                Event::Failed
            }
        }
    }

    fn become_(&self, readiness: Readiness, check: &Check) {
        let before = self.state.readiness();
        self.state.set_readiness(readiness);
        if before == readiness {
            return;
        }
        self.counters.transitions.fetch_add(1, Ordering::Relaxed);
        let (upstream, endpoint) = (self.upstream.as_str(), self.endpoint);
        match readiness {
            Readiness::Failing => {
                let why = check.why.as_str();
                tracing::warn!(upstream, %endpoint, ?before, why, "endpoint fails its checks");
            }
            Readiness::Ready | Readiness::Unknown => {
                let passed = check.streak();
                tracing::info!(upstream, %endpoint, ?before, passed, "endpoint is ready");
            }
        }
    }
}

#[cfg(test)]
mod tests;
