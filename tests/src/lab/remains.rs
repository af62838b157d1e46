//! What a lab of a number leaves in the system, and how it is removed.
//!
//! Works by names alone, so that the traces of a lab whose process was killed can be removed by the next run.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use super::netns;
use super::wait::wait_until;

/// Where the lock files of labs lie.
pub const LOCK_DIRECTORY: &str = "/run/gateway-lab";

/// Where the kernel's pinned objects lie.
pub const BPFFS: &str = "/sys/fs/bpf";

/// A killed process is gone within microseconds; one that hangs in the kernel for longer is a fault to report.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// What a program ended by Ctrl-C exits with, as shells count it: 128 + SIGINT.
static EXIT_CODE: AtomicI32 = AtomicI32::new(130);

/// Name of one of a lab's namespaces.
pub fn namespace(id: u32, host: &str) -> String {
    format!("{}{host}", namespace_prefix(id))
}

/// Directory of a lab's configuration, keys, tokens and logs.
pub fn directory(id: u32) -> PathBuf {
    std::env::temp_dir().join(format!("gateway-lab{id}"))
}

/// Directory on bpffs below which the nodes of a lab pin their maps and links.
pub fn pin_directory(id: u32) -> PathBuf {
    Path::new(BPFFS).join(format!("gateway-lab{id}"))
}

/// The file whose lock says that a lab lives.
pub fn lock_file(id: u32) -> PathBuf {
    Path::new(LOCK_DIRECTORY).join(format!("{id}.lock"))
}

/// Whether anything bears that lab's names.
///
/// # Errors
/// Where the named places cannot be read.
pub fn any(id: u32) -> Result<bool> {
    Ok(directory(id).exists()
        || pin_directory(id).exists()
        || lock_file(id).exists()
        || !netns::names_with(&namespace_prefix(id))?.is_empty())
}

/// Kills and removes all that bears a lab's names but its lock: daemons, namespaces, pinned objects, files.
///
/// # Errors
/// The first thing that could not be removed; the rest is tried all the same.
pub fn remove(id: u32) -> Result<()> {
    let mut outcomes = vec![kill_daemons(id)];
    match netns::names_with(&namespace_prefix(id)) {
        Ok(names) => outcomes.extend(names.iter().map(|name| netns::remove(name))),
        Err(error) => outcomes.push(Err(error)),
    }
    outcomes.push(remove_tree(&pin_directory(id)));
    outcomes.push(remove_tree(&directory(id)));
    outcomes.into_iter().collect()
}

/// Mounts bpffs where it belongs, unless it is there.
///
/// # Errors
/// Where it can be neither found nor mounted.
pub fn mount_bpffs() -> Result<()> {
    let there = statfs(BPFFS).with_context(|| format!("look at {BPFFS}"))?;
    if there.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    mount(Some("bpffs"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mount bpffs on {BPFFS}"))
}

/// Sees to it that a Ctrl-C or SIGTERM removes the lab of that number before the process ends.
///
/// # Errors
/// Where the thread that waits for signals cannot be started.
pub fn remove_on_signal(id: u32) -> Result<()> {
    static WATCHER: Once = Once::new();
    living().insert(id);
    let mut started = Ok(());
    WATCHER.call_once(|| {
        started = std::thread::Builder::new()
            .name("lab-signals".into())
            .spawn(|| {
                if let Err(error) = netns::block_on(wait_for_signal()) {
                    eprintln!("lab: {error:#}; Ctrl-C will leave the lab for the next run to remove");
                    return;
                }
                for id in living().iter() {
                    // The lock file last: nobody may make a lab of this number before all is gone.
                    let gone = remove(*id).and_then(|()| Ok(fs::remove_file(lock_file(*id))?));
                    if let Err(error) = gone {
                        eprintln!("lab: {error:#}");
                    }
                }
                std::process::exit(EXIT_CODE.load(Ordering::Relaxed));
            })
            .map(drop);
    });
    started.context("start the thread that waits for signals")
}

/// Has a signal end the process with this exit code from now on, as where Ctrl-C is how it is meant to end.
pub fn exit_on_signal_with(code: i32) {
    EXIT_CODE.store(code, Ordering::Relaxed);
}

/// Takes a lab off the list of those that a signal removes.
pub fn forget(id: u32) {
    living().remove(&id);
}

fn living() -> MutexGuard<'static, BTreeSet<u32>> {
    static LIVING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    // The set is valid between any two operations on it.
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn wait_for_signal() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn namespace_prefix(id: u32) -> String {
    format!("gwlab{id}-")
}

/// Kills the daemons that were started with a configuration of this lab, and no other process.
fn kill_daemons(id: u32) -> Result<()> {
    let daemons = daemons_of(&directory(id))?;
    for pid in &daemons {
        match kill(*pid, Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("kill process {pid}")),
        }
    }
    let deadline = Instant::now() + KILL_TIMEOUT;
    let gone = wait_until(deadline, || {
        daemons_of(&directory(id))
            .is_ok_and(|left| left.is_empty())
            .then_some(())
    });
    if gone.is_none() {
        bail!("processes {daemons:?} of lab {id} do not end");
    }
    Ok(())
}

fn daemons_of(directory: &Path) -> Result<Vec<Pid>> {
    let mark = format!("{}/", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let name = entry.context("read /proc")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process that ended meanwhile, or a zombie, has no command line.
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else {
            continue;
        };
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        let is_daemon = words.get(1).is_some_and(|word| *word == b"run")
            && words.iter().any(|word| word.starts_with(mark.as_bytes()));
        if is_daemon {
            found.push(Pid::from_raw(pid));
        }
    }
    Ok(found)
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
