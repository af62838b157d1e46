//! Sums the demo up: a table for people, figures for scripts.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use super::figures::{Figures, count};
use super::scenes::{Seen, Span};
use super::tally::{DETECTION_MAX, Death, Tally, tally};
use crate::lab::Lab;
use crate::load::journal::Record;
use crate::load::spread::Spread;

/// Shares may differ from the weights by this much, in percentage points.
const SHARE_POINTS_MAX: f64 = 3.0;

/// The least part of the steady scene's planned requests that must have been answered; less says nothing of the rest.
const ANSWERED_LEAST: f64 = 0.5;

/// Weight of each node by name.
pub type Weights = BTreeMap<String, u32>;

/// The weights of a lab's nodes.
pub fn weights(lab: &Lab) -> Weights {
    lab.nodes()
        .iter()
        .map(|node| (node.name().to_owned(), node.weight()))
        .collect()
}

/// All figures and targets of what was seen; `left` is what the nodes left behind after they were stopped.
pub fn figures(seen: &Seen, weights: &Weights, requests_per_second: u32, left: &[String]) -> Figures {
    let deaths: Vec<Death> = seen.losses.iter().map(|loss| loss.death.clone()).collect();
    let all = tally(&seen.records, &deaths);
    let in_drain = tally(&within(&seen.records, seen.drain), &deaths);
    let in_steady = tally(&within(&seen.records, seen.steady), &[]);
    let mut figures = Figures::default();

    let planned = f64::from(requests_per_second) * seconds(seen.steady.to.duration_since(seen.steady.from));
    let unanswered = 1.0 - (count(in_steady.answered) / planned).min(1.0);
    figures.target(
        "steady",
        "planned_requests_unanswered_ratio",
        ANSWERED_LEAST,
        unanswered,
    );
    figures.target(
        "all",
        "failed_requests_not_on_dead_node",
        0.0,
        count(all.unexcused_requests),
    );
    figures.target(
        "all",
        "failed_attempts_begun_1s_after_death",
        0.0,
        count(all.unexcused_attempts),
    );
    figures.target("all", "records_left_out", 0.0, count(seen.left_out));
    let failed_in_drain = in_drain.failures.values().sum();
    figures.target("drain", "failed", 0.0, count(failed_in_drain));
    for (scenario, spread) in [("flow-hash", &seen.flow_hash), ("ip-hash", &seen.ip_hash)] {
        for (node, deviation) in deviations(spread, weights) {
            figures.row(scenario, &node, "share", 100.0 * spread.share(&node), "percent");
            figures.row(scenario, &node, "share_deviation", deviation, "points");
        }
        let worst = deviations(spread, weights)
            .into_values()
            .map(f64::abs)
            .fold(0.0, f64::max);
        figures.target(scenario, "share_deviation_points", SHARE_POINTS_MAX, worst);
        figures.target(scenario, "failed", 0.0, spread.failures.len() as f64);
    }
    let split = seen.ip_hash.split_sources();
    figures.target("ip-hash", "addresses_on_several_nodes", 0.0, split as f64);
    figures.target("attach", "nodes_not_native", 0.0, count(seen.not_native));
    figures.target("stop", "left_behind", 0.0, left.len() as f64);
    for loss in &seen.losses {
        let quiet = seconds(loss.quiet_after);
        figures.target(
            loss.scene,
            "seconds_until_dead_node_got_nothing",
            seconds(DETECTION_MAX),
            quiet,
        );
        let lost = all.lost_with.get(&loss.death.node).copied().unwrap_or(0);
        figures.row(
            loss.scene,
            &loss.death.node,
            "connections_on_dead_node",
            count(lost),
            "connections",
        );
    }

    for (metric, value) in [
        ("requests_sent", all.sent),
        ("requests_answered", all.answered),
        ("connection_attempts", all.attempts),
        ("connection_attempts_failed", all.attempts_failed),
    ] {
        figures.row("all", "gateway", metric, count(value), "count");
    }
    for ((what, failure, why), number) in &all.failures {
        figures.row(
            "all",
            "gateway",
            &format!("failed: {what}, {failure}, {why}"),
            count(*number),
            "count",
        );
    }
    figures
}

/// The closing table.
///
/// # Errors
/// None that can happen: a string takes every line.
pub fn table(
    seen: &Seen,
    weights: &Weights,
    figures: &Figures,
    left: &[String],
) -> Result<String, fmt::Error> {
    let deaths: Vec<Death> = seen.losses.iter().map(|loss| loss.death.clone()).collect();
    let all = tally(&seen.records, &deaths);
    let mut text = String::new();
    write_nodes(&mut text, seen, weights, &all)?;
    write_requests(&mut text, &all)?;
    for what in left {
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
        let flow = 100.0 * seen.flow_hash.share(node);
        let ip = 100.0 * seen.ip_hash.share(node);
        write!(
            out,
            "  {node:<8} {due:>5.1} %    {flow:>5.1} %   {ip:>5.1} %   {answered:>8}"
        )?;
        for loss in seen.losses.iter().filter(|loss| loss.death.node == *node) {
            let lost = all.lost_with.get(node).copied().unwrap_or(0);
            let quiet = loss.quiet_after.as_millis();
            write!(out, "   {:<8} {lost:>13}  {quiet:>5} ms", loss.scene)?;
        }
        if seen.drained == *node {
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
        "\n  {:<12} {:<40} {:>8} {:>9}",
        "scenario", "target", "at most", "value"
    )?;
    for target in &figures.targets {
        let verdict = if target.holds { "holds" } else { "MISSED" };
        writeln!(
            out,
            "  {:<12} {:<40} {:>8} {:>9.3} {verdict}",
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
