//! A worker's clock: read once in each sweep, for limits of seconds and the wall time of log lines.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::telemetry::access_log::stamp::{Stamp, Stamps};

/// Time that is cheap to read and good enough for limits of seconds; and the wall clock of log lines.
pub(super) struct Clock {
    coarse: Cell<Instant>,
    /// An instant, and the milliseconds since 1970 that it was.
    wall: Cell<(Instant, u64)>,
    stamps: Stamps,
}

impl Default for Clock {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            coarse: Cell::new(now),
            wall: Cell::new((now, wall())),
            stamps: Stamps::default(),
        }
    }
}

fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since)
}

fn millis(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(1000)
        .saturating_add(u64::from(time.subsec_millis()))
}

impl Clock {
    /// A sweep begins.
    pub(super) fn read(&self, now: Instant) {
        self.coarse.set(now);
        self.wall.set((Instant::now(), wall()));
    }

    /// The time of the last sweep.
    pub(super) fn coarse(&self) -> Instant {
        self.coarse.get()
    }

    /// An instant as a log line has it.
    pub(super) fn stamp(&self, at: Instant) -> Stamp {
        let (anchor, wall) = self.wall.get();
        self.stamps.at(match at.checked_duration_since(anchor) {
            Some(later) => wall.saturating_add(millis(later)),
            None => wall.saturating_sub(millis(anchor.saturating_duration_since(at))),
        })
    }
}
