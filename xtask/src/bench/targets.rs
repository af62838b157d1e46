//! The targets of the L7 core, and what the figures say about each.
//!
//! Every target is in the output, measured or not. A ratio is judged by its interval, never by its median.

use super::load::{Round, Rounds};
use super::memory::Soak;
use super::report::{Row, Target, Verdict};
use super::routes::Changes;
use super::scenario::Scenario;
use super::statistics::{interval, median};
use super::subject::Subject;
use super::turn::Run;

/// CPU time of a small request, over that of the better peer.
const SMALL_RATIO_MAX: f64 = 0.95;
/// CPU time of a request of the other kinds, over that of the better peer.
const OTHER_RATIO_MAX: f64 = 1.0;
/// Memory targets: scenario, metric and limit.
const MEMORY: [(Scenario, &str, f64); 4] = [
    (Scenario::Memory, "resident_started_mb", 15.0),
    (Scenario::Memory, "kb_per_idle_connection", 14.0),
    (Scenario::Memory, "kb_per_silent_connection", 2.0),
    (Scenario::Routes, "resident_started_mb", 40.0),
];
/// Latencies at half load, over those of the better peer: name of the ratio, and of the latency.
const LATENCIES: [(&str, &str); 3] = [
    ("latency_p50_ratio_to_better_peer", "latency_p50_ms"),
    ("latency_p99_ratio_to_better_peer", "latency_p99_ms"),
    ("latency_p99_9_ratio_to_better_peer", "latency_p99_9_ms"),
];
/// What a request for the last of many routes may take more than one for the last of few, in microseconds.
const LOOKUP_US_MAX: f64 = 1.0;
/// How long a reload of 10,000 routes may take, in milliseconds.
const RELOAD_MS_MAX: f64 = 500.0;
/// How long a change of one of 10,000 routes may take, in milliseconds, and how many requests may fail beside them.
const ROUTE_CHANGE_MS_MAX: f64 = 30.0;
const ROUTE_CHANGE_FAILED_MAX: f64 = 0.0;
/// The 99th percentile of latency during reloads, over that without them.
const RELOAD_RATIO_MAX: f64 = 1.1;
/// What memory may rise by over a soak and still count as level, in kB: the allocator moves by that much and back.
const RISE_MAX_KB: f64 = 256.0;

/// Name of a ratio.
const RATIO: &str = "cpu_ratio_to_better_peer";
/// Names of what routes are judged by.
const LOOKUP: &str = "lookup_us_more_than_with_few_routes";
const RELOAD: &str = "reload_slowest_ms";
const ROUTE_CHANGE: &str = "route_change_slowest_ms";
const ROUTE_CHANGE_FAILED: &str = "route_change_failed_requests";
const RELOAD_RATIO: &str = "latency_p99_ratio_during_reloads";
/// Name of the slope.
const SLOPE: &str = "resident_slope_kb_per_minute";

/// All that was found.
#[derive(Default)]
pub struct Found {
    /// Every figure.
    pub rows: Vec<Row>,
    /// What was measured in rounds.
    pub loads: Vec<Rounds>,
    /// Reloads of many routes.
    pub reloads: Option<Changes>,
    /// Changes of one of many.
    pub route_changes: Option<Changes>,
    /// Minutes of load.
    pub soak: Option<Soak>,
}

impl Found {
    fn rounds(&self, scenario: Scenario) -> Option<&Rounds> {
        self.loads.iter().find(|rounds| rounds.scenario == scenario)
    }
}

