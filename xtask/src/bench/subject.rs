//! The programs that are measured: how each is configured, started and known to be ready.
//!
//! Their configuration files stand in `tests/bench/`, for anyone to judge whether they are equal; `template` fills
//! them in.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use super::client::Client;
use super::process::{Orphan, Output, Process, Scratch};
use super::stage::Stage;
use super::template::{self, Setup, Words};
use crate::programs;

/// Longest wait until a subject listens; under valgrind the gateway takes some seconds.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at a subject that is starting.
const CONNECT_INTERVAL: Duration = Duration::from_millis(5);
/// How much of a subject's output an error quotes, in lines.
const QUOTED_LINES: usize = 5;

/// Who is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// This project.
    Gateway,
    /// Debian's nginx.
    Nginx,
    /// Debian's haproxy.
    Haproxy,
    /// PyPI's envoy.
    Envoy,
    /// A small program made of the crate pingora; only where it is asked for.
    Pingora,
}

/// Where a subject listens on 127.0.0.1. They are one where one listener takes both.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// HTTP/1.1.
    pub http1: u16,
    /// HTTP/2 with prior knowledge.
    pub http2: u16,
}

/// A subject in a part that is not its usual one.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// As its folder and messages are called.
    pub name: &'static str,
    /// Which program it is.
    pub subject: Subject,
    /// Its file in `tests/bench`.
    pub template: &'static str,
    /// What of it is wanted.
    pub setup: Setup,
    /// Port of another upstream beside the backend.
    pub peer: Option<u16>,
}

impl Subject {
    /// As it is called in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Pingora => "pingora",
        }
    }

    /// Its file in `tests/bench`.
    pub fn template(self) -> &'static str {
        match self {
            Self::Gateway => "gateway.toml",
            Self::Nginx => "nginx.conf",
            Self::Haproxy => "haproxy.cfg",
            Self::Envoy => "envoy.yaml",
            Self::Pingora => "pingora.yaml",
        }
    }

    fn command(self, stage: &Stage, configuration: &Path, ports: Ports) -> Result<Command> {
        let installed =
            || programs::find(self.name()).with_context(|| format!("{} is not installed", self.name()));
        let folder = configuration.parent().unwrap_or(configuration);
        Ok(match self {
            Self::Gateway => {
                let mut command = Command::new(&stage.gateway);
                command.args(["run", "--config"]).arg(configuration);
                command
            }
            Self::Nginx => {
                let mut command = Command::new(installed()?);
                command.arg("-p").arg(folder).arg("-c").arg(configuration);
                command.arg("-e").arg(folder.join("error.log"));
                command
            }
            Self::Haproxy => {
                let mut command = Command::new(installed()?);
                command.arg("-db").arg("-f").arg(configuration);
                command
            }
            Self::Envoy => {
                let program = stage.peers.envoy.as_deref().context("envoy was not obtained")?;
                let mut command = Command::new(program);
                command
                    .args([
                        "--concurrency",
                        "1",
                        "--disable-hot-restart",
                        "--log-level",
                        "error",
                    ])
                    // As often as the others write their logs.
                    .args(["--file-flush-interval-msec", "50"])
                    .arg("--config-path")
                    .arg(configuration);
                command
            }
            Self::Pingora => {
                let program = stage.peers.pingora.as_deref().context("pingora was not built")?;
                let mut command = Command::new(program);
                command
                    .arg(configuration)
                    .arg(ports.http1.to_string())
                    .arg(stage.backend_port.to_string())
                    .arg(folder.join("access.log"));
                command
            }
        })
    }

    fn orphan(self) -> Orphan {
        match self {
            // The master ends its worker.
            Self::Nginx => Orphan::Asked,
            Self::Gateway | Self::Haproxy | Self::Envoy | Self::Pingora => Orphan::Killed,
        }
    }
}

/// A subject that listens, alone on its core; ended when dropped, its files removed.
#[derive(Debug)]
pub struct Running {
    // Before the folder that its files are in: fields are dropped in this order.
    process: Process,
    scratch: Scratch,
    /// Where it listens.
    pub ports: Ports,
}

