//! The rules of passive health as rows, and its invariants under seeded storms with members that come and go.

use std::collections::BTreeSet;

use super::super::seeded::Seeded;
use super::*;

type Key = u8;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The members of an upstream with their counters, and what the machine said of them.
struct Driven {
    outliers: Outliers<Key>,
    totals: BTreeMap<Key, Totals>,
    now: Duration,
    out: BTreeSet<Key>,
    ejections: Vec<(Key, String)>,
}

impl Driven {
    fn new(settings: Settings, members: u8) -> Self {
        let now = ms(1_000_000);
        let mut driven = Self {
            outliers: Outliers::new(settings, now),
            totals: BTreeMap::new(),
            now,
            out: BTreeSet::new(),
            ejections: Vec::new(),
        };
        driven.set_members(&(0..members).collect::<Vec<_>>());
        driven
    }

    fn set_members(&mut self, keys: &[Key]) {
        self.totals.retain(|key, _| keys.contains(key));
        self.out.retain(|key| keys.contains(key));
        for key in keys {
            self.totals.entry(*key).or_default();
        }
        let members: Vec<_> = self.totals.iter().map(|(key, totals)| (*key, *totals)).collect();
        let actions = self.outliers.set_members(&members, self.now);
        self.take(actions);
    }

    fn step(&mut self, event: Event<Key>) {
        let actions = self.outliers.step(event, self.now);
        self.take(actions);
    }

    /// Follows the actions, and holds them against what the machine says and may.
    fn take(&mut self, actions: Vec<Action<Key>>) {
        for action in actions {
            match action {
                Action::Eject { key, until, why } => {
                    assert!(self.out.insert(key), "{key} is out already");
                    assert!(until > self.now);
                    self.ejections.push((key, why.to_string()));
                }
                Action::Restore { key } => assert!(self.out.remove(&key), "{key} was not out"),
            }
        }
        let said: BTreeSet<Key> = self.outliers.ejected().map(|(key, _)| *key).collect();
        assert_eq!(said, self.out, "no ejection goes unsaid");
        let cap = self.outliers.ejected_max();
        assert!(
            self.out.len() <= cap,
            "{} of {} are out, above {cap}",
            self.out.len(),
            self.totals.len()
        );
    }

    /// So many calls at once, of which some failed; sampled like a worker does if any did.
    fn calls(&mut self, key: Key, calls: u64, failures: u64) {
        let totals = self.totals.entry(key).or_default();
        totals.calls += calls;
        totals.failures += failures;
        if failures > 0 {
            let totals = *totals;
            self.step(Event::Sample(key, totals));
        }
    }

    /// The control thread's rounds for that long.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += ms(100);
            for (key, totals) in self.totals.clone() {
                self.step(Event::Sample(key, totals));
            }
            self.step(Event::Tick);
        }
    }
}

fn only_consecutive() -> Settings {
    Settings {
        success_rate: None,
        behind_others: None,
        ..Settings::default()
    }
}