/// Judges all targets.
pub fn judge(found: &Found) -> Vec<Target> {
    let ratios = Scenario::LOADS.iter().map(|scenario| {
        let limit = match scenario {
            Scenario::H1Small => SMALL_RATIO_MAX,
            _ => OTHER_RATIO_MAX,
        };
        let target = absent(scenario.name(), RATIO, limit);
        match found.rounds(*scenario) {
            None => target,
            Some(rounds) => ratio(rounds, target, Run::cpu_us),
        }
    });
    let latencies = LATENCIES.iter().map(|(metric, latency)| {
        let target = absent(Scenario::LatencyHalfLoad.name(), metric, OTHER_RATIO_MAX);
        match found.rounds(Scenario::LatencyHalfLoad) {
            None => target,
            Some(rounds) => ratio(rounds, target, |run| run.latency_ms(latency)),
        }
    });
    let memory = MEMORY.iter().map(|(scenario, metric, limit)| {
        let row = found.rows.iter().find(|row| {
            row.scenario == scenario.name() && row.subject == Subject::Gateway.name() && row.metric == *metric
        });
        let target = absent(scenario.name(), metric, *limit);
        match row {
            None => target,
            Some(row) => Target {
                value: Some(row.value),
                verdict: verdict(row.value, row.value, *limit),
                ..target
            },
        }
    });
    ratios
        .chain(latencies)
        .chain(memory)
        .chain([lookup(found)])
        .chain(reload(found.reloads.as_ref()))
        .chain(route_change(found.route_changes.as_ref()))
        .chain([level(found.soak.as_ref())])
        .collect()
}

/// What the last of many routes takes more than the last of few, round by round.
fn lookup(found: &Found) -> Target {
    let target = absent(Scenario::Routes.name(), LOOKUP, LOOKUP_US_MAX);
    let Some(rounds) = found.rounds(Scenario::Routes) else {
        return target;
    };
    let more = |round: &Round| Some(round.of(Subject::Gateway)?.cpu_us() - round.few()?.cpu_us());
    by_interval(
        target,
        &rounds.undisturbed().iter().filter_map(more).collect::<Vec<_>>(),
        "",
    )
}

fn reload(reloads: Option<&Changes>) -> [Target; 2] {
    let time = absent(Scenario::Routes.name(), RELOAD, RELOAD_MS_MAX);
    let ratio = absent(Scenario::Routes.name(), RELOAD_RATIO, RELOAD_RATIO_MAX);
    let Some(reloads) = reloads else {
        return [time, ratio];
    };
    let slowest = reloads.slowest_ms();
    let time = Target {
        value: slowest,
        verdict: slowest.map_or(Verdict::NotMeasured, |slowest| {
            verdict(slowest, slowest, RELOAD_MS_MAX)
        }),
        note: format!("the slowest of {} reloads of 10,000 routes", reloads.count()),
        ..time
    };
    [
        time,
        by_interval(ratio, &reloads.ratios(), "during reloads and without, "),
    ]
}

fn route_change(changes: Option<&Changes>) -> [Target; 2] {
    let judged = |metric, limit, value: Option<f64>| Target {
        value,
        verdict: value.map_or(Verdict::NotMeasured, |value| verdict(value, value, limit)),
        note: changes.map_or_else(String::new, |changes| {
            format!("of {} changes of one of 10,000 routes", changes.count())
        }),
        ..absent(Scenario::Routes.name(), metric, limit)
    };
    let slowest = changes.and_then(Changes::slowest_ms);
    let failed = changes.and_then(Changes::failed);
    [
        judged(ROUTE_CHANGE, ROUTE_CHANGE_MS_MAX, slowest),
        judged(ROUTE_CHANGE_FAILED, ROUTE_CHANGE_FAILED_MAX, failed),
    ]
}

