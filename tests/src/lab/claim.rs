//! A lab's number, held by a lock as long as the lab lives.
//!
//! The kernel drops the lock with the process, however it ended: a number whose lock can be had is free,
//! and whatever still bears it was left by a run that died.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::remains::{self, LOCK_DIRECTORY};

/// Labs that may stand side by side: each has eight namespaces and three daemons.
pub const LABS_MAX: u32 = 32;

/// The right to a lab's number, and to all names made of it.
#[derive(Debug)]
pub struct Claim {
    id: u32,
    path: PathBuf,
    // Holds the lock; closing it gives it up.
    _lock: File,
}

impl Claim {
    /// Claims the lowest free number, and removes what dead labs of any number left.
    ///
    /// # Errors
    /// Where all [`LABS_MAX`] numbers are taken, and where locks or leftovers cannot be handled.
    pub fn take() -> Result<Self> {
        fs::create_dir_all(LOCK_DIRECTORY)
            .with_context(|| format!("create {LOCK_DIRECTORY} (the lab wants root)"))?;
        let mut taken = None;
        for id in 1..=LABS_MAX {
            if taken.is_some() && !remains::any(id)? {
                continue;
            }
            let Some(claim) = Self::try_take(id)? else {
                continue;
            };
            remains::remove(id).with_context(|| format!("remove what an earlier lab {id} left"))?;
            // Others than the first are dropped, and so given back, cleaned.
            taken.get_or_insert(claim);
        }
        match taken {
            Some(claim) => Ok(claim),
            None => bail!("all {LABS_MAX} lab numbers are in use; end a lab, or see {LOCK_DIRECTORY}"),
        }
    }

    /// The number.
    pub fn id(&self) -> u32 {
        self.id
    }

    fn try_take(id: u32) -> Result<Option<Self>> {
        let path = remains::lock_file(id);
        let what = || format!("lock {}", path.display());
        let lock = File::create(&path).with_context(what)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error).with_context(what),
        }
        // Its last holder may have unlinked the file between our opening and locking it: then we hold nothing.
        let ours = lock.metadata().with_context(what)?;
        match fs::metadata(&path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {}
            _ => return Ok(None),
        }
        Ok(Some(Self {
            id,
            path,
            _lock: lock,
        }))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While still locked: nobody else can have claimed the file yet.
        if let Err(error) = fs::remove_file(&self.path) {
            eprintln!("lab: remove {}: {error}", self.path.display());
        }
    }
}
