//! What is kept between the two builds: counters as they were written, the profile made of them, and its name.
//!
//! Which of it must be made anew is told by times of change, as cargo tells it of what it builds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::steps;

/// Prefix and end of a profile that is named by what is in it.
const NAMED: (&str, &str) = ("gateway-", ".profdata");

/// The folder of all that belongs to profiles; it is the target directory of both builds, too.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// `path` is absolute: the instrumented program remembers it.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the instrumented programs write.
    pub fn raw(&self) -> PathBuf {
        self.path.join("raw")
    }

    /// The instrumented daemon; changes only when its bytes do.
    pub fn counted(&self) -> PathBuf {
        self.path.join("gateway-with-counters")
    }

    /// The profile of the last training.
    pub fn merged(&self) -> PathBuf {
        self.path.join("merged.profdata")
    }

    /// Removes what earlier trainings wrote.
    ///
    /// # Errors
    /// When the folder cannot be removed or made.
    pub fn empty_raw(&self) -> Result<()> {
        let raw = self.raw();
        if raw.exists() {
            fs::remove_dir_all(&raw).with_context(|| format!("emptying {}", raw.display()))?;
        }
        fs::create_dir_all(&raw).with_context(|| format!("making {}", raw.display()))
    }

    /// Makes the profile of what the training wrote.
    ///
    /// # Errors
    /// When there is nothing, or `profdata` refuses it.
    pub fn merge(&self, profdata: &Path) -> Result<()> {
        let raw = self.raw();
        let files = fs::read_dir(&raw).with_context(|| format!("reading {}", raw.display()))?;
        let files = files
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<PathBuf>>>()?;
        if files.is_empty() {
            bail!("the training left nothing in {}", raw.display());
        }
        // Written aside: an interrupted run must not leave half a profile that looks new.
        let aside = self.path.join("merged.new");
        let mut command = Command::new(profdata);
        command.args(["merge", "--output"]).arg(&aside).args(&files);
        steps::run(&mut command)?;
        fs::rename(&aside, self.merged()).context("putting the profile in place")
    }

    /// Gives the profile a name that changes with its content, as cargo looks at flags and not at files; older ones go.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn name_by_content(&self) -> Result<PathBuf> {
        let merged = self.merged();
        let bytes = fs::read(&merged).with_context(|| format!("reading {}", merged.display()))?;
        let name = name(&bytes);
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let other = entry.file_name().to_string_lossy().into_owned();
            if other.starts_with(NAMED.0) && other.ends_with(NAMED.1) && other != name {
                fs::remove_file(entry.path()).with_context(|| format!("removing {other}"))?;
            }
        }
        let place = self.path.join(name);
        if !place.exists() {
            let aside = self.path.join("named.new");
            fs::write(&aside, &bytes).with_context(|| format!("writing {}", aside.display()))?;
            fs::rename(&aside, &place).with_context(|| format!("putting {} in place", place.display()))?;
        }
        Ok(place)
    }
}

/// True when `profile` is there and newer than each of `inputs`, all of which are there.
pub fn is_current(profile: &Path, inputs: &[PathBuf]) -> bool {
    let times: Option<Vec<SystemTime>> = inputs.iter().map(|input| changed(input)).collect();
    match (changed(profile), times) {
        (Some(made), Some(times)) => is_newer(made, &times),
        _ => false,
    }
}

fn is_newer(made: SystemTime, times: &[SystemTime]) -> bool {
    times.iter().all(|time| *time < made)
}

fn changed(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).ok()?.modified().ok()
}

fn name(bytes: &[u8]) -> String {
    format!("{}{:016x}{}", NAMED.0, hash(bytes), NAMED.1)
}

/// FNV-1a with 64 bits: it tells profiles apart that nobody made to be alike, and never changes with a library.
///
/// Source: Fowler, Noll and Vo, with their offset and prime for 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_profile_is_named_by_its_bytes() {
        // The function's published values.
        let rows = [
            (&b""[..], "gateway-cbf29ce484222325.profdata"),
            (b"a", "gateway-af63dc4c8601ec8c.profdata"),
            (b"foobar", "gateway-85944171f73967e8.profdata"),
        ];
        for (bytes, expected) in rows {
            assert_eq!(name(bytes), expected);
        }
    }

    #[test]
    fn training_is_left_out_only_while_the_profile_is_newest() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let rows = [
            (5, vec![3, 4], true, "newer than all"),
            (5, vec![3, 6], false, "older than one"),
            (
                5,
                vec![5],
                false,
                "made in the same moment: nobody knows which was first",
            ),
        ];
        for (made, times, expected, description) in rows {
            let times: Vec<SystemTime> = times.into_iter().map(at).collect();
            assert_eq!(is_newer(at(made), &times), expected, "{description}");
        }
        let present = std::env::current_exe().unwrap();
        assert!(!is_current(Path::new("/no/such/profile"), &[present]));
    }
}
