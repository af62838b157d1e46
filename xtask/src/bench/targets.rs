//! The targets of the L7 core, and what the figures say about each.
//!
//! Every target is in the output, measured or not. A ratio is judged by its interval, never by its median.

use super::load::{Round, Rounds, Run};
use super::memory::Soak;
use super::report::{Row, Target, Verdict};
use super::scenario::Scenario;
use super::statistics::{interval, median};
use super::subject::Subject;

/// CPU time of a small request, over that of the better peer.
const SMALL_RATIO_MAX: f64 = 0.95;
/// CPU time of a request of the other kinds, over that of the better peer.
const OTHER_RATIO_MAX: f64 = 1.0;
/// Memory targets: metric and limit.
const MEMORY: [(&str, f64); 3] = [
    ("resident_started_mb", 15.0),
    ("kb_per_idle_connection", 14.0),
    ("kb_per_silent_connection", 2.0),
];
/// What memory may rise by over a soak and still count as level, in kB: the allocator moves by that much and back.
const RISE_MAX_KB: f64 = 256.0;

/// Name of a ratio.
const RATIO: &str = "cpu_ratio_to_better_peer";
/// Name of the slope.
const SLOPE: &str = "resident_slope_kb_per_minute";

/// Judges all targets.
pub fn judge(loads: &[Rounds], rows: &[Row], soak: Option<&Soak>) -> Vec<Target> {
    let ratios = Scenario::LOADS.iter().map(|scenario| {
        let limit = match scenario {
            Scenario::H1Small => SMALL_RATIO_MAX,
            _ => OTHER_RATIO_MAX,
        };
        let rounds = loads.iter().find(|rounds| rounds.scenario == *scenario);
        rounds
            .and_then(|rounds| ratio(rounds, limit))
            .unwrap_or_else(|| absent(scenario.name(), RATIO, limit))
    });
    let memory = MEMORY.iter().map(|(metric, limit)| {
        let row = rows.iter().find(|row| {
            row.scenario == Scenario::Memory.name()
                && row.subject == Subject::Gateway.name()
                && row.metric == *metric
        });
        row.map_or_else(
            || absent(Scenario::Memory.name(), metric, *limit),
            |row| Target {
                value: Some(row.value),
                verdict: verdict(row.value, row.value, *limit),
                ..absent(Scenario::Memory.name(), metric, *limit)
            },
        )
    });
    let slope = absent(Scenario::Soak.name(), SLOPE, 0.0);
    let slope = match soak {
        None => slope,
        Some(soak) => Target {
            value: Some(soak.kb_per_minute),
            verdict: verdict(soak.rise_kb, soak.rise_kb, RISE_MAX_KB),
            note: format!(
                "a rise of {RISE_MAX_KB:.0} kB over the time looked at counts as none; it was {:.0} kB",
                soak.rise_kb
            ),
            ..slope
        },
    };
    ratios.chain(memory).chain([slope]).collect()
}

fn absent(scenario: &'static str, metric: &'static str, limit: f64) -> Target {
    Target {
        scenario,
        metric,
        limit,
        value: None,
        interval: None,
        verdict: Verdict::NotMeasured,
        note: String::new(),
    }
}

/// The gateway's CPU time over that of the peer with the lower median, round by round.
fn ratio(rounds: &Rounds, limit: f64) -> Option<Target> {
    let medians = Subject::PEERS
        .iter()
        .filter_map(|peer| Some((*peer, median(&rounds.values(*peer, Run::cpu_us))?)));
    let (better, _) = medians.min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    let of = |round: &Round| Some(round.of(Subject::Gateway)?.cpu_us() / round.of(better)?.cpu_us());
    let ratios: Vec<f64> = rounds.undisturbed().iter().filter_map(of).collect();
    let value = median(&ratios);
    let interval = interval(&ratios);
    Some(Target {
        value,
        interval,
        verdict: interval.map_or(Verdict::Inconclusive, |(low, high)| verdict(low, high, limit)),
        note: format!("against {}, {} undisturbed rounds", better.name(), ratios.len()),
        ..absent(rounds.scenario.name(), RATIO, limit)
    })
}

/// What an interval says about an upper limit.
pub fn verdict(low: f64, high: f64, limit: f64) -> Verdict {
    if high <= limit {
        Verdict::Holds
    } else if low > limit {
        Verdict::Fails
    } else {
        Verdict::Inconclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_holds_fails_or_decides_nothing() {
        let rows = [
            (0.90, 0.95, Verdict::Holds),
            (0.96, 0.99, Verdict::Fails),
            (0.94, 0.96, Verdict::Inconclusive),
        ];
        for (low, high, expected) in rows {
            assert_eq!(verdict(low, high, 0.95), expected, "{low} to {high}");
        }
    }

    #[test]
    fn every_target_is_listed_whatever_was_measured() {
        let targets = judge(&[], &[], None);
        let listed: Vec<_> = targets
            .iter()
            .map(|target| (target.scenario, target.limit))
            .collect();
        let expected = [
            ("h1-small", 0.95),
            ("h1-64k", 1.0),
            ("h1-new-connection", 1.0),
            ("h2-100-streams", 1.0),
            ("memory", 15.0),
            ("memory", 14.0),
            ("memory", 2.0),
            ("soak", 0.0),
        ];
        assert_eq!(listed, expected);
        assert!(
            targets
                .iter()
                .all(|target| target.verdict == Verdict::NotMeasured)
        );
    }

    #[test]
    fn memory_is_judged_by_the_gateways_row() {
        let rows = [
            Row::new("memory", "nginx", "kb_per_idle_connection", 1.0, "kB"),
            Row::new("memory", "gateway", "kb_per_idle_connection", 14.5, "kB"),
            Row::new("memory", "gateway", "resident_started_mb", 9.0, "MB"),
        ];
        let targets = judge(&[], &rows, None);
        let found = |metric| targets.iter().find(|target| target.metric == metric).unwrap();
        assert_eq!(found("kb_per_idle_connection").verdict, Verdict::Fails);
        assert_eq!(found("resident_started_mb").verdict, Verdict::Holds);
        assert_eq!(found("kb_per_silent_connection").verdict, Verdict::NotMeasured);
    }

    #[test]
    fn a_small_rise_counts_as_level() {
        let soak = |rise_kb| Soak {
            kb_per_minute: rise_kb / 8.0,
            rise_kb,
            resident_mb: 10.0,
            requests: 1,
        };
        let last = |rise| judge(&[], &[], Some(&soak(rise))).pop().unwrap().verdict;
        assert_eq!(last(-50.0), Verdict::Holds);
        assert_eq!(last(200.0), Verdict::Holds);
        assert_eq!(last(300.0), Verdict::Fails);
    }
}
