//! Standings, priorities, zones and panic.

use super::*;
use Mode::{Normal, Panic};
use Standing::{Failing, Ready, Unknown};

/// Members of weight 1 of those standings.
fn standing(standings: &[Standing]) -> Vec<Member> {
    let mut members = members(&vec![1; standings.len()]);
    for (member, standing) in members.iter_mut().zip(standings) {
        member.standing = *standing;
    }
    members
}

/// Who is picked in 2,000 picks, and in which modes.
fn picked(
    balancer: Balancer,
    members: &[Member],
    terms: &RosterTerms,
    tried: &[usize],
) -> Vec<(usize, Mode)> {
    let (picker, roster) = ready(balancer, members, terms);
    let loads = Fake::idle(members.len());
    let mut bits = Bits(3);
    let pick = |_| picker.pick(&roster, &loads, Some(bits.next()), tried, bits.next());
    let mut picked: Vec<_> = (0..2_000)
        .filter_map(pick)
        .map(|pick| (pick.index, pick.mode))
        .collect();
    picked.sort_unstable();
    picked.dedup();
    picked
}

const LAST: RosterTerms = RosterTerms {
    zones: Zones::Equal,
    overprovisioning_per_cent: 140,
    panic_below_per_cent: 1,
};

#[test]
fn standings_decide_who_is_picked() {
    for (standings, tried, expected, description) in [
        (
            &[Unknown, Ready, Failing][..],
            &[][..],
            &[(1, Normal)][..],
            "unknown wait for ready",
        ),
        (
            &[Unknown, Unknown, Failing],
            &[],
            &[(0, Normal), (1, Normal)],
            "unknown before failing",
        ),
        (&[Failing, Failing], &[], &[(0, Panic), (1, Panic)], "all fail"),
        (
            &[Ready, Unknown, Failing],
            &[0],
            &[(1, Normal)],
            "after the ready the unknown",
        ),
        (
            &[Ready, Unknown, Failing],
            &[0, 1],
            &[(2, Panic)],
            "then the failing",
        ),
        (&[Ready, Unknown, Failing], &[0, 1, 2], &[], "nobody is left"),
        (
            &[Ready, Ready, Ready],
            &[2, 0],
            &[(1, Normal)],
            "tried ones are left out",
        ),
        (
            &[Ready, Ready, Ready, Ready],
            &[2],
            &[(0, Normal), (1, Normal), (3, Normal)],
            "one was tried",
        ),
        (&[], &[], &[], "no member"),
        (&[Ready], &[9], &[(0, Normal)], "one that is not there was tried"),
    ] {
        for balancer in ALL {
            let found = picked(balancer, &standing(standings), &LAST, tried);
            assert_eq!(found, expected, "{description}, {balancer:?}");
        }
    }
}

#[test]
fn new_members_do_not_make_an_upstream_panic() {
    let members = standing(&[Ready, Ready, Unknown, Unknown, Unknown, Unknown, Unknown]);
    let loads: Vec<_> = Roster::new(&members, &RosterTerms::default()).loads().collect();
    assert_eq!((loads[0].members, loads[0].mode), (2, Normal));
}

#[test]
fn panic_uses_all_whose_state_is_known_and_can_be_turned_off() {
    let terms = |panic_below_per_cent| RosterTerms {
        panic_below_per_cent,
        ..LAST
    };
    let weak = standing(&[Ready, Failing, Failing, Unknown]);
    let none = standing(&[Failing, Failing]);
    for balancer in ALL {
        let all = [(0, Panic), (1, Panic), (2, Panic)];
        assert_eq!(picked(balancer, &weak, &terms(50), &[]), all, "{balancer:?}");
        assert_eq!(
            picked(balancer, &weak, &terms(0), &[]),
            [(0, Normal)],
            "{balancer:?}"
        );
        assert_eq!(picked(balancer, &none, &terms(0), &[]), [], "{balancer:?}");
        assert_eq!(
            picked(balancer, &weak, &terms(0), &[0]),
            [(3, Normal)],
            "{balancer:?}"
        );
    }
    let roster = Roster::new(&weak, &terms(50));
    assert_eq!(
        [0, 1, 2, 3, 4].map(|index| roster.admits(index)),
        [Some(Panic), Some(Panic), Some(Panic), Some(Normal), None],
        "a session at one that is not checked yet goes on"
    );
}