fn level(soak: Option<&Soak>) -> Target {
    let slope = absent(Scenario::Soak.name(), SLOPE, 0.0);
    match soak {
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
    }
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

/// A figure of the gateway over that of the peer with the lower median, round by round.
fn ratio(rounds: &Rounds, target: Target, what: impl Fn(&Run) -> f64) -> Target {
    let peers = rounds
        .subjects
        .iter()
        .filter(|subject| **subject != Subject::Gateway);
    let medians = peers.filter_map(|peer| Some((*peer, median(&rounds.values(*peer, &what))?)));
    let Some((better, _)) = medians.min_by(|(_, one), (_, other)| one.total_cmp(other)) else {
        return target;
    };
    let of = |round: &Round| Some(what(round.of(Subject::Gateway)?) / what(round.of(better)?));
    let ratios: Vec<f64> = rounds.undisturbed().iter().filter_map(of).collect();
    by_interval(target, &ratios, &format!("against {}, ", better.name()))
}

/// A target by the interval of what was found in undisturbed rounds.
fn by_interval(target: Target, values: &[f64], about: &str) -> Target {
    let interval = interval(values);
    let limit = target.limit;
    Target {
        value: median(values),
        interval,
        verdict: interval.map_or(Verdict::Inconclusive, |(low, high)| verdict(low, high, limit)),
        note: format!("{about}{} undisturbed rounds", values.len()),
        ..target
    }
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
        let targets = judge(&Found::default());
        let listed: Vec<_> = targets
            .iter()
            .map(|target| (target.scenario, target.limit))
            .collect();
        let expected = [
            ("h1-small", 0.95),
            ("h1-64k", 1.0),
            ("h1-new-connection", 1.0),
            ("h1-upload-1m", 1.0),
            ("h2-100-streams", 1.0),
            ("grpc-unary", 1.0),
            ("tls-small", 1.0),
            ("tls-handshake-full", 1.0),
            ("tls-handshake-resumed", 1.0),
            ("routes-10000", 1.0),
            ("latency-half-load", 1.0),
            ("latency-half-load", 1.0),
            ("latency-half-load", 1.0),
            ("memory", 15.0),
            ("memory", 14.0),
            ("memory", 2.0),
            ("routes-10000", 40.0),
            ("routes-10000", 1.0),
            ("routes-10000", 500.0),
            ("routes-10000", 1.1),
            ("routes-10000", 30.0),
            ("routes-10000", 0.0),
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
        let rows = vec![
            Row::new("memory", "nginx", "kb_per_idle_connection", 1.0, "kB"),
            Row::new("memory", "gateway", "kb_per_idle_connection", 14.5, "kB"),
            Row::new("memory", "gateway", "resident_started_mb", 9.0, "MB"),
            Row::new("routes-10000", "gateway", "resident_started_mb", 41.0, "MB"),
        ];
        let targets = judge(&Found {
            rows,
            ..Found::default()
        });
        let found = |scenario, metric| {
            let mut targets = targets.iter();
            targets
                .find(|target| target.scenario == scenario && target.metric == metric)
                .unwrap()
                .verdict
        };
        assert_eq!(found("memory", "kb_per_idle_connection"), Verdict::Fails);
        assert_eq!(found("memory", "resident_started_mb"), Verdict::Holds);
        assert_eq!(found("memory", "kb_per_silent_connection"), Verdict::NotMeasured);
        assert_eq!(found("routes-10000", "resident_started_mb"), Verdict::Fails);
    }

    #[test]
    fn a_small_rise_counts_as_level() {
        let soak = |rise_kb| Soak {
            kb_per_minute: rise_kb / 8.0,
            rise_kb,
            resident_mb: 10.0,
            requests: 1,
        };
        let last = |rise| level(Some(&soak(rise))).verdict;
        assert_eq!(last(-50.0), Verdict::Holds);
        assert_eq!(last(200.0), Verdict::Holds);
        assert_eq!(last(300.0), Verdict::Fails);
    }

    #[test]
    fn what_was_found_in_rounds_is_judged_by_its_interval() {
        let target = |values: &[f64]| by_interval(absent("x", "y", 1.0), values, "");
        assert_eq!(target(&[0.9; 6]).verdict, Verdict::Holds);
        assert_eq!(
            target(&[0.9, 0.9, 0.9, 0.9, 0.9, 1.1]).verdict,
            Verdict::Inconclusive
        );
        assert_eq!(target(&[1.1; 6]).verdict, Verdict::Fails);
        assert_eq!(
            target(&[0.9; 5]).verdict,
            Verdict::Inconclusive,
            "too few for an interval"
        );
    }
}
