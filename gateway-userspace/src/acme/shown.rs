//! What operators are told of certificates that are had by ACME.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::Wanted;
use super::schedule::Found;

/// A certificate and its orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What is wanted.
    pub wanted: Arc<Wanted>,
    /// Until when the one is valid that is there; `None`: there is none that can be used.
    pub until: Option<SystemTime>,
    /// When it is ordered next at the earliest, and why; `None`: nobody has looked yet.
    pub next: Option<(SystemTime, String)>,
    /// How the last order ended, when, and what is to be said of it.
    pub last: Option<(Last, SystemTime, String)>,
    /// Orders since the start by which it was issued.
    pub issued: u64,
    /// Those that failed.
    pub failed: u64,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// With a certificate.
    Issued,
    /// Without.
    Failed,
}

impl Last {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Failed => "failed",
        }
    }
}

/// Where it stands; all clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<Mutex<Vec<Shown>>>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, Vec<Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut Shown)) {
        if let Some(shown) = self.lock().get_mut(index) {
            change(shown);
        }
    }

    /// Those are wanted now; what is known of the same files stays.
    pub(super) fn keep(&self, wanted: &[Arc<Wanted>]) {
        let mut all = self.lock();
        let before = std::mem::take(&mut *all);
        let file = |wanted: &Wanted| -> PathBuf { wanted.cert_file.clone() };
        for wanted in wanted {
            let held = before.iter().find(|held| file(&held.wanted) == file(wanted));
            let next = Shown {
                wanted: Arc::clone(wanted),
                until: None,
                next: None,
                last: None,
                issued: 0,
                failed: 0,
            };
            all.push(match held {
                Some(held) => Shown {
                    wanted: Arc::clone(wanted),
                    next: None,
                    ..held.clone()
                },
                None => next,
            });
        }
    }

    pub(super) fn found(&self, index: usize, found: &Found) {
        let until = match found {
            Found::Facts(facts) => Some(facts.not_after),
            Found::Missing | Found::Broken(_) => None,
        };
        self.change(index, |shown| shown.until = until);
    }

    pub(super) fn next(&self, index: usize, at: SystemTime, why: &str) {
        self.change(index, |shown| shown.next = Some((at, why.to_owned())));
    }

    pub(super) fn ended(&self, index: usize, outcome: Last, why: String) {
        self.change(index, |shown| {
            shown.last = Some((outcome, SystemTime::now(), why));
            match outcome {
                Last::Issued => shown.issued += 1,
                Last::Failed => shown.failed += 1,
            }
        });
    }

    pub(super) fn shown(&self) -> Vec<Shown> {
        self.lock().clone()
    }
}

/// A time without what nobody reads.
pub(super) fn rounded(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs().max(1)))
}
