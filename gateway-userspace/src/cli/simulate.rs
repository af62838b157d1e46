//! `gateway simulate`: what would happen, without a node.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueHint};
use gateway::simulate::{Arrivals, Endpoints, Outcome, generate, read, run};
use serde_json::json;

use super::table::{Cell, Style, Table, Tone};
use super::{Form, print};

/// Endpoints that have a column of their own; JSON has all.
const COLUMNS_MAX: usize = 8;

/// What can be simulated.
#[derive(Debug, Subcommand)]
pub enum Simulation {
    /// Replay requests against every balancer: who would have got how many, and how long they would have taken.
    Balance(BalanceArgs),
}

/// Whose requests, and who answers them.
#[derive(Debug, Args)]
pub struct BalanceArgs {
    /// Endpoints: NAME[*COUNT][:KEY=VALUE,…];… as in 'a:weight=2,ms=5;b*3:ms=50,fail=0.1'. Keys: weight (1), ms that a
    /// request takes in the mean (5), times that are fixed or exponential (exponential), slots for requests at once (64),
    /// fail for the part that fails (0), fail_ms that a failure takes (1).
    #[arg(long, value_name = "LIST")]
    endpoints: Endpoints,
    /// Requests to replay: lines of time_s,key[,cost_ms] in the order of time; cost_ms is added to the endpoint's time.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["rate", "seconds", "keys"])]
    trace: Option<PathBuf>,
    /// Without a trace: requests a second.
    #[arg(long, value_name = "NUMBER", default_value_t = 500.0)]
    rate: f64,
    /// Without a trace: for how long.
    #[arg(long, value_name = "NUMBER", default_value_t = 60.0)]
    seconds: f64,
    /// Without a trace: different keys (clients), all as frequent.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Makes the same again, or with another number something else.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Simulates, and prints what came of it.
///
/// # Errors
/// Where the trace cannot be read or is refused, or no or too many requests are wanted.
pub fn simulate(Simulation::Balance(given): &Simulation) -> anyhow::Result<()> {
    let requests = match &given.trace {
        Some(path) => {
            let name = path.display().to_string();
            let file = File::open(path)
                .with_context(|| format!("cannot open the trace {name}; name a file that can be read"))?;
            read(BufReader::new(file), &name)?
        }
        None => generate(&Arrivals {
            rate: given.rate,
            seconds: given.seconds,
            keys: given.keys,
            seed: given.seed,
        })?,
    };
    let outcomes = run(&given.endpoints, &requests, given.seed);
    let form = if given.json {
        Form::Json
    } else {
        Form::Text(Style::of_stdout())
    };
    match form {
        Form::Json => print(&format!(
            "{:#}\n",
            json!({ "requests": requests.len(), "balancers": outcomes })
        ))?,
        Form::Text(style) => print(&text(&outcomes, requests.len(), style))?,
    }
    Ok(())
}

fn text(outcomes: &[Outcome], requests: usize, style: Style) -> String {
    let endpoints = outcomes.first().map_or(&[][..], |outcome| &outcome.endpoints);
    let shown = endpoints.len().min(COLUMNS_MAX);
    let mut heads = vec!["balancer"];
    heads.extend(endpoints.iter().take(shown).map(|spread| spread.name.as_str()));
    if shown < endpoints.len() {
        heads.push("others");
    }
    heads.extend(["off weights", "p50 ms", "p99 ms", "max ms", "failed"]);
    let mut table = Table::new(&heads);
    for outcome in outcomes {
        let mut cells = vec![Cell::from(&outcome.balancer)];
        let shares = outcome.endpoints.iter().map(|spread| spread.share_per_cent);
        cells.extend(
            shares
                .clone()
                .take(shown)
                .map(|share| Cell::from(format!("{share:.1}%"))),
        );
        if shown < endpoints.len() {
            cells.push(format!("{:.1}%", shares.skip(shown).sum::<f64>()).into());
        }
        cells.push(format!("{:.1}", outcome.deviation_points).into());
        for latency in [outcome.p50_ms, outcome.p99_ms, outcome.max_ms] {
            cells.push(
                latency
                    .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"))
                    .into(),
            );
        }
        let tone = if outcome.failed == 0 {
            Tone::Plain
        } else {
            Tone::Bad
        };
        cells.push(Cell(outcome.failed.to_string(), tone));
        table.line(cells);
    }
    format!(
        "{requests} requests; shares of them, and times of those that were answered\n\n{}",
        table.text(style)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_balancer_has_a_line_with_a_column_for_each_endpoint() {
        let arrivals = Arrivals {
            rate: 100.0,
            seconds: 10.0,
            keys: 100,
            seed: 1,
        };
        for (endpoints, wanted) in [
            (
                "a:weight=3,times=fixed;b:times=fixed",
                "balancer                  a      b      off weights",
            ),
            ("a*20", "a-8    others  off weights"),
            ("a:fail=1", "-       -       -"),
        ] {
            let requests = generate(&arrivals).unwrap();
            let text = text(
                &run(&endpoints.parse().unwrap(), &requests, 1),
                requests.len(),
                Style::Plain,
            );
            assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
            assert_eq!(text.lines().count(), 2 + 1 + 8, "{text}");
        }
    }
}
