//! All automation of the project, called by people, README and CI alike: `cargo xtask COMMAND`.
//!
//! Depends on no gateway crate, so that it builds when they do not, and on little else, so that it builds quickly.
//! This file only knows the commands; each has a module that does the work.

mod apt;
mod ebpf;
mod privilege;
mod steps;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

/// Builds, tests, checks and shows the gateway.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// Build the kernel object; finds the toolchain, or installs it
    BuildEbpf {
        /// Where the compiler comes from
        #[arg(long, value_enum, default_value_t)]
        toolchain: ebpf::Way,
    },
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (red, plain) = if steps::colours() {
                ("\x1b[1;31m", "\x1b[0m")
            } else {
                ("", "")
            };
            eprintln!("{red}error:{plain} {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Option<Task>) -> Result<()> {
    let root = workspace::root()?;
    match task {
        None => Ok(Arguments::command().print_help()?),
        Some(Task::BuildEbpf { toolchain }) => ebpf::build(&root, toolchain),
    }
}
