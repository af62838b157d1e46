//! Interleaved rounds: the empty program, the floor and the one that steers, one after the other, again and again; so that
//! what else the machine does falls on all of them.

use std::sync::Barrier;

use anyhow::{Context, Result, anyhow};
use aya::programs::Xdp;
use gateway_common::abi;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::figures::{least_and_median, row};
use super::kernel::{self, Kernel};
use super::scenario::{Scenario, format_name};

/// How a scenario is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds.
    pub rounds: u32,
    /// Runs of each program in a round.
    pub runs: u32,
    /// CPUs that run it at the same time.
    pub cores: usize,
}

/// Measures one scenario, and prints its figures.
///
/// # Errors
/// A program cannot be run, or does not do what it should.
pub fn measure(scenario: &Scenario, plan: Plan) -> Result<()> {
    // Flows are opened on the core that runs them: which one is next is counted for each.
    bind(0)?;
    let mut kernel = Kernel::start(scenario)?;
    let share = kernel.share_as_expected()?;
    let subjects = [
        (abi::PASS_PROGRAM, "empty"),
        (abi::FLOOR_PROGRAM, "floor"),
        (scenario.program(), "gateway"),
    ];
    let runs = plan.runs.max(scenario.flows);
    let mut times = subjects.map(|_| Vec::new());
    for _ in 0..plan.rounds {
        for ((program, _), times) in subjects.iter().zip(&mut times) {
            times.push(at_once(
                kernel.ready(program)?,
                &scenario.frame,
                runs,
                plan.cores,
            )?);
        }
    }
    let figures = times.each_ref().map(|times| least_and_median(times));
    let name = match plan.cores {
        1 => scenario.name.to_owned(),
        cores => format!("{}-{cores}-cores", scenario.name),
    };
    for ((_, subject), (least, median)) in subjects.iter().zip(figures) {
        let subject = format!("{subject}-{}", format_name(scenario.format));
        row(&name, &subject, "ns_per_packet", least, "ns");
        row(&name, &subject, "ns_per_packet_median", median, "ns");
    }
    let subject = format!("gateway-{}", format_name(scenario.format));
    let [(empty, empty_median), (floor, _), (gateway, _)] = figures;
    row(&name, &subject, "ns_over_floor", gateway - floor, "ns");
    row(&name, &subject, "ns_over_empty", gateway - empty, "ns");
    row(&name, &subject, "spread_of_empty", empty_median - empty, "ns");
    row(&name, &subject, "share_for_the_reason", share, "");
    Ok(())
}

/// Runs a program on so many CPUs at the same time: what a run takes on the slowest of them.
fn at_once(program: &Xdp, frame: &[u8], runs: u32, cores: usize) -> Result<f64> {
    let together = Barrier::new(cores);
    let on = |core: usize| -> Result<f64> {
        bind(core)?;
        together.wait();
        kernel::time(program, frame, runs)
    };
    if cores == 1 {
        return on(0);
    }
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|core| {
                let on = &on;
                scope.spawn(move || on(core))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|time| time.map_err(|_| anyhow!("a thread of the benchmark panicked"))?)
            .collect::<Result<Vec<f64>>>()
    })?;
    Ok(times.into_iter().fold(0.0, f64::max))
}

/// Has this thread run on that core alone.
fn bind(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("binding to a core")
}
