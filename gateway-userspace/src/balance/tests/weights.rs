//! Weights are shares, for every balancer.

use super::*;

const PICKS: usize = 100_000;

#[test]
fn weights_hold_within_one_per_cent_for_every_balancer() {
    for weights in [
        &[1, 1, 1][..],
        &[5, 3, 2],
        &[1000, 1],
        &[1],
        &[3, 1, 4, 1, 5, 9, 2, 6],
        &[7; 40],
    ] {
        for balancer in ALL {
            let picked = count(balancer, &members(weights), &RosterTerms::default(), PICKS);
            let sum: u32 = weights.iter().sum();
            for (weight, picked) in weights.iter().zip(&picked) {
                let expected = PICKS as f64 * f64::from(*weight) / f64::from(sum);
                let off = (*picked as f64 - expected).abs() / PICKS as f64;
                assert!(
                    off <= 0.01,
                    "{balancer:?} {weights:?}: {picked} picks, {expected} expected"
                );
            }
        }
    }
}

#[test]
fn shares_of_weights_hold_as_weights_do() {
    let mut starting = members(&[2, 2, 1]);
    starting[1].share = 250;
    for balancer in ALL {
        let picked = count(balancer, &starting, &RosterTerms::default(), PICKS);
        // By key the part that is not taken yet goes to all, so also back to who did not take it: a little differs.
        let expected = [2.0 / 3.5, 0.5 / 3.5, 1.0 / 3.5];
        let bound = match balancer {
            Balancer::IpHash(_) | Balancer::ConsistentHash(_) => 0.05,
            _ => 0.01,
        };
        for (picked, expected) in picked.iter().zip(expected) {
            let off = (*picked as f64 / PICKS as f64 - expected).abs();
            assert!(off <= bound, "{balancer:?}: {picked} picks of {expected}");
        }
    }
}

#[test]
fn a_share_of_nothing_is_a_trickle() {
    let mut starting = members(&[1, 1]);
    starting[1].share = 0;
    for balancer in ALL {
        let picked = count(balancer, &starting, &RosterTerms::default(), PICKS);
        assert!((20..500).contains(&picked[1]), "{balancer:?}: {picked:?}");
    }
}

fn turns(balancer: Balancer, weights: &[u32], worker: usize, count: usize) -> Vec<usize> {
    let (members, terms) = (members(weights), RosterTerms::default());
    let picker = Picker::new(Arc::new(Plan::new(balancer, &members, &terms)), worker);
    let roster = Roster::new(&members, &terms);
    let loads = Fake::idle(members.len());
    let pick = |_| picker.pick(&roster, &loads, None, &[], 0).unwrap().index;
    (0..count).map(pick).collect()
}

#[test]
fn turns_are_smooth() {
    for balancer in [Balancer::RoundRobin, Balancer::LeastRequests] {
        assert_eq!(turns(balancer, &[5, 1, 1], 0, 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(turns(balancer, &[1, 1, 1], 0, 6), [0, 1, 2, 0, 1, 2]);
    }
}

#[test]
fn in_any_stretch_of_turns_a_member_is_off_by_less_than_two_picks() {
    let weights = [7, 3, 2, 1, 12];
    let sum: u32 = weights.iter().sum();
    let turns = turns(Balancer::RoundRobin, &weights, 0, 1_000);
    for length in [5, 25, 40] {
        for stretch in turns.windows(length) {
            for (index, weight) in weights.iter().enumerate() {
                let found = stretch.iter().filter(|picked| **picked == index).count() as f64;
                let expected = length as f64 * f64::from(*weight) / f64::from(sum);
                assert!(
                    (found - expected).abs() < 2.0,
                    "{index}: {found} of {expected} in {length}"
                );
            }
        }
    }
}

#[test]
fn workers_begin_at_different_members() {
    let first = |worker| turns(Balancer::RoundRobin, &[1, 1], worker, 1)[0];
    assert_eq!([first(0), first(1), first(2)], [0, 1, 0]);
}

#[test]
fn a_member_that_comes_back_gets_its_turns_and_no_burst() {
    let terms = RosterTerms {
        panic_below_per_cent: 1,
        ..RosterTerms::default()
    };
    let mut members = members(&[1, 4, 1]);
    for balancer in [Balancer::RoundRobin, Balancer::LeastRequests] {
        let picker = Picker::new(Arc::new(Plan::new(balancer, &members, &terms)), 0);
        let loads = Fake::idle(3);
        let turns = |members: &[Member], count: usize| {
            let roster = Roster::new(members, &terms);
            let mut picked = [0; 3];
            for _ in 0..count {
                picked[picker.pick(&roster, &loads, None, &[], 0).unwrap().index] += 1;
            }
            picked
        };
        turns(&members, 5);
        members[1].standing = Standing::Failing;
        assert_eq!(turns(&members, 101)[1], 0);
        members[1].standing = Standing::Ready;
        let back = turns(&members, 12);
        assert!((7..=9).contains(&back[1]), "{balancer:?}: {back:?}");
    }
}
