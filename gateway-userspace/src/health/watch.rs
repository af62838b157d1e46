//! The tasks: one for each check of each endpoint, which drive the pure machines by clock, sockets and chance.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::lease::{Lease, Renewal};
use super::probe::{self, Fault, Question};
use super::reason::Reason;
use super::record::Record;
use super::startup::Starting;
use super::state::{Action, Check, Event};
use super::{FirstProbe, Shared};
use crate::config::snapshot::{Kind, Pushed, Way};
use crate::registry::{Blame, Readiness};

/// A check that asks.
pub(super) struct Asking {
    pub(super) question: Question,
    /// For a startup check: how long an endpoint may take.
    pub(super) grace: Duration,
    pub(super) record: Arc<Record>,
    pub(super) first: Option<FirstProbe>,
    pub(super) shared: Arc<Shared>,
}

/// What decides: startup checks end, the others go on for ever.
enum Machine {
    Check(Check),
    Starting(Starting),
}

impl Machine {
    fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match self {
            Self::Check(check) => check.step(event, now),
            Self::Starting(starting) => starting.step(event, now),
        }
    }

    fn passed(&self) -> u32 {
        match self {
            Self::Check(check) => check.streak(),
            Self::Starting(starting) => starting.streak(),
        }
    }
}

impl Asking {
    pub(super) async fn run(mut self) {
        let Some(mut machine) = self.machine() else { return };
        let mut event = Event::Started;
        let mut failure = None;
        loop {
            let mut next = None;
            for action in machine.step(event, Instant::now()) {
                match action {
                    Action::Become(to) => self.turn(to, machine.passed(), failure.as_ref()),
                    Action::Probe => next = Some(self.probe(&mut failure).await),
                    Action::WaitUntil(due) => {
                        // What the first probe found is in the record now.
                        self.first = None;
                        sleep_until(due).await;
                        next = Some(Event::Due);
                    }
                }
            }
            // Every step ends with a probe or a wait, but that of an endpoint that has started.
            let Some(following) = next else { return };
            event = following;
        }
    }

    /// `None`: there is nothing to ask, for it has started, or the kind is gone.
    fn machine(&self) -> Option<Machine> {
        let known = self.record.known(self.question.kind)?;
        let (check, seed) = (&self.question.check, rand::random());
        if self.question.kind != Kind::Startup {
            return Some(Machine::Check(Check::new(check, known.state, seed)));
        }
        let until = known.since + self.grace;
        let starting = Starting::new(check, until, known.state, seed);
        (known.state != Readiness::Ready).then_some(Machine::Starting(starting))
    }

    async fn probe(&self, failure: &mut Option<Reason>) -> Event {
        let kind = self.question.kind;
        let permits = match self.question.check.way {
            Way::Command { .. } => &self.shared.commands,
            Way::Http(_) | Way::Tcp | Way::Grpc { .. } => &self.shared.probes,
        };
        // The semaphore is never closed; without a permit the probe runs all the same.
        let permit = permits.acquire().await.ok();
        let outcome = self.ask().await;
        drop(permit);
        match outcome {
            Ok(()) => {
                self.record.passed(kind);
                Event::Passed
            }
            Err(fault) => {
                let why = fault.reason();
                self.record.failed(kind, &why);
                *failure = Some(why);
                let is_excused = kind != Kind::Startup && self.record.is_starting();
                if is_excused { Event::Excused } else { Event::Failed }
            }
        }
    }

    /// Asks over the way that is taken now; where the way fails and another is left, over that, so that what counts is the
    /// endpoint's own doing.
    async fn ask(&self) -> Result<(), Fault> {
        let question = &self.question;
        let cell = self.record.cell();
        let mut ways_left = question.channels.len();
        loop {
            let channel = question.channel(cell.channel());
            let outcome = probe::probe_over(question, channel).await;
            // What is asked at a port of its own says nothing of the endpoint's.
            let is_of_way = ways_left > 0
                && question.check.port.is_none()
                && outcome.as_ref().is_err_and(Fault::is_of_communication);
            if !is_of_way || cell.channel_failed(question.endpoint, channel) == Blame::Endpoint {
                return outcome;
            }
            ways_left -= 1;
        }
    }

    fn turn(&self, to: Readiness, passed: u32, failure: Option<&Reason>) {
        let kind = self.question.kind;
        let failed = |code, before: &str| {
            let last = failure.map_or("it was not asked yet", |failure| failure.text.as_str());
            Reason::new(code, format!("{before}{last}"))
        };
        let why = match to {
            Readiness::Ready => Reason::new("passed", format!("passed {passed} in a row")),
            Readiness::Unknown => failed("starting", "still starting: "),
            Readiness::Failing if kind == Kind::Startup => {
                failed("grace-over", &format!("not started within {:?}: ", self.grace))
            }
            Readiness::Failing => failure
                .cloned()
                .unwrap_or_else(|| Reason::new("unknown", "it failed")),
        };
        self.record.found(kind, to, &why);
    }
}

/// A heartbeat that is pushed.
pub(super) struct Listening {
    pub(super) pushed: Pushed,
    pub(super) record: Arc<Record>,
    pub(super) renewals: watch::Receiver<Renewal>,
}

impl Listening {
    pub(super) async fn run(mut self) {
        let Some(known) = self.record.known(Kind::Heartbeat) else {
            return;
        };
        let since = match known.state {
            Readiness::Unknown => known.since,
            Readiness::Ready | Readiness::Failing => Instant::now(),
        };
        let mut lease = Lease::new(known.state, since + self.pushed.ttl_max);
        loop {
            let renewal = *self.renewals.borrow_and_update();
            let change = lease.heard(renewal, Instant::now());
            self.turn(change, renewal);
            let due = lease.due();
            let lapse = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = self.renewals.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = lapse => {
                    let change = lease.look(Instant::now());
                    self.turn(change, renewal);
                }
            }
        }
    }

    fn turn(&self, change: Option<Readiness>, renewal: Renewal) {
        let Some(to) = change else { return };
        let why = match (to, renewal) {
            (Readiness::Ready, _) => Reason::new("renewed", "it renewed itself"),
            (_, Renewal::Withdrawn) => Reason::new("withdrawn", "it was taken out by the admin API"),
            (_, Renewal::Never) => {
                let ttl_max = self.pushed.ttl_max;
                Reason::new("lapsed", format!("no renewal came within {ttl_max:?}"))
            }
            (_, Renewal::Until(_)) => Reason::new("lapsed", "its time to live is over"),
        };
        self.record.found(Kind::Heartbeat, to, &why);
    }
}
