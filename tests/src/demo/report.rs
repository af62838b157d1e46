//! Sums the demo up: a table for people, figures for scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::time::Duration;

use super::figures::{Figures, count};
use super::scenes::{CUT, KILL, Loss, Script, Seen, Span};
use super::tally::{DETECTION_MAX, Tally, tally};
use crate::lab::addresses::NODES;
use crate::lab::node;
use crate::load::journal::Record;
use crate::load::spread::Spread;

/// Shares may differ from the weights by this much, in percentage points.
const SHARE_POINTS_MAX: f64 = 3.0;

/// The most part of a scene's planned requests that may go without an answer; more says nothing of the rest.
const UNANSWERED_MAX: f64 = 0.5;

/// The same while a node is dead: until its death is noticed, and a retransmission later, little may be answered.
const UNANSWERED_IN_DEATH_MAX: f64 = 0.6;

/// Weight of each node by name.
pub type Weights = BTreeMap<String, u32>;

/// The weights of a plan's nodes.
pub fn weights(plan: [u32; NODES]) -> Weights {
    let named = plan.into_iter().enumerate();
    named.map(|(index, weight)| (node::name(index), weight)).collect()
}

/// All figures and targets of what was seen; targets of what was not seen are there without a value.
pub fn figures(seen: &Seen, weights: &Weights, script: &Script) -> Figures {
    let all = tally(&seen.records, &seen.deaths());
    let mut figures = Figures::default();
    answered_targets(&mut figures, seen, script);
    // Failures told by half a load are too few.
    let whole = |number: u64| seen.left_out.map_or(f64::NAN, |_| count(number));
    for (metric, value) in [
        ("failed_requests_not_on_dead_node", whole(all.unexcused_requests)),
        (
            "failed_attempts_begun_1s_after_death",
            whole(all.unexcused_attempts),
        ),
        ("records_left_out", whole(seen.left_out.unwrap_or(0))),
    ] {
        figures.target("all", metric, 0.0, value);
    }
    drain_targets(&mut figures, seen);
    for (scenario, spread) in [
        ("flow-hash", &seen.flow_hash),
        ("flow-hash-v6", &seen.flow_hash_v6),
        ("ip-hash", &seen.ip_hash),
    ] {
        spread_targets(&mut figures, scenario, spread.as_ref(), weights);
    }
    let split = seen.ip_hash.as_ref().map(|spread| spread.split_sources() as u64);
    figures.target("ip-hash", "addresses_on_several_nodes", 0.0, known(split));
    figures.target("attach", "nodes_not_native", 0.0, known(seen.not_native));
    let left = seen.left.as_ref().map(|left| left.len() as u64);
    figures.target("stop", "left_behind", 0.0, known(left));
    for (scene, loss) in [(KILL, &seen.kill), (CUT, &seen.cut)] {
        loss_targets(&mut figures, scene, loss.as_ref(), &all);
    }

    for (metric, value) in [
        ("requests_sent", all.sent),
        ("requests_answered", all.answered),
        ("requests_excused_of_unknown_node", all.excused_of_unknown_node),
        ("connection_attempts", all.attempts),
        ("connection_attempts_failed", all.attempts_failed),
    ] {
        figures.row("all", "gateway", metric, count(value), "count");
    }
    for ((what, failure, why), number) in &all.failures {
        let metric = format!("failed: {what}, {failure}, {why}");
        figures.row("all", "gateway", &metric, count(*number), "count");
    }
    figures
}

/// Whether there was traffic in each scene: without, all that did not fail says nothing.
fn answered_targets(figures: &mut Figures, seen: &Seen, script: &Script) {
    let dead = |loss: &Option<Loss>| {
        let span = |loss: &Loss| Span {
            from: loss.death.at,
            to: loss.back,
        };
        loss.as_ref().map(span)
    };
    let drain = seen.drain.as_ref().map(|drained| drained.span);
    for (scenario, span, limit) in [
        ("steady", seen.steady, UNANSWERED_MAX),
        (KILL, dead(&seen.kill), UNANSWERED_IN_DEATH_MAX),
        (CUT, dead(&seen.cut), UNANSWERED_IN_DEATH_MAX),
        ("drain", drain, UNANSWERED_MAX),
    ] {
        let unanswered = span.map_or(f64::NAN, |span| {
            let per_second = script.requests_per_second + script.fresh_per_second;
            let planned = f64::from(per_second) * seconds(span.to.duration_since(span.from));
            let ended = |record: &&Record| record.ended >= span.from && record.ended <= span.to;
            let records: Vec<_> = seen.records.iter().filter(ended).cloned().collect();
            1.0 - (count(tally(&records, &[]).answered) / planned).min(1.0)
        });
        figures.target(scenario, "planned_requests_unanswered_ratio", limit, unanswered);
    }
}

