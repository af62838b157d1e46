//! The measurements of `cargo xtask bench l4`: prints its figures as lines. Needs root, for the kernel program.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use gateway_common::abi;
use gateway_tests::speed::figures::row;
use gateway_tests::speed::rounds::{self, Plan};
use gateway_tests::speed::{kernel, scenario, table};
use nix::sched::{CloneFlags, unshare};

/// Times the kernel program by test runs, beside an empty one and one that only does and undoes what it does to bytes.
#[derive(Debug, Parser)]
#[command(name = "gateway-speed")]
struct Arguments {
    /// Rounds of each scenario
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=999))]
    rounds: u32,
    /// Runs of each program in a round, where there are not more flows
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    runs: u32,
    /// Cores that run a scenario at the same time: from one on up to this
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    cores: u16,
    /// Only scenarios whose names begin so
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the program runs in the kernel, which needs root"
    );
    // The listeners are this benchmark's alone.
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
    let _listeners = kernel::listeners()?;
    let is_asked = |name: &str| {
        arguments.only.is_empty() || arguments.only.iter().any(|only| name.starts_with(only.as_str()))
    };
    let cores = aya::util::nr_cpus()
        .map_err(|(_, error)| error)?
        .min(arguments.cores.into());
    for scenario in scenario::all().iter().filter(|scenario| is_asked(scenario.name)) {
        for cores in 1..=cores {
            let plan = Plan {
                rounds: arguments.rounds,
                runs: arguments.runs,
                cores,
            };
            // A quarter of a minute each, or more: whoever waits sees how far it is.
            eprintln!("    {} on {cores} of the cores", scenario.name);
            rounds::measure(scenario, plan).with_context(|| format!("measuring {}", scenario.name))?;
        }
    }
    if is_asked("program") {
        for program in abi::PROGRAMS {
            let size = kernel::Kernel::size(program)?;
            let figure = |metric: &str, value: f64, unit| {
                row("program", "gateway", &format!("{metric}_{program}"), value, unit);
            };
            figure("instructions", size.translated.into(), "instructions");
            figure("instructions_verified", size.verified.into(), "instructions");
            figure("load", size.load_ms, "ms");
        }
        for (map, bytes) in kernel::Kernel::memory()? {
            row(
                "program",
                "gateway",
                &format!("memory_{map}"),
                bytes as f64 / 1e6,
                "MB",
            );
        }
    }
    if is_asked("forgotten") {
        table::forgotten();
    }
    if is_asked("table") {
        table::rebuild()?;
    }
    Ok(())
}
