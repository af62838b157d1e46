//! The rules of alternate channels as rows, and seeded runs against channels that come and go.

use super::super::seeded::Seeded;
use super::*;

type Key = usize;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Channels with a clock; `up` says which of them work.
struct Driven {
    channels: Channels<Key>,
    now: Duration,
    random: Seeded,
    up: Vec<bool>,
    switches: Vec<(Duration, Key, Key, Why)>,
    probes: Vec<Duration>,
    /// Good probes since the last bad one or since the first channel was left, as the test counts them.
    passes: u32,
}

impl Driven {
    fn new(count: usize, seed: u64) -> Self {
        let now = ms(1_000_000);
        let others: Vec<Key> = (1..count).collect();
        Self {
            channels: Channels::new(Settings::default(), 0, &others, now),
            now,
            random: Seeded::new(seed),
            up: vec![true; count],
            switches: Vec::new(),
            probes: Vec::new(),
            passes: 0,
        }
    }

    fn step(&mut self, event: Event<Key>) {
        let random = self.random.number();
        let actions = self.channels.step(event, self.now, random);
        for action in actions {
            match action {
                Action::Switch { from, to, why } => {
                    assert_ne!(from, to);
                    assert_eq!(to, *self.channels.current());
                    if let Why::Recovered { passes, away } = why {
                        assert!(passes >= 3 && self.passes >= 3, "back without proof");
                        assert!(away >= ms(5_000), "back too early");
                    }
                    if from == 0 || to == 0 {
                        self.passes = 0;
                    }
                    self.switches.push((self.now, from, to, why));
                }
                Action::Probe { key } => {
                    assert_eq!(key, 0, "the first is probed");
                    assert!(!self.channels.is_first(), "and only while away");
                    self.probes.push(self.now);
                    let passed = self.up[0];
                    self.passes = if passed { self.passes + 1 } else { 0 };
                    self.step(if passed {
                        Event::ProbePassed
                    } else {
                        Event::ProbeFailed
                    });
                }
            }
        }
    }

    /// A call over the current channel.
    fn call(&mut self) {
        let current = *self.channels.current();
        if !self.up[current] {
            self.step(Event::Failed(current));
        }
    }

    /// That long, with a call every 10 ms and a tick every 100 ms.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += ms(10);
            self.call();
            if self.now.as_millis() % 100 < 10 {
                self.step(Event::Tick);
            }
        }
    }
}

