//! All automation of the project, called by people, README and CI alike: `cargo xtask COMMAND`.
//!
//! Depends on no gateway crate, so that it builds when they do not, and on little else, so that it builds quickly.
//! This file only knows the commands; each has a module that does the work.

mod apt;
mod bench;
mod check;
mod demo;
mod deny;
mod ebpf;
mod fuzz;
mod packets;
mod pip;
mod privilege;
mod programs;
mod release;
mod run;
mod scanners;
mod steps;
mod test;
mod tidy;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use check::CargoDeny;

/// Builds, tests, checks and shows the gateway.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// Show the gateway at work: real traffic through three nodes, one of which dies (needs root)
    Demo {
        /// Options of the demo itself, such as `--json FILE` and `--keep`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        arguments: Vec<String>,
    },
    /// Send a table of packets through the kernel program, and compare what comes out (needs root)
    Packets {
        /// `--config FILE.toml ROWS.tsv`, and `--json FILE`: docs/packets.md describes the files
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        arguments: Vec<String>,
    },
    /// Run every test, those in the kernel and in the lab included (needs root)
    Test {
        /// Only tests whose name contains this
        filter: Option<String>,
    },
    /// Try random inputs on what reads a client's bytes
    Fuzz {
        /// Only this target: inspect, response, frames, path, router, decide or encapsulation
        target: Option<String>,
        /// How long, for each target
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u32,
        /// Give the target this one input instead, as a failed run tells
        #[arg(long, value_name = "FILE", requires = "target")]
        input: Option<PathBuf>,
    },
    /// Check layout, lints, documentation, dependencies and house rules, as CI does
    Check {
        /// Install cargo-deny, if it is missing, for its own reading of deny.toml: takes several minutes, once
        #[arg(long)]
        deny: bool,
    },
    /// Check the house rules alone
    Tidy,
    /// Build the kernel object; finds the toolchain, or installs it
    BuildEbpf {
        /// Where the compiler comes from
        #[arg(long, value_enum, default_value_t)]
        toolchain: ebpf::Way,
    },
    /// Build the daemon with its kernel object, and become `gateway run ARGS`
    Run {
        /// Arguments of `gateway run`, such as `--config FILE`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        arguments: Vec<String>,
    },
    /// Build the daemon for use: optimised by a profile of real load, with its kernel object
    ///
    /// Takes some 20 minutes the first time, and seconds when nothing has changed.
    Release,
    /// Measure the gateway beside its peers
    Bench {
        /// What is measured
        #[command(subcommand)]
        what: bench::What,
    },
    /// Serve as the benchmark's backend: what `bench` starts
    #[command(hide = true)]
    BenchBackend,
    /// Ask at a constant rate: what `bench` starts
    #[command(hide = true)]
    BenchOpenLoop(bench::Order),
    /// Put an instrumented gateway under load: what `release` starts
    #[command(hide = true)]
    ReleaseTraining {
        /// The instrumented gateway
        #[arg(long, value_name = "FILE")]
        gateway: PathBuf,
        /// Where it writes its profiles
        #[arg(long, value_name = "FOLDER")]
        profiles: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        // Its exit codes tell a missed target from a measurement that failed.
        Some(Task::Bench { what }) => bench::bench(&what).unwrap_or_else(|error| {
            complain(&error);
            ExitCode::from(bench::NOT_MEASURED)
        }),
        // As those of `gateway-packets`, which it becomes.
        Some(Task::Packets { arguments }) => {
            let outcome = workspace::root().and_then(|root| packets::packets(&root, &arguments));
            outcome.map_or_else(
                |error| {
                    complain(&error);
                    ExitCode::from(packets::NOT_RUN)
                },
                |()| ExitCode::SUCCESS,
            )
        }
        task => match perform(task) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        },
    }
}

fn complain(error: &anyhow::Error) {
    let (red, plain) = if steps::colours() {
        ("\x1b[1;31m", "\x1b[0m")
    } else {
        ("", "")
    };
    eprintln!("{red}error:{plain} {error:#}");
}

fn perform(task: Option<Task>) -> Result<()> {
    let root = workspace::root()?;
    match task {
        None | Some(Task::Bench { .. } | Task::Packets { .. }) => Ok(Arguments::command().print_help()?),
        Some(Task::Demo { arguments }) => demo::demo(&root, &arguments),
        Some(Task::Test { filter }) => test::test(&root, filter.as_deref()),
        Some(Task::Fuzz {
            target: Some(target),
            input: Some(input),
            ..
        }) => fuzz::again(&root, &target, &input),
        Some(Task::Fuzz { target, seconds, .. }) => fuzz::fuzz(&root, target.as_deref(), seconds),
        Some(Task::Check { deny }) => check::check(
            &root,
            if deny {
                CargoDeny::Install
            } else {
                CargoDeny::IfInstalled
            },
            &command_names(),
        ),
        Some(Task::Tidy) => tidy::tidy(&root, &command_names()),
        Some(Task::BuildEbpf { toolchain }) => ebpf::build(&root, toolchain),
        Some(Task::Run { arguments }) => run::run(&root, &arguments),
        Some(Task::Release) => release::release(&root).map(drop),
        Some(Task::BenchBackend) => bench::backend(),
        Some(Task::BenchOpenLoop(order)) => bench::open_loop(&order),
        Some(Task::ReleaseTraining { gateway, profiles }) => bench::train(&root, &gateway, &profiles),
    }
}

/// The commands there are, for the rule that documents name no others.
fn command_names() -> Vec<String> {
    Arguments::command()
        .get_subcommands()
        .map(|command| command.get_name().to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_names_its_commands() {
        Arguments::command().debug_assert();
        assert_eq!(
            command_names(),
            [
                "demo",
                "packets",
                "test",
                "fuzz",
                "check",
                "tidy",
                "build-ebpf",
                "run",
                "release",
                "bench",
                "bench-backend",
                "bench-open-loop",
                "release-training"
            ]
        );
    }

    #[test]
    fn options_of_the_demo_and_the_daemon_pass_through() {
        let arguments = Arguments::try_parse_from(["xtask", "demo", "--json", "out.json", "--keep"]).unwrap();
        assert!(matches!(arguments.command, Some(Task::Demo { arguments }) if arguments.len() == 3));
        let arguments = Arguments::try_parse_from(["xtask", "run", "--", "--config", "a.toml"]).unwrap();
        assert!(
            matches!(arguments.command, Some(Task::Run { arguments }) if arguments == ["--config", "a.toml"])
        );
    }
}
