//! The targets of `bench resilience`, and what the rounds say about each.
//!
//! Of each fault: never more failures than the better peer, and fewer wherever that has any; p99 at most 1.05 times that
//! of the better peer. *Better* is the peer with the lower median of the same figure. Both are judged round by round, by
//! the interval of the differences or ratios, never by a median alone.

use super::fault::Fault;
use super::lab::Subject;
use super::rounds::{Round, Rounds, Turn};
use crate::bench::report::{Target, Verdict};
use crate::bench::statistics::{interval, median};
use crate::bench::targets::verdict;

/// p99 over that of the better peer.
const P99_RATIO_MAX: f64 = 1.05;
/// Failures less those of the better peer, where that has none.
const FAILED_MORE_MAX: f64 = 0.0;
/// The same where it has any: at least one fewer.
const FAILED_FEWER: f64 = -1.0;

/// Names of the two targets of a fault.
const FAILED: &str = "failed_less_better_peer";
const P99_RATIO: &str = "p99_ratio_to_better_peer";

/// Judges all targets, those of faults that were not measured among them.
pub fn judge(measured: &[Rounds]) -> Vec<Target> {
    let of = |fault: Fault| {
        let rounds = measured.iter().find(|rounds| rounds.fault == fault);
        [
            rounds
                .and_then(failures)
                .unwrap_or_else(|| absent(fault, FAILED, FAILED_MORE_MAX)),
            rounds
                .and_then(latency)
                .unwrap_or_else(|| absent(fault, P99_RATIO, P99_RATIO_MAX)),
        ]
    };
    Fault::ALL.into_iter().flat_map(of).collect()
}

fn absent(fault: Fault, metric: &'static str, limit: f64) -> Target {
    Target {
        scenario: fault.name(),
        metric,
        limit,
        value: None,
        interval: None,
        verdict: Verdict::NotMeasured,
        note: String::new(),
    }
}

fn failures(rounds: &Rounds) -> Option<Target> {
    let what = |turn: &Turn| turn.figures.failed;
    let (peer, failed) = better(rounds, what)?;
    let limit = if failed > 0.0 {
        FAILED_FEWER
    } else {
        FAILED_MORE_MAX
    };
    Some(target(rounds, FAILED, limit, peer, |ours, theirs| {
        what(ours) - what(theirs)
    }))
}

fn latency(rounds: &Rounds) -> Option<Target> {
    let what = |turn: &Turn| turn.figures.p99_ms;
    let (peer, _) = better(rounds, what)?;
    Some(target(rounds, P99_RATIO, P99_RATIO_MAX, peer, |ours, theirs| {
        what(ours) / what(theirs)
    }))
}

/// The peer with the lower median, and that.
fn better(rounds: &Rounds, what: impl Fn(&Turn) -> f64) -> Option<(Subject, f64)> {
    let medians = Subject::PEERS
        .into_iter()
        .filter_map(|peer| Some((peer, rounds.median(peer, &what)?)));
    medians.min_by(|(_, one), (_, other)| one.total_cmp(other))
}

fn target(
    rounds: &Rounds,
    metric: &'static str,
    limit: f64,
    peer: Subject,
    compare: impl Fn(&Turn, &Turn) -> f64,
) -> Target {
    let of = |round: &Round| Some(compare(round.of(Subject::Gateway)?, round.of(peer)?));
    let values: Vec<f64> = rounds.undisturbed.iter().filter_map(of).collect();
    let interval = interval(&values);
    Target {
        value: median(&values),
        interval,
        verdict: interval.map_or(Verdict::Inconclusive, |(low, high)| verdict(low, high, limit)),
        note: format!("against {}, {} undisturbed rounds", peer.name(), values.len()),
        ..absent(rounds.fault, metric, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::resilience::figures::Figures;

    /// Rounds whose turns failed as often and were as slow as said: gateway, haproxy, envoy.
    fn rounds(count: usize, failed: [f64; 3], p99: [f64; 3]) -> Rounds {
        let turns =
            Subject::ALL
                .into_iter()
                .zip(failed.into_iter().zip(p99))
                .map(|(subject, (failed, p99_ms))| {
                    let figures = Figures {
                        failed,
                        p99_ms,
                        ..Figures::default()
                    };
                    (
                        subject,
                        Turn {
                            figures,
                            foreign: 0.0,
                        },
                    )
                });
        Rounds {
            fault: Fault::Hangs,
            undisturbed: vec![Round(turns.collect()); count],
            disturbed: Vec::new(),
        }
    }

    fn verdicts(rounds: Rounds) -> [Verdict; 2] {
        let targets = judge(&[rounds]);
        [FAILED, P99_RATIO].map(|metric| {
            let of = |target: &&Target| target.scenario == "hangs" && target.metric == metric;
            targets.iter().find(of).unwrap().verdict
        })
    }

    #[test]
    fn fewer_failures_are_wanted_wherever_the_better_peer_has_any() {
        use Verdict::{Fails, Holds};
        let rows = [
            ([0.0, 0.0, 9.0], Holds, "none, and none of the better"),
            ([1.0, 0.0, 9.0], Fails, "one, and none of the better"),
            ([8.0, 600.0, 9.0], Holds, "fewer than the better"),
            ([9.0, 600.0, 9.0], Fails, "as many as the better"),
            ([10.0, 600.0, 9.0], Fails, "fewer than the worse alone"),
        ];
        for (failed, expected, what) in rows {
            let [found, _] = verdicts(rounds(7, failed, [1.0; 3]));
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn p99_is_held_against_the_peer_with_the_lower_one() {
        use Verdict::{Fails, Holds};
        for (p99, expected) in [
            ([5.2, 5.0, 9.0], Holds),
            ([5.3, 5.0, 9.0], Fails),
            ([5.3, 9.0, 5.0], Fails),
            ([0.1, 9.0, 5.0], Holds),
        ] {
            let [_, found] = verdicts(rounds(7, [0.0; 3], p99));
            assert_eq!(found, expected, "{p99:?}");
        }
    }

    #[test]
    fn few_rounds_decide_nothing() {
        let found = verdicts(rounds(5, [0.0; 3], [1.0; 3]));
        assert_eq!(found, [Verdict::Inconclusive; 2]);
        let mut disturbed = rounds(7, [0.0; 3], [1.0; 3]);
        disturbed.disturbed = std::mem::take(&mut disturbed.undisturbed);
        assert_eq!(verdicts(disturbed), [Verdict::Inconclusive; 2]);
    }

    #[test]
    fn every_target_is_listed_whatever_was_measured() {
        let targets = judge(&[]);
        assert_eq!(targets.len(), 2 * Fault::ALL.len());
        let is_open = |target: &Target| target.verdict == Verdict::NotMeasured;
        assert!(targets.iter().all(is_open));
    }

    #[test]
    fn a_fault_has_a_row_for_each_figure_of_each_proxy() {
        let rows = rounds(3, [1.0, 2.0, 3.0], [1.0; 3]).rows();
        let of = |subject: &str, metric: &str| {
            let found = rows
                .iter()
                .find(|row| row.subject == subject && row.metric == metric);
            found.map(|row| row.value)
        };
        assert_eq!(of("envoy", "failed_requests"), Some(3.0));
        assert_eq!(of("haproxy", "failed_requests"), Some(2.0));
        assert_eq!(of("gateway", "rounds_undisturbed"), Some(3.0));
    }
}
