//! The lock on a node's pins: one process at a time writes the maps that are pinned there.
//!
//! Whoever finds it held waits, for it may be the successor of the one that holds it: an upgrade starts the new process
//! and stops the old one, in whichever order. Nothing of a node is begun before it has the lock, so the two never
//! write, listen or answer at once.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{major, minor};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::Pins;
use crate::l4::L4Error;

/// How long a process waits for the one before it: somewhat longer than that may take to end (45 s, by `TimeoutStopSec` of the
/// unit in `deploy`).
const HAND_OVER_MAX: Duration = Duration::from_secs(60);
/// Between two tries: a restart takes as much longer, on average half of it.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// The pin directory of one node, locked for as long as this lives. It goes with the lock, once nothing is pinned there.
#[derive(Debug)]
pub struct Lock {
    directory: PathBuf,
    _lock: Flock<File>,
}

impl Lock {
    /// Makes the node's directory below `parent` and locks it; where another process has it locked, waits for its end.
    ///
    /// # Errors
    /// `parent` is not on bpffs or not this user's to write, or another process still holds the node's directory after a
    /// minute.
    ///
    /// # Cancel safety
    /// Who no longer waits has changed nothing.
    pub async fn take(parent: &Path, node: &str) -> Result<Self, L4Error> {
        check_bpffs(parent)?;
        Self::of(parent.join(node), HAND_OVER_MAX).await
    }

    async fn of(directory: PathBuf, limit: Duration) -> Result<Self, L4Error> {
        let started = Instant::now();
        let mut told = None;
        loop {
            let held = match try_lock(&directory)? {
                Tried::Locked(lock) => {
                    if told.is_some() {
                        tracing::info!(after = ?started.elapsed(), "the other gateway has ended: this one goes on");
                    }
                    return Ok(Self {
                        directory,
                        _lock: lock,
                    });
                }
                // Whoever held it has taken its directory along.
                Tried::Gone => continue,
                Tried::Held(file) => holder(&file),
            };
            if started.elapsed() >= limit {
                return Err(L4Error::Locked {
                    path: directory,
                    holder: held,
                    waited: limit,
                });
            }
            if told.as_ref() != Some(&held) {
                tracing::warn!(
                    pins = %directory.display(),
                    ?limit,
                    "{held} steers as this node: waiting until it has ended"
                );
                told = Some(held);
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    /// What is pinned there.
    pub fn pins(&self) -> Pins {
        Pins {
            directory: self.directory.clone(),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Fails while something is pinned there: then the directory is kept for it. The parent is shared by nodes, and goes
        // with the last of them.
        let is_gone = fs::remove_dir(&self.directory).is_ok();
        if is_gone
            && let Some(parent) = self.directory.parent()
            && fs::remove_dir(parent).is_err()
        {
            tracing::debug!(directory = %parent.display(), "kept: other nodes have pins there");
        }
    }
}

enum Tried {
    Locked(Flock<File>),
    Held(File),
    Gone,
}

fn try_lock(directory: &Path) -> Result<Tried, L4Error> {
    let failed = |action| {
        move |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => L4Error::NotPermitted,
            _ => L4Error::File {
                action,
                path: directory.to_owned(),
                source,
            },
        }
    };
    fs::create_dir_all(directory).map_err(failed("make"))?;
    let file = match File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tried::Gone),
        other => other.map_err(failed("open"))?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) if is_at(&lock, directory) => Ok(Tried::Locked(lock)),
        Ok(_) => Ok(Tried::Gone),
        Err((file, Errno::EWOULDBLOCK)) => Ok(Tried::Held(file)),
        Err((_, error)) => Err(failed("lock")(error.into())),
    }
}

/// Whether an open directory is the one that has that path now.
fn is_at(open: &File, path: &Path) -> bool {
    match (open.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.dev() == named.dev() && open.ino() == named.ino(),
        _ => false,
    }
}

fn check_bpffs(parent: &Path) -> Result<(), L4Error> {
    let existing = parent
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let file_system = statfs(existing).map_err(|error| L4Error::File {
        action: "look at",
        path: existing.to_owned(),
        source: error.into(),
    })?;
    if file_system.filesystem_type() != BPF_FS_MAGIC {
        return Err(L4Error::NoBpffs {
            path: parent.to_owned(),
        });
    }
    Ok(())
}

/// Who holds the lock on a file, in words.
fn holder(file: &File) -> String {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let pid = file.metadata().ok().and_then(|file| {
        let place = format!(
            "{:02x}:{:02x}:{}",
            major(file.dev()),
            minor(file.dev()),
            file.ino()
        );
        holder_of(&locks, &place)
    });
    let Some(pid) = pid else {
        return "another gateway".to_owned();
    };
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim_end()),
        Err(_) => format!("process {pid}"),
    }
}

/// The process that holds the lock on the file at that place, by what the kernel lists (proc_locks(5)).
fn holder_of(locks: &str, place: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        // As in `7: FLOCK  ADVISORY  WRITE 1234 00:1c:21 0 EOF`; who waits has an arrow behind the number.
        let mut words = line.split_whitespace().skip(1);
        let is_held = words.next() == Some("FLOCK");
        let pid = words.nth(2)?.parse().ok().filter(|pid| *pid > 0)?;
        (is_held && words.next() == Some(place)).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_among_other_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:1c:21 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 00:1c:22 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 00:1c:23 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 14 00:1c:21 0 EOF\n\
                     4: -> FLOCK  ADVISORY  WRITE 15 00:1c:21 0 EOF\n";
        for (place, expected) in [
            ("00:1c:21", Some(14)),
            ("00:1c:22", Some(12)),
            ("00:1c:23", None),
            ("00:1d:21", None),
        ] {
            assert_eq!(holder_of(locks, place), expected, "{place}");
        }
    }

    #[tokio::test]
    async fn the_second_waits_for_the_first_and_one_that_waits_in_vain_names_it() {
        let parent = std::env::temp_dir().join(format!("gateway-lock-{}", std::process::id()));
        let path = || parent.join("gw");
        let first = Lock::of(path(), Duration::ZERO).await.unwrap();
        let refused = Lock::of(path(), Duration::ZERO).await.unwrap_err().to_string();
        assert!(
            refused.contains(&format!("process {}", std::process::id())),
            "{refused}"
        );

        // The directory goes with the first, and the second makes it again.
        let release = async {
            tokio::time::sleep(2 * TRY_AGAIN).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(Lock::of(path(), HAND_OVER_MAX), release);
        let second = second.unwrap();
        assert!(path().is_dir());
        assert!(Lock::of(path(), Duration::ZERO).await.is_err());
        drop(second);
        assert!(!parent.exists());
    }
}
