//! What is known of one endpoint, kept through edits of the configuration; each change of it is an event.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::reason::Reason;
use super::verdict::{Change, Known, Verdict};
use crate::config::snapshot::{Health, Kind};
use crate::registry::{EndpointState, Readiness};

/// One endpoint: its verdict, its counters, and the cell from which workers read.
#[derive(Debug)]
pub(super) struct Record {
    upstream: String,
    endpoint: SocketAddr,
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
    pub(super) fn new(upstream: &str, endpoint: SocketAddr, cell: &Arc<EndpointState>) -> Self {
        Self {
            upstream: upstream.to_owned(),
            endpoint,
            cell: Arc::clone(cell),
            verdict: Mutex::new(Verdict::new(cell.readiness())),
            counters: Default::default(),
            transitions: Mutex::default(),
        }
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
            self.log(&change);
            let transition = Transition {
                kind: change.kind.map_or("endpoint", Kind::word),
                from: word(change.from),
                to: word(change.to),
                why: change.why.code,
            };
            let mut transitions = self.transitions.lock().unwrap_or_else(PoisonError::into_inner);
            *transitions.entry(transition).or_default() += 1;
        }
    }

    fn log(&self, change: &Change) {
        let (upstream, endpoint) = (self.upstream.as_str(), self.endpoint);
        let (from, to) = (word(change.from), word(change.to));
        let (code, why) = (change.why.code, change.why.text.as_str());
        let Some(kind) = change.kind else {
            match change.to {
                Readiness::Failing => {
                    tracing::warn!(upstream, %endpoint, kind = "endpoint", from, to, code, why, "endpoint fails its checks");
                }
                Readiness::Ready => {
                    tracing::info!(upstream, %endpoint, kind = "endpoint", from, to, code, why, "endpoint is ready");
                }
                Readiness::Unknown => {
                    tracing::info!(upstream, %endpoint, kind = "endpoint", from, to, code, why, "endpoint is unknown");
                }
            }
            return;
        };
        let kind_word = kind.word();
        match (kind, change.to) {
            (Kind::Liveness, Readiness::Failing) => {
                tracing::warn!(upstream, %endpoint, kind = kind_word, from, to, code, why, "endpoint does not live: restart or replace it");
            }
            (Kind::Startup, Readiness::Failing) => {
                tracing::warn!(upstream, %endpoint, kind = kind_word, from, to, code, why, "endpoint did not start in time");
            }
            (_, Readiness::Failing) => {
                tracing::info!(upstream, %endpoint, kind = kind_word, from, to, code, why, "a check fails");
            }
            (_, Readiness::Ready) => {
                tracing::info!(upstream, %endpoint, kind = kind_word, from, to, code, why, "a check passes");
            }
            (_, Readiness::Unknown) => {
                tracing::info!(upstream, %endpoint, kind = kind_word, from, to, code, why, "a check does not count yet");
            }
        }
    }
}
