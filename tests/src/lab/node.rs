//! A gateway node: the real program, as a process in a network namespace of its own.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::addresses::{self, ADMIN_PORT, Host};
use super::exchange::exchange;
use super::netns::Namespace;
use super::settings::{Common, Files, INTERFACE, toml};
use super::wait::wait_until;
use super::wire::{self, XdpMode};

/// From the start of the program to its readiness: the first round of health checks alone may take 5 s.
pub const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// From SIGTERM to the end: the drain of requests that run, and the removal of what the kernel holds.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// Last lines of a node's standard error that an error message quotes.
const QUOTED_LINES: usize = 60;

/// A node, running or not.
#[derive(Debug)]
pub struct Node {
    name: String,
    index: usize,
    weight: u32,
    files: Files,
    common: Common,
    program: PathBuf,
    process: Mutex<Option<Child>>,
    // After the process: it lives in there.
    namespace: Namespace,
}

impl Node {
    /// A node that is not running yet, with its configuration written.
    ///
    /// # Errors
    /// Where the configuration cannot be written.
    pub fn new(
        index: usize,
        weight: u32,
        files: Files,
        common: Common,
        program: &Path,
        namespace: Namespace,
    ) -> Result<Self> {
        let node = Self {
            name: name(index),
            index,
            weight,
            files,
            common,
            program: program.to_owned(),
            process: Mutex::new(None),
            namespace,
        };
        node.write_config(&node.config())?;
        Ok(node)
    }

    /// Its name in the cluster, and in `x-gateway-node`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its share of connections, relative to the others'.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Its addresses on the segment.
    pub fn host(&self) -> Host {
        addresses::node(self.index)
    }

    /// Where its files lie.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The namespace that it lives in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The configuration that the lab gives it.
    pub fn config(&self) -> String {
        self.config_with_weight(self.weight)
    }

    /// The same, with another weight.
    pub fn config_with_weight(&self, weight: u32) -> String {
        toml(self.index, weight, &self.files, &self.common)
    }

