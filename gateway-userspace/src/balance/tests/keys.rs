//! Keys stay where they are.

use super::*;

const KEYS: u64 = 20_000;

const HASHES: [Balancer; 2] = [
    Balancer::ConsistentHash(Hashing::Maglev),
    Balancer::ConsistentHash(RING),
];

/// The identity that each key belongs to, while nobody is busy.
fn owners(balancer: Balancer, members: &[Member]) -> Vec<u64> {
    let (picker, roster) = ready(balancer, members, &RosterTerms::default());
    let loads = Fake::idle(members.len());
    let mut random = Bits(1);
    let owner = |key| {
        let pick = picker.pick(&roster, &loads, Some(mix(key)), &[], random.next());
        members[pick.unwrap().index].identity
    };
    (0..KEYS).map(owner).collect()
}

/// Keys that moved though their owner did not leave, and keys that moved at all, as shares of all keys.
fn moved(before: &[u64], after: &[u64], left: Option<u64>) -> (f64, f64) {
    let pairs = || before.iter().zip(after).filter(|(before, after)| before != after);
    let others = pairs().filter(|(before, _)| Some(**before) != left).count();
    (others as f64 / KEYS as f64, pairs().count() as f64 / KEYS as f64)
}

#[test]
fn a_key_stays_whatever_the_random_numbers_and_workers() {
    for balancer in HASHES {
        let members = members(&[1, 2, 3]);
        let (picker, roster) = ready(balancer, &members, &RosterTerms::default());
        let other = Picker::new(
            Arc::new(Plan::new(balancer, &members, &RosterTerms::default())),
            1,
        );
        let loads = Fake::idle(3);
        for key in 0..500 {
            let pick = picker.pick(&roster, &loads, Some(key), &[], key);
            assert_eq!(
                pick,
                other.pick(&roster, &loads, Some(key), &[], !key),
                "{balancer:?}"
            );
        }
    }
}

#[test]
fn a_member_that_fails_moves_only_its_own_keys_to_all_others() {
    for balancer in HASHES {
        let mut members = members(&[1, 2, 3, 2, 2]);
        let before = owners(balancer, &members);
        members[2].standing = Standing::Failing;
        let after = owners(balancer, &members);
        let (others, all) = moved(&before, &after, Some(members[2].identity));
        assert_eq!(others, 0.0, "{balancer:?}");
        assert!((0.28..0.32).contains(&all), "{balancer:?}: {all}");
        for index in [0, 1, 3, 4] {
            let identity = members[index].identity;
            let taken = before
                .iter()
                .zip(&after)
                .filter(|(b, a)| b != a && **a == identity)
                .count();
            let expected = KEYS as f64 * 0.3 * f64::from(members[index].weight) / 7.0;
            assert!(
                (taken as f64 - expected).abs() < expected * 0.2,
                "{balancer:?}: {taken} of {expected}"
            );
        }
        members[2].standing = Standing::Ready;
        assert_eq!(
            owners(balancer, &members),
            before,
            "{balancer:?}: it gets them back"
        );
    }
}

#[test]
fn removing_or_adding_a_member_moves_little_more_than_its_part() {
    let ten = members(&[1; 10]);
    let nine = [&ten[..3], &ten[4..]].concat();
    let reordered: Vec<Member> = ten.iter().rev().copied().collect();
    for (balancer, others_max) in [(HASHES[0], 0.03), (HASHES[1], 0.0)] {
        let (with, without) = (owners(balancer, &ten), owners(balancer, &nine));
        for (from, to, left, description) in [
            (&with, &without, Some(ten[3].identity), "removed"),
            (&without, &with, None, "added"),
        ] {
            let (others, all) = moved(from, to, left);
            if left.is_some() {
                assert!(
                    others <= others_max,
                    "{description}, {balancer:?}: {others} of others moved"
                );
            }
            assert!(
                (0.08..0.13).contains(&all),
                "{description}, {balancer:?}: {all} moved"
            );
        }
        let (_, all) = moved(&with, &owners(balancer, &reordered), None);
        assert!(all <= others_max, "reordered, {balancer:?}: {all} moved");
    }
}

#[test]
fn a_member_that_starts_slowly_gets_ever_more_of_its_keys() {
    for balancer in HASHES {
        let mut members = members(&[1, 1, 1]);
        let whole = owners(balancer, &members);
        let own = members[1].identity;
        let mut before: Vec<bool> = vec![false; whole.len()];
        for share in [1, 100, 500, 900, 1000] {
            members[1].share = share;
            let now = owners(balancer, &members);
            for ((whole, now), before) in whole.iter().zip(&now).zip(&mut before) {
                assert!(now == whole || *whole == own, "{balancer:?}: others' keys stay");
                assert!(!*before || *now == own, "{balancer:?}: what it has it keeps");
                *before = *now == own && *whole == own;
            }
        }
        assert_eq!(owners(balancer, &members), whole);
    }
}

#[test]
fn keys_of_one_level_that_is_weak_stay_together() {
    for balancer in HASHES {
        let mut members = members(&[1; 6]);
        members[3..].iter_mut().for_each(|member| member.priority = 1);
        let before = owners(balancer, &members);
        members[0].standing = Standing::Failing;
        members[1].standing = Standing::Failing;
        let after = owners(balancer, &members);
        let identity = members[2].identity;
        let stayed = before
            .iter()
            .zip(&after)
            .filter(|(b, a)| **b == identity && **a == identity)
            .count();
        let had = before.iter().filter(|before| **before == identity).count();
        // A third of the first level bears 47%, of its own keys and of the failing ones' alike.
        assert!(
            (stayed as f64 / had as f64 - 0.467).abs() < 0.03,
            "{balancer:?}: {stayed} of {had}"
        );
    }
}

#[test]
fn load_on_the_ring_never_exceeds_its_bound() {
    for (weights, factor, keys) in [
        (&[1; 8][..], 125, 10_000),
        (&[1; 8], 125, 3),
        (&[4, 2, 1, 1], 150, 5),
        (&[1; 20], 110, 40),
        (&[1; 3], 0, 1),
    ] {
        let members = members(weights);
        let hashing = Hashing::Ring {
            load_max_per_cent: factor,
        };
        let (picker, roster) = ready(
            Balancer::ConsistentHash(hashing),
            &members,
            &RosterTerms::default(),
        );
        let loads = Fake::idle(members.len());
        let (mut bits, mut under_way) = (Bits(5), Vec::new());
        let sum: u32 = weights.iter().sum();
        let factor = f64::from(factor.max(LOAD_MAX_PER_CENT_MIN)) / 100.0;
        for step in 0..20_000_usize {
            let index = picker
                .pick(&roster, &loads, Some(bits.next() % keys), &[], 0)
                .unwrap()
                .index;
            loads.add(index);
            under_way.push(index);
            let part = f64::from(weights[index]) / f64::from(sum);
            let bound = (factor * under_way.len() as f64 * part).ceil() as u32;
            assert!(
                loads.active(index) <= bound,
                "{weights:?}: {} above {bound}",
                loads.active(index)
            );
            if step > 300 {
                let ended = under_way.swap_remove((bits.next() % under_way.len() as u64) as usize);
                loads.end(ended);
            }
        }
    }
}
