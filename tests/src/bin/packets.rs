//! `cargo xtask packets`: sends rows of packets through the kernel program and compares what comes out.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use gateway_tests::packet_rows::{self, Input, report};

/// Sends each row's frame through the kernel program, all through one instance in their order, and compares the frame
/// that comes out with the expected one. docs/packets.md describes both files.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask packets", bin_name = "cargo xtask packets")]
struct Arguments {
    /// Nodes and VIPs that the program is configured with
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,

    /// Write every row's verdict, reason and result to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Tab-separated: name, expected action, frame in base64, expected frame in base64 or -
    #[arg(value_name = "ROWS.tsv")]
    rows: PathBuf,
}

/// A row is not as expected.
const DIFFERENT: u8 = 1;

/// The files are wrong, or the program cannot be run.
const NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let input = match Input::read(&arguments.config, &arguments.rows) {
        Ok(input) => input,
        Err(refused) => {
            eprintln!("{refused}");
            return ExitCode::from(NOT_RUN);
        }
    };
    match run(input, &arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(DIFFERENT),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(NOT_RUN)
        }
    }
}

/// The number of rows that are not as expected.
fn run(input: Input, arguments: &Arguments) -> Result<usize> {
    let judged = packet_rows::run(input)?;
    if let Some(file) = &arguments.json {
        report::write_json(&judged, file)?;
    }
    print!("{}", report::text(&judged));
    Ok(report::sum(&judged).1)
}