#[test]
fn failures_in_a_row_eject_at_once() {
    // (key, calls, failures) at once.
    type Row = (&'static str, u8, &'static [(Key, u64, u64)], &'static [Key]);
    let rows: &[Row] = &[
        ("too few", 3, &[(0, 1, 1), (0, 1, 1), (0, 1, 1), (0, 1, 1)], &[]),
        (
            "enough",
            3,
            &[(0, 1, 1), (0, 1, 1), (0, 1, 1), (0, 1, 1), (0, 1, 1)],
            &[0],
        ),
        ("at once, too", 3, &[(0, 5, 5)], &[0]),
        ("a success in between", 3, &[(0, 4, 4), (0, 2, 1), (0, 3, 3)], &[]),
        (
            "of one, not of all together",
            3,
            &[(0, 3, 3), (1, 3, 3), (2, 3, 3)],
            &[],
        ),
        (
            "no more than the cap",
            3,
            &[(0, 5, 5), (1, 5, 5), (2, 5, 5)],
            &[0],
        ),
        (
            "half of four",
            4,
            &[(0, 5, 5), (1, 5, 5), (2, 5, 5), (3, 5, 5)],
            &[0, 1],
        ),
        ("one of two", 2, &[(0, 5, 5), (1, 5, 5)], &[0]),
        ("never the only one", 1, &[(0, 100, 100)], &[]),
        (
            "what is out is not ejected again",
            3,
            &[(0, 5, 5), (0, 50, 50)],
            &[0],
        ),
        ("unknown members are ignored", 0, &[(9, 5, 5)], &[]),
    ];
    for (what, members, calls, expected) in rows {
        let mut driven = Driven::new(only_consecutive(), *members);
        for (key, calls, failures) in *calls {
            driven.calls(*key, *calls, *failures);
        }
        let ejected: Vec<Key> = driven.out.iter().copied().collect();
        assert_eq!(ejected, *expected, "{what}");
    }
}

#[test]
fn rules_that_compare_eject_what_stands_out() {
    let none = Settings {
        consecutive_failures: None,
        success_rate: None,
        behind_others: None,
        ..Settings::default()
    };
    let envoy = Settings {
        success_rate: Some(SuccessRate::default()),
        ..none
    };
    let ratio = Settings {
        failure_ratio: Some(FailureRatio::default()),
        ..none
    };
    let small = Settings {
        success_rate: Some(SuccessRate::default()),
        behind_others: Some(BehindOthers::default()),
        ..none
    };
    // For each member (calls, failures).
    type Row = (
        &'static str,
        Settings,
        &'static [(u64, u64)],
        &'static [(Key, &'static str)],
    );
    let rows: &[Row] = &[
        (
            "no rule, no ejection",
            none,
            &[(100, 100), (100, 0), (100, 0), (100, 0), (100, 0)],
            &[],
        ),
        (
            "success rate: one of five stands out",
            envoy,
            &[(100, 30), (100, 0), (100, 0), (100, 0), (100, 0)],
            &[(0, "70.0% of calls succeeded, below 71.2% where the mean is 94.0%")],
        ),
        (
            "success rate: of four none can",
            envoy,
            &[(100, 90), (100, 0), (100, 0), (100, 0)],
            &[],
        ),
        (
            "success rate: too few calls",
            envoy,
            &[(99, 90), (100, 0), (100, 0), (100, 0), (100, 0)],
            &[],
        ),
        (
            "success rate: all alike",
            envoy,
            &[(100, 30), (100, 30), (100, 30), (100, 30), (100, 30)],
            &[],
        ),
        (
            "failure ratio: at the threshold",
            ratio,
            &[(100, 85), (100, 0), (100, 0), (100, 0), (100, 0)],
            &[(0, "85 of 100 calls failed in 10s")],
        ),
        (
            "failure ratio: below it",
            ratio,
            &[(100, 84), (100, 0), (100, 0), (100, 0), (100, 0)],
            &[],
        ),
        (
            "failure ratio: too few members",
            ratio,
            &[(100, 99), (100, 0), (100, 0), (100, 0), (49, 0)],
            &[],
        ),
        (
            "failure ratio: the worst first, up to the cap",
            ratio,
            &[(100, 90), (100, 95), (100, 99), (100, 0), (100, 0)],
            &[
                (2, "99 of 100 calls failed in 10s"),
                (1, "95 of 100 calls failed in 10s"),
            ],
        ),
        (
            "behind others: one of three fails 30%",
            small,
            &[(60, 0), (60, 18), (60, 0)],
            &[(1, "70.0% of calls succeeded, with the others 100.0%")],
        ),
        (
            "behind others: one of two",
            small,
            &[(60, 1), (60, 30)],
            &[(1, "50.0% of calls succeeded, with the others 98.3%")],
        ),
        (
            "behind others: the one well member is the measure",
            small,
            &[(100, 60), (100, 0), (100, 50)],
            &[(0, "40.0% of calls succeeded, with the others 75.0%")],
        ),
        (
            "behind others: all fail alike",
            small,
            &[(100, 30), (100, 33), (100, 28)],
            &[],
        ),
        (
            "behind others: too few calls",
            small,
            &[(49, 40), (100, 0), (100, 0)],
            &[],
        ),
        (
            "behind others: nobody to compare with",
            small,
            &[(100, 90), (20, 0)],
            &[],
        ),
        (
            "behind others: clear, but below the margin",
            small,
            &[(10_000, 900), (10_000, 0)],
            &[],
        ),
        (
            "behind others: above the margin, but by chance",
            small,
            &[(50, 13), (50, 7)],
            &[],
        ),
    ];
    for (what, settings, calls, expected) in rows {
        let mut driven = Driven::new(*settings, calls.len() as u8);
        driven.pass(ms(2_000));
        for (key, (calls, failures)) in (0..).zip(*calls) {
            driven.calls(key, *calls, *failures);
        }
        driven.pass(ms(1_100));
        let ejected: Vec<_> = driven
            .ejections
            .iter()
            .map(|(key, why)| (*key, why.as_str()))
            .collect();
        assert_eq!(ejected, *expected, "{what}");
    }
}

