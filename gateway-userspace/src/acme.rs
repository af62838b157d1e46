//! Certificates that an authority issues by ACME (RFC 8555): ordered when they are missing, renewed in time, kept in files.
//!
//! One task of the control runtime orders one certificate after another. What it gets it writes to the files of
//! `listener.certificates`, and that is all: whoever watches these files puts it in force (`control/certificates.rs`), as if
//! an operator had renewed them. Names are validated by HTTP-01, which any node can answer that has the account's key
//! (`acme/challenge.rs`); TLS-ALPN-01 needs the token where the client's hello is read, and nodes behind one VIP share none.

mod account;
mod authority;
pub mod challenge;
mod client;
mod collect;
mod files;
mod order;
mod renewal;
mod schedule;
mod settings;
mod shown;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::registry::Registry as Metrics;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};

use crate::events::Events;
use crate::names::Asker;
use challenge::Thumbprint;
use client::Client;
use files::found;
use order::Issued;
use renewal::Suggestion;
use schedule::{Chance, Due, Found, due, wait};
use shown::Board;

pub use account::AccountKey;
pub use settings::{Binding, Settings, Wanted};
pub use shown::{Last, Shown};

/// Between two looks at the files that nothing asked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// One order may take so long; of several that are due at once each has its own time.
const ORDER_MAX: Duration = Duration::from_secs(300);

/// The ordering of the node.
#[derive(Debug)]
pub struct Issuer {
    runtime: Handle,
    /// Who tells the authority's addresses.
    names: Asker,
    events: Events,
    /// What challenges are answered by.
    thumbprint: Arc<Thumbprint>,
    board: Board,
    wake: Arc<Notify>,
    task: Mutex<Option<Task>>,
}

#[derive(Debug)]
struct Task {
    settings: Arc<Settings>,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Issuer {
    /// Orders nothing yet.
    pub fn start(runtime: Handle, names: Asker, events: Events, thumbprint: Arc<Thumbprint>) -> Self {
        Self {
            runtime,
            names,
            events,
            thumbprint,
            board: Board::default(),
            wake: Arc::default(),
            task: Mutex::default(),
        }
    }

    /// Orders what those settings want, and nothing else any longer. Where nothing has changed, waits after failures go on.
    pub fn apply(&self, settings: Option<&Settings>) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().map(|task| &*task.settings) == settings {
            return;
        }
        *task = None;
        self.board.keep(settings.map_or(&[], |settings| &settings.wanted));
        let Some(settings) = settings else {
            return self.thumbprint.set(None);
        };
        for wanted in &settings.wanted {
            // A directory that is there is watched from the first.
            if let Err(error) = files::make_directory(&wanted.cert_file) {
                tracing::warn!(%error, file = %wanted.cert_file.display(), "its directory cannot be made");
            }
        }
        let settings = Arc::new(settings.clone());
        let keeper = Keeper {
            settings: Arc::clone(&settings),
            client: Client::new(self.names.clone(), Arc::clone(&settings.tls)),
            events: self.events.clone(),
            thumbprint: Arc::clone(&self.thumbprint),
            board: self.board.clone(),
        };
        let wake = Arc::clone(&self.wake);
        let handle = self.runtime.spawn(async move { keeper.keep(&wake).await });
        *task = Some(Task { settings, handle });
    }

    /// Files have changed: some may be gone.
    pub fn look(&self) {
        self.wake.notify_one();
    }

    /// What is had, in the order of the configuration.
    pub fn shown(&self) -> Vec<Shown> {
        self.board.shown()
    }
}

