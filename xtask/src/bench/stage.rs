//! What all measurements share, and the training of a release: the programs, two cores, the backend, a certificate.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::envoy;
use super::files;
use super::pingora;
use super::process::{self, Orphan, Output, Process, Scratch};
use super::scenario::{Aim, Generator, Scenario};
use super::subject::{Ports, Subject};
use super::template::Setup;
use crate::{programs, release, steps, workspace};

/// Open files that the bench and each subject need at least: 8,000 held connections, and some to spare.
pub const OPEN_FILES_MIN: u64 = 10_000;
/// Open files that training needs: some hundred connections, each with one to an upstream.
const OPEN_FILES_TRAINING_MIN: u64 = 1_024;

/// A program, its Debian package, and what it is for.
pub type Program = (&'static str, &'static str, &'static str);

const PEERS: [Program; 2] = [
    ("nginx", "nginx", "is a peer that the gateway is held against"),
    ("haproxy", "haproxy", "is a peer that the gateway is held against"),
];
/// What binds programs, and ends them with the bench.
pub const BINDING: [Program; 2] = [
    ("setpriv", "util-linux", "has programs end when the bench does"),
    ("taskset", "util-linux", "binds programs to a core"),
];
const WRK: Program = ("wrk", "wrk", "makes load over HTTP/1.1");
const H2LOAD: Program = ("h2load", "nghttp2-client", "makes load over HTTP/2");
const OPENSSL: Program = ("openssl", "openssl", "makes the certificate, and handshakes");
const VALGRIND: Program = ("valgrind", "valgrind", "counts instructions");

/// Two cores: nothing but the subject runs on the first.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The subject's.
    pub subject: usize,
    /// The generator's and the backend's, and the bench's own.
    pub generator: usize,
}

/// Peers that are no package of Debian's, where a scenario has them.
#[derive(Debug, Default)]
pub struct Peers {
    /// PyPI's program.
    pub envoy: Option<PathBuf>,
    /// What was built of `tests/bench/pingora`.
    pub pingora: Option<PathBuf>,
}

/// Whether the peer is measured that takes minutes to build.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pingora {
    /// It is left out.
    No,
    /// It is built and measured.
    Measured,
}

/// All is built and installed, the backend runs, and this process is on the generator's core.
#[derive(Debug)]
pub struct Stage {
    /// Where the subjects' and generators' settings are.
    settings: PathBuf,
    /// The gateway's binary.
    pub gateway: PathBuf,
    /// Peers that were obtained or built.
    pub peers: Peers,
    /// Who runs where.
    pub cores: Cores,
    /// What the subjects forward to.
    pub backend: Process,
    /// Where it listens.
    pub backend_port: u16,
    /// This program as it is released, for what runs on the generator's core.
    tools: PathBuf,
    /// What was made for this run.
    scratch: Scratch,
}

impl Stage {
    /// Gets what `scenarios` need, and sets all up to measure `gateway`, or else a release.
    ///
    /// # Errors
    /// When something cannot be had, or the machine has one core only.
    pub fn set(
        root: &Path,
        scenarios: &[Scenario],
        gateway: Option<&Path>,
        with_pingora: Pingora,
    ) -> Result<Self> {
        programs::install(&needed(scenarios), "the benchmark calls them")?;
        let any = |subject: Subject| scenarios.iter().any(|scenario| scenario.has(subject));
        let peers = Peers {
            envoy: any(Subject::Envoy).then(|| envoy::obtain(root)).transpose()?,
            pingora: (with_pingora == Pingora::Measured && any(Subject::Pingora))
                .then(|| pingora::build(root))
                .transpose()?,
        };
        let gateway = match gateway {
            Some(path) => std::path::absolute(path)?,
            None => release::release(root)?,
        };
        let backend = build_backend(root)?;
        // After the builds, which use all cores, and end by a signal as they always do.
        let (Some(subject), Some(generator)) = cores()? else {
            bail!("two cores are needed: one for the subject alone, one for generator and backend");
        };
        raise_open_files(OPEN_FILES_MIN)?;
        let stage = Self::open(root, gateway, peers, backend, Cores { subject, generator })?;
        files::write_call(stage.files())?;
        if scenarios.iter().any(|scenario| scenario.setup() == Setup::Tls) {
            files::make_certificate(stage.files())?;
        }
        Ok(stage)
    }

