//! Members that take no new requests: those that keep their sessions, and those of other subsets.

use super::*;
use Mode::{Normal, Panic};
use Standing::{Failing, Ready, Unknown};

/// Members of weight 1 with these intakes and standings.
fn with(rows: &[(Intake, Standing)]) -> Vec<Member> {
    let mut members = members(&vec![1; rows.len()]);
    for (member, (intake, standing)) in members.iter_mut().zip(rows) {
        (member.intake, member.standing) = (*intake, *standing);
    }
    members
}

#[test]
fn a_weight_of_0_is_never_picked_and_keeps_its_sessions() {
    let members = members(&[0, 1, 2]);
    for balancer in ALL {
        let picked = count(balancer, &members, &RosterTerms::default(), 300);
        assert!(
            picked[0] == 0 && picked[1] > 0 && picked[2] > 0,
            "{balancer:?}: {picked:?}"
        );
        let (picker, roster) = ready(balancer, &members, &RosterTerms::default());
        assert_eq!(roster.admits(0), Some(Normal));
        let pick = picker.pick(&roster, &Fake::idle(3), Some(5), &[1, 2], 5);
        assert_eq!(pick, None, "{balancer:?}: not even when all others were tried");
    }
    let alone = super::members(&[0]);
    for balancer in ALL {
        let (picker, roster) = ready(balancer, &alone, &RosterTerms::default());
        assert_eq!(
            picker.pick(&roster, &Fake::idle(1), Some(5), &[], 5),
            None,
            "{balancer:?}"
        );
        assert_eq!((roster.admits(0), roster.has_good()), (Some(Normal), false));
    }
}

#[test]
fn who_takes_no_new_requests_does_not_count_for_those_that_do() {
    // One without new requests is ready: those that are not checked yet do not wait for it.
    let members = with(&[
        (Intake::Sessions, Ready),
        (Intake::All, Unknown),
        (Intake::None, Ready),
    ]);
    for balancer in ALL {
        let picked = count(balancer, &members, &RosterTerms::default(), 50);
        assert_eq!(picked, [0, 50, 0], "{balancer:?}");
    }
    // Of two that take requests one fails: half is left, which is no panic, whatever the others do.
    let members = with(&[
        (Intake::None, Failing),
        (Intake::Sessions, Failing),
        (Intake::All, Ready),
        (Intake::All, Failing),
    ]);
    let roster = Roster::new(&members, &RosterTerms::default());
    assert_eq!(
        [0, 1, 2, 3].map(|index| roster.admits(index)),
        [None, None, Some(Normal), None]
    );
}

#[test]
fn a_subset_has_nothing_of_the_others_not_even_in_panic_or_for_their_sessions() {
    let members = with(&[
        (Intake::None, Ready),
        (Intake::All, Failing),
        (Intake::None, Unknown),
        (Intake::All, Failing),
    ]);
    for balancer in ALL {
        let (picker, roster) = ready(balancer, &members, &RosterTerms::default());
        assert!(!roster.has_good());
        assert_eq!(
            [0, 1, 2, 3].map(|index| roster.admits(index)),
            [None, Some(Panic), None, Some(Panic)]
        );
        let mut bits = Bits(3);
        for tried in [&[][..], &[1], &[3]] {
            let pick = picker.pick(&roster, &Fake::idle(4), Some(bits.next()), tried, bits.next());
            let pick = pick.unwrap();
            assert!(
                matches!(pick.index, 1 | 3) && !tried.contains(&pick.index),
                "{balancer:?}"
            );
        }
        let pick = picker.pick(&roster, &Fake::idle(4), Some(bits.next()), &[1, 3], bits.next());
        assert_eq!(pick, None, "{balancer:?}");
    }
}
