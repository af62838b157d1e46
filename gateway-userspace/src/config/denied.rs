//! Prefixes that the admin API has denied, and the file in which they outlive the process.
//!
//! They are kept as the routes are that the API sets: TOML as anybody would write it, written whole. What has expired is
//! left out with the next order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gateway_common::prefix::Prefix;
use serde::{Deserialize, Serialize};

use super::kept;
use super::limits;
use super::problem::Refused;
use super::validate;

/// What stands above the prefixes.
const HEAD: &str = "# Prefixes denied by the admin API (`gateway deny add`). This file is written by the gateway.\n\
                    # It may be changed while no gateway runs.\n\n";

/// The prefixes that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// Where.
    file: PathBuf,
    bans: BTreeMap<Prefix, Ban>,
}

/// Since when and until when a prefix is denied, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Since then.
    pub since: SystemTime,
    /// Until then; `None`: for good.
    pub until: Option<SystemTime>,
    /// What whoever asked for it said.
    pub reason: Option<String>,
}

impl Ban {
    /// Whether it is over.
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    deny: Vec<Entry>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    prefix: String,
    since: Option<String>,
    until: Option<String>,
    reason: Option<String>,
}

impl Denied {
    /// Reads the file; one that is not there has none.
    ///
    /// # Errors
    /// It cannot be read, or does not say what such a file says.
    pub fn load(file: &Path) -> Result<Self, Refused> {
        let text = kept::read(file, "admin.denied_file")?;
        let refused = |fault: String| {
            let remedy = "mend or remove it; it has [[deny]] tables with prefix, since, until and reason";
            Refused::unreadable(file.to_owned(), fault, remedy)
        };
        let text: Text =
            toml::from_str(&text).map_err(|error| refused(format!("cannot be understood: {error}")))?;
        let mut bans = BTreeMap::new();
        for entry in text.deny {
            let time = |text: &Option<String>| match text {
                None => Ok(None),
                Some(text) => humantime::parse_rfc3339_weak(text)
                    .map(Some)
                    .map_err(|_| refused(format!("\"{text}\" is no time as in 2026-01-31T12:00:00Z"))),
            };
            let prefix = validate::prefix(&entry.prefix).ok_or_else(|| {
                refused(format!(
                    "\"{}\" is neither a network nor an address",
                    entry.prefix
                ))
            })?;
            let ban = Ban {
                since: time(&entry.since)?.unwrap_or(SystemTime::UNIX_EPOCH),
                until: time(&entry.until)?,
                reason: entry.reason,
            };
            bans.insert(prefix, ban);
        }
        if bans.len() > limits::DENIED_SET_MAX {
            let most = limits::DENIED_SET_MAX;
            return Err(refused(format!(
                "has {} prefixes, and {most} are the most",
                bans.len()
            )));
        }
        Ok(Self {
            file: file.to_owned(),
            bans,
        })
    }

    /// The prefixes that are denied at that time.
    pub fn at(&self, now: SystemTime) -> impl Iterator<Item = (&Prefix, &Ban)> {
        self.bans.iter().filter(move |(_, ban)| !ban.is_over(now))
    }

    /// Of one prefix.
    pub fn get(&self, prefix: &Prefix, now: SystemTime) -> Option<&Ban> {
        self.bans.get(prefix).filter(|ban| !ban.is_over(now))
    }

    /// With other bans of these prefixes, or (`None`) none; without those that are over.
    #[must_use]
    pub fn with(&self, changes: &[(Prefix, Option<Ban>)], now: SystemTime) -> Self {
        let mut bans: BTreeMap<Prefix, Ban> =
            self.at(now).map(|(prefix, ban)| (*prefix, ban.clone())).collect();
        for (prefix, ban) in changes {
            match ban {
                Some(ban) => bans.insert(*prefix, ban.clone()),
                None => bans.remove(prefix),
            };
        }
        Self {
            file: self.file.clone(),
            bans,
        }
    }

    /// How many there are, those included that are over and were not left out yet.
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }

    /// Where they are kept.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Writes the file: whole, or not at all.
    ///
    /// Blocks on the file system: not for the control loop.
    ///
    /// # Errors
    /// What the file system says.
    pub fn store(&self) -> io::Result<()> {
        let entry = |(prefix, ban): (&Prefix, &Ban)| Entry {
            prefix: prefix.to_string(),
            since: Some(time_text(ban.since)),
            until: ban.until.map(time_text),
            reason: ban.reason.clone(),
        };
        let text = Text {
            deny: self.bans.iter().map(entry).collect(),
        };
        let text = toml::to_string(&text).map_err(io::Error::other)?;
        kept::write_whole(&self.file, &format!("{HEAD}{text}"))
    }
}

/// A time as the file and the admin API write it.
pub fn time_text(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ban(until: Option<u64>) -> Ban {
        Ban {
            since: SystemTime::UNIX_EPOCH,
            until: until.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
            reason: Some("a \"quoted\" reason".to_owned()),
        }
    }

    #[test]
    fn what_is_kept_comes_back_without_what_is_over() {
        let directory = std::env::temp_dir().join(format!("gateway-denied-{}", std::process::id()));
        let file = directory.join("below/denied.toml");
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let prefix = |text| validate::prefix(text).unwrap();
        let none = Denied::load(&file).unwrap();
        assert!(none.is_empty());
        let some = none.with(
            &[
                (prefix("192.0.2.0/24"), Some(ban(Some(100)))),
                (prefix("2001:db8::/32"), Some(ban(None))),
            ],
            at(1),
        );
        some.store().unwrap();
        let read = Denied::load(&file).unwrap();
        assert_eq!(read, some);
        assert_eq!(read.at(at(99)).count(), 2);
        assert_eq!(read.at(at(100)).count(), 1);
        assert_eq!(read.get(&prefix("192.0.2.0/24"), at(100)), None);
        let rest = read.with(&[(prefix("2001:db8::/32"), None)], at(100));
        assert!(rest.is_empty());

        for (text, wanted) in [
            (
                "[[deny]]\nprefix = \"10.0.0.0/33\"\n",
                "\"10.0.0.0/33\" is neither a network nor an address",
            ),
            (
                "[[deny]]\nprefix = \"10.0.0.0/8\"\nuntil = \"soon\"\n",
                "\"soon\" is no time",
            ),
            ("[[deny]]\nprefx = \"10.0.0.0/8\"\n", "unknown field `prefx`"),
        ] {
            std::fs::write(&file, text).unwrap();
            let refused = Denied::load(&file).unwrap_err().to_string();
            assert!(
                refused.contains(wanted) && refused.contains("denied.toml"),
                "{refused}"
            );
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
