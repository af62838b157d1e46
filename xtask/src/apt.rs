//! Debian packages: which are missing, and how they get here.
//!
//! Installs only what is missing, says so first, and works as root or through a `sudo` that asks no password.
//! Which packages a step needs, and why, is the caller's knowledge.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{privilege, steps};

/// Longest time for one run of apt-get: some hundred megabytes over a slow line.
const APT_LIMIT: Duration = Duration::from_secs(1_200);

/// Bounds on waiting inside apt-get: another apt at work, a mirror that does not answer.
const APT_BOUNDS: [&str; 6] = [
    "-o",
    "DPkg::Lock::Timeout=300",
    "-o",
    "Acquire::http::Timeout=20",
    "-o",
    "Acquire::Retries=2",
];

/// How packages can be installed here.
pub struct Apt {
    prefix: &'static [&'static str],
}

impl Apt {
    /// Finds apt-get and the right to use it.
    ///
    /// # Errors
    /// Says which of the two is missing.
    pub fn find() -> Result<Self> {
        if !Path::new("/usr/bin/apt-get").exists() {
            bail!("there is no apt-get here");
        }
        if privilege::is_root() {
            return Ok(Self { prefix: &["env"] });
        }
        if steps::ask(Command::new("sudo").args(["-n", "true"])).is_ok() {
            return Ok(Self {
                prefix: &["sudo", "-n", "env"],
            });
        }
        bail!("apt-get needs root, and sudo without a password is not to be had")
    }

    /// Installs those of `packages` that are missing; `why` stands in the heading.
    ///
    /// # Errors
    /// When a package is unknown here, also after the lists were brought up to date, or apt-get fails.
    pub fn install(&self, packages: &[&str], why: &str) -> Result<()> {
        let missing = missing(packages)?;
        if missing.is_empty() {
            return Ok(());
        }
        if !known(&missing)? {
            steps::step(
                "bringing apt's package lists up to date, as they lack what is needed",
                || steps::run_within(self.apt_get().arg("update"), APT_LIMIT),
            )?;
        }
        steps::step(
            &format!("installing {} by apt: {why}", missing.join(", ")),
            || {
                let mut command = self.apt_get();
                command
                    .args([
                        "install",
                        "--yes",
                        "--quiet",
                        "--no-remove",
                        "--no-install-recommends",
                    ])
                    .args(&missing);
                let first = steps::run_within(&mut command, APT_LIMIT);
                if first.is_err() {
                    // Old lists name versions that the mirror no longer has.
                    steps::note("trying once more with new package lists");
                    steps::run_within(self.apt_get().arg("update"), APT_LIMIT)?;
                    return steps::run_within(&mut command, APT_LIMIT);
                }
                first
            },
        )
    }

    fn apt_get(&self) -> Command {
        let mut words = self.prefix.iter().copied();
        let mut command = Command::new(words.next().unwrap_or("env"));
        command
            .args(words)
            .arg("DEBIAN_FRONTEND=noninteractive")
            .arg("apt-get")
            .args(APT_BOUNDS);
        command
    }
}

/// Those of `packages` that are not installed.
///
/// # Errors
/// When dpkg cannot be asked.
pub fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    let mut query = Command::new("dpkg-query");
    // dpkg-query ends with an error as soon as one package is unknown, and still prints the others.
    query
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(packages);
    let output = query
        .output()
        .context("asking dpkg-query which packages are installed")?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let installed = |name: &str| output.lines().any(|line| line == format!("{name} installed"));
    Ok(packages.iter().copied().filter(|name| !installed(name)).collect())
}

/// True when apt's lists have a version to install of each of `packages`.
///
/// # Errors
/// When apt-cache cannot be asked.
pub fn known(packages: &[&str]) -> Result<bool> {
    let policy = steps::ask(
        Command::new("apt-cache")
            .arg("policy")
            .args(packages)
            .env("LC_ALL", "C"),
    )?;
    Ok(candidates(&policy) == packages.len())
}

fn candidates(policy: &str) -> usize {
    let lines = policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"));
    lines.filter(|version| version.trim() != "(none)").count()
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn a_package_without_a_candidate_is_not_known() {
        let policy =
            "a:\n  Installed: (none)\n  Candidate: 1.2-3\nb:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), 1);
        assert_eq!(candidates(""), 0);
    }
}
