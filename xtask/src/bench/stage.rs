//! What all measurements share: the programs, two cores, the backend.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::process::{self, Orphan, Output, Process};
use super::scenario::{Generator, Scenario};
use crate::{programs, steps, workspace};

/// Open files that the bench and each subject need at least: 8,000 held connections, and some to spare.
const OPEN_FILES_MIN: u64 = 10_000;

/// A program, its Debian package, and what it is for.
type Program = (&'static str, &'static str, &'static str);

const PEERS: [Program; 2] = [
    ("nginx", "nginx", "is a peer that the gateway is held against"),
    ("haproxy", "haproxy", "is a peer that the gateway is held against"),
];
const BINDING: [Program; 2] = [
    ("setpriv", "util-linux", "has programs end when the bench does"),
    ("taskset", "util-linux", "binds programs to a core"),
];
const WRK: Program = ("wrk", "wrk", "makes load over HTTP/1.1");
const H2LOAD: Program = ("h2load", "nghttp2-client", "makes load over HTTP/2");
const VALGRIND: Program = ("valgrind", "valgrind", "counts instructions");

/// Two cores: nothing but the subject runs on the first.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The subject's.
    pub subject: usize,
    /// The generator's and the backend's, and the bench's own.
    pub generator: usize,
}

/// All is built and installed, the backend runs, and this process is on the generator's core.
#[derive(Debug)]
pub struct Stage {
    /// The workspace.
    pub root: PathBuf,
    /// The gateway's binary.
    pub gateway: PathBuf,
    /// Who runs where.
    pub cores: Cores,
    /// What the subjects forward to.
    pub backend: Process,
    /// Where it listens.
    pub backend_port: u16,
}

impl Stage {
    /// Gets what `scenarios` need, builds, and starts the backend. Without `gateway` the workspace's is built.
    ///
    /// # Errors
    /// When something cannot be had, or the machine has one core only.
    pub fn set(root: &Path, scenarios: &[Scenario], gateway: Option<&Path>) -> Result<Self> {
        programs::install(&needed(scenarios), "the benchmark calls them")?;
        let release = workspace::host_target(root).join("release");
        let gateway = match gateway {
            Some(path) => std::path::absolute(path)?,
            None => {
                build(root, "gateway-userspace", "gateway")?;
                release.join("gateway")
            }
        };
        build(root, "xtask", "xtask")?;
        // After the builds, which use all cores, and end by a signal as they always do.
        let cores = cores()?;
        let mut set = CpuSet::new();
        set.set(cores.generator)?;
        sched_setaffinity(Pid::from_raw(0), &set).context("binding the bench to a core")?;
        raise_open_files()?;
        process::guard()?;
        let mut command = Command::new(release.join("xtask"));
        command.arg("bench-backend");
        let mut backend = Process::start(&command, cores.generator, &Output::Pipe, Orphan::Killed)?;
        let output = backend.stdout().context("the backend has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let backend_port = line.trim().parse().context("the backend did not say its port")?;
        Ok(Self {
            root: root.to_path_buf(),
            gateway,
            cores,
            backend,
            backend_port,
        })
    }
}

fn needed(scenarios: &[Scenario]) -> Vec<Program> {
    let mut programs: Vec<Program> = BINDING.into();
    if scenarios
        .iter()
        .any(|scenario| *scenario != Scenario::Instructions)
    {
        programs.extend(PEERS);
    }
    for scenario in scenarios {
        programs.push(match (scenario, scenario.generator()) {
            (Scenario::Memory, _) => continue,
            (Scenario::Instructions, _) => VALGRIND,
            (_, Generator::Wrk) => WRK,
            (_, Generator::H2load) => H2LOAD,
        });
    }
    programs.sort_unstable();
    programs.dedup();
    programs
}

/// Builds one binary with the profile of releases.
fn build(root: &Path, package: &str, binary: &str) -> Result<()> {
    let heading = format!("building {binary} as a release is built (some minutes, when it has changed)");
    steps::step(&heading, || {
        let arguments = ["build", "--release", "--package", package, "--bin", binary];
        steps::run(workspace::cargo(root).args(arguments))
    })
}

fn cores() -> Result<Cores> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("asking which cores may be used")?;
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
    match (cores.next(), cores.next()) {
        (Some(subject), Some(generator)) => Ok(Cores { subject, generator }),
        _ => bail!("two cores are needed: one for the subject alone, one for generator and backend"),
    }
}

/// The limit is inherited by all that is started.
fn raise_open_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < OPEN_FILES_MIN {
        bail!("{OPEN_FILES_MIN} open files are needed, and `ulimit -Hn` allows {hard}");
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the limit of open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_scenarios_call_is_installed() {
        let names = |scenarios: &[Scenario]| -> Vec<&str> {
            needed(scenarios)
                .into_iter()
                .map(|(program, _, _)| program)
                .collect()
        };
        assert_eq!(
            names(&[Scenario::H1Small, Scenario::H1Large]),
            ["haproxy", "nginx", "setpriv", "taskset", "wrk"]
        );
        assert_eq!(
            names(&[Scenario::Instructions]),
            ["setpriv", "taskset", "valgrind"]
        );
        assert_eq!(
            names(&[Scenario::H2Streams]),
            ["h2load", "haproxy", "nginx", "setpriv", "taskset"]
        );
    }
}
