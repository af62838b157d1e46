//! `cargo xtask demo`: raises the lab, lets nodes die under load, and reports what was lost.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use gateway_tests::demo::scenes::{Script, Seen, play, stop_all};
use gateway_tests::demo::{figures, owners, report};
use gateway_tests::lab::{Lab, Plan, remains};

/// Sends real traffic through a VIP of three nodes, kills one, cuts one off, drains one, and counts what was lost.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask demo", bin_name = "cargo xtask demo")]
struct Arguments {
    /// Write all figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Leave the lab up, and print how to look inside; Ctrl-C ends it
    #[arg(long)]
    keep: bool,

    /// Length of each scene in seconds: a death alone takes one or two
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=600))]
    seconds: u64,

    /// Requests a second on kept connections
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    rate: u32,
}

/// Kept connections: enough that each node has some to lose.
const KEPT: u32 = 60;

/// New connections a second.
const FRESH_PER_SECOND: u32 = 50;

/// Weights that differ, so that shares have something to follow.
const WEIGHTS: [u32; 3] = [1, 1, 2];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let script = Script {
        scene: Duration::from_secs(arguments.seconds),
        requests_per_second: arguments.rate,
        kept: KEPT,
        fresh_per_second: FRESH_PER_SECOND,
    };
    let mut seen = Seen::default();
    // What was seen is told also where the lab failed midway; the rest are targets without a value.
    let shown = show(&script, &mut seen);
    let weights = report::weights(WEIGHTS);
    let figures: figures::Figures = report::figures(&seen, &weights, &script);
    print!("{}", report::table(&seen, &weights, &figures)?);
    if let Some(path) = &arguments.json {
        figures.write(path)?;
    }
    let (lab, plan) = shown?;
    let code = if figures.all_hold() { 0 } else { 1 };
    if arguments.keep {
        remains::exit_on_signal_with(code);
        keep(&lab, &plan)?;
    }
    Ok(ExitCode::from(
        u8::try_from(code).context("an exit code beyond its range")?,
    ))
}

/// Raises the lab, plays all scenes and stops the nodes.
fn show(script: &Script, seen: &mut Seen) -> Result<(Lab, Plan)> {
    let plan = Plan {
        weights: WEIGHTS,
        ..Plan::new()?
    };
    println!("lab: one client, three nodes, three upstreams, each in a network namespace of its own");
    let lab = Lab::raise(&plan)?;
    println!(
        "lab: {} stands; its files are in {}",
        lab.id(),
        lab.directory().display()
    );
    println!("nodes: starting {} three times", plan.program.display());
    lab.start_nodes()?;
    let played = play(&lab, script, seen);
    if played.is_err() {
        owners::name_nodes(&lab, &mut seen.records)?;
    }
    played?;
    println!("stop: SIGTERM to all nodes");
    seen.left = Some(stop_all(&lab)?);
    owners::name_nodes(&lab, &mut seen.records)?;
    Ok((lab, plan))
}

/// Starts the nodes again, says how to look inside, and waits for Ctrl-C, which removes the lab.
fn keep(lab: &Lab, plan: &Plan) -> Result<()> {
    lab.start_nodes()?;
    println!("\n  The lab stays up until Ctrl-C. To look inside:");
    let client = lab.client().path();
    println!(
        "    nsenter --net={} curl -i http://10.77.0.100/",
        client.display()
    );
    println!(
        "    nsenter --net={} curl -i 'http://[fd77::100]/'",
        client.display()
    );
    for node in lab.nodes() {
        println!(
            "    nsenter --net={} bash    # {}",
            node.namespace().path().display(),
            node.name()
        );
    }
    if let Some(node) = lab.nodes().first() {
        let token = node.files().token.display();
        let enter = format!("nsenter --net={}", node.namespace().path().display());
        println!("    {enter} bpftool net");
        println!(
            "    {enter} {} status --token-file {token}",
            plan.program.display()
        );
        println!("    tail -f {}", node.files().stdout.display());
    }
    loop {
        std::thread::park();
    }
}
