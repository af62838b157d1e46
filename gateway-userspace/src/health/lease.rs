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
                let next = if now < until {
                    Readiness::Ready
                } else {
                    Readiness::Failing
                };
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use Readiness::{Failing, Ready, Unknown};

    /// What happens at a second: a renewal, or a look at the clock.
    enum Event {
        Renewed(u64),
        Withdrawn,
        Look,
    }
    use Event::{Look, Renewed, Withdrawn};

    #[test]
    fn an_endpoint_lives_as_long_as_it_says_so() {
        // The first renewal must come by second 10. Second, event, and what becomes of it.
        type Row<'r> = (Readiness, &'r [(u64, Event, Option<Readiness>)], &'r str);
        let rows: &[Row<'_>] = &[
            (
                Unknown,
                &[
                    (1, Renewed(5), Some(Ready)),
                    (5, Look, None),
                    (6, Look, Some(Failing)),
                ],
                "a lapse",
            ),
            (
                Unknown,
                &[
                    (1, Renewed(5), Some(Ready)),
                    (5, Renewed(5), None),
                    (9, Look, None),
                    (10, Look, Some(Failing)),
                ],
                "renewed in time",
            ),
            (
                Unknown,
                &[(9, Look, None), (10, Look, Some(Failing)), (11, Look, None)],
                "never heard",
            ),
            (
                Failing,
                &[(20, Look, None), (21, Renewed(5), Some(Ready))],
                "back again",
            ),
            (
                Ready,
                &[(9, Look, None), (10, Look, Some(Failing))],
                "ready by other checks before",
            ),
            (
                Unknown,
                &[
                    (1, Renewed(50), Some(Ready)),
                    (2, Withdrawn, Some(Failing)),
                    (3, Renewed(5), Some(Ready)),
                ],
                "withdrawn and back",
            ),
            (
                Ready,
                &[
                    (1, Renewed(50), None),
                    (2, Renewed(1), None),
                    (3, Look, Some(Failing)),
                ],
                "the last word counts",
            ),
        ];
        for (before, events, row) in rows {
            let start = Instant::now();
            let at = |seconds: u64| start + Duration::from_secs(seconds);
            let mut lease = Lease::new(*before, at(10));
            for (seconds, event, expected) in *events {
                let now = at(*seconds);
                let seen = match event {
                    Renewed(ttl) => lease.heard(Renewal::Until(at(seconds + ttl)), now),
                    Withdrawn => lease.heard(Renewal::Withdrawn, now),
                    Look => lease.look(now),
                };
                assert_eq!(seen, *expected, "{row}: {seconds} s");
            }
        }
    }

    #[test]
    fn there_is_something_to_wait_for_while_it_lives_alone() {
        let now = Instant::now();
        let mut lease = Lease::new(Unknown, now);
        assert_eq!(lease.due(), Some(now));
        lease.look(now);
        assert_eq!(lease.due(), None);
    }
}
