//! What is to be done to members and why, in words for a log line and an admin event.

use std::fmt;
use std::time::Duration;

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action<K> {
    /// Give it no traffic.
    Eject {
        /// Which.
        key: K,
        /// It comes back about then.
        until: Duration,
        /// The reason.
        why: Why,
    },
    /// Give it traffic again, slowly at first.
    Restore {
        /// Which.
        key: K,
    },
}

/// Why a member was ejected. Rates are shares of calls that succeeded, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// Calls failed in a row.
    Consecutive {
        /// So many.
        failures: u32,
    },
    /// Too large a share of calls failed.
    FailureRatio {
        /// So many.
        failures: u64,
        /// Of these.
        calls: u64,
        /// In this time.
        within: Duration,
    },
    /// Its success rate is far below the mean.
    SuccessRate {
        /// Its own.
        rate: f64,
        /// That of all compared.
        mean: f64,
        /// What was still allowed.
        least: f64,
    },
    /// Its success rate is far below the others'.
    BehindOthers {
        /// Its own.
        rate: f64,
        /// Theirs.
        others: f64,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consecutive { failures } => write!(formatter, "{failures} calls failed in a row"),
            Self::FailureRatio {
                failures,
                calls,
                within,
            } => write!(formatter, "{failures} of {calls} calls failed in {within:?}"),
            Self::SuccessRate { rate, mean, least } => write!(
                formatter,
                "{:.1}% of calls succeeded, below {:.1}% where the mean is {:.1}%",
                rate * 100.0,
                least * 100.0,
                mean * 100.0
            ),
            Self::BehindOthers { rate, others } => write!(
                formatter,
                "{:.1}% of calls succeeded, with the others {:.1}%",
                rate * 100.0,
                others * 100.0
            ),
        }
    }
}
