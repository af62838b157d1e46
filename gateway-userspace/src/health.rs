//! Checks: which endpoints may get traffic, and which want a restart.
//!
//! Pure: `state` (rise and fall), `startup`, `lease` (pushed heartbeats), `verdict` (what the kinds come to). `probe`
//! asks one endpoint once; `watch` drives: one task for each check of each endpoint, on the control runtime, never on a
//! worker. This file starts and stops them. What is known of an endpoint is in its `record` and outlives snapshots: a
//! changed check begins anew, but what it knew stays until it says otherwise.

mod collect;
mod lease;
mod probe;
mod reason;
mod record;
mod startup;
mod state;
mod status;
mod verdict;
mod watch;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch as channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::config::snapshot::{Endpoint, Health, Kind, Pushed, Snapshot, Upstream};
use crate::events::Events;
use crate::registry::Readiness;
use lease::Renewal;
use probe::Question;
use record::Record;
use watch::{Asking, Listening};

pub use probe::reaches;
pub use status::{KindStatus, Known};

/// Longest wait of [`Checks::first_round_done`].
pub const FIRST_ROUND_MAX: Duration = Duration::from_secs(5);
/// Probes under way at once, so that a thousand endpoints do not take a thousand descriptors.
const PROBES_MAX: usize = 128;
/// Commands under way at once: each is a process.
const COMMANDS_MAX: usize = 16;

/// All checks of the node.
#[derive(Debug)]
pub struct Checks {
    runtime: Handle,
    running: Mutex<Running>,
    /// What pushed heartbeats said last; also of endpoints that the next snapshot will bring.
    renewals: Mutex<HashMap<Key, channel::Sender<Renewal>>>,
    shared: Arc<Shared>,
}

type Key = (String, SocketAddr);
type Running = HashMap<(Key, Kind), Task>;

#[derive(Debug)]
struct Task {
    plan: Plan,
    handle: JoinHandle<()>,
}

/// What a task does; one that is to do something else is another.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Plan {
    /// Ask; a startup check for so long.
    Ask(Box<Question>, Duration),
    /// Wait for renewals.
    Listen(Pushed),
}

/// What the tasks share.
#[derive(Debug)]
struct Shared {
    probes: Semaphore,
    commands: Semaphore,
    /// Checks about traffic whose first probe has not ended.
    unchecked: channel::Sender<usize>,
    records: Mutex<BTreeMap<Key, Arc<Record>>>,
    events: Events,
}

/// Whether every endpoint was checked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstRound {
    /// Each has had at least one probe.
    Done,
    /// That many checks still wait, after [`FIRST_ROUND_MAX`].
    Late(usize),
}

impl Checks {
    /// None yet; tasks will run on that runtime, which must have time and I/O, and tell changes there.
    pub fn start(runtime: Handle, events: Events) -> Self {
        let shared = Shared {
            probes: Semaphore::new(PROBES_MAX),
            commands: Semaphore::new(COMMANDS_MAX),
            unchecked: channel::Sender::new(0),
            records: Mutex::default(),
            events,
        };
        Self {
            runtime,
            running: Mutex::default(),
            renewals: Mutex::default(),
            shared: Arc::new(shared),
        }
    }

    /// Starts checks that are new in the snapshot, stops those it has no more, and leaves the others alone.
    ///
    /// Endpoints without a check are ready from now on.
    pub fn apply(&self, snapshot: &Snapshot) {
        let mut wanted: HashMap<(Key, Kind), Plan> = HashMap::new();
        let mut watched: HashSet<Key> = HashSet::new();
        for upstream in &snapshot.upstreams {
            for endpoint in &upstream.endpoints {
                let key = (upstream.name.clone(), endpoint.address);
                if upstream.health.is_empty() {
                    // What was watched until now becomes ready by an event.
                    if let Some(record) = self.shared.records().get(&key) {
                        record.configure(&upstream.health);
                    }
                    endpoint.state.set_readiness(Readiness::Ready);
                    continue;
                }
                for (kind, plan) in plans(upstream, endpoint) {
                    wanted.insert((key.clone(), kind), plan);
                }
                self.record(&key, endpoint).configure(&upstream.health);
                watched.insert(key);
            }
        }
        self.shared.records().retain(|key, _| watched.contains(key));
        self.renewals()
            .retain(|key, _| wanted.contains_key(&(key.clone(), Kind::Heartbeat)));
        let mut running = self.running();
        running.retain(|check, task| {
            let stays = wanted.get(check) == Some(&task.plan);
            if !stays {
                task.handle.abort();
            }
            stays
        });
        for (check, plan) in wanted {
            if !running.contains_key(&check)
                && let Some(task) = self.begin(&check, plan)
            {
                running.insert(check, task);
            }
        }
    }

