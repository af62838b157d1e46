//! The targets of `bench l4`, and what the figures say about each.
//!
//! Figures are minima, with that of the floor subtracted, or of the empty program for packets that are passed on. A target
//! is missed only by more than the empty program's median is above its minimum in the same rounds: by so much the
//! machine itself is uncertain.

use crate::bench::report::{Row, Target, Verdict};

/// Nanoseconds over the floor, at most, with either encapsulation: what was asked for.
const OVER_FLOOR: [(&str, f64); 7] = [
    ("tcp-v4-lru-hit", 45.0),
    ("tcp-v4-lru-hit-10k", 90.0),
    ("tcp-v4-lru-diverse", 165.0),
    ("tcp-v6-lru-hit", 55.0),
    ("tcp-v4-syn", 90.0),
    ("tcp-v4-no-table", 45.0),
    ("tcp-v4-no-table-diverse", 75.0),
];

/// Nanoseconds over the empty program, at most, of a packet that is for no VIP.
const NOT_A_VIP: (&str, f64) = ("pass-v4-no-vip", 15.0);

/// Nanoseconds that GUE may cost over IP in IP, at most.
const GUE_OVER_IPIP: (&str, f64) = ("tcp-v4-lru-hit", 10.0);

const SUBJECTS: [&str; 2] = ["gateway-gue", "gateway-ipip"];

/// Judges all targets, those that were not measured among them.
pub fn judge(rows: &[Row]) -> Vec<Target> {
    let mut targets = Vec::new();
    for (scenario, limit) in OVER_FLOOR {
        for (subject, metric) in SUBJECTS
            .into_iter()
            .zip(["ns_over_floor_gue", "ns_over_floor_ipip"])
        {
            let value = figure(rows, scenario, subject, "ns_over_floor");
            targets.push(target(rows, scenario, subject, metric, limit, value));
        }
    }
    let [gue, ipip] = SUBJECTS;
    let (scenario, limit) = NOT_A_VIP;
    let value = figure(rows, scenario, gue, "ns_over_empty");
    targets.push(target(rows, scenario, gue, "ns_over_empty", limit, value));
    let (scenario, limit) = GUE_OVER_IPIP;
    let total = |subject| figure(rows, scenario, subject, "ns_per_packet");
    let value = total(gue).zip(total(ipip)).map(|(gue, ipip)| gue - ipip);
    targets.push(target(rows, scenario, gue, "ns_gue_over_ipip", limit, value));
    targets
}

fn figure(rows: &[Row], scenario: &str, subject: &str, metric: &str) -> Option<f64> {
    let is_it = |row: &&Row| row.scenario == scenario && row.subject == subject && row.metric == metric;
    rows.iter().find(is_it).map(|row| row.value)
}

fn target(
    rows: &[Row],
    scenario: &'static str,
    subject: &str,
    metric: &'static str,
    limit: f64,
    value: Option<f64>,
) -> Target {
    let spread = figure(rows, scenario, subject, "spread_of_empty").unwrap_or(0.0);
    let verdict = match value {
        None => Verdict::NotMeasured,
        Some(value) if value <= limit + spread => Verdict::Holds,
        Some(_) => Verdict::Fails,
    };
    let is_within_spread = value.is_some_and(|value| value > limit && value <= limit + spread);
    Target {
        scenario,
        metric,
        limit,
        value,
        interval: None,
        verdict,
        note: if is_within_spread {
            format!("{metric} is above the limit by less than the empty program's spread, {spread:.0} ns")
        } else {
            String::new()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(over_floor: f64, spread: f64) -> Verdict {
        let row = |metric, value| Row::new("tcp-v4-lru-hit", "gateway-gue", metric, value, "ns");
        let rows = [row("ns_over_floor", over_floor), row("spread_of_empty", spread)];
        let targets = judge(&rows);
        let found = targets
            .iter()
            .find(|target| target.scenario == "tcp-v4-lru-hit" && target.metric == "ns_over_floor_gue");
        found.unwrap().verdict
    }

    #[test]
    fn a_target_is_missed_beyond_the_spread_of_the_empty_program() {
        let rows = [
            (44.0, 0.0, Verdict::Holds),
            (45.0, 0.0, Verdict::Holds),
            (47.0, 2.0, Verdict::Holds),
            (47.0, 1.0, Verdict::Fails),
        ];
        for (over_floor, spread, expected) in rows {
            assert_eq!(
                verdict(over_floor, spread),
                expected,
                "{over_floor}, spread {spread}"
            );
        }
    }

    #[test]
    fn every_target_is_listed_whatever_was_measured() {
        let targets = judge(&[]);
        assert_eq!(targets.len(), 16);
        let is_open = |target: &Target| target.verdict == Verdict::NotMeasured;
        assert!(targets.iter().all(is_open));
    }

    #[test]
    fn gue_is_held_against_ip_in_ip() {
        let row = |subject, value| Row::new("tcp-v4-lru-hit", subject, "ns_per_packet", value, "ns");
        for (gue, expected) in [(110.0, Verdict::Holds), (111.0, Verdict::Fails)] {
            let targets = judge(&[row("gateway-gue", gue), row("gateway-ipip", 100.0)]);
            let found = targets.iter().find(|target| target.metric == "ns_gue_over_ipip");
            assert_eq!(found.unwrap().verdict, expected);
        }
    }
}
