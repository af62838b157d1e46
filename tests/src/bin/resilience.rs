//! One turn of `cargo xtask bench resilience`: prints its figures as one line. Needs root, for network namespaces.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use gateway_tests::resilience::fault::Fault;
use gateway_tests::resilience::subject::Subject;
use gateway_tests::resilience::turn::Turn;

/// Sends a constant rate of requests through one proxy, one of whose three servers goes bad and gets well again.
#[derive(Debug, Parser)]
#[command(name = "gateway-resilience")]
struct Arguments {
    /// What goes wrong
    #[arg(long, value_enum)]
    fault: Fault,
    /// Which proxy
    #[arg(long, value_enum)]
    subject: Subject,
    /// Its program
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// Where the files of tests/bench/resilience are
    #[arg(long, value_name = "FOLDER")]
    templates: PathBuf,
    /// Where the proxy's files go: its configuration, and what it says (output.log)
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
    /// Requests a second
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How long
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The core that the proxy has for itself
    #[arg(long)]
    core: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let turn = Turn {
        fault: arguments.fault,
        subject: arguments.subject,
        program: arguments.program,
        templates: arguments.templates,
        folder: arguments.folder,
        rate: arguments.rate,
        length: Duration::from_secs(arguments.seconds),
        core: arguments.core,
    };
    match turn.play() {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