fn drain_targets(figures: &mut Figures, seen: &Seen) {
    let failed = seen.drain.as_ref().map(|drained| {
        let within = within(&seen.records, drained.span);
        tally(&within, &seen.deaths()).failures.values().sum()
    });
    figures.target("drain", "failed", 0.0, known(failed));
    let opened = seen.drain.as_ref().map(|drained| {
        let late = |record: &&Record| record.opened > drained.settled && record.opened <= drained.span.to;
        let on_it = |record: &&Record| record.node.as_deref() == Some(drained.node.as_str());
        let found = seen.records.iter().filter(late).filter(on_it);
        found
            .map(|record| record.connection)
            .collect::<BTreeSet<_>>()
            .len() as u64
    });
    figures.target(
        "drain",
        "connections_opened_on_drained_node_after_1s",
        0.0,
        known(opened),
    );
}

fn spread_targets(figures: &mut Figures, scenario: &str, spread: Option<&Spread>, weights: &Weights) {
    let mut worst = f64::NAN;
    if let Some(spread) = spread {
        let deviations = deviations(spread, weights);
        worst = deviations.values().copied().map(f64::abs).fold(0.0, f64::max);
        for (node, deviation) in deviations {
            figures.row(scenario, &node, "share", 100.0 * spread.share(&node), "percent");
            figures.row(scenario, &node, "share_deviation", deviation, "points");
        }
    }
    figures.target(scenario, "share_deviation_points", SHARE_POINTS_MAX, worst);
    let failed = spread.map(|spread| spread.failures.len() as u64);
    figures.target(scenario, "failed", 0.0, known(failed));
}

fn loss_targets(figures: &mut Figures, scene: &str, loss: Option<&Loss>, all: &Tally) {
    let quiet = loss.and_then(|loss| loss.quiet_after).map_or(f64::NAN, seconds);
    let limit = seconds(DETECTION_MAX);
    figures.target(scene, "seconds_until_dead_node_got_nothing", limit, quiet);
    if let Some(loss) = loss {
        let lost = all.lost_with.get(&loss.death.node).copied().unwrap_or(0);
        let node = &loss.death.node;
        figures.row(
            scene,
            node,
            "connections_on_dead_node",
            count(lost),
            "connections",
        );
    }
}

fn known(value: Option<u64>) -> f64 {
    value.map_or(f64::NAN, count)
}

/// The closing table.
///
/// # Errors
/// None that can happen: a string takes every line.
pub fn table(seen: &Seen, weights: &Weights, figures: &Figures) -> Result<String, fmt::Error> {
    let all = tally(&seen.records, &seen.deaths());
    let mut text = String::new();
    write_nodes(&mut text, seen, weights, &all)?;
    write_requests(&mut text, &all)?;
    for what in seen.left.iter().flatten() {
        writeln!(text, "  left behind: {what}")?;
    }
    write_targets(&mut text, figures)?;
    Ok(text)
}

