//! What turns need: the three proxies, the program that plays turns, two cores.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::Options;
use super::fault::Fault;
use super::figures::Figures;
use crate::bench::envoy;
use crate::bench::process::{self, Orphan, Output, Process, Scratch};
use crate::bench::stage::{BINDING, Cores, OPEN_FILES_MIN, cores, raise_open_files};
use crate::{demo, privilege, programs, release, workspace};

/// How much longer than asked a turn may take: the proxy starts, there is a warm-up, and answers may be late.
const TURN_SLACK: Duration = Duration::from_secs(60);

/// Who is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// This project.
    Gateway,
    /// Debian's haproxy.
    Haproxy,
    /// PyPI's envoy.
    Envoy,
}

impl Subject {
    /// In the order of a round.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Haproxy, Self::Envoy];
    /// Those that the gateway is held against.
    pub const PEERS: [Self; 2] = [Self::Haproxy, Self::Envoy];

    /// As it is called in the output, and by `gateway-resilience`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }
}

/// All is built and installed, and this process is on the core of clients and servers.
#[derive(Debug)]
pub struct Lab {
    root: PathBuf,
    gateway: PathBuf,
    haproxy: PathBuf,
    envoy: PathBuf,
    /// Who runs where.
    pub cores: Cores,
    seconds: u64,
    rate: u32,
    logs: Option<PathBuf>,
}

impl Lab {
    /// Gets and builds all.
    ///
    /// # Errors
    /// When something cannot be had, without root, or when the machine has one core only.
    pub fn set(root: &Path, options: &Options) -> Result<Self> {
        privilege::require_root("bench resilience", "it makes network namespaces")?;
        let mut needed = BINDING.to_vec();
        needed.push(("haproxy", "haproxy", "is a peer that the gateway is held against"));
        programs::install(&needed, "the benchmark calls them")?;
        let haproxy = programs::find("haproxy").context("haproxy is not installed")?;
        let envoy = envoy::obtain(root)?;
        let gateway = match &options.gateway {
            Some(path) => std::path::absolute(path)?,
            None => release::release(root)?,
        };
        demo::build_binaries(root)?;
        let logs = options.logs.as_deref().map(std::path::absolute).transpose()?;
        // After the builds, which use all cores, and end by a signal as they always do.
        let (Some(subject), Some(generator)) = cores()? else {
            bail!("two cores are needed: one for the proxy alone, one for clients and servers");
        };
        // A proxy that stalls leaves some thousand connections open.
        raise_open_files(OPEN_FILES_MIN)?;
        let mut set = CpuSet::new();
        set.set(generator)?;
        sched_setaffinity(Pid::from_raw(0), &set).context("binding the bench to a core")?;
        process::guard()?;
        Ok(Self {
            root: root.to_path_buf(),
            gateway,
            haproxy,
            envoy,
            cores: Cores { subject, generator },
            seconds: options.seconds,
            rate: options.rate,
            logs,
        })
    }

    /// Plays a turn.
    ///
    /// # Errors
    /// When it cannot be played; what was said of it is quoted.
    pub fn turn(&self, fault: Fault, subject: Subject) -> Result<Figures> {
        let scratch = Scratch::new("resilience")?;
        let folder = match &self.logs {
            None => scratch.path().to_path_buf(),
            Some(logs) => logs.join(format!("{}-{}", fault.name(), subject.name())),
        };
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let output = scratch.path().join("figures");
        let mut process = Process::start(
            &self.command(fault, subject, &folder),
            self.cores.generator,
            &Output::File(&output),
            Orphan::Killed,
        )?;
        let finished = process.finish(Duration::from_secs(self.seconds) + TURN_SLACK);
        let text = fs::read_to_string(&output)?;
        finished.with_context(|| format!("it says: {}", text.trim()))?;
        Figures::read(&text)
    }

    fn command(&self, fault: Fault, subject: Subject, folder: &Path) -> Command {
        let program = match subject {
            Subject::Gateway => &self.gateway,
            Subject::Haproxy => &self.haproxy,
            Subject::Envoy => &self.envoy,
        };
        let mut command = Command::new(workspace::host_binary(&self.root, "gateway-resilience"));
        command
            .args(["--fault", fault.name(), "--subject", subject.name()])
            .arg("--program")
            .arg(program)
            .arg("--templates")
            .arg(self.root.join("tests/bench/resilience"))
            .arg("--folder")
            .arg(folder)
            .args(["--rate", &self.rate.to_string()])
            .args(["--seconds", &self.seconds.to_string()])
            .args(["--core", &self.cores.subject.to_string()]);
        command
    }
}
