//! What the bench starts and makes, and that all of it is gone again on every way out.
//!
//! Each program runs in a process group of its own, on one core, and is killed as a group when its [`Process`] is
//! dropped. A signal to the bench ([`guard`]) does the same from a thread that waits for it. Should the bench itself
//! be killed, the kernel signals what it started (`PR_SET_PDEATHSIG`, by way of setpriv).

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use crate::steps;

/// How often a program that is waited for is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Signals that end the bench, and with it all that it started.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// What must be gone when the bench ends: at most a handful at once.
static LEFT: Mutex<Left> = Mutex::new(Left {
    groups: Vec::new(),
    folders: Vec::new(),
});

struct Left {
    groups: Vec<Pid>,
    folders: Vec<PathBuf>,
}

fn left() -> MutexGuard<'static, Left> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on a signal to the bench also ends what it started.
///
/// Only the thread that calls this may start a [`Process`]: the kernel watches the thread, not the process.
///
/// # Errors
/// When the signals cannot be blocked.
pub fn guard() -> Result<()> {
    let signals = SigSet::from_iter(ENDING);
    signals.thread_block().context("blocking signals")?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let Ok(signal) = signals.wait() else { return };
        let left = left();
        for group in &left.groups {
            report(killpg(*group, Signal::SIGKILL).or_else(gone), "ending a program");
        }
        for folder in &left.folders {
            report(fs::remove_dir_all(folder), "removing temporary files");
        }
        eprintln!("bench: ended by {signal}; what it had started is ended, too");
        std::process::exit(128 + signal as i32);
    })?;
    Ok(())
}

/// A group without members is what is wanted.
fn gone(error: nix::errno::Errno) -> nix::Result<()> {
    if error == nix::errno::Errno::ESRCH {
        Ok(())
    } else {
        Err(error)
    }
}

fn report<T, E: std::fmt::Display>(result: Result<T, E>, what: &str) {
    if let Err(error) = result {
        eprintln!("bench: {what}: {error}");
    }
}

/// A temporary folder that only its owner may enter; removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes `gateway-bench-PID-NAME` in the system's folder for temporary files.
    ///
    /// # Errors
    /// When it cannot be made, or stands there already.
    pub fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("gateway-bench-{}-{name}", std::process::id()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("making {}", path.display()))?;
        left().folders.push(path.clone());
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.path.exists() {
            report(fs::remove_dir_all(&self.path), "removing temporary files");
        }
        left().folders.retain(|folder| folder != &self.path);
    }
}

/// Where a program's output goes. Its complaints go to the same file.
#[derive(Debug)]
pub enum Output<'p> {
    /// Appended to this file, so that it may be cut while the program writes.
    File(&'p Path),
    /// Read by the bench; complaints go to the screen.
    Pipe,
}

/// What the kernel does to a program when the bench dies.
#[derive(Clone, Copy, Debug)]
pub enum Orphan {
    /// Kills it.
    Killed,
    /// Asks it to stop, since it has children of its own to end.
    Asked,
}

/// A program that runs on one core, and is ended with its children when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    shown: String,
}

impl Process {
    /// Starts `command` on `core`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &Command, core: usize, output: &Output<'_>, orphan: Orphan) -> Result<Self> {
        let shown = steps::shown(command);
        let mut bound = Command::new("setpriv");
        let signal = match orphan {
            Orphan::Killed => "KILL",
            Orphan::Asked => "TERM",
        };
        bound
            .args(["--pdeathsig", signal, "taskset", "--cpu-list", &core.to_string()])
            .arg(command.get_program())
            .args(command.get_args())
            .process_group(0)
            .stdin(Stdio::null());
        match output {
            Output::Pipe => bound.stdout(Stdio::piped()),
            Output::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                let file = file.with_context(|| format!("opening {}", path.display()))?;
                bound.stderr(file.try_clone()?).stdout(file)
            }
        };
        // A child would inherit the blocked signals, and never hear that it should stop.
        let signals = SigSet::from_iter(ENDING);
        signals.thread_unblock()?;
        let child = bound.spawn();
        signals.thread_block()?;
        let child = child.with_context(|| format!("starting `{shown}` by setpriv and taskset"))?;
        let process = Self { child, shown };
        left().groups.push(process.group());
        Ok(process)
    }

    /// The process group, whose number is the first process's.
    pub fn group(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// What it prints, once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it ends by itself, which it must do with success.
    ///
    /// # Errors
    /// When it takes longer than `limit` or ends otherwise.
    pub fn finish(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("`{}` ended with {status}", self.shown),
                None if Instant::now() >= deadline => {
                    bail!("`{}` did not end within {} s", self.shown, limit.as_secs())
                }
                None => thread::sleep(POLL_INTERVAL),
            }
        }
    }

    /// Asks it to stop, and waits for that.
    ///
    /// # Errors
    /// As [`Process::finish`].
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        killpg(self.group(), Signal::SIGTERM).or_else(gone)?;
        self.finish(limit)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        report(killpg(self.group(), Signal::SIGKILL).or_else(gone), &self.shown);
        report(self.child.wait(), &self.shown);
        let group = self.group();
        left().groups.retain(|other| *other != group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_takes_its_children_along() {
        let scratch = Scratch::new("process-test").unwrap();
        let log = scratch.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo started; wait"]);
        let mut process = Process::start(&command, 0, &Output::File(&log), Orphan::Killed).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !fs::read_to_string(&log).unwrap().contains("started") {
            assert!(Instant::now() < deadline && process.ended().unwrap().is_none());
            thread::sleep(POLL_INTERVAL);
        }
        let group = process.group();
        drop(process);
        let alive = || crate::bench::accounts::members(group).unwrap_or_default();
        while !alive().is_empty() {
            assert!(Instant::now() < deadline, "{:?} still run", alive());
            thread::sleep(POLL_INTERVAL);
        }
        let path = scratch.path().to_path_buf();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_program_that_fails_or_lingers_is_an_error() {
        let start = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Process::start(&command, 0, &Output::Pipe, Orphan::Killed).unwrap()
        };
        let failed = start("exit 3").finish(Duration::from_secs(20)).unwrap_err();
        assert!(failed.to_string().contains("exit status: 3"), "{failed}");
        let slow = start("sleep 600").finish(Duration::from_millis(20)).unwrap_err();
        assert!(slow.to_string().contains("did not end"), "{slow}");
    }
}
