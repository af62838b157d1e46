//! What the breaker tells of itself: its states and why it changed, in words for a log line and an admin event.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where a breaker stands; as JSON, its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// All calls go.
    Closed,
    /// A growing share of the calls goes.
    Ramping,
    /// None goes.
    Open,
    /// Trial calls go.
    HalfOpen,
    /// None goes, by an operator's word.
    ForcedOpen,
    /// All go, by an operator's word.
    ForcedClosed,
}

impl State {
    /// Its name in logs, metrics and the admin API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Ramping => "ramping",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced-open",
            Self::ForcedClosed => "forced-closed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// The reason.
    pub why: Why,
}

/// Why a breaker changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Too many calls failed.
    Failures {
        /// So many.
        failures: u64,
        /// Of these.
        calls: u64,
        /// In this time.
        within: Duration,
    },
    /// Too many calls were slow.
    Slow {
        /// So many.
        slow: u64,
        /// Of these.
        calls: u64,
        /// In this time.
        within: Duration,
    },
    /// It was open for its time.
    Waited {
        /// That time.
        after: Duration,
    },
    /// Enough trial calls succeeded.
    TrialsPassed {
        /// So many.
        passed: u32,
        /// Of these that ended.
        calls: u32,
    },
    /// Too many trial calls failed, or gave no result in time.
    TrialsFailed {
        /// So many.
        failed: u32,
        /// Of these that ended.
        calls: u32,
    },
    /// Too many trial calls were slow.
    TrialsSlow {
        /// So many.
        slow: u32,
        /// Of these that ended.
        calls: u32,
    },
    /// The ramp is over.
    Ramped {
        /// Its length.
        over: Duration,
    },
    /// An operator wants it so.
    Forced,
    /// An operator took the force back.
    Released,
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures {
                failures,
                calls,
                within,
            } => write!(formatter, "{failures} of {calls} calls failed in {within:?}"),
            Self::Slow { slow, calls, within } => {
                write!(formatter, "{slow} of {calls} calls were slow in {within:?}")
            }
            Self::Waited { after } => write!(formatter, "was open for {after:?}"),
            Self::TrialsPassed { passed, calls } => {
                write!(formatter, "{passed} of {calls} trial calls succeeded")
            }
            Self::TrialsFailed { failed, calls } => {
                write!(formatter, "{failed} of {calls} trial calls failed")
            }
            Self::TrialsSlow { slow, calls } => write!(formatter, "{slow} of {calls} trial calls were slow"),
            Self::Ramped { over } => write!(formatter, "no fault while the share rose for {over:?}"),
            Self::Forced => formatter.write_str("forced by an operator"),
            Self::Released => formatter.write_str("released by an operator"),
        }
    }
}