/// Registers what is told of orders.
pub fn register_metrics(metrics: &mut Metrics, issuer: &Issuer) {
    metrics.register_collector(Box::new(collect::Collected(issuer.board.clone())));
}

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Account(#[from] account::Fault),
    #[error(transparent)]
    Order(#[from] order::Fault),
    #[error(transparent)]
    Files(#[from] files::Fault),
    #[error("writing the files ended early")]
    Ended(#[from] JoinError),
    #[error("nothing within {ORDER_MAX:?}")]
    Late,
}

/// What the task has.
struct Keeper {
    settings: Arc<Settings>,
    client: Client,
    events: Events,
    thumbprint: Arc<Thumbprint>,
    board: Board,
}

/// A certificate, as the task knows it.
struct Job {
    wanted: Arc<Wanted>,
    /// Its place among the others'.
    index: usize,
    chance: Chance,
    suggestion: Suggestion,
    /// Orders that failed in a row.
    failures: u32,
    /// No order earlier.
    earliest: Instant,
}

impl Keeper {
    /// Orders for ever.
    async fn keep(&self, wake: &Notify) {
        let begun = Instant::now();
        let wanted = self.settings.wanted.iter().enumerate();
        let mut jobs: Vec<Job> = wanted
            .map(|(index, wanted)| self.job(index, wanted, begun))
            .collect();
        loop {
            let mut next = Instant::now() + LOOK_INTERVAL;
            for job in &mut jobs {
                next = next.min(self.look_after(job).await);
            }
            tokio::select! {
                () = sleep_until(next) => {}
                () = wake.notified() => {}
            }
        }
    }

    fn job(&self, index: usize, wanted: &Arc<Wanted>, begun: Instant) -> Job {
        Job {
            wanted: Arc::clone(wanted),
            index,
            chance: Chance::random(),
            suggestion: Suggestion::default(),
            failures: 0,
            earliest: begun + Chance::random().of_time(self.settings.spread),
        }
    }

    /// Orders a certificate if it is time; when to look after it again.
    async fn look_after(&self, job: &mut Job) -> Instant {
        let key = self.key();
        let found = self.found(job).await;
        if let (Found::Facts(facts), Ok(Some(key))) = (&found, &key)
            && job.suggestion.is_due(facts, Instant::now())
        {
            let Self { settings, client, .. } = self;
            job.suggestion.ask(settings, key, client, facts, job.chance).await;
        }
        let now = SystemTime::now();
        let mut due = job.due(&found, now);
        if due.remaining(now).is_zero() && Instant::now() >= job.earliest {
            tracing::info!(names = ?job.wanted.names, why = due.why, "ordering a certificate");
            let facts = self.order(job, &found, key).await;
            due = job.due(&facts, SystemTime::now());
        }
        let next = job
            .earliest
            .max(Instant::now() + due.remaining(SystemTime::now()));
        let next_at = SystemTime::now() + next.saturating_duration_since(Instant::now());
        self.board.next(job.index, next_at, &due.why);
        next
    }

    /// The account's key, as its file has it now: a node of a cluster may get it late. Its thumbprint is known from here on.
    fn key(&self) -> Result<Option<AccountKey>, (String, String)> {
        let key = AccountKey::load(&self.settings.account_key_file);
        let thumbprint = key.as_ref().ok().and_then(Option::as_ref);
        self.thumbprint.set(thumbprint.map(|key| key.thumbprint.as_str()));
        key
    }

    async fn found(&self, job: &Job) -> Found {
        let wanted = Arc::clone(&job.wanted);
        let found = spawn_blocking(move || found(&wanted)).await;
        let found = found.unwrap_or_else(|error| Found::Broken(error.to_string()));
        self.board.found(job.index, &found);
        found
    }

    /// Orders it, and tells what came of it; what is there then.
    async fn order(
        &self,
        job: &mut Job,
        before: &Found,
        key: Result<Option<AccountKey>, (String, String)>,
    ) -> Found {
        // What it asked for with an earlier refusal is over.
        self.client.take_retry_after();
        let ordered = timeout(ORDER_MAX, self.ordered(&job.wanted, key)).await;
        let ordered = ordered.unwrap_or(Err(Fault::Late));
        let retry = self.settings.retry;
        let (outcome, why, delay) = match ordered {
            Ok(until) => {
                job.failures = 0;
                let until = humantime::format_rfc3339_seconds(until);
                (Last::Issued, format!("valid until {until}"), retry)
            }
            Err(error) => {
                job.failures = job.failures.saturating_add(1);
                let delay = wait(
                    job.failures,
                    retry,
                    self.client.take_retry_after(),
                    Chance::random(),
                );
                (Last::Failed, format!("{:#}", anyhow::Error::from(error)), delay)
            }
        };
        // Whatever the outcome, an authority is not asked for the same at every look.
        job.earliest = Instant::now() + delay;
        let has = match before {
            Found::Facts(_) => "valid",
            Found::Missing | Found::Broken(_) => "none",
        };
        let said = match outcome {
            Last::Issued => why.clone(),
            Last::Failed => format!("{why}; the next try is in {}", shown::rounded(delay)),
        };
        let listener = job.wanted.listeners.first().map_or("", String::as_str);
        self.events
            .tell_order(listener, &job.wanted.cert_file, has, outcome.word(), &said);
        self.board.ended(job.index, outcome, why);
        self.found(job).await
    }

    /// Orders it; until when what was issued is valid.
    async fn ordered(
        &self,
        wanted: &Arc<Wanted>,
        key: Result<Option<AccountKey>, (String, String)>,
    ) -> Result<SystemTime, Fault> {
        let key = key.map_err(|(fault, remedy)| account::Fault::Key(fault, remedy))?;
        let account = account::open(&self.settings, key.as_ref(), &self.client).await?;
        // It may be new.
        self.thumbprint.set(Some(account.key_thumbprint()));
        let issued: Issued = order::issue(&account, &wanted.names).await?;
        let wanted = Arc::clone(wanted);
        let facts = spawn_blocking(move || files::replace(&wanted, &issued)).await??;
        Ok(facts.not_after)
    }
}

impl Job {
    fn due(&self, found: &Found, now: SystemTime) -> Due {
        let suggested = match found {
            Found::Facts(facts) => self.suggestion.of(facts),
            Found::Missing | Found::Broken(_) => None,
        };
        due(found, &self.wanted.names, suggested, self.chance, now)
    }
}
