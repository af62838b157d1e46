//! What is to be done about channels and why, in words for a log line and an admin event.

use std::fmt;
use std::time::Duration;

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<K> {
    /// Calls that begin from now on go over another channel.
    Switch {
        /// Not over this one.
        from: K,
        /// Over this one.
        to: K,
        /// The reason.
        why: Why,
    },
    /// Try the first channel, and say how it went.
    Probe {
        /// That channel.
        key: K,
    },
}

/// Why the channel changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Communication failed.
    Failed,
    /// All channels failed lately; this one did so longest ago.
    AllFail,
    /// The first works again.
    Recovered {
        /// Good probes in a row.
        passes: u32,
        /// Time it was left alone.
        away: Duration,
    },
    /// The channel was taken out of the configuration.
    Removed,
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed => formatter.write_str("communication failed"),
            Self::AllFail => formatter.write_str("all channels fail, and this one failed longest ago"),
            Self::Recovered { passes, away } => {
                write!(
                    formatter,
                    "{passes} probes in a row succeeded, after {:.1}s away",
                    away.as_secs_f64()
                )
            }
            Self::Removed => formatter.write_str("the channel is not configured any more"),
        }
    }
}
