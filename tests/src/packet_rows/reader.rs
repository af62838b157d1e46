//! Tables of a TOML file, key by key: what is wrong is noted with its place and remedy, and the rest is still read.

use std::fmt::Display;
use std::str::FromStr;

use gateway::config::path::KeyPath;
use gateway::config::problem::{Problems, listed, nearest};
use serde_json::{Map, Value};

/// Reads one table. A key that is absent and one that is wrong both give `None`; only the latter is noted.
pub struct Table<'v> {
    /// Where it stands.
    pub path: KeyPath,
    members: &'v Map<String, Value>,
}

impl<'v> Table<'v> {
    /// A table that has no keys but these; `None` if the value is none.
    pub fn new(
        path: KeyPath,
        value: &'v Value,
        known: &[&'static str],
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let Some(members) = value.as_object() else {
            problems.add(&path, "is not a table", "write a table with keys and values");
            return None;
        };
        for key in members.keys().filter(|key| !known.contains(&key.as_str())) {
            let remedy = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("known here: {}", listed(known.iter().copied())),
            };
            problems.add(&path.key(key), "unknown key", remedy);
        }
        Some(Self { path, members })
    }

    /// Where a key of it stands.
    pub fn at(&self, key: &str) -> KeyPath {
        self.path.key(key)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'v Value> {
        self.members.get(key)
    }

    /// Text; noted where it is no text.
    pub fn text(&self, key: &str, problems: &mut Problems<'_>) -> Option<&'v str> {
        let value = self.get(key)?;
        let text = value.as_str();
        if text.is_none() {
            problems.add(&self.at(key), "is not text", "write text in quotes");
        }
        text
    }

    /// Text of a form; noted where it has another.
    pub fn parsed<T: FromStr>(
        &self,
        key: &str,
        form: impl Display,
        problems: &mut Problems<'_>,
    ) -> Option<T> {
        let text = self.text(key, problems)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            problems.add(
                &self.at(key),
                format!("\"{text}\" is not understood"),
                format!("write {form}"),
            );
        }
        parsed
    }

    /// One of some words.
    pub fn choice<T: Copy>(
        &self,
        key: &str,
        known: &[(&'static str, T)],
        problems: &mut Problems<'_>,
    ) -> Option<T> {
        let text = self.text(key, problems)?;
        if let Some((_, meaning)) = known.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let words = || known.iter().map(|(word, _)| *word);
        let meant =
            nearest(text, words()).map_or_else(String::new, |near| format!("did you mean \"{near}\"? "));
        let remedy = format!("{meant}known here: {}", listed(words()));
        problems.add(&self.at(key), format!("\"{text}\" is not known here"), remedy);
        None
    }

    /// A whole number within bounds.
    pub fn number(&self, key: &str, least: u32, most: u32, problems: &mut Problems<'_>) -> Option<u32> {
        number(self.get(key)?, &self.at(key), (least, most), problems)
    }

    /// True or false.
    pub fn flag(&self, key: &str, problems: &mut Problems<'_>) -> Option<bool> {
        let flag = self.get(key)?.as_bool();
        if flag.is_none() {
            problems.add(
                &self.at(key),
                "is not true or false",
                "write true or false, without quotes",
            );
        }
        flag
    }

    /// A list; noted where it is none.
    pub fn list(&self, key: &str, remedy: &str, problems: &mut Problems<'_>) -> Option<&'v [Value]> {
        let list = self.get(key)?.as_array();
        if list.is_none() {
            problems.add(&self.at(key), "is not a list", remedy);
        }
        list.map(Vec::as_slice)
    }

    /// Notes a key that must be there and is not.
    pub fn require(&self, key: &str, remedy: &str, problems: &mut Problems<'_>) {
        if self.get(key).is_none() {
            problems.add(&self.at(key), "is missing", remedy);
        }
    }
}

/// A whole number within bounds; noted where it is not.
pub fn number(
    value: &Value,
    path: &KeyPath,
    (least, most): (u32, u32),
    problems: &mut Problems<'_>,
) -> Option<u32> {
    let number = value
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (least..=most).contains(number));
    if number.is_none() {
        problems.add(
            path,
            format!("{value} is out of range, or no number"),
            format!("write a whole number from {least} to {most}"),
        );
    }
    number
}
