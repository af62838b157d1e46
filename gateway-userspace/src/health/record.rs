//! What is known of one endpoint, kept through edits of the configuration; each change of it is an event.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::reason::Reason;
use super::verdict::{Change, Known, Verdict};
use crate::config::snapshot::{Health, Kind};
use crate::events::{self, Events, Told, Volume};
use crate::registry::{EndpointState, Readiness};

/// One endpoint: its verdict, its counters, and the cell from which workers read.
#[derive(Debug)]
pub(super) struct Record {
    upstream: String,
    endpoint: SocketAddr,
    /// Where changes are told.
    events: Events,
    cell: Arc<EndpointState>,
    verdict: Mutex<Verdict>,
    /// In the order of [`Kind::ALL`].
    counters: [Counters; Kind::ALL.len()],
    transitions: Mutex<BTreeMap<Transition, u64>>,
}

/// Probes of one kind.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) passed: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// What is counted of a change: words, of which there are few.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Transition {
    /// The kind of check, or `endpoint` for the whole.
    pub(super) kind: &'static str,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) why: &'static str,
}

/// The word for what is known.
pub(super) fn word(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Unknown => "unknown",
        Readiness::Ready => "ready",
        Readiness::Failing => "failing",
    }
}

impl Record {
    /// One that begins with what its cell says.
    pub(super) fn new(
        upstream: &str,
        endpoint: SocketAddr,
        cell: &Arc<EndpointState>,
        events: Events,
    ) -> Self {
        Self {
            upstream: upstream.to_owned(),
            endpoint,
            events,
            cell: Arc::clone(cell),
            verdict: Mutex::new(Verdict::new(cell.readiness())),
            counters: Default::default(),
            transitions: Mutex::default(),
        }
    }

    /// From which workers read.
    pub(super) fn cell(&self) -> &EndpointState {
        &self.cell
    }

    /// Takes over which kinds of check there are.
    pub(super) fn configure(&self, health: &Health) {
        let mut verdict = self.verdict();
        let changes = verdict.configure(health, Instant::now());
        self.tell(&verdict, changes);
    }

    /// A check changed what it knows.
    pub(super) fn found(&self, kind: Kind, to: Readiness, why: &Reason) {
        let mut verdict = self.verdict();
        let changes = verdict.found(kind, to, why, Instant::now());
        self.tell(&verdict, changes);
    }

    /// A probe passed.
    pub(super) fn passed(&self, kind: Kind) {
        if let Some(counters) = self.counters(kind) {
            counters.passed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A probe failed.
    pub(super) fn failed(&self, kind: Kind, why: &Reason) {
        if let Some(counters) = self.counters(kind) {
            counters.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.verdict().note(kind, why);
    }

    /// Whether failures do not count yet.
    pub(super) fn is_starting(&self) -> bool {
        self.verdict().is_starting()
    }

    /// What one kind knows.
    pub(super) fn known(&self, kind: Kind) -> Option<Known> {
        self.verdict().known(kind).cloned()
    }

    /// What every kind knows.
    pub(super) fn kinds(&self) -> Vec<(Kind, Known)> {
        let verdict = self.verdict();
        verdict
            .kinds()
            .map(|(kind, known)| (kind, known.clone()))
            .collect()
    }

    /// The counters of one kind.
    pub(super) fn counters(&self, kind: Kind) -> Option<&Counters> {
        let index = Kind::ALL.iter().position(|other| *other == kind)?;
        self.counters.get(index)
    }

    /// How often each change came.
    pub(super) fn transitions(&self) -> BTreeMap<Transition, u64> {
        let transitions = self.transitions.lock();
        transitions.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn verdict(&self) -> MutexGuard<'_, Verdict> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, verdict: &Verdict, changes: Vec<Change>) {
        self.cell.set_readiness(verdict.readiness());
        for change in changes {
            let transition = Transition {
                kind: change.kind.map_or("endpoint", Kind::word),
                from: word(change.from),
                to: word(change.to),
                why: change.why.code,
            };
            let mut transitions = self.transitions.lock().unwrap_or_else(PoisonError::into_inner);
            *transitions.entry(transition).or_default() += 1;
            drop(transitions);
            self.record(change);
        }
    }

    fn record(&self, change: Change) {
        let (line, volume) = line(change.kind, change.to);
        self.events.tell(Told {
            kind: events::Kind::Check,
            check: change.kind.map(Kind::word),
            upstream: &self.upstream,
            endpoint: Some(self.endpoint),
            from: word(change.from),
            to: word(change.to),
            code: change.why.code,
            why: change.why.text,
            line,
            volume,
        });
    }
}

/// What the log says of a change; without a kind, of the whole endpoint.
fn line(kind: Option<Kind>, to: Readiness) -> (&'static str, Volume) {
    match (kind, to) {
        (None, Readiness::Failing) => ("endpoint fails its checks", Volume::Warn),
        (None, Readiness::Ready) => ("endpoint is ready", Volume::Info),
        (None, Readiness::Unknown) => ("endpoint is unknown", Volume::Info),
        (Some(Kind::Liveness), Readiness::Failing) => {
            ("endpoint does not live: restart or replace it", Volume::Warn)
        }
        (Some(Kind::Startup), Readiness::Failing) => ("endpoint did not start in time", Volume::Warn),
        (Some(_), Readiness::Failing) => ("a check fails", Volume::Info),
        (Some(_), Readiness::Ready) => ("a check passes", Volume::Info),
        (Some(_), Readiness::Unknown) => ("a check does not count yet", Volume::Info),
    }
}
