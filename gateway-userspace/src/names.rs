//! Host names of endpoints: which addresses they have now.
//!
//! `state` decides when to ask and what to keep (pure), `ask` asks once, this file drives: one task for each name, on
//! the control runtime, never on a worker. What is known goes to `config::compile` as [`Answers`]; that a changed answer
//! becomes a new snapshot is left to `control`.

mod ask;
mod asker;
mod collect;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::{Answers, Settings};
use ask::Source;
pub use asker::Asker;
use state::{Action, Event, Name};

/// How long a start or a reload waits for the first answers; then it goes on without those that are missing.
pub const FIRST_ANSWERS_MAX: Duration = Duration::from_secs(5);
/// Names asked for at once: each takes two sockets, and servers limit what one client may ask.
const ASKS_MAX: usize = 64;

/// All names of the node.
#[derive(Debug)]
pub struct Names {
    runtime: Handle,
    running: Mutex<HashMap<Arc<str>, JoinHandle<()>>>,
    shared: Arc<Shared>,
}

/// What the tasks share.
#[derive(Debug)]
struct Shared {
    source: Mutex<Arc<Source>>,
    asks: Semaphore,
    /// Names that were not asked for yet.
    unasked: watch::Sender<usize>,
    answers: watch::Sender<Answers>,
    counters: Mutex<BTreeMap<Arc<str>, Arc<Counters>>>,
}

/// Of one name.
#[derive(Debug, Default)]
struct Counters {
    asked: AtomicU64,
    failed: AtomicU64,
    /// When the last good answer came.
    answered: Mutex<Option<Instant>>,
}

/// Whether every name was asked for once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstAnswers {
    /// Each was.
    Asked,
    /// That many still wait, after [`FIRST_ANSWERS_MAX`].
    Late(usize),
}

impl Names {
    /// None yet; tasks will run on that runtime, which must have time and I/O.
    pub fn start(runtime: Handle) -> Self {
        let shared = Shared {
            source: Mutex::new(Arc::new(Source::new(&[]))),
            asks: Semaphore::new(ASKS_MAX),
            unasked: watch::Sender::new(0),
            answers: watch::Sender::new(Answers::default()),
            counters: Mutex::default(),
        };
        Self {
            runtime,
            running: Mutex::default(),
            shared: Arc::new(shared),
        }
    }

    /// Asks for the names that are new in those settings, and goes on with all others.
    ///
    /// For settings that are not in force yet: [`Names::apply`] must follow, with them or with the old ones.
    pub fn prepare(&self, settings: &Settings) {
        let mut running = self.running();
        for host in settings.names() {
            running
                .entry(host)
                .or_insert_with_key(|host| self.runtime.spawn(self.resolution(host).run()));
        }
    }

    /// Asks for the names of those settings, of those servers, and forgets all others.
    pub fn apply(&self, settings: &Settings) {
        {
            let mut source = self.shared.source();
            if source.servers() != settings.dns_servers {
                *source = Arc::new(Source::new(&settings.dns_servers));
            }
        }
        self.prepare(settings);
        let wanted = settings.names();
        self.running().retain(|host, task| {
            let stays = wanted.contains(host);
            if !stays {
                task.abort();
            }
            stays
        });
        self.shared.counters().retain(|host, _| wanted.contains(host));
        // Nobody uses them any more: no change that a snapshot would have to follow.
        self.shared.answers.send_if_modified(|answers| {
            answers.by_name.retain(|host, _| wanted.contains(host));
            false
        });
    }

