//! The breaker's rules as rows, and its invariants under seeded storms.

use std::collections::HashMap;

use super::super::seeded::Seeded;
use super::*;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Small figures, so that rows are short.
fn settings() -> Settings {
    Settings {
        slow_ratio: Some(0.8),
        min_calls: 4,
        half_open_calls: 4,
        open_for: ms(1_000),
        open_for_max: ms(5_000),
        trial_timeout: ms(2_000),
        ramp: ms(1_000),
        ..Settings::default()
    }
}

/// A breaker and a clock, totals and trials to drive it with.
struct Driven {
    breaker: Breaker,
    totals: Totals,
    now: Duration,
    trials: Vec<Trial>,
    changes: Vec<Change>,
}

impl Driven {
    fn new(settings: Settings) -> Self {
        let now = ms(1_000_000);
        Self {
            breaker: Breaker::new(settings, Totals::default(), now),
            totals: Totals::default(),
            now,
            trials: Vec::new(),
            changes: Vec::new(),
        }
    }

    fn step(&mut self, event: Event) {
        let from = self.breaker.state();
        let change = self.breaker.step(event, self.now);
        match change {
            Some(change) => {
                assert_eq!(change.from, from);
                assert_eq!(change.to, self.breaker.state());
                assert_ne!(change.from, change.to);
                self.changes.push(change);
            }
            None => assert_eq!(from, self.breaker.state(), "no change goes unsaid"),
        }
    }

    fn call(&mut self, outcome: Outcome) {
        self.totals.failures += u64::from(outcome == Outcome::Failed);
        self.totals.slow += u64::from(outcome == Outcome::Slow);
        self.totals.calls += 1;
        self.step(Event::Sample(self.totals));
    }

    /// One letter an event: p, s, f calls that pass, are slow or fail; t takes a trial; P, S, F, U end the oldest one;
    /// w waits 500 ms; O, C force; R releases.
    fn run(&mut self, script: &str) {
        for letter in script.chars() {
            match letter {
                'p' => self.call(Outcome::Passed),
                's' => self.call(Outcome::Slow),
                'f' => self.call(Outcome::Failed),
                't' => {
                    let trial = self.breaker.take_trial(self.now);
                    self.trials.extend(trial);
                }
                'P' => self.end(Outcome::Passed),
                'S' => self.end(Outcome::Slow),
                'F' => self.end(Outcome::Failed),
                'U' => self.end(Outcome::Unknown),
                'w' => {
                    self.now += ms(500);
                    self.step(Event::Tick);
                }
                'O' => self.step(Event::Force(Force::Open)),
                'C' => self.step(Event::Force(Force::Closed)),
                'R' => self.step(Event::Release),
                other => panic!("{other} is no event"),
            }
        }
    }

    fn end(&mut self, outcome: Outcome) {
        let trial = self.trials.remove(0);
        self.step(Event::TrialEnded(trial, outcome));
    }
}

