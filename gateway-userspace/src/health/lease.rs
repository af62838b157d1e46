//! A pushed heartbeat: an endpoint that renews itself is ready until its time is over. Pure, no clock of its own.

use tokio::time::Instant;

use crate::registry::Readiness;

/// What an endpoint said of itself last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Nothing yet.
    Never,
    /// It lives until then, at least.
    Until(Instant),
    /// It goes.
    Withdrawn,
}

/// The heartbeat of one endpoint.
#[derive(Debug)]
pub(super) struct Lease {
    readiness: Readiness,
    until: Instant,
}

impl Lease {
    /// One that begins with what is known, and fails then if nothing comes.
    pub(super) fn new(readiness: Readiness, until: Instant) -> Self {
        Self { readiness, until }
    }

    /// Takes what the endpoint said; what the heartbeat is from now on, if that is new.
    pub(super) fn heard(&mut self, renewal: Renewal, now: Instant) -> Option<Readiness> {
        match renewal {
            Renewal::Never => None,
            Renewal::Until(until) => {
                self.until = until;
                let next = if now < until { Readiness::Ready } else { Readiness::Failing };
                self.turn(next)
            }
            Renewal::Withdrawn => self.turn(Readiness::Failing),
        }
    }

    /// Looks whether the time is over; what the heartbeat is from now on, if that is new.
    pub(super) fn look(&mut self, now: Instant) -> Option<Readiness> {
        (now >= self.until).then_some(())?;
        self.turn(Readiness::Failing)
    }

    /// When to look again; `None`: only a renewal changes anything.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.readiness != Readiness::Failing).then_some(self.until)
    }

    fn turn(&mut self, next: Readiness) -> Option<Readiness> {
        (next != self.readiness).then(|| {
            self.readiness = next;
            next
        })
    }
}
