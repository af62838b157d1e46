//! What the checks of one endpoint come to: pure, no clock, socket or chance of its own.
//!
//! Each kind has a state of its own, found by `state`, `startup` or `lease`. Heartbeat and readiness decide about
//! traffic; startup says from when on; liveness is for people alone.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::reason::Reason;
use crate::config::snapshot::{Health, Kind};
use crate::registry::Readiness;

/// Kinds that decide about traffic.
const RELEVANT: [Kind; 2] = [Kind::Heartbeat, Kind::Readiness];

/// What is known by one kind of check.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) state: Readiness,
    pub(super) since: Instant,
    /// Why it failed last.
    pub(super) failure: Option<Reason>,
}

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The kind of check; `None`: the endpoint as a whole.
    pub(super) kind: Option<Kind>,
    pub(super) from: Readiness,
    pub(super) to: Readiness,
    pub(super) why: Reason,
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct Verdict {
    kinds: BTreeMap<Kind, Known>,
    readiness: Readiness,
}

impl Verdict {
    /// Of an endpoint of which so much is known.
    pub(super) fn new(readiness: Readiness) -> Self {
        Self {
            kinds: BTreeMap::new(),
            readiness,
        }
    }

    pub(super) fn readiness(&self) -> Readiness {
        self.readiness
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = (Kind, &Known)> {
        self.kinds.iter().map(|(kind, known)| (*kind, known))
    }

    pub(super) fn known(&self, kind: Kind) -> Option<&Known> {
        self.kinds.get(&kind)
    }

    /// Whether failures do not count yet.
    pub(super) fn is_starting(&self) -> bool {
        self.state(Kind::Startup) == Some(Readiness::Unknown)
    }

    /// Takes over which kinds there are. Those that stay keep their state.
    ///
    /// A kind that is new begins with what the endpoint is: to forget that it is ready would take it out of traffic for
    /// an edit, and one that fails by another check is not better for having a further one.
    pub(super) fn configure(&mut self, health: &Health, now: Instant) -> Vec<Change> {
        self.kinds.retain(|kind, _| health.has(*kind));
        let is_first = RELEVANT.iter().all(|kind| !self.kinds.contains_key(kind));
        for kind in Kind::ALL.into_iter().filter(|kind| health.has(*kind)) {
            let state = match (kind, self.readiness) {
                (Kind::Liveness, _) | (_, Readiness::Unknown) => Readiness::Unknown,
                // Whatever was checked before has long started.
                (_, Readiness::Ready) | (Kind::Startup, Readiness::Failing) => Readiness::Ready,
                (Kind::Heartbeat | Kind::Readiness, Readiness::Failing) if is_first => Readiness::Failing,
                (Kind::Heartbeat | Kind::Readiness, Readiness::Failing) => Readiness::Unknown,
            };
            self.kinds.entry(kind).or_insert(Known {
                state,
                since: now,
                failure: None,
            });
        }
        let why = Reason::new("configuration", "the configuration changed");
        self.conclude(&why).into_iter().collect()
    }

    /// Takes what a kind found. One that is not configured any more says nothing.
    pub(super) fn found(&mut self, kind: Kind, to: Readiness, why: &Reason, now: Instant) -> Vec<Change> {
        let Some(known) = self.kinds.get_mut(&kind) else {
            return Vec::new();
        };
        let from = known.state;
        if to == Readiness::Failing {
            known.failure = Some(why.clone());
        }
        if from == to {
            return Vec::new();
        }
        (known.state, known.since) = (to, now);
        let change = Change {
            kind: Some(kind),
            from,
            to,
            why: why.clone(),
        };
        [change].into_iter().chain(self.conclude(why)).collect()
    }

    /// Remembers why a check failed, whether or not that changes anything.
    pub(super) fn note(&mut self, kind: Kind, failure: &Reason) {
        if let Some(known) = self.kinds.get_mut(&kind) {
            known.failure = Some(failure.clone());
        }
    }

    fn state(&self, kind: Kind) -> Option<Readiness> {
        self.kinds.get(&kind).map(|known| known.state)
    }

    fn conclude(&mut self, why: &Reason) -> Option<Change> {
        let states: Vec<Readiness> = RELEVANT.iter().filter_map(|kind| self.state(*kind)).collect();
        let (from, to) = (self.readiness, combined(self.state(Kind::Startup), &states));
        self.readiness = to;
        (from != to).then(|| Change {
            kind: None,
            from,
            to,
            why: why.clone(),
        })
    }
}

/// The whole: starting endpoints are unknown; else one failure is enough, and all must be ready.
fn combined(startup: Option<Readiness>, relevant: &[Readiness]) -> Readiness {
    if startup == Some(Readiness::Unknown) {
        Readiness::Unknown
    } else if relevant.contains(&Readiness::Failing) {
        Readiness::Failing
    } else if relevant.iter().all(|state| *state == Readiness::Ready) {
        Readiness::Ready
    } else {
        Readiness::Unknown
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::snapshot::{Check, Heartbeat, Startup, Way};
    use Kind::{Heartbeat as Beat, Liveness as Live, Readiness as Read, Startup as Start};
    use Readiness::{Failing, Ready, Unknown};

    fn health(kinds: &[Kind]) -> Health {
        let check = Check {
            way: Way::Tcp,
            port: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 2,
        };
        let has = |kind| kinds.contains(&kind).then(|| check.clone());
        Health {
            heartbeat: has(Beat).map(Heartbeat::Asked),
            liveness: has(Live),
            readiness: has(Read),
            startup: has(Start).map(|check| Startup {
                check,
                grace: Duration::from_secs(60),
            }),
        }
    }

    fn why() -> Reason {
        Reason::new("test", "because")
    }

    #[test]
    fn kinds_come_to_one_verdict() {
        // What the endpoint was, its kinds, what is found in order, and the verdict after all of it.
        type Row<'r> = (Readiness, &'r [Kind], &'r [(Kind, Readiness)], Readiness, &'r str);
        let rows: &[Row<'_>] = &[
            (Unknown, &[Read], &[], Unknown, "unknown at the start"),
            (Unknown, &[Read], &[(Read, Ready)], Ready, "readiness alone"),
            (
                Unknown,
                &[Read, Beat],
                &[(Read, Ready)],
                Unknown,
                "one of two is not enough",
            ),
            (
                Unknown,
                &[Read, Beat],
                &[(Read, Ready), (Beat, Ready)],
                Ready,
                "both are",
            ),
            (
                Unknown,
                &[Read, Beat],
                &[(Beat, Failing)],
                Failing,
                "one failure is enough",
            ),
            (
                Unknown,
                &[Read, Beat],
                &[(Beat, Failing), (Read, Failing), (Beat, Ready)],
                Failing,
                "one of two failures is over",
            ),
            (Unknown, &[Live], &[], Ready, "liveness is no reason to wait"),
            (
                Unknown,
                &[Live, Read],
                &[(Read, Ready), (Live, Failing)],
                Ready,
                "nor to go",
            ),
            (Unknown, &[Live], &[(Live, Failing)], Ready, "even alone"),
            (Unknown, &[Start], &[], Unknown, "it starts"),
            (Unknown, &[Start], &[(Start, Ready)], Ready, "it has started"),
            (
                Unknown,
                &[Start],
                &[(Start, Failing)],
                Ready,
                "nothing else is asked for",
            ),
            (
                Unknown,
                &[Start, Read],
                &[(Read, Failing)],
                Unknown,
                "a failure while it starts",
            ),
            (
                Unknown,
                &[Start, Read],
                &[(Read, Ready)],
                Unknown,
                "ready, and yet it starts",
            ),
            (
                Unknown,
                &[Start, Read],
                &[(Read, Ready), (Start, Ready)],
                Ready,
                "ready since it has started",
            ),
            (
                Unknown,
                &[Start, Read],
                &[(Read, Failing), (Start, Failing)],
                Failing,
                "grace is over",
            ),
            (
                Ready,
                &[Read, Beat, Start],
                &[],
                Ready,
                "checks that are new forget nothing",
            ),
            (Ready, &[Read, Beat], &[(Beat, Failing)], Failing, "but they find"),
            (Failing, &[Read], &[], Failing, "nor forgive"),
            (
                Failing,
                &[Read, Start],
                &[],
                Failing,
                "and what fails has long started",
            ),
            (
                Unknown,
                &[Read],
                &[(Beat, Failing)],
                Unknown,
                "a kind that is not there says nothing",
            ),
        ];
        for (before, kinds, found, expected, row) in rows {
            let (mut verdict, now) = (Verdict::new(*before), Instant::now());
            verdict.configure(&health(kinds), now);
            for (kind, state) in *found {
                verdict.found(*kind, *state, &why(), now);
            }
            assert_eq!(verdict.readiness(), *expected, "{row}");
        }
    }

    #[test]
    fn edits_keep_what_is_known() {
        // Kinds with what they found, the kinds after an edit, and the verdict then.
        type Row<'r> = (&'r [(Kind, Readiness)], &'r [Kind], Readiness, &'r str);
        let rows: &[Row<'_>] = &[
            (
                &[(Read, Ready)],
                &[Read, Beat, Start],
                Ready,
                "more checks for a ready one",
            ),
            (
                &[(Read, Failing)],
                &[Read, Beat, Start],
                Failing,
                "more checks for a failing one",
            ),
            (
                &[(Read, Failing)],
                &[Beat],
                Failing,
                "another one for a failing one",
            ),
            (
                &[(Read, Ready), (Beat, Failing)],
                &[Read],
                Ready,
                "the failing one is removed",
            ),
            (
                &[(Read, Ready), (Beat, Failing)],
                &[Beat],
                Failing,
                "the other is removed",
            ),
            (
                &[(Read, Unknown)],
                &[Read, Beat],
                Unknown,
                "nothing is known, and no more then",
            ),
            (&[(Read, Failing)], &[], Ready, "without checks all are ready"),
        ];
        for (found, after, expected, row) in rows {
            let (mut verdict, now) = (Verdict::new(Unknown), Instant::now());
            let kinds: Vec<Kind> = found.iter().map(|(kind, _)| *kind).collect();
            verdict.configure(&health(&kinds), now);
            for (kind, state) in *found {
                verdict.found(*kind, *state, &why(), now);
            }
            verdict.configure(&health(after), now);
            assert_eq!(verdict.readiness(), *expected, "{row}");
        }
    }

    #[test]
    fn each_change_is_told_once_with_its_reason() {
        let (mut verdict, now) = (Verdict::new(Unknown), Instant::now());
        assert_eq!(verdict.configure(&health(&[Beat, Live]), now), []);
        let change = |kind, from, to| Change {
            kind,
            from,
            to,
            why: why(),
        };
        assert_eq!(
            verdict.found(Beat, Ready, &why(), now),
            [change(Some(Beat), Unknown, Ready), change(None, Unknown, Ready)]
        );
        assert_eq!(verdict.found(Beat, Ready, &why(), now), []);
        assert_eq!(
            verdict.found(Live, Failing, &why(), now),
            [change(Some(Live), Unknown, Failing)],
            "the endpoint stays as it is"
        );
        assert_eq!(verdict.known(Live).unwrap().failure, Some(why()));
    }
}