#[test]
fn each_rule_leads_where_the_documentation_says() {
    use State::{Closed, ForcedClosed, ForcedOpen, HalfOpen, Open, Ramping};
    let rows: &[(&str, &str, State, &str)] = &[
        ("closed at first", "", Closed, ""),
        ("too few calls decide nothing", "fff", Closed, ""),
        (
            "half of the calls fail",
            "ppff",
            Open,
            "2 of 4 calls failed in 10s",
        ),
        ("fewer than half", "pppffp", Closed, ""),
        (
            "old failures are forgotten",
            "ffwwwwwwwwwwwwwwwwwwwwpppf",
            Closed,
            "",
        ),
        (
            "too many slow calls",
            "ssss",
            Open,
            "4 of 4 calls were slow in 10s",
        ),
        ("fewer slow calls", "sssppp", Closed, ""),
        (
            "open until its time is over",
            "ffffw",
            Open,
            "4 of 4 calls failed in 10s",
        ),
        ("then half-open", "ffffww", HalfOpen, "was open for 1s"),
        (
            "late results do not matter while open",
            "ffffffffww",
            HalfOpen,
            "was open for 1s",
        ),
        ("nor while half-open", "ffffwwffffff", HalfOpen, "was open for 1s"),
        (
            "without trials it waits",
            "ffffwwwwwwwwwwwwww",
            HalfOpen,
            "was open for 1s",
        ),
        (
            "trials that pass close it",
            "ffffwwtttPPP",
            Ramping,
            "3 of 3 trial calls succeeded",
        ),
        (
            "but not before it is certain",
            "ffffwwtttPP",
            HalfOpen,
            "was open for 1s",
        ),
        (
            "trials that fail open it at once",
            "ffffwwttFF",
            Open,
            "2 of 2 trial calls failed",
        ),
        (
            "slow trials open it",
            "ffffwwttttSSSS",
            Open,
            "4 of 4 trial calls were slow",
        ),
        (
            "trials without a result fail",
            "ffffwwttwwww",
            Open,
            "2 of 2 trial calls failed",
        ),
        (
            "a trial that nobody knows of counts for nothing",
            "ffffwwtUtUtUtttPPP",
            Ramping,
            "3 of 3 trial calls succeeded",
        ),
        (
            "after the ramp all is as before",
            "ffffwwtttPPPww",
            Closed,
            "no fault while the share rose for 1s",
        ),
        (
            "a fault in the ramp opens it",
            "ffffwwtttPPPffff",
            Open,
            "4 of 4 calls failed in 10s",
        ),
        (
            "open again is open for twice as long",
            "ffffwwttFFwww",
            Open,
            "2 of 2 trial calls failed",
        ),
        (
            "then half-open again",
            "ffffwwttFFwwww",
            HalfOpen,
            "was open for 2s",
        ),
        (
            "forced open from closed",
            "O",
            ForcedOpen,
            "forced by an operator",
        ),
        (
            "time does not end it",
            "Owwwwwwwwwwwwwwww",
            ForcedOpen,
            "forced by an operator",
        ),
        (
            "released, it is tried first",
            "OR",
            HalfOpen,
            "released by an operator",
        ),
        (
            "forced closed stays so under failures",
            "Cffffffffff",
            ForcedClosed,
            "forced by an operator",
        ),
        (
            "released, it counts anew",
            "CffffffRfff",
            Closed,
            "released by an operator",
        ),
        (
            "forced closed ends open",
            "ffffC",
            ForcedClosed,
            "forced by an operator",
        ),
        ("force after force", "OC", ForcedClosed, "forced by an operator"),
        (
            "release of what is not forced does nothing",
            "ffffR",
            Open,
            "4 of 4 calls failed in 10s",
        ),
    ];
    for (what, script, state, why) in rows {
        let mut driven = Driven::new(settings());
        driven.run(script);
        assert_eq!(driven.breaker.state(), *state, "{what}");
        let last = driven.changes.last().map(|change| change.why.to_string());
        assert_eq!(last.unwrap_or_default(), *why, "{what}");
    }
}

#[test]
fn admission_follows_the_state() {
    let rows: &[(&str, &str, Admission)] = &[
        ("closed", "", Admission::All),
        ("open", "ffff", Admission::None(Some(ms(1_001_000)))),
        ("half-open", "ffffww", Admission::Trials(4)),
        ("permits that are out", "ffffwwttt", Admission::Trials(1)),
        ("and ended ones", "ffffwwtttF", Admission::Trials(1)),
        ("no more than there are", "ffffwwtttttttt", Admission::Trials(0)),
        (
            "the ramp begins with a tenth",
            "ffffwwtttPPP",
            Admission::Share(100),
        ),
        (
            "and is half way up at half its time",
            "ffffwwtttPPPw",
            Admission::Share(550),
        ),
        ("forced open", "O", Admission::None(None)),
        ("forced closed", "C", Admission::All),
    ];
    for (what, script, expected) in rows {
        let mut driven = Driven::new(settings());
        driven.run(script);
        assert_eq!(driven.breaker.admits(driven.now), *expected, "{what}");
    }
}