#[test]
fn channel_is_the_one_that_the_rules_say() {
    // (milliseconds, which channels work from then on), and the channel in use at the end.
    type Row = (&'static str, &'static [(u64, &'static [bool])], Key);
    let rows: &[Row] = &[
        ("the first, while it works", &[(60_000, &[true, false, false])], 0),
        ("the next, at once", &[(10, &[false, true, true])], 1),
        (
            "the one after, if that fails, too",
            &[(20, &[false, false, true])],
            2,
        ),
        (
            "not back before the minimum stay",
            &[(10, &[false, true, true]), (4_900, &[true; 3])],
            1,
        ),
        (
            "back after it",
            &[(10, &[false, true, true]), (6_000, &[true; 3])],
            0,
        ),
        (
            "not back while probes fail",
            &[(120_000, &[false, true, true])],
            1,
        ),
        (
            "back at once if the others fail and probes of the first are good",
            &[
                (10, &[false, true, true]),
                (2_500, &[true; 3]),
                (30, &[true, false, false]),
            ],
            0,
        ),
        (
            "all fail: it finds the one that works again",
            &[(60_000, &[false; 3]), (3_100, &[false, false, true])],
            2,
        ),
        ("alone: stays", &[(10_000, &[false])], 0),
    ];
    for (what, phases, expected) in rows {
        let mut driven = Driven::new(phases[0].1.len(), 7);
        for (time, up) in *phases {
            driven.up = up.to_vec();
            driven.pass(ms(*time));
        }
        assert_eq!(
            *driven.channels.current(),
            *expected,
            "{what}: {:?}",
            driven.switches
        );
    }
}

#[test]
fn late_failures_of_a_channel_that_was_left_move_nothing() {
    let mut driven = Driven::new(3, 7);
    for _ in 0..50 {
        driven.step(Event::Failed(0));
    }
    driven.step(Event::Failed(9));
    assert_eq!(*driven.channels.current(), 1);
    assert_eq!(driven.switches.len(), 1);
}

#[test]
fn probes_are_spread_and_become_rare_while_they_fail() {
    let mut driven = Driven::new(2, 7);
    driven.up = vec![false, true];
    driven.pass(ms(300_000));
    let gaps: Vec<_> = driven.probes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        (10..=25).contains(&driven.probes.len()),
        "{} probes",
        driven.probes.len()
    );
    for (gap, full) in gaps
        .iter()
        .zip([2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000])
    {
        assert!(
            (ms(full / 2)..=ms(full + 100)).contains(gap),
            "{gap:?} of {full} ms"
        );
    }
    driven.up = vec![true, true];
    driven.pass(ms(35_000));
    assert!(driven.channels.is_first(), "it comes back all the same");
}

#[test]
fn probe_that_is_lost_counts_as_failed() {
    let mut channels = Channels::new(Settings::default(), 0, &[1], ms(0));
    channels.step(Event::Failed(0), ms(0), 0);
    let mut probes = Vec::new();
    for tick in 1..200 {
        let actions = channels.step(Event::Tick, ms(tick * 100), 0);
        probes.extend(actions.iter().map(|_| tick * 100));
    }
    // Half the interval; then, each after the time-out of 2 s, half of 2, 4, 8 s.
    assert_eq!(probes, [500, 3_500, 7_500, 13_500]);
    channels.step(Event::ProbePassed, ms(20_000), 0);
    assert!(!channels.is_first(), "and its late result is for nothing");
}

#[test]
fn first_that_fails_again_soon_is_left_alone_for_twice_as_long() {
    let mut driven = Driven::new(2, 7);
    let mut stays = Vec::new();
    for _ in 0..6 {
        driven.up = vec![false, true];
        driven.pass(ms(10));
        let left = driven.now;
        driven.up = vec![true, true];
        while !driven.channels.is_first() {
            driven.pass(ms(10));
        }
        stays.push((driven.now - left).as_secs());
    }
    assert_eq!(stays, [5, 10, 20, 40, 60, 60]);
    driven.pass(ms(61_000));
    driven.up = vec![false, true];
    driven.pass(ms(10));
    driven.up = vec![true, true];
    driven.pass(ms(6_000));
    assert!(driven.channels.is_first(), "after a calm time it starts over");
}

#[test]
fn flapping_twice_a_second_does_not_make_the_channel_oscillate() {
    for seed in 0..20 {
        let mut driven = Driven::new(2, seed);
        // Ten minutes; the first is up for a quarter of a second and down for another.
        for half in 0..2_400 {
            driven.up[0] = half % 2 == 0;
            driven.pass(ms(250));
        }
        let count = driven.switches.len();
        // Out and back for stays of 5, 10, 20 and 40 s, then one of 60 s each: 14 times at the most.
        assert!((2..=28).contains(&count), "seed {seed}: {count} switches");
    }
}

#[test]
fn edits_keep_the_channel_in_use_and_what_is_known() {
    type Row = (&'static str, &'static [Key], &'static [Key], Key);
    let rows: &[Row] = &[
        ("the same", &[0, 1, 2], &[], 1),
        ("another is added", &[0, 1, 2, 3], &[], 1),
        ("in another order", &[0, 2, 1], &[], 1),
        ("another is taken out", &[0, 1], &[], 1),
        ("the one in use becomes the first", &[1, 0], &[], 1),
        ("the one in use is taken out", &[0, 2], &[0], 0),
        ("all are others", &[5, 6], &[5], 5),
    ];
    for (what, keys, switched, expected) in rows {
        let mut driven = Driven::new(3, 7);
        driven.step(Event::Failed(0));
        let action = driven.channels.set_channels(keys[0], &keys[1..], driven.now);
        let to: Vec<Key> = action
            .iter()
            .filter_map(|action| match action {
                Action::Switch { to, .. } => Some(*to),
                Action::Probe { .. } => None,
            })
            .collect();
        assert_eq!(to, *switched, "{what}");
        assert_eq!(driven.channels.current(), expected, "{what}");
        assert_eq!(driven.channels.is_first(), keys[0] == *expected, "{what}");
    }
    let mut driven = Driven::new(2, 7);
    driven.step(Event::Failed(0));
    driven.pass(ms(2_500));
    let edited = driven.channels.set_channels(0, &[1, 2], driven.now);
    assert_eq!(edited, None);
    driven.up = vec![true; 3];
    driven.pass(ms(2_600));
    assert!(
        driven.channels.is_first(),
        "neither the stay nor the good probes begin anew"
    );
}

#[test]
fn another_first_channel_is_proven_before_it_is_used() {
    let mut driven = Driven::new(2, 7);
    driven.pass(ms(10_000));
    assert_eq!(driven.channels.set_channels(7, &[0, 1], driven.now), None);
    assert_eq!(*driven.channels.current(), 0);
    let mut probes = 0;
    let mut arrived = None;
    for tick in 0..100 {
        let now = driven.now + ms(tick * 100);
        for action in driven.channels.step(Event::Tick, now, 0) {
            match action {
                Action::Probe { key: 7 } => {
                    probes += 1;
                    driven.channels.step(Event::ProbePassed, now, 0);
                }
                Action::Switch { to: 7, .. } => arrived = Some((probes, tick * 100)),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(
        arrived.is_some_and(|(probes, at)| probes >= 3 && at >= 5_000),
        "{arrived:?}"
    );
}

#[test]
fn storms_leave_at_once_what_fails_and_end_with_the_first_channel() {
    for seed in 0..100 {
        let mut chance = Seeded::new(seed + 1_000);
        let count = 1 + chance.below(4) as usize;
        let mut driven = Driven::new(count, seed);
        // When each last failed, as the test knows it: a call or a probe over it.
        let mut failed = vec![None; count];
        let begun = driven.now;
        for _ in 0..3_000 {
            driven.now += ms(1 + chance.below(60));
            match chance.below(100) {
                0..2 => {
                    let which = chance.below(count as u64) as usize;
                    driven.up[which] = !driven.up[which];
                }
                2..80 => {
                    let current = *driven.channels.current();
                    let spare = (1..count).any(|other| {
                        other != current && failed[other].is_none_or(|at| driven.now - at >= ms(6_000))
                    });
                    driven.call();
                    if !driven.up[current] {
                        failed[current] = Some(driven.now);
                        assert!(
                            !spare || *driven.channels.current() != current,
                            "seed {seed}: stayed on what fails"
                        );
                    }
                }
                _ => driven.step(Event::Tick),
            }
        }
        let seconds = (driven.now - begun).as_secs() as usize;
        let flips = driven.switches.len();
        assert!(
            flips <= (seconds + count) * 2,
            "seed {seed}: {flips} switches in {seconds} s"
        );
        driven.up = vec![true; count];
        driven.pass(ms(30_000 + 3 * 1_000 + 60_000));
        assert!(
            driven.channels.is_first(),
            "seed {seed}: no way back from {:?}",
            driven.channels
        );
    }
}

#[test]
fn when_all_fail_the_channels_take_turns_at_the_pace_of_probes() {
    for count in 2..=12 {
        let mut driven = Driven::new(count, 7);
        driven.up = vec![false; count];
        driven.pass(ms(60_000));
        let flips = driven.switches.len();
        assert!(
            (60 / 2..=60 + count).contains(&flips),
            "{count} channels: {flips} switches"
        );
        let used: Vec<Key> = (0..count)
            .filter(|key| driven.switches.iter().any(|(_, _, to, _)| to == key))
            .collect();
        assert_eq!(used.len(), count, "each has its turn: {used:?}");
    }
}