/// How long the member stays out after it has failed enough.
fn ejection(driven: &mut Driven) -> u64 {
    driven.calls(0, 5, 5);
    assert!(driven.out.contains(&0));
    let begun = driven.now;
    while driven.out.contains(&0) {
        driven.pass(ms(100));
    }
    (driven.now - begun).as_secs()
}

#[test]
fn ejections_grow_with_their_number_and_are_forgiven_by_the_interval() {
    let mut driven = Driven::new(only_consecutive(), 3);
    let times: Vec<u64> = (0..12).map(|_| ejection(&mut driven)).collect();
    assert_eq!(times, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
    let rows = [
        ("an interval takes off one, the ejection adds one", 10, 300),
        ("two take off two", 20, 270),
        ("all is forgiven in the end", 1_000, 30),
        ("and stays so", 0, 60),
    ];
    for (what, calm, expected) in rows {
        driven.pass(Duration::from_secs(calm));
        let time = ejection(&mut driven);
        assert_eq!(time, expected, "{what}");
    }
}

#[test]
fn restored_member_starts_with_a_clean_sheet() {
    let mut driven = Driven::new(Settings::default(), 3);
    driven.calls(0, 1_000, 1_000);
    driven.calls(0, 500, 500);
    driven.step(Event::Restore(0));
    assert!(driven.out.is_empty(), "an operator or a check may end it");
    driven.step(Event::Restore(0));
    driven.calls(0, 4, 4);
    driven.pass(ms(2_000));
    assert!(driven.out.is_empty(), "what was before does not count again");
    driven.calls(0, 1, 1);
    assert!(driven.out.contains(&0), "what is new does");
}

#[test]
fn what_the_cap_let_stay_goes_when_there_is_room_if_it_still_fails() {
    for (what, still, expected) in [("it still fails", 1, true), ("it has no calls", 0, false)] {
        let mut driven = Driven::new(only_consecutive(), 3);
        driven.calls(0, 5, 5);
        driven.calls(1, 5, 5);
        driven.pass(ms(29_000));
        driven.calls(1, still, still);
        assert!(!driven.out.contains(&1), "{what}: no room yet");
        driven.pass(ms(3_000));
        assert_eq!(driven.out.contains(&1), expected, "{what}");
    }
}

#[test]
fn edits_of_members_keep_the_others_state() {
    let mut driven = Driven::new(only_consecutive(), 6);
    driven.calls(0, 5, 5);
    driven.calls(1, 4, 4);
    driven.calls(2, 5, 5);
    let until: Vec<_> = driven
        .outliers
        .ejected()
        .map(|(key, until)| (*key, until))
        .collect();
    driven.now += ms(1_000);
    driven.set_members(&[0, 1, 2, 5, 6, 7]);
    let after: Vec<_> = driven
        .outliers
        .ejected()
        .map(|(key, until)| (*key, until))
        .collect();
    assert_eq!(after, until, "ejected members stay so, until the same time");
    driven.calls(1, 1, 1);
    assert!(driven.out.contains(&1), "a run of failures goes on");
    driven.set_members(&[0, 1, 5]);
    assert_eq!(driven.out.len(), 1, "fewer members, fewer may be out");
    assert!(driven.out.contains(&1), "the one whose time is nearest came back");
    driven.set_members(&[5]);
    driven.set_members(&[0, 1, 5]);
    assert!(driven.out.is_empty(), "who went and comes again is new");
    driven.calls(5, 5, 5);
    driven.set_members(&[5]);
    assert!(driven.out.is_empty(), "the only one is never out");
}

#[test]
fn edits_of_settings_keep_what_is_out_within_the_cap() {
    let mut driven = Driven::new(only_consecutive(), 6);
    for key in 0..3 {
        driven.calls(key, 5, 5);
        driven.now += ms(1_000);
    }
    let rows = [
        ("the same", 0.5, 3),
        ("less", 0.34, 2),
        ("still one", 0.01, 1),
        ("none", 0.0, 0),
    ];
    for (what, max_ejected_share, expected) in rows {
        let edited = Settings {
            max_ejected_share,
            interval: ms(5_000),
            ..only_consecutive()
        };
        let actions = driven.outliers.set(edited, driven.now);
        driven.take(actions);
        assert_eq!(driven.out.len(), expected, "{what}");
    }
}

#[test]
fn storms_never_eject_more_than_the_cap_and_all_come_back() {
    let mut ejections = 0;
    for seed in 0..30 {
        let mut random = Seeded::new(seed);
        let settings = Settings {
            failure_ratio: random.percent(50).then(FailureRatio::default),
            max_ejected_share: random.below(11) as f64 / 10.0,
            base_ejection: ms(500 + random.below(5_000)),
            max_ejection: ms(10_000),
            interval: ms(1_000),
            ..Settings::default()
        };
        let mut driven = Driven::new(settings, 1 + random.below(8) as u8);
        let mut sick: Vec<u64> = (0..=u8::MAX).map(|_| random.below(100)).collect();
        for _ in 0..3_000 {
            driven.now += ms(random.below(30));
            let keys: Vec<Key> = driven.totals.keys().copied().collect();
            let key = keys[random.below(keys.len() as u64) as usize];
            match random.below(1_000) {
                0..5 => {
                    let mut keys: BTreeSet<Key> = keys.into_iter().filter(|_| random.percent(80)).collect();
                    keys.insert(random.below(12) as u8);
                    let kept: Vec<_> = driven
                        .outliers
                        .ejected()
                        .map(|(key, until)| (*key, until))
                        .collect();
                    driven.set_members(&keys.iter().copied().collect::<Vec<_>>());
                    for (key, until) in driven.outliers.ejected() {
                        assert!(
                            kept.contains(&(*key, until)),
                            "seed {seed}: an edit ejected {key}"
                        );
                    }
                }
                5..10 => sick[usize::from(key)] = random.below(100),
                10..20 => driven.step(Event::Restore(random.below(12) as u8)),
                20..300 => driven.pass(ms(100)),
                _ => {
                    let calls = 1 + random.below(30);
                    let failures = (0..calls)
                        .filter(|_| random.percent(sick[usize::from(key)]))
                        .count();
                    driven.calls(key, calls, failures as u64);
                }
            }
        }
        ejections += driven.ejections.len();
        // What the cap let stay may go within the interval, and be out for the longest time.
        driven.pass(ms(10_000 + 1_000 + 10_000 + 200));
        assert!(driven.out.is_empty(), "seed {seed}: {:?} stay out", driven.out);
        let before = driven.ejections.len();
        for _ in 0..100 {
            for key in driven.totals.keys().copied().collect::<Vec<_>>() {
                driven.calls(key, 10, 0);
            }
            driven.pass(ms(100));
        }
        assert_eq!(
            driven.ejections.len(),
            before,
            "seed {seed}: good calls eject nobody"
        );
    }
    assert!(ejections > 300, "{ejections}");
}

#[test]
fn chance_alone_ejects_nobody() {
    for seed in 0..6 {
        let mut random = Seeded::new(seed);
        let members = 2 + (seed % 3) as u8;
        let mut driven = Driven::new(
            Settings {
                consecutive_failures: None,
                ..Settings::default()
            },
            members,
        );
        // Ten minutes in which all fail 2% of a hundred calls a second, alike.
        for _ in 0..6_000 {
            for key in 0..members {
                let failures = (0..10).filter(|_| random.percent(2)).count();
                driven.calls(key, 10, failures as u64);
            }
            driven.pass(ms(100));
        }
        assert_eq!(driven.ejections, [], "seed {seed}");
    }
}

#[test]
fn flapping_twice_a_second_ejects_ever_more_rarely() {
    let mut driven = Driven::new(Settings::default(), 3);
    // Ten minutes; the first is up for a quarter of a second and down for another.
    for tick in 0..6_000_u64 {
        for key in 0..3 {
            for part in 0..5 {
                let down = key == 0 && (tick * 100 + part * 20) % 500 >= 250;
                if !driven.out.contains(&key) {
                    driven.calls(key, 1, u64::from(down));
                }
            }
        }
        driven.pass(ms(100));
    }
    let times = driven.ejections.len();
    assert!((1..=7).contains(&times), "{:?}", driven.ejections);
}