#[test]
fn open_time_doubles_up_to_its_bound_and_starts_over_after_a_calm_time() {
    let mut driven = Driven::new(settings());
    let mut times = Vec::new();
    for _ in 0..6 {
        driven.run(if times.is_empty() { "ffff" } else { "ttFF" });
        let begun = driven.now;
        while driven.breaker.state() == State::Open {
            driven.run("w");
        }
        times.push((driven.now - begun).as_millis());
    }
    assert_eq!(times, [1_000, 2_000, 4_000, 5_000, 5_000, 5_000]);
    driven.run("tttPPPww");
    for _ in 0..19 {
        driven.run("w");
    }
    driven.run("wffff");
    assert_eq!(
        driven.breaker.admits(driven.now),
        Admission::None(Some(driven.now + ms(1_000)))
    );
}

#[test]
fn trials_of_an_earlier_round_keep_their_places_but_have_no_say() {
    let mut driven = Driven::new(Settings {
        open_for_max: ms(1_000),
        trial_timeout: ms(60_000),
        ..settings()
    });
    driven.run("ffffwwttttFFww");
    assert_eq!(
        driven.breaker.admits(driven.now),
        Admission::Trials(2),
        "two are still out"
    );
    driven.run("FF");
    assert_eq!(driven.breaker.state(), State::HalfOpen);
    assert_eq!(driven.breaker.admits(driven.now), Admission::Trials(4));
}

#[test]
fn edits_keep_the_state_and_its_clock() {
    let rows = [
        ("closed", "", State::Closed),
        ("open", "ffff", State::Open),
        ("half-open", "ffffwwt", State::HalfOpen),
        ("ramping", "ffffwwtttPPP", State::Ramping),
        ("forced", "O", State::ForcedOpen),
    ];
    for (what, script, state) in rows {
        let mut driven = Driven::new(settings());
        driven.run(script);
        let before = driven.breaker.admits(driven.now);
        let edited = Settings {
            failure_ratio: 0.9,
            ..settings()
        };
        driven.breaker.set(edited, driven.now);
        assert_eq!(driven.breaker.state(), state, "{what}");
        assert_eq!(driven.breaker.admits(driven.now), before, "{what}");
    }
    let mut driven = Driven::new(settings());
    driven.run("ffff");
    let shorter = Settings {
        open_for: ms(100),
        ..settings()
    };
    driven.breaker.set(shorter, driven.now);
    assert_eq!(
        driven.breaker.admits(driven.now),
        Admission::None(Some(driven.now + ms(100))),
        "a shorter time holds at once"
    );
}

/// Calls of an endpoint until the breaker lets all through; fails after that long.
fn recovers(driven: &mut Driven, within: Duration, what: &str) {
    let deadline = driven.now + within;
    if matches!(driven.breaker.state(), State::ForcedOpen | State::ForcedClosed) {
        driven.step(Event::Release);
    }
    while driven.breaker.admits(driven.now) != Admission::All {
        assert!(
            driven.now < deadline,
            "{what}: no way out of {:?}",
            driven.breaker
        );
        driven.now += ms(100);
        driven.step(Event::Tick);
        match driven.breaker.admits(driven.now) {
            Admission::Trials(_) => {
                if let Some(trial) = driven.breaker.take_trial(driven.now) {
                    driven.step(Event::TrialEnded(trial, Outcome::Passed));
                    driven.call(Outcome::Passed);
                }
            }
            Admission::Share(_) => driven.call(Outcome::Passed),
            Admission::All | Admission::None(_) => {}
        }
    }
}