    fn record(&self, key: &Key, endpoint: &Endpoint) -> Arc<Record> {
        let mut records = self.shared.records();
        let record = records.entry(key.clone()).or_insert_with(|| {
            Arc::new(Record::new(
                &key.0,
                key.1,
                &endpoint.state,
                self.shared.events.clone(),
            ))
        });
        Arc::clone(record)
    }

    fn begin(&self, (key, kind): &(Key, Kind), plan: Plan) -> Option<Task> {
        let record = Arc::clone(self.shared.records().get(key)?);
        let handle = match &plan {
            Plan::Ask(question, grace) => {
                let is_waited_for = matches!(kind, Kind::Heartbeat | Kind::Readiness);
                let asking = Asking {
                    question: (**question).clone(),
                    grace: *grace,
                    record,
                    first: is_waited_for.then(|| FirstProbe::new(Arc::clone(&self.shared))),
                    shared: Arc::clone(&self.shared),
                };
                self.runtime.spawn(asking.run())
            }
            Plan::Listen(pushed) => {
                let renewals = self.renewals_of(key, channel::Sender::subscribe);
                let listening = Listening {
                    pushed: *pushed,
                    record,
                    renewals,
                };
                self.runtime.spawn(listening.run())
            }
        };
        Some(Task { plan, handle })
    }

    /// A pushed heartbeat came: the endpoint lives for that long. For one whose heartbeat is pushed, now or from the
    /// next snapshot on, which must follow.
    pub fn renew(&self, upstream: &str, endpoint: SocketAddr, ttl: Duration) {
        let until = Instant::now() + ttl;
        let key = (upstream.to_owned(), endpoint);
        self.renewals_of(&key, |renewals| renewals.send_replace(Renewal::Until(until)));
    }

    /// An endpoint whose heartbeat is pushed goes: it fails until it renews itself.
    pub fn withdraw(&self, upstream: &str, endpoint: SocketAddr) {
        let key = (upstream.to_owned(), endpoint);
        self.renewals_of(&key, |renewals| renewals.send_replace(Renewal::Withdrawn));
    }

    fn renewals_of<T>(&self, key: &Key, take: impl FnOnce(&channel::Sender<Renewal>) -> T) -> T {
        let mut renewals = self.renewals();
        take(
            renewals
                .entry(key.clone())
                .or_insert_with(|| channel::Sender::new(Renewal::Never)),
        )
    }

    /// Waits until each check about traffic was made once, at most [`FIRST_ROUND_MAX`]: what `/readyz`
    /// waits for, so that a node takes no traffic that it knows nowhere to send. Pushed heartbeats are not waited for.
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

    /// Checks about traffic that were not made yet.
    pub fn unchecked(&self) -> usize {
        *self.shared.unchecked.borrow()
    }

    /// What is known of each endpoint that is watched.
    pub fn known(&self) -> Known {
        let records = self.shared.records();
        Known::of(records.iter().map(|(key, record)| (key, &**record)))
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

    fn renewals(&self) -> MutexGuard<'_, HashMap<Key, channel::Sender<Renewal>>> {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Record>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be done about an endpoint.
fn plans(upstream: &Upstream, endpoint: &Endpoint) -> Vec<(Kind, Plan)> {
    let health: &Health = &upstream.health;
    let grace = health.startup.as_ref().map(|startup| startup.grace);
    let asked = health.asked().map(|(kind, check)| {
        let question = Question {
            upstream: upstream.name.clone(),
            endpoint: endpoint.address,
            host: endpoint.host.as_deref().map(str::to_owned),
            protocol: upstream.protocol,
            tls: upstream.tls.clone(),
            security: upstream.security(),
            proxy_header: upstream.proxy_header,
            channels: Arc::clone(&endpoint.channels),
            kind,
            check: check.clone(),
        };
        let grace = grace.filter(|_| kind == Kind::Startup).unwrap_or_default();
        (kind, Plan::Ask(Box::new(question), grace))
    });
    let pushed = health
        .pushed()
        .map(|pushed| (Kind::Heartbeat, Plan::Listen(pushed)));
    asked.chain(pushed).collect()
}

/// Adds the metrics of checks; names begin with `gateway_check`.
pub fn register_metrics(registry: &mut prometheus_client::registry::Registry, checks: &Checks) {
    registry.register_collector(Box::new(collect::Collected(Arc::clone(&checks.shared))));
}

/// Counts a check as not made while it lives; a stopped one drops it, too.
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

#[cfg(test)]
mod tests;