fn write_nodes(out: &mut String, seen: &Seen, weights: &Weights, all: &Tally) -> fmt::Result {
    writeln!(
        out,
        "\n  node      weight  flow-hash   ip-hash   requests   died       connections   quiet"
    )?;
    writeln!(
        out,
        "                    share       share     answered              on it         after"
    )?;
    let whole: u32 = weights.values().sum();
    for (node, weight) in weights {
        let due = 100.0 * f64::from(*weight) / f64::from(whole);
        let answered = all.per_node.get(node).copied().unwrap_or(0);
        let share = |spread: &Option<Spread>| {
            spread
                .as_ref()
                .map_or(f64::NAN, |spread| 100.0 * spread.share(node))
        };
        let (flow, ip) = (share(&seen.flow_hash), share(&seen.ip_hash));
        write!(
            out,
            "  {node:<8} {due:>5.1} %    {flow:>5.1} %   {ip:>5.1} %   {answered:>8}"
        )?;
        for loss in seen.losses().filter(|loss| loss.death.node == *node) {
            let lost = all.lost_with.get(node).copied().unwrap_or(0);
            let quiet = loss
                .quiet_after
                .map_or("unseen".to_owned(), |quiet| format!("{} ms", quiet.as_millis()));
            write!(out, "   {:<8} {lost:>13}  {quiet:>8}", loss.scene)?;
        }
        if seen.drain.as_ref().is_some_and(|drained| drained.node == *node) {
            write!(out, "   drained")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_requests(out: &mut String, all: &Tally) -> fmt::Result {
    writeln!(out, "\n  requests sent        {:>8}", all.sent)?;
    writeln!(out, "  requests answered    {:>8}", all.answered)?;
    writeln!(out, "  connection attempts  {:>8}", all.attempts)?;
    let failed: u64 = all.failures.values().sum();
    writeln!(out, "  failed               {failed:>8}")?;
    for ((what, failure, why), number) in &all.failures {
        writeln!(out, "    {number:>6}  {what}: {failure} ({why})")?;
    }
    Ok(())
}

fn write_targets(out: &mut String, figures: &Figures) -> fmt::Result {
    writeln!(
        out,
        "\n  {:<12} {:<44} {:>8} {:>9}",
        "scenario", "target", "at most", "value"
    )?;
    for target in &figures.targets {
        let verdict = if target.holds { "holds" } else { "MISSED" };
        writeln!(
            out,
            "  {:<12} {:<44} {:>8} {:>9.3} {verdict}",
            target.scenario, target.metric, target.limit, target.value
        )?;
    }
    Ok(())
}

/// By how many percentage points each node's share differs from its weight's.
fn deviations(spread: &Spread, weights: &Weights) -> BTreeMap<String, f64> {
    let whole: u32 = weights.values().sum();
    weights
        .iter()
        .map(|(node, weight)| {
            let due = f64::from(*weight) / f64::from(whole);
            (node.clone(), 100.0 * (spread.share(node) - due))
        })
        .collect()
}

fn within(records: &[Record], span: Span) -> Vec<Record> {
    records
        .iter()
        .filter(|record| record.ended >= span.from && record.started <= span.to)
        .cloned()
        .collect()
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::demo::scenes::Drained;
    use crate::load::journal::{Journal, Step};

    const SCRIPT: Script = Script {
        scene: Duration::from_secs(5),
        requests_per_second: 10,
        kept: 1,
        fresh_per_second: 0,
    };

    fn value(figures: &Figures, scenario: &str, metric: &str) -> f64 {
        let is =
            |target: &&super::super::figures::Target| target.scenario == scenario && target.metric == metric;
        figures.targets.iter().find(is).expect("such a target").value
    }

    #[test]
    fn a_demo_that_saw_nothing_has_all_targets_and_none_holds() {
        let figures = figures(&Seen::default(), &weights([1, 1, 2]), &SCRIPT);
        assert_eq!(figures.targets.len(), 20);
        for target in &figures.targets {
            assert!(!target.holds && target.value.is_nan(), "{target:?}");
        }
        let text = serde_json::to_string(&figures).expect("JSON");
        assert_eq!(text.matches("\"value\":null").count(), 20, "{text}");
    }

    #[test]
    fn a_drain_that_does_nothing_is_told_by_the_connections_opened_after_it() {
        let from = Instant::now();
        let at = |milliseconds| from + Duration::from_millis(milliseconds);
        let journal = Journal::default();
        // Node, and when its connection was opened; two requests each.
        let mut records = Vec::new();
        for (node, opened) in [
            ("node1", 500),
            ("node1", 1_500),
            ("node2", 1_600),
            ("node1", 6_000),
        ] {
            let record = Record {
                connection: journal.new_connection(),
                opened: at(opened),
                step: Step::Request,
                node: Some(Arc::from(node)),
                started: at(opened),
                ended: at(opened + 10),
                outcome: Ok(()),
            };
            records.extend([record.clone(), record]);
        }
        let seen = Seen {
            drain: Some(Drained {
                node: "node1".into(),
                span: Span { from, to: at(5_000) },
                settled: at(1_000),
            }),
            records,
            ..Seen::default()
        };
        let figures = figures(&seen, &weights([1, 1, 2]), &SCRIPT);
        let opened = value(&figures, "drain", "connections_opened_on_drained_node_after_1s");
        assert_eq!(opened, 1.0);
        // Six of fifty.
        let unanswered = value(&figures, "drain", "planned_requests_unanswered_ratio");
        assert!((unanswered - 0.88).abs() < 0.001, "{unanswered}");
    }
}