    fn resolution(&self, host: &Arc<str>) -> Resolution {
        let counters = Arc::clone(self.shared.counters().entry(Arc::clone(host)).or_default());
        Resolution {
            host: Arc::clone(host),
            counters,
            first: Some(FirstAsk::new(Arc::clone(&self.shared))),
            failing: Failing::No,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Waits until each name was asked for once, at most [`FIRST_ANSWERS_MAX`].
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub fn first_answers(&self) -> impl Future<Output = FirstAnswers> + use<> {
        let mut unasked = self.shared.unasked.subscribe();
        async move {
            let done = timeout(FIRST_ANSWERS_MAX, unasked.wait_for(|count| *count == 0)).await;
            if matches!(done, Ok(Ok(_))) {
                return FirstAnswers::Asked;
            }
            drop(done);
            let missing = *unasked.borrow();
            FirstAnswers::Late(missing)
        }
    }

    /// Asks for other names than endpoints', of the same servers.
    pub fn asker(&self) -> Asker {
        Asker::new(&self.shared)
    }

    /// What is known now.
    pub fn answers(&self) -> Answers {
        self.shared.answers.borrow().clone()
    }

    /// Number of what is known now: another one after each change.
    pub fn answers_number(&self) -> u64 {
        self.shared.answers.borrow().number
    }

    /// Stops asking; what is known stays.
    pub fn stop(&self) {
        for (_, task) in self.running().drain() {
            task.abort();
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Arc<str>, JoinHandle<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn counters(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Counters>>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn source(&self) -> MutexGuard<'_, Arc<Source>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the metrics of names; they begin with `gateway_name`.
pub fn register_metrics(registry: &mut prometheus_client::registry::Registry, names: &Names) {
    registry.register_collector(Box::new(collect::Collected(Arc::clone(&names.shared))));
}

/// Counts a name as not asked for while it lives; a stopped task drops it, too.
struct FirstAsk(Arc<Shared>);

impl FirstAsk {
    fn new(shared: Arc<Shared>) -> Self {
        shared.unasked.send_modify(|count| *count += 1);
        Self(shared)
    }
}

impl Drop for FirstAsk {
    fn drop(&mut self) {
        self.0
            .unasked
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Whether the last answer was a good one: what the log says changes of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failing {
    No,
    Yes,
}

/// One name, as a task.
struct Resolution {
    host: Arc<str>,
    counters: Arc<Counters>,
    first: Option<FirstAsk>,
    failing: Failing,
    shared: Arc<Shared>,
}

impl Resolution {
    async fn run(mut self) {
        let mut name = Name::new(rand::random());
        let mut event = Event::Started;
        loop {
            let mut next = None;
            for action in name.step(event, Instant::now()) {
                match action {
                    Action::Ask => next = Some(self.ask().await),
                    Action::Become(addresses) => self.become_(addresses),
                    Action::WaitUntil(due) => {
                        // What the first question found is among the answers now.
                        self.first = None;
                        sleep_until(due).await;
                        next = Some(Event::Due);
                    }
                }
            }
            // Every step ends with a question or a wait.
            let Some(following) = next else { return };
            event = following;
        }
    }

    async fn ask(&mut self) -> Event {
        // The semaphore is never closed; without a permit the question is asked all the same.
        let permit = self.shared.asks.acquire().await.ok();
        let source = Arc::clone(&self.shared.source());
        let answer = source.ask(&self.host).await;
        drop(permit);
        self.counters.asked.fetch_add(1, Ordering::Relaxed);
        let host = &*self.host;
        match (answer.fault(), self.failing) {
            (Some(why), before) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                if before == Failing::No {
                    tracing::warn!(host, why, "a name cannot be resolved; what it had stays");
                }
                self.failing = Failing::Yes;
            }
            (None, before) => {
                if before == Failing::Yes {
                    tracing::info!(host, "a name can be resolved again");
                }
                self.failing = Failing::No;
                let mut answered = self
                    .counters
                    .answered
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *answered = Some(Instant::now());
            }
        }
        Event::Answered(answer)
    }

    fn become_(&self, addresses: Vec<IpAddr>) {
        tracing::info!(host = &*self.host, ?addresses, "a name has new addresses");
        self.shared.answers.send_modify(|answers| {
            answers.number += 1;
            answers.by_name.insert(Arc::clone(&self.host), addresses);
        });
    }
}

#[cfg(test)]
pub(crate) mod tests;
