//! When to ask for a name again, and what to make of the answers: pure, no clock, socket or chance of its own.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Answers are kept for that long at least, whatever their TTL: a TTL of 0 would ask without end.
const TTL_MIN: Duration = Duration::from_secs(1);
/// And at most, so that a TTL that was set too long does not keep a node from a change for hours.
const TTL_MAX: Duration = Duration::from_secs(600);
/// The next question comes up to so much later than the answer expires: then servers on the way have forgotten it,
/// and nodes do not ask in step.
const TTL_JITTER_PERCENT: u32 = 10;
/// First wait after a failure; each further one doubles it.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest wait after failures: a server that is back is noticed within it.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Waits after a failure are shortened by up to so much at random.
const RETRY_JITTER_PERCENT: u32 = 50;
/// Addresses of one name that are taken; more do not fit an answer without TCP, and hardly an upstream.
pub(super) const ADDRESSES_MAX: usize = 256;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The name is wanted from now on.
    Started,
    /// The wait is over.
    Due,
    /// Both families were asked for.
    Answered(Answer),
}

/// What came of asking once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) v4: Family,
    pub(super) v6: Family,
}

/// What came of asking for the addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Some, not empty.
    Found(Vec<IpAddr>, Duration),
    /// There are none: a server said so.
    Nothing,
    /// Nobody said anything that can be used.
    Failed(String),
}

impl Answer {
    /// Why this is no good answer, or not a whole one; for people.
    pub(super) fn fault(&self) -> Option<String> {
        match (&self.v4, &self.v6) {
            (Family::Failed(why), _) | (_, Family::Failed(why)) => Some(why.clone()),
            (Family::Nothing, Family::Nothing) => Some("it has no addresses".to_owned()),
            _ => None,
        }
    }
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask for both families; the outcome is the next event.
    Ask,
    /// These are its addresses from now on: sorted, distinct, not empty.
    Become(Vec<IpAddr>),
    /// Then [`Event::Due`].
    WaitUntil(Instant),
}

/// One name.
#[derive(Debug)]
pub(super) struct Name {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    known: Vec<IpAddr>,
    /// In a row.
    failures: u32,
    random: u64,
}

impl Name {
    /// One of which nothing is known; `seed` spreads its questions in time.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            v4: Vec::new(),
            v6: Vec::new(),
            known: Vec::new(),
            failures: 0,
            // Xorshift stays at zero for ever.
            random: seed | 1,
        }
    }

    /// The machine's only way on.
    ///
    /// A name that has no addresses at all any more keeps those it had: a zone that was emptied by mistake must not
    /// stop what still serves. While it has some of one family, word that the other has none is taken.
    pub(super) fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let answer = match event {
            Event::Started | Event::Due => return vec![Action::Ask],
            Event::Answered(answer) => answer,
        };
        let fault = answer.fault();
        let ttl = answer.ttl();
        let mut actions = Vec::new();
        if let Some(ttl) = ttl {
            take(&mut self.v4, answer.v4);
            take(&mut self.v6, answer.v6);
            let mut addresses = [self.v4.as_slice(), self.v6.as_slice()].concat();
            addresses.sort_unstable();
            addresses.dedup();
            addresses.truncate(ADDRESSES_MAX);
            if addresses != self.known {
                self.known.clone_from(&addresses);
                actions.push(Action::Become(addresses));
            }
            if fault.is_none() {
                self.failures = 0;
                let wait = ttl.clamp(TTL_MIN, TTL_MAX);
                let percent = 100 + self.up_to(TTL_JITTER_PERCENT);
                actions.push(Action::WaitUntil(now + wait.saturating_mul(percent) / 100));
                return actions;
            }
        }
        let doubled = RETRY_MIN.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        let percent = 100 - self.up_to(RETRY_JITTER_PERCENT);
        let wait = doubled.min(RETRY_MAX).saturating_mul(percent) / 100;
        actions.push(Action::WaitUntil(now + wait));
        actions
    }

    /// A number from 0 to that, each as likely.
    fn up_to(&mut self, most: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from(self.random % (u64::from(most) + 1)).unwrap_or(most)
    }
}

impl Answer {
    /// How long what was found may be kept; `None`: nothing was found.
    fn ttl(&self) -> Option<Duration> {
        let of = |family: &Family| match family {
            Family::Found(_, ttl) => Some(*ttl),
            Family::Nothing | Family::Failed(_) => None,
        };
        of(&self.v4).into_iter().chain(of(&self.v6)).min()
    }
}