#[test]
fn storms_never_flood_the_half_open_state_and_leave_no_state_without_a_way_out() {
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for seed in 0..300 {
        let mut random = Seeded::new(seed);
        let mut driven = Driven::new(settings());
        let sick = random.below(100);
        let mut most = settings().half_open_calls;
        // Calls out, by what this test knows: (permit, when the machine may give it up).
        let mut out: Vec<(Trial, Duration)> = Vec::new();
        for _ in 0..2_000 {
            driven.now += ms(random.below(60));
            let outcome = match random.below(100) {
                roll if roll < sick => Outcome::Failed,
                roll if roll < sick + 10 => Outcome::Slow,
                _ => Outcome::Passed,
            };
            match random.below(100) {
                0..50 => driven.call(outcome),
                50..70 => {
                    let timeout = ms(2_000);
                    if let Some(trial) = driven.breaker.take_trial(driven.now) {
                        assert_eq!(driven.breaker.state(), State::HalfOpen, "seed {seed}");
                        assert!(
                            out.iter().all(|(other, _)| *other != trial),
                            "seed {seed}: a permit given twice"
                        );
                        out.push((trial, driven.now + timeout));
                    }
                }
                70..85 if !out.is_empty() => {
                    let (trial, _) = out.swap_remove(random.below(out.len() as u64) as usize);
                    driven.step(Event::TrialEnded(
                        trial,
                        if random.percent(10) {
                            Outcome::Unknown
                        } else {
                            outcome
                        },
                    ));
                    // Told twice, it counts once.
                    driven.step(Event::TrialEnded(trial, Outcome::Failed));
                }
                85..97 => driven.step(Event::Tick),
                97 if random.percent(20) => {
                    let force = if random.percent(50) {
                        Force::Open
                    } else {
                        Force::Closed
                    };
                    driven.step(Event::Force(force));
                }
                98 => driven.step(Event::Release),
                99 if random.percent(20) => {
                    let half_open_calls = 1 + random.below(6) as u32;
                    most = most.max(half_open_calls);
                    driven.breaker.set(
                        Settings {
                            half_open_calls,
                            min_calls: random.below(10) as u32,
                            ..settings()
                        },
                        driven.now,
                    );
                }
                _ => {}
            }
            let alive = out.iter().filter(|(_, deadline)| driven.now < *deadline).count();
            assert!(alive as u32 <= most, "seed {seed}: {alive} trials out");
            match driven.breaker.admits(driven.now) {
                Admission::Share(share) => assert!((100..=1_000).contains(&share), "seed {seed}: {share}"),
                Admission::Trials(left) => assert!(left <= most, "seed {seed}"),
                Admission::None(_) => assert!(driven.breaker.take_trial(driven.now).is_none(), "seed {seed}"),
                Admission::All => {}
            }
            *seen.entry(driven.breaker.state().name()).or_default() += 1;
        }
        recovers(
            &mut driven,
            ms(5_000 + 2_000 + 1_000 + 2_000),
            &format!("seed {seed}"),
        );
    }
    assert_eq!(seen.len(), 6, "the storms reach every state: {seen:?}");
}

#[test]
fn flapping_twice_a_second_does_not_make_the_breaker_oscillate() {
    for seed in 0..20 {
        let mut random = Seeded::new(seed);
        let mut driven = Driven::new(Settings::default());
        let phase = random.below(500);
        let mut calls = 0_u64;
        // Ten minutes at up to 100 calls a second; up for a quarter of a second, down for another.
        for tick in 0..60_000_u64 {
            driven.now += ms(10);
            let outcome = if (tick * 10 + phase) % 500 < 250 {
                Outcome::Passed
            } else {
                Outcome::Failed
            };
            match driven.breaker.admits(driven.now) {
                Admission::All => driven.call(outcome),
                Admission::Share(share) if random.below(1_000) < u64::from(share) => driven.call(outcome),
                Admission::Trials(_) => {
                    if let Some(trial) = driven.breaker.take_trial(driven.now) {
                        driven.call(outcome);
                        driven.step(Event::TrialEnded(trial, outcome));
                    }
                }
                Admission::Share(_) | Admission::None(_) => continue,
            }
            calls += 1;
            if tick % 10 == 0 {
                driven.step(Event::Tick);
            }
        }
        let opened = driven
            .changes
            .iter()
            .filter(|change| change.to == State::Open)
            .count();
        assert!(
            (1..=30).contains(&opened),
            "seed {seed}: opened {opened} times with {calls} calls"
        );
    }
}

#[test]
fn an_era_is_as_long_as_one_flow_of_calls() {
    let mut driven = Driven::new(settings());
    let mut eras = vec![driven.breaker.era()];
    // Open; half-open; ramping; closed; forced open; half-open.
    for script in ["ffff", "ww", "ttttPPPP", "www", "O", "R"] {
        driven.run(script);
        eras.push(driven.breaker.era());
    }
    assert_eq!(driven.breaker.state(), State::HalfOpen);
    assert_eq!(eras, [0, 1, 2, 3, 3, 4, 5]);
}