impl Running {
    /// Starts `subject` afresh, and waits until it accepts.
    ///
    /// # Errors
    /// When it does not; its last words are quoted.
    pub fn start(stage: &Stage, subject: Subject, setup: Setup) -> Result<Self> {
        Self::start_as(stage, subject, setup, |command, _| command)
    }

    /// As [`Running::start`], with a command line that `wrap` made of the subject's and of its folder.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn start_as(
        stage: &Stage,
        subject: Subject,
        setup: Setup,
        wrap: impl FnOnce(Command, &Path) -> Command,
    ) -> Result<Self> {
        let part = Part {
            name: subject.name(),
            subject,
            template: subject.template(),
            setup,
            peer: None,
        };
        Self::start_part(stage, &part, wrap)
    }

    /// As [`Running::start_as`], for a subject that is configured in its own way.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn start_part(
        stage: &Stage,
        part: &Part,
        wrap: impl FnOnce(Command, &Path) -> Command,
    ) -> Result<Self> {
        let subject = part.subject;
        let scratch = Scratch::new(part.name)?;
        let ports = free_ports(subject)?;
        let configuration = scratch.path().join(part.template);
        let path = stage.settings().join(part.template);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let words = Words {
            folder: scratch.path(),
            files: stage.files(),
            ports,
            backend: stage.backend_port,
            peer: part.peer.unwrap_or(stage.backend_port),
        };
        fs::write(
            &configuration,
            template::filled(&text, subject, part.setup, &words),
        )?;
        if let Some((name, text)) = template::beside(subject, part.setup) {
            fs::write(scratch.path().join(name), text)?;
        }
        let command = wrap(subject.command(stage, &configuration, ports)?, scratch.path());
        let output = scratch.path().join("output.log");
        let process = Process::start(
            &command,
            stage.cores.subject,
            &Output::File(&output),
            subject.orphan(),
        )?;
        let mut running = Self {
            process,
            scratch,
            ports,
        };
        running.wait_until_it_listens().with_context(|| {
            let said = last_lines(&fs::read_to_string(&output).unwrap_or_default());
            format!("{} does not start; it says: {said}", part.name)
        })?;
        Ok(running)
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let Err(error) = Client::connect(self.ports.http1) else {
                return Ok(());
            };
            if let Some(status) = self.process.ended()? {
                bail!("it ended with {status}");
            }
            if Instant::now() >= deadline {
                return Err(error);
            }
            thread::sleep(CONNECT_INTERVAL);
        }
    }

    /// Its processes.
    pub fn group(&self) -> Pid {
        self.process.group()
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Empties its logs where they are longer than `bytes_max`. All are written by appending, so that they go on.
    ///
    /// # Errors
    /// When they cannot be looked at.
    pub fn cut_logs(&self, bytes_max: u64) -> Result<()> {
        for entry in fs::read_dir(self.folder())? {
            let path: PathBuf = entry?.path();
            if path.extension().is_some_and(|end| end == "log") && path.metadata()?.len() > bytes_max {
                fs::OpenOptions::new().write(true).open(&path)?.set_len(0)?;
            }
        }
        Ok(())
    }

    /// Asks it to stop, and waits for that.
    ///
    /// # Errors
    /// When it does not within `limit`, or reports a failure.
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        self.process.stop(limit)
    }
}

/// Ports that nothing uses now. Somebody else may take them before the subject does; then it does not start.
fn free_ports(subject: Subject) -> Result<Ports> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let second = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let http1 = first.local_addr()?.port();
    let http2 = match subject {
        Subject::Gateway | Subject::Envoy | Subject::Pingora => http1,
        Subject::Nginx | Subject::Haproxy => second.local_addr()?.port(),
    };
    Ok(Ports { http1, http2 })
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let skipped = lines.len().saturating_sub(QUOTED_LINES);
    lines.into_iter().skip(skipped).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_quoted() {
        assert_eq!(last_lines("1\n2\n\n3\n4\n5\n6\n"), "2 | 3 | 4 | 5 | 6");
        assert_eq!(last_lines(""), "");
    }
}