fn take(held: &mut Vec<IpAddr>, found: Family) {
    match found {
        Family::Found(addresses, _) => *held = addresses,
        Family::Nothing => held.clear(),
        Family::Failed(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `1 2` are addresses of that family, `-` is none, `!` a failure.
    fn family(text: &str, ttl: u64) -> Family {
        match text {
            "-" => Family::Nothing,
            "!" => Family::Failed("silence".to_owned()),
            _ => Family::Found(
                text.split(' ').map(|address| address.parse().unwrap()).collect(),
                Duration::from_secs(ttl),
            ),
        }
    }

    fn answered(v4: &str, v6: &str) -> Event {
        Event::Answered(Answer {
            v4: family(v4, 60),
            v6: family(v6, 60),
        })
    }

    fn become_of(actions: &[Action]) -> Option<String> {
        actions.iter().find_map(|action| match action {
            Action::Become(addresses) => Some(
                addresses
                    .iter()
                    .map(IpAddr::to_string)
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
            Action::Ask | Action::WaitUntil(_) => None,
        })
    }

    #[test]
    fn what_is_known_changes_with_good_answers_alone() {
        // Answers for IPv4 and IPv6, and what the name becomes with each.
        type Row = (&'static str, &'static str, Option<&'static str>);
        let rows: &[(&[Row], &str)] = &[
            (
                &[(
                    "10.0.0.2 10.0.0.1",
                    "2001:db8::1",
                    Some("10.0.0.1 10.0.0.2 2001:db8::1"),
                )],
                "both families, sorted",
            ),
            (
                &[("10.0.0.1 10.0.0.1", "-", Some("10.0.0.1"))],
                "one family is enough, and each address counts once",
            ),
            (
                &[
                    ("10.0.0.1 10.0.0.2", "-", Some("10.0.0.1 10.0.0.2")),
                    ("10.0.0.2 10.0.0.1", "-", None),
                ],
                "another order is no change",
            ),
            (
                &[
                    ("10.0.0.1", "-", Some("10.0.0.1")),
                    ("!", "!", None),
                    ("-", "-", None),
                    ("10.0.0.1", "-", None),
                ],
                "neither failures nor an emptied zone take away what serves",
            ),
            (
                &[
                    ("10.0.0.1", "2001:db8::1", Some("10.0.0.1 2001:db8::1")),
                    ("10.0.0.1", "!", None),
                    ("10.0.0.2", "!", Some("10.0.0.2 2001:db8::1")),
                    ("10.0.0.2", "-", Some("10.0.0.2")),
                ],
                "a family that fails is kept, one that is gone is not",
            ),
            (
                &[("!", "-", None), ("!", "2001:db8::1", Some("2001:db8::1"))],
                "half an answer is better than none",
            ),
        ];
        for (answers, why) in rows {
            let (mut name, now) = (Name::new(7), Instant::now());
            assert_eq!(name.step(Event::Started, now), [Action::Ask], "{why}");
            for (v4, v6, expected) in *answers {
                let actions = name.step(answered(v4, v6), now);
                assert_eq!(become_of(&actions).as_deref(), *expected, "{why}: {v4} {v6}");
                assert!(
                    matches!(actions.last(), Some(Action::WaitUntil(_))),
                    "{why}: it goes on"
                );
                assert_eq!(name.step(Event::Due, now), [Action::Ask], "{why}");
            }
        }
    }

    #[test]
    fn waits_follow_ttl_and_failures_within_bounds() {
        let found = |ttl| Answer {
            v4: family("10.0.0.1", ttl),
            v6: Family::Nothing,
        };
        let both = Answer {
            v4: family("10.0.0.1", 60),
            v6: family("2001:db8::1", 5),
        };
        let failed = Answer {
            v4: family("!", 0),
            v6: family("!", 0),
        };
        let half = Answer {
            v4: family("10.0.0.1", 60),
            v6: family("!", 0),
        };
        // Answers in a row, and bounds of the wait after the last one, in milliseconds.
        let rows: &[(&[&Answer], u128, u128, &str)] = &[
            (&[&found(60)], 60_000, 66_000, "the TTL, and a little"),
            (&[&both], 5_000, 5_500, "the shorter TTL"),
            (&[&found(0)], 1_000, 1_100, "not without end"),
            (&[&found(86_400)], 600_000, 660_000, "not for a day"),
            (&[&failed], 500, 1_000, "soon after a failure"),
            (&[&failed, &failed, &failed], 2_000, 4_000, "later after three"),
            (&[&failed; 40], 15_000, 30_000, "never later than that"),
            (&[&half], 500, 1_000, "half an answer is asked for again"),
            (
                &[&failed, &failed, &found(60), &failed],
                500,
                1_000,
                "a good answer forgives",
            ),
        ];
        for (answers, least, most, why) in rows {
            for seed in 0..50 {
                let (mut name, now) = (
                    Name::new(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)),
                    Instant::now(),
                );
                let mut wait = None;
                for answer in *answers {
                    wait = name.step(Event::Answered((*answer).clone()), now).pop();
                }
                let Some(Action::WaitUntil(due)) = wait else {
                    panic!("{why}: {wait:?}")
                };
                let wait = (due - now).as_millis();
                assert!((*least..=*most).contains(&wait), "{why}: {wait} ms");
            }
        }
    }

    #[test]
    fn addresses_of_a_name_are_bounded() {
        let many = (0..1000).map(|n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
        let answer = Answer {
            v4: Family::Found(many.collect(), Duration::from_secs(60)),
            v6: Family::Nothing,
        };
        let actions = Name::new(1).step(Event::Answered(answer), Instant::now());
        let Some(Action::Become(addresses)) = actions.first() else {
            panic!("{actions:?}")
        };
        assert_eq!(addresses.len(), ADDRESSES_MAX);
    }
}
