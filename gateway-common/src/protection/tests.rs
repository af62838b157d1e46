//! Buckets, sets and windows under numbers that are the same each time.

use core::net::IpAddr;

use super::*;

const SECOND: u64 = 1_000_000_000;

/// Numbers that are the same each time: splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// Tokens that are there of so many tries, spread over a time.
fn taken(bucket: &Bucket, rate: Rate, from: u64, until: u64, tries: u64) -> u64 {
    let at = |index| from + (until - from) / tries * index;
    (0..tries).filter(|index| bucket.take(rate, at(*index))).count() as u64
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    for (per_second, burst) in [
        (10, 10),
        (10, 1),
        (1_000, 20_000),
        (1_000_000, 7),
        (10_000_000, 100),
    ] {
        let (bucket, rate) = (Bucket::default(), Rate::new(per_second, burst));
        let at_once = taken(&bucket, rate, 100 * SECOND, 100 * SECOND + 1, burst + 1_000);
        assert_eq!(at_once, burst, "{per_second} a second, {burst} at once");
        // As many tries as tokens, twice.
        let then = taken(&bucket, rate, 100 * SECOND, 101 * SECOND, 2 * per_second);
        assert!(
            then.abs_diff(per_second) <= 1,
            "{then} of {per_second}, {burst} at once"
        );
        assert!(!bucket.take(rate, 101 * SECOND - SECOND / per_second));
        let rested = taken(&bucket, rate, 10_000 * SECOND, 10_000 * SECOND + 1, burst + 1_000);
        assert_eq!(rested, burst, "after a rest");
    }
    let free = Bucket::default();
    assert_eq!(
        taken(&free, Rate::new(0, 5), SECOND, SECOND + 1, 100_000),
        100_000
    );
}

#[test]
fn whatever_the_times_of_tries_no_window_has_more_than_burst_and_rate() {
    let mut numbers = Numbers(11);
    for _ in 0..50 {
        let (per_second, burst) = (1 + numbers.next() % 1_000, 1 + numbers.next() % 500);
        let (bucket, rate) = (Bucket::default(), Rate::new(per_second, burst));
        let mut now = 1_000 * SECOND;
        let mut given = Vec::new();
        for _ in 0..3_000 {
            now += numbers.next() % (2 * SECOND / per_second);
            if bucket.take(rate, now) {
                given.push(now);
            }
        }
        for (index, from) in given.iter().enumerate() {
            for (later, until) in given.iter().enumerate().skip(index).step_by(97) {
                let most = burst + (until - from).div_ceil(rate.token_ns) + 1;
                let seen = (later - index + 1) as u64;
                assert!(seen <= most, "{seen} of {most} within {} ns", until - from);
            }
        }
    }
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

#[test]
fn sources_of_ipv6_are_networks_of_64_bits() {
    let tag = |text| source_tag([3, 4], &address(text));
    assert_eq!(tag("2001:db8::1"), tag("2001:db8::ffff:0:0:2"));
    assert_ne!(tag("2001:db8::1"), tag("2001:db8:0:1::1"));
    assert_ne!(tag("192.0.2.1"), tag("192.0.2.2"));
    assert_ne!(tag("192.0.2.1"), source_tag([3, 5], &address("192.0.2.1")));
    let sets = (0..64_u64).map(|high| source_set(high << 32));
    assert!(sets.eq(0..64), "sets follow the high half of a tag");
    assert!(source_set(u64::MAX) < SOURCE_SETS);
}

/// A source that has used up its burst, and as many others as one likes in its set: it gets its rate and no more.
#[test]
fn whoever_brings_others_along_is_not_rid_of_his_debt() {
    let rate = Rate::new(10, 100);
    let (set, mut numbers) = (SourceSet::default(), Numbers(5));
    let mut given = 0;
    let mut now = 1_000 * SECOND;
    for _ in 0..100_000 {
        // Ten thousand tries a second, each after three of sources that come once.
        now += SECOND / 10_000;
        for _ in 0..3 {
            set.source(numbers.next() | 2).connections.take(rate, now);
        }
        given += u64::from(set.source(1).connections.take(rate, now));
    }
    // Ten seconds: the burst and a hundred.
    assert!(given <= 201, "{given}");
}

#[test]
fn a_flood_of_forged_sources_costs_others_nothing() {
    let rate = Rate::new(10_000, 20_000);
    let mut numbers = Numbers(6);
    let sets: Vec<SourceSet> = (0..16).map(|_| SourceSet::default()).collect();
    let mut refused = 0;
    for index in 0..1_000_000_u64 {
        // As many for each set as a flood of ten million a second has for each of all.
        let now = 1_000 * SECOND + index * SECOND / 2_440;
        let tag = numbers.next();
        sets[(tag >> 60) as usize].source(tag).connections.take(rate, now);
        if index % 1_000 == 0 {
            let client = index / 1_000 % 7 + 1;
            let set = &sets[client as usize];
            refused += u64::from(!set.source(client).connections.take(rate, now));
        }
    }
    assert_eq!(refused, 0);
}

#[test]
fn a_set_knows_four_sources_and_the_next_takes_the_place_and_the_debt_of_who_owes_least() {
    let (set, rate) = (SourceSet::default(), Rate::new(1, 4));
    let now = 1_000 * SECOND;
    for (tag, tries) in [(1, 4), (2, 3), (3, 4), (4, 4)] {
        for _ in 0..tries {
            assert!(set.source(tag).connections.take(rate, now));
        }
    }
    assert!(!set.source(1).connections.take(rate, now));
    // Source 2 has one token left: so has who takes its place.
    assert!(set.source(5).connections.take(rate, now));
    assert!(!set.source(5).connections.take(rate, now));
    assert!(!set.source(1).connections.take(rate, now));
    assert!(!set.source(3).connections.take(rate, now));
}

#[test]
fn windows_count_anew() {
    let window = Window::default();
    let begin = 5 << WINDOW_BITS;
    let counts: Vec<u32> = (0..3).map(|_| window.count(begin)).collect();
    assert_eq!(counts, [1, 2, 3]);
    assert_eq!(window.count(begin + (1 << WINDOW_BITS) - 1), 4);
    assert_eq!(window.count(begin + (1 << WINDOW_BITS)), 1);
}

#[test]
fn words_of_the_kernel_are_read_as_they_stand() {
    let set = SourceSet::default();
    for tag in 1..=4 {
        let source = set.source(tag);
        source.connections.take(Rate::new(1, 1), tag * 1_000 * SECOND);
        source.window.count(7 << WINDOW_BITS);
    }
    let debts = |set: &SourceSet| {
        set.0
            .iter()
            .map(|source| (source.tag.load(), source.owes(), source.window.0.load()))
            .collect::<Vec<_>>()
    };
    let words: Vec<u64> = set
        .0
        .iter()
        .flat_map(|source| {
            [
                source.tag.load(),
                source.connections.at_ns(),
                source.flows.at_ns(),
                source.window.0.load(),
            ]
        })
        .collect();
    let read = SourceSet::from(<[u64; SOURCE_SET_WORDS]>::try_from(words).unwrap());
    assert_eq!(debts(&read), debts(&set));
}