    /// Sets all up to train `gateway`; one core will do. The programs are those of [`install_for_training`].
    ///
    /// # Errors
    /// When something cannot be had.
    pub fn for_training(root: &Path, gateway: &Path) -> Result<Self> {
        let (Some(subject), second) = cores()? else {
            bail!("the kernel names no core that may be used");
        };
        let generator = second.unwrap_or(subject);
        raise_open_files(OPEN_FILES_TRAINING_MIN)?;
        // This program serves, too: how fast the backend is does not matter here.
        let backend = std::env::current_exe().context("asking where this program is")?;
        let stage = Self::open(
            root,
            std::path::absolute(gateway)?,
            Peers::default(),
            backend,
            Cores { subject, generator },
        )?;
        files::write_call(stage.files())?;
        files::make_certificate(stage.files())?;
        Ok(stage)
    }

    /// Who is measured in `scenario`, in the order of a round.
    pub fn subjects(&self, scenario: Scenario) -> Vec<Subject> {
        let pingora = self.peers.pingora.as_ref().map(|_| Subject::Pingora);
        [Subject::Gateway, Subject::Nginx, Subject::Haproxy, Subject::Envoy]
            .into_iter()
            .chain(pingora)
            .filter(|subject| scenario.has(*subject))
            .collect()
    }

    /// Where the subjects' and generators' settings are.
    pub fn settings(&self) -> &Path {
        &self.settings
    }

    /// How a generator is aimed at a subject.
    pub fn aim(&self, ports: Ports, rate: u32) -> Aim<'_> {
        Aim {
            ports,
            settings: &self.settings,
            files: self.files(),
            tools: &self.tools,
            rate,
        }
    }

    /// Where the files are that were made for this run.
    pub fn files(&self) -> &Path {
        self.scratch.path()
    }

    /// Goes to the generator's core, and starts the backend there: `server` with its command `bench-backend`.
    fn open(root: &Path, gateway: PathBuf, peers: Peers, server: PathBuf, cores: Cores) -> Result<Self> {
        let mut set = CpuSet::new();
        set.set(cores.generator)?;
        sched_setaffinity(Pid::from_raw(0), &set).context("binding the bench to a core")?;
        process::guard()?;
        let mut command = Command::new(&server);
        command.arg("bench-backend");
        let mut backend = Process::start(&command, cores.generator, &Output::Pipe, Orphan::Killed)?;
        let output = backend.stdout().context("the backend has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let backend_port = line.trim().parse().context("the backend did not say its port")?;
        Ok(Self {
            settings: root.join("tests/bench"),
            gateway,
            peers,
            cores,
            backend,
            backend_port,
            tools: server,
            scratch: Scratch::new("stage")?,
        })
    }
}

/// Installs what training calls, where it is missing.
///
/// # Errors
/// Names the programs that cannot be had.
pub fn install_for_training() -> Result<()> {
    let mut programs: Vec<Program> = BINDING.into();
    programs.extend([WRK, H2LOAD, OPENSSL]);
    programs::install(&programs, "the training of a release calls them")
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
        match (scenario, scenario.generator()) {
            (Scenario::Memory, _) => {}
            (Scenario::Instructions, _) => programs.push(VALGRIND),
            // wrk finds what a peer answers at most, and looks at answers before s_time does not.
            (_, Generator::Wrk | Generator::OpenLoop | Generator::Openssl) => programs.push(WRK),
            (_, Generator::H2load) => programs.push(H2LOAD),
        }
        if scenario.setup() == Setup::Tls {
            programs.push(OPENSSL);
        }
    }
    programs.sort_unstable();
    programs.dedup();
    programs
}

/// Builds this program as a release is built, but without training: its share of the core must be small.
fn build_backend(root: &Path) -> Result<PathBuf> {
    let heading = "building the benchmark's backend (a minute or two, when it has changed)";
    steps::step(heading, || {
        let arguments = ["build", "--release", "--package", "xtask", "--bin", "xtask"];
        steps::run(workspace::cargo(root).args(arguments))
    })?;
    Ok(workspace::host_target(root).join("release/xtask"))
}

/// The first two cores that may be used.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn cores() -> Result<(Option<usize>, Option<usize>)> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("asking which cores may be used")?;
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
    Ok((cores.next(), cores.next()))
}

/// Raises this process's limit of open files to what is allowed; all that is started inherits it.
///
/// # Errors
/// When fewer than `least` are.
pub fn raise_open_files(least: u64) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < least {
        bail!("{least} open files are needed, and `ulimit -Hn` allows {hard}");
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
        assert_eq!(
            names(&[Scenario::TlsHandshakeFull]),
            ["haproxy", "nginx", "openssl", "setpriv", "taskset", "wrk"]
        );
    }
}
