//! `cargo xtask packets`: rows of a frame in and a frame out, sent through the kernel program one after another.
//!
//! Rows and configuration may be written by people who know nothing of this code: docs/packets.md is all that they
//! need. So frames are decoded and checksums verified here by code of their own, not by that under test.

pub mod checksum;
pub mod compare;
pub mod config;
pub mod decode;
pub mod diff;
pub mod kernel;
pub mod nodes;
pub mod own_cases;
pub mod problems;
pub mod reader;
pub mod report;
pub mod rows;
pub mod sockets;
pub mod vips;
pub mod world;

use std::path::Path;

use anyhow::Result;

use compare::{Leeway, Likeness};
use config::Config;
use kernel::{Kernel, Ran};
use problems::Refused;
use rows::{Row, XdpAction};

/// What a run needs.
#[derive(Debug)]
pub struct Input {
    /// What the program is configured with.
    pub config: Config,
    /// What is sent through it.
    pub rows: Vec<Row>,
}

impl Input {
    /// Reads both files.
    ///
    /// # Errors
    /// All problems of both at once.
    pub fn read(config: &Path, rows: &Path) -> Result<Self, Refused> {
        match (config::read(config), rows::read(rows)) {
            (Ok(config), Ok(rows)) => Ok(Self { config, rows }),
            (config, rows) => Err(Refused::both(config.err(), rows.err())),
        }
    }
}

/// What became of one row.
#[derive(Debug)]
pub struct Judged {
    /// The row.
    pub row: Row,
    /// What the program did.
    pub ran: Ran,
    /// How the frame compares with the expected one; `None`: the row names none.
    pub likeness: Option<Likeness>,
}

impl Judged {
    /// Whether action and frame are what the row says.
    pub fn holds(&self) -> bool {
        self.action_holds() && self.likeness.as_ref().is_none_or(Likeness::holds)
    }

    /// Whether the action is.
    pub fn action_holds(&self) -> bool {
        self.ran.action == self.row.action
    }
}

/// Sends all rows in order through one instance of the program, in a network namespace of its own.
///
/// # Errors
/// No root, no kernel object, or the kernel refuses the program or a frame.
pub fn run(input: Input) -> Result<Vec<Judged>> {
    // A thread of its own, for it moves into another network namespace.
    let runner = std::thread::spawn(move || -> Result<Vec<Judged>> {
        let mut kernel = Kernel::start(&input.config)?;
        input
            .rows
            .into_iter()
            .map(|row| judge(&mut kernel, row))
            .collect()
    });
    match runner.join() {
        Ok(judged) => judged,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn judge(kernel: &mut Kernel, row: Row) -> Result<Judged> {
    let ran = kernel.run(&row)?;
    let likeness = row.expected.as_ref().map(|expected| {
        let leeway = match row.action {
            XdpAction::Tx => Leeway::OfSenders,
            XdpAction::Pass | XdpAction::Drop => Leeway::None,
        };
        compare::compare(expected, &ran.frame, leeway)
    });
    Ok(Judged { row, ran, likeness })
}
