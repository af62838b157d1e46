//! Balancers that look at requests under way and latencies.

use super::*;

/// Who answers how: milliseconds, or a failure within one.
#[derive(Clone, Copy)]
enum Answers {
    After(u32),
    Fails,
}

/// Replays `seconds` of 200 requests a second, evenly spaced; gives picks for each member in each second.
fn replay(
    balancer: Balancer,
    answers: impl Fn(u64) -> Vec<Answers>,
    weights: &[u32],
    seconds: u64,
) -> Vec<Vec<usize>> {
    let members = members(weights);
    let (picker, roster) = ready(balancer, &members, &RosterTerms::default());
    let ewma = Ewma {
        tau_ms: 1_000,
        ..Ewma::default()
    };
    let loads = Fake::idle(members.len());
    let mut words = vec![0; members.len()];
    let mut under_way: Vec<(u64, usize, u32, bool)> = Vec::new();
    let mut bits = Bits(11);
    let mut picked = vec![vec![0; members.len()]; seconds as usize];
    for now in 0..seconds * 1000 {
        under_way.retain(|(end, index, took, fails)| {
            if *end <= now {
                loads.end(*index);
                words[*index] = match fails {
                    true => ewma.observe_failure(words[*index], now, took * 1000),
                    false => ewma.observe(words[*index], now, took * 1000),
                };
            }
            *end > now
        });
        if now % 5 != 0 {
            continue;
        }
        for (index, word) in words.iter().enumerate() {
            loads.0[index].1.set(ewma.read(*word, now));
        }
        let index = picker
            .pick(&roster, &loads, None, &[], bits.next())
            .unwrap()
            .index;
        loads.add(index);
        picked[(now / 1000) as usize][index] += 1;
        let (took, fails) = match answers(now)[index] {
            Answers::After(ms) => (ms, false),
            Answers::Fails => (1, true),
        };
        under_way.push((now + u64::from(took), index, took, fails));
    }
    picked
}

use Answers::{After, Fails};

#[test]
fn peak_ewma_starves_who_is_slow_or_fails_fast_and_lets_it_back() {
    for (bad, description) in [(After(900), "slow"), (Fails, "fails fast")] {
        let answers = |now| match now {
            5_000..15_000 => vec![After(10), bad, After(10)],
            _ => vec![After(10); 3],
        };
        let picked = replay(Balancer::PeakEwma, answers, &[1; 3], 30);
        let second =
            |from: usize, to: usize| -> usize { picked[from..to].iter().map(|picked| picked[1]).sum() };
        assert!(second(1, 5) > 150, "{description}: well before: {picked:?}");
        assert!(second(6, 15) < 20, "{description}: starved: {picked:?}");
        assert!(second(25, 30) > 150, "{description}: back: {picked:?}");
    }
}

#[test]
fn who_fails_fast_attracts_what_looks_only_at_requests_under_way() {
    let answers = |_| vec![After(40), Fails, After(40)];
    let busy = replay(Balancer::LeastRequests, answers, &[1; 3], 10);
    let peak = replay(Balancer::PeakEwma, answers, &[1; 3], 10);
    let failing = |picked: &[Vec<usize>]| -> usize { picked.iter().map(|picked| picked[1]).sum() };
    assert!(failing(&busy) > 1_000, "{busy:?}");
    assert!(failing(&peak) < 50, "{peak:?}");
}

#[test]
fn least_requests_follows_speed_and_weight() {
    for (weights, answers, low, high, description) in [
        (
            &[1, 1][..],
            [After(20), After(80)],
            0.70,
            0.85,
            "four times as fast",
        ),
        (
            &[3, 1],
            [After(40), After(40)],
            0.70,
            0.85,
            "three times the weight",
        ),
        (&[1, 1], [After(40), After(40)], 0.49, 0.51, "equal"),
    ] {
        for balancer in [Balancer::LeastRequests, Balancer::TwoChoices] {
            let picked = replay(balancer, |_| answers.to_vec(), weights, 20);
            let first: usize = picked.iter().map(|picked| picked[0]).sum();
            let share = first as f64 / 4_000.0;
            assert!(
                (low - 0.01..high + 0.01).contains(&share),
                "{description}, {balancer:?}: {share}"
            );
        }
    }
}

#[test]
fn a_new_member_gets_one_request_until_it_has_answered() {
    let (picker, roster) = ready(Balancer::PeakEwma, &members(&[1; 3]), &RosterTerms::default());
    let loads = Fake::idle(3);
    loads.0[2].1.set(0);
    let mut bits = Bits(2);
    for _ in 0..50 {
        let index = picker
            .pick(&roster, &loads, None, &[], bits.next())
            .unwrap()
            .index;
        loads.add(index);
    }
    assert_eq!(loads.active(2), 1);
}
