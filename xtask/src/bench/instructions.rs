//! Instructions of the gateway for each request, by where in the source they belong.
//!
//! The gateway runs under `valgrind --tool=callgrind` twice, for an exact number of requests each time, and the
//! difference of the counts is divided by the difference of the numbers: what it takes to start and stop goes away.
//! The kernel's instructions are not in it, nor waiting; so it says little about speed, but moves only when the code
//! does, on a busy machine, too.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::client::Client;
use super::profile::Profile;
use super::report::Row;
use super::scenario::Scenario;
use super::stage::Stage;
use super::statistics::real;
use super::subject::{Running, Subject};
use super::template::Setup;
use crate::steps;

/// Connections that ask at once, so that the gateway finds several to serve in each turn, as it does under load.
const CONNECTIONS: u32 = 16;
/// Requests on each connection in the shorter and in the longer run.
const FEW: u32 = 100;
/// Ten times as much, so that what differs between two starts (hash seeds, timers) is spread thin.
const MANY: u32 = 1_000;
/// Longest wait until the gateway has stopped and the counts are written.
const STOP_LIMIT: Duration = Duration::from_secs(120);
/// Groups with a smaller share than this are one line together.
const SHARE_MIN: f64 = 0.005;

/// Counts, and says them as rows: the sum, then each group from the largest to the smallest.
///
/// # Errors
/// When the gateway does not run under valgrind.
pub fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let few = count(stage, FEW)?;
    let many = count(stage, MANY)?;
    let requests = real(CONNECTIONS * (MANY - FEW));
    let difference = many.less(&few);
    let total: f64 = difference.iter().map(|(_, count)| count / requests).sum();
    let row = |metric: &str, value| {
        let (scenario, gateway) = (Scenario::Instructions.name(), Subject::Gateway.name());
        Row::new(scenario, gateway, metric, value, "instructions")
    };
    let mut rows = vec![row("instructions_per_request", total)];
    let mut rest = 0.0;
    for (group, count) in difference {
        let each = count / requests;
        if each.abs() < total * SHARE_MIN {
            rest += each;
        } else {
            rows.push(row(&group, each));
        }
    }
    rows.push(row("all that is smaller", rest));
    Ok(rows)
}

/// Runs the gateway under callgrind for this many requests on each connection.
fn count(stage: &Stage, requests: u32) -> Result<Profile> {
    let heading = format!("counting instructions of {} requests", CONNECTIONS * requests);
    steps::step(&heading, || {
        let counts = |folder: &Path| folder.join("callgrind.out");
        let mut running = Running::start_as(stage, Subject::Gateway, Setup::Plain, |command, folder| {
            let mut wrapped = Command::new("valgrind");
            wrapped
                .args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no"])
                .arg(format!("--callgrind-out-file={}", counts(folder).display()))
                .arg(command.get_program())
                .args(command.get_args());
            wrapped
        })?;
        let clients = (0..CONNECTIONS).map(|_| Client::connect(running.ports.http1));
        let mut clients = clients.collect::<Result<Vec<_>>>()?;
        for _ in 0..requests {
            for client in &mut clients {
                client.ask()?;
            }
            for client in &mut clients {
                client.answer()?;
            }
        }
        drop(clients);
        running.stop(STOP_LIMIT)?;
        let path = counts(running.folder());
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Profile::read(&text)
    })
}