    /// Replaces its configuration file; a running node sees it at the next reload.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_config(&self, text: &str) -> Result<()> {
        fs::write(&self.files.config, text).with_context(|| format!("write {}", self.files.config.display()))
    }

    /// Starts the program, without waiting for its readiness.
    ///
    /// # Errors
    /// Where it runs already or cannot be started.
    pub fn start(&self) -> Result<()> {
        let mut process = self.process();
        if process.is_some() {
            bail!("{} runs already", self.name);
        }
        let mut command = Command::new(&self.program);
        command
            .arg("run")
            .arg("--config")
            .arg(&self.files.config)
            .stdin(Stdio::null())
            .stdout(append(&self.files.stdout)?)
            .stderr(append(&self.files.stderr)?);
        *process = Some(self.spawn(command)?);
        Ok(())
    }

    /// Starts any program in the node's namespace, to be killed with the lab's process.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        let program = command.get_program().to_owned();
        // SAFETY: `die_with_parent` makes one system call and touches no memory: that is allowed after a fork.
        unsafe { command.pre_exec(die_with_parent) };
        self.namespace
            .run(move || command.spawn())?
            .with_context(|| format!("start {} for {}", program.display(), self.name))
    }

    /// Waits until `/readyz` says that it is ready.
    ///
    /// # Errors
    /// Where the program ends meanwhile, or is not ready within [`READY_TIMEOUT`]; quotes what it wrote.
    pub fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let outcome = wait_until(deadline, || {
            if let Some(status) = self.exited() {
                return Some(Err(status));
            }
            let ready = self.admin(Method::GET, "/readyz");
            ready
                .is_ok_and(|answer| answer.status().is_success())
                .then_some(Ok(()))
        });
        match outcome {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => bail!("{} ended with {status}\n{}", self.name, self.quote()),
            None => bail!(
                "{} is not ready after {READY_TIMEOUT:?}\n{}",
                self.name,
                self.quote()
            ),
        }
    }

    /// Kills the process by SIGKILL, and says since when it may be dead.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn kill(&self) -> Result<Instant> {
        let mut process = self.process();
        let mut child = process
            .take()
            .with_context(|| format!("{} does not run", self.name))?;
        let killed = Instant::now();
        child.kill().with_context(|| format!("kill {}", self.name))?;
        child
            .wait()
            .with_context(|| format!("wait for the end of {}", self.name))?;
        Ok(killed)
    }

    /// Asks the process to end by SIGTERM and waits for it.
    ///
    /// # Errors
    /// Where it does not run, or does not end within [`STOP_TIMEOUT`].
    pub fn stop(&self) -> Result<ExitStatus> {
        let mut process = self.process();
        let child = process
            .as_mut()
            .with_context(|| format!("{} does not run", self.name))?;
        let pid = i32::try_from(child.id()).context("a process id beyond its range")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).with_context(|| format!("stop {}", self.name))?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        let ended = wait_until(deadline, || child.try_wait().transpose());
        match ended {
            Some(status) => {
                *process = None;
                status.with_context(|| format!("wait for the end of {}", self.name))
            }
            None => bail!(
                "{} did not end within {STOP_TIMEOUT:?}\n{}",
                self.name,
                self.quote()
            ),
        }
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Child::id)
    }

    /// Makes a request of the admin API, with the token where there is one.
    ///
    /// # Errors
    /// Where there is no answer; an answer that refuses is none.
    pub fn admin(&self, method: Method, path: &str) -> Result<Response<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        // Not there until the node's first start has made it.
        if let Ok(token) = fs::read_to_string(&self.files.token) {
            request = request.header("authorization", format!("Bearer {}", token.trim()));
        }
        let request = request.body(Full::default()).context("make a request")?;
        let target = SocketAddr::new(self.common.families.loopback(), ADMIN_PORT);
        self.namespace
            .run_async(move || exchange(target, None, request))
            .with_context(|| format!("ask the admin API of {}", self.name))
    }

    /// As [`Node::admin`], and reads a successful answer as JSON.
    ///
    /// # Errors
    /// Where there is no answer, it refuses, or is no JSON.
    pub fn admin_json(&self, method: Method, path: &str) -> Result<serde_json::Value> {
        let answer = self.admin(method.clone(), path)?;
        let text = String::from_utf8_lossy(answer.body());
        if !answer.status().is_success() {
            bail!("{}: {method} {path} got {}: {text}", self.name, answer.status());
        }
        serde_json::from_slice(answer.body())
            .with_context(|| format!("read the answer of {} to {method} {path}: {text}", self.name))
    }

    /// Starts the program's own client, as an operator does; it writes into pipes.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn ask(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = Command::new(&self.program);
        let admin = SocketAddr::new(self.common.families.loopback(), ADMIN_PORT);
        command
            .args(arguments)
            .arg("--admin")
            .arg(admin.to_string())
            .arg("--token-file")
            .arg(&self.files.token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.spawn(command)
    }

    /// Asks the running program by its own client, and reads what that says as JSON.
    ///
    /// # Errors
    /// Where the client cannot be run, or says no JSON; quotes what it wrote.
    pub fn told(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let said = self.ask(&[arguments, &["--json"]].concat())?.wait_with_output()?;
        serde_json::from_slice(&said.stdout).with_context(|| {
            let wrote = String::from_utf8_lossy(&said.stderr);
            format!("{}: {arguments:?} ended with {}: {wrote}", self.name, said.status)
        })
    }

    /// How its XDP program is attached.
    ///
    /// # Errors
    /// Where netlink does not tell.
    pub fn xdp_mode(&self) -> Result<XdpMode> {
        self.xdp_mode_of(INTERFACE)
    }

    /// The same of another interface.
    ///
    /// # Errors
    /// Where netlink does not tell.
    pub fn xdp_mode_of(&self, interface: &'static str) -> Result<XdpMode> {
        self.namespace.run(move || wire::xdp_mode(interface))?
    }

    /// What the program left in the kernel and on bpffs: after a clean stop, nothing.
    ///
    /// # Errors
    /// Where one of the places cannot be looked at.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        pinned(&self.files.pins, &mut found)?;
        for interface in self.common.links.list() {
            let mode = self.xdp_mode_of(interface)?;
            if mode != XdpMode::Absent {
                found.push(format!("{mode:?} XDP program on {interface}"));
            }
        }
        let on_loopback = self.namespace.run(|| wire::addresses("lo"))??;
        for address in on_loopback.iter().filter(|address| !address.is_loopback()) {
            found.push(format!("{address} on lo"));
        }
        Ok(found)
    }

    /// The last lines that the program wrote to its standard error, and where all of them are.
    pub fn quote(&self) -> String {
        let path = self.files.stderr.display();
        match fs::read_to_string(&self.files.stderr) {
            Ok(text) => {
                let lines: Vec<_> = text.lines().collect();
                let from = lines.len().saturating_sub(QUOTED_LINES);
                let last = lines.split_at(from).1.join("\n    ");
                format!("  end of {path}:\n    {last}")
            }
            Err(error) => format!("  {path}: {error}"),
        }
    }

    /// How the process ended, if it did by itself.
    fn exited(&self) -> Option<ExitStatus> {
        match self.process().as_mut() {
            Some(child) => child.try_wait().ok().flatten(),
            None => Some(ExitStatus::from_raw(0)),
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        // A `Child` is valid whatever happened to the thread that held the lock.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.process().is_some()
            && let Err(error) = self.kill()
        {
            eprintln!("lab: {error:#}");
        }
    }
}

/// Name of node `index`.
pub fn name(index: usize) -> String {
    format!("node{}", index + 1)
}

fn append(path: &Path) -> Result<fs::File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    options
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

fn die_with_parent() -> std::io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

fn pinned(path: &Path, found: &mut Vec<String>) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    found.push(path.display().to_string());
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("read {}", path.display()))? {
            let entry = entry.with_context(|| format!("read {}", path.display()))?;
            pinned(&entry.path(), found)?;
        }
    }
    Ok(())
}