/// Four members in each of two levels; of the first, `failing` fail.
fn two_levels(failing: usize, place: impl Fn(&mut Member)) -> Vec<Member> {
    let mut members = members(&[1; 8]);
    members[4..].iter_mut().for_each(place);
    members[..failing]
        .iter_mut()
        .for_each(|member| member.standing = Failing);
    members
}

#[test]
fn priorities_and_zones_fail_over_by_one_rule_and_come_back() {
    let zones = RosterTerms {
        zones: Zones::LocalFirst,
        ..RosterTerms::default()
    };
    let by_priority = |member: &mut Member| member.priority = 1;
    let by_zone = |member: &mut Member| member.zone = Zone::Other;
    for (failing, per_cent, description) in [
        (0, 100, "all are ready"),
        (1, 100, "three bear it"),
        (2, 70, "two bear 70%"),
        (3, 35, "one bears 35%"),
        (4, 0, "none is left"),
        (1, 100, "three are back"),
        (0, 100, "all are back"),
    ] {
        for balancer in ALL {
            for (members, terms) in [
                (two_levels(failing, by_priority), RosterTerms::default()),
                (two_levels(failing, by_zone), zones),
            ] {
                let picked = count(balancer, &members, &terms, 10_000);
                let first: usize = picked[..4].iter().sum();
                let off = first.abs_diff(per_cent * 100);
                assert!(off <= 200, "{description}, {balancer:?}: {picked:?}");
                assert!(
                    picked[..failing].iter().all(|picked| *picked == 0),
                    "{description}: {picked:?}"
                );
            }
        }
    }
    let members = two_levels(2, by_zone);
    let equal = count(Balancer::RoundRobin, &members, &RosterTerms::default(), 600);
    assert_eq!(
        equal,
        [0, 0, 100, 100, 100, 100, 100, 100],
        "zones matter only if they are to"
    );
}

#[test]
fn local_zone_of_the_next_priority_comes_after_other_zones_of_this_one() {
    let mut members = members(&[1; 3]);
    members[0].standing = Failing;
    members[1].zone = Zone::Other;
    members[2].priority = 1;
    let terms = RosterTerms {
        zones: Zones::LocalFirst,
        ..RosterTerms::default()
    };
    let loads: Vec<_> = Roster::new(&members, &terms)
        .loads()
        .map(|load| (load.priority, load.zone, load.per_mille, load.members, load.mode))
        .collect();
    let expected = [
        (0, Some(Zone::Local), 0, 0, Normal),
        (0, Some(Zone::Other), 1000, 1, Normal),
        (1, Some(Zone::Local), 0, 1, Normal),
    ];
    assert_eq!(loads, expected);
}

#[test]
fn retries_leave_a_level_only_when_all_of_it_were_tried() {
    let members = two_levels(0, |member| member.priority = 1);
    for balancer in ALL {
        let terms = RosterTerms::default();
        assert_eq!(
            picked(balancer, &members, &terms, &[0, 1, 2]),
            [(3, Normal)],
            "{balancer:?}"
        );
        let next = [(4, Normal), (5, Normal), (6, Normal), (7, Normal)];
        assert_eq!(
            picked(balancer, &members, &terms, &[0, 1, 2, 3]),
            next,
            "{balancer:?}"
        );
    }
}

#[test]
fn a_level_whose_members_all_start_slowly_keeps_its_traffic() {
    let mut members = two_levels(0, |member| member.priority = 1);
    members[..4].iter_mut().for_each(|member| member.share = 100);
    for balancer in ALL {
        let picked = count(balancer, &members, &RosterTerms::default(), 4_000);
        assert_eq!(picked[4..], [0; 4], "{balancer:?}");
        assert!(
            picked[..4].iter().all(|picked| (850..1150).contains(picked)),
            "{balancer:?}: {picked:?}"
        );
    }
}
