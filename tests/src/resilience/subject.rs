//! The proxies: how each is started and known to be ready. Their files are in `tests/bench/resilience`.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::call::{Asks, Connection, Outcome};
use crate::lab::netns::Namespace;
use crate::lab::wait::wait_until;

/// Where a proxy listens for HTTP/1.1.
const PORT: u16 = 8000;

/// Where it listens for HTTP/2.
const CALLS_PORT: u16 = 8001;

/// From its start to good answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Good answers in a row after which it is taken to know all three servers.
const GOOD_IN_A_ROW: u32 = 12;

/// How much of its output an error quotes.
const QUOTED_BYTES: usize = 800;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// This project.
    Gateway,
    /// Debian's haproxy.
    Haproxy,
    /// Envoy, as PyPI has it.
    Envoy,
}

impl Subject {
    /// Its file.
    pub fn template(self) -> &'static str {
        match self {
            Self::Gateway => "gateway.toml",
            Self::Haproxy => "haproxy.cfg",
            Self::Envoy => "envoy.yaml",
        }
    }

    fn command(self, program: &Path, configuration: &Path) -> Command {
        let mut command = Command::new(program);
        match self {
            Self::Gateway => command.args(["run", "--config"]),
            Self::Haproxy => command.args(["-db", "-f"]),
            Self::Envoy => command.args([
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warning",
                "--config-path",
            ]),
        };
        command.arg(configuration);
        command
    }
}

/// Where any proxy is asked.
pub fn proxy(asks: Asks) -> SocketAddr {
    let port = match asks {
        Asks::Get => PORT,
        Asks::Call => CALLS_PORT,
    };
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A proxy that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: PathBuf,
}

/// What a proxy is started with.
#[derive(Debug)]
pub struct Start<'a> {
    /// Which one.
    pub subject: Subject,
    /// Its program.
    pub program: &'a Path,
    /// Where the files in `tests/bench/resilience` are.
    pub templates: &'a Path,
    /// Where its own files go.
    pub folder: &'a Path,
    /// The core that it has for itself.
    pub core: Option<usize>,
}

impl Running {
    /// Starts a proxy in a namespace, and waits until it answers well.
    ///
    /// # Errors
    /// When it does not; its last words are quoted.
    pub fn start(start: &Start<'_>, namespace: &Namespace, asks: Asks) -> Result<Self> {
        let template = start.templates.join(start.subject.template());
        let text =
            fs::read_to_string(&template).with_context(|| format!("reading {}", template.display()))?;
        let configuration = start.folder.join(start.subject.template());
        fs::write(
            &configuration,
            text.replace("@DIRECTORY@", &start.folder.display().to_string()),
        )?;
        let output = start.folder.join("output.log");
        let file = File::create(&output)?;
        let mut command = start.subject.command(start.program, &configuration);
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let cores = start.core.map(only).transpose()?;
        let prepare = move || {
            set_pdeathsig(Signal::SIGKILL)?;
            if let Some(cores) = &cores {
                sched_setaffinity(Pid::from_raw(0), cores)?;
            }
            Ok(())
        };
        // SAFETY: two system calls that touch no memory of others: allowed between fork and exec.
        unsafe { command.pre_exec(prepare) };
        let child = namespace
            .run(move || command.spawn())?
            .with_context(|| format!("starting {}", start.program.display()))?;
        let mut running = Self { child, output };
        running.wait_ready(namespace, asks).with_context(|| {
            let said = fs::read_to_string(&running.output).unwrap_or_default();
            let skipped = said.floor_char_boundary(said.len().saturating_sub(QUOTED_BYTES));
            format!(
                "{} does not get ready; it says: {}",
                start.program.display(),
                said.get(skipped..).unwrap_or_default()
            )
        })?;
        Ok(running)
    }

    fn wait_ready(&mut self, namespace: &Namespace, asks: Asks) -> Result<()> {
        let mut good = 0;
        let ready = wait_until(Instant::now() + START_LIMIT, || {
            match self.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Some(Err(anyhow::anyhow!("it ended with {status}"))),
                Err(error) => return Some(Err(error.into())),
            }
            let answer = namespace.run_async(move || async move {
                Ok(match Connection::open(proxy(asks), asks).await {
                    Ok(mut connection) => connection.ask(proxy(asks)).await,
                    Err(outcome) => outcome,
                })
            });
            match answer {
                Ok(Outcome::Good) => good += 1,
                Ok(_) => good = 0,
                Err(error) => return Some(Err(error)),
            }
            (good == GOOD_IN_A_ROW).then_some(Ok(()))
        });
        match ready {
            Some(outcome) => outcome,
            None => bail!("no good answers within {} s", START_LIMIT.as_secs()),
        }
    }

    /// Whether it still runs, which it must.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the proxy ended with {status}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only where it has ended; it is then waited for all the same.
        drop(self.child.kill());
        if let Err(error) = self.child.wait() {
            eprintln!("proxy: {error}");
        }
    }
}

fn only(core: usize) -> Result<CpuSet> {
    let mut cores = CpuSet::new();
    cores.set(core).with_context(|| format!("core {core}"))?;
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::scene::SERVERS;

    #[test]
    fn every_file_names_the_same_servers_and_ports() {
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/resilience");
        for subject in Subject::value_variants() {
            let text = fs::read_to_string(templates.join(subject.template())).unwrap();
            let settings: String = text
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'))
                .collect();
            for server in SERVERS {
                let found = settings.matches(&server.to_string()).count();
                assert_eq!(found, 2, "{subject:?}: {server}, for GET and for calls");
            }
            for port in [PORT, CALLS_PORT] {
                assert!(settings.contains(&port.to_string()), "{subject:?}: {port}");
            }
        }
    }
}
