//! The part of `deny.toml` that xtask checks itself.
//!
//! A small reader for the forms that the file keeps to: lists of strings, and lists of one inline table a line. A full
//! TOML parser would be the largest dependency of xtask.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

/// What dependencies may be.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Rules {
    /// Targets whose dependencies count.
    pub targets: Vec<String>,
    /// Licences that may be chosen.
    pub licences: BTreeSet<String>,
    /// Crates that may not be there, each with its reason.
    pub banned: BTreeMap<String, String>,
}

impl Rules {
    /// Reads the rules out of the text of `deny.toml`.
    ///
    /// # Errors
    /// When no licence is allowed, which means that the file's form has changed.
    pub fn parse(text: &str) -> Result<Self> {
        let mut rules = Self::default();
        let (mut section, mut key) = (String::new(), String::new());
        for line in text.lines().map(without_comment) {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'))
                .filter(|_| key.is_empty())
            {
                section = name.trim().into();
                continue;
            }
            let mut values = line;
            if key.is_empty() {
                let Some((name, list)) = line.split_once('=') else {
                    continue;
                };
                let Some(list) = list.trim().strip_prefix('[') else {
                    continue;
                };
                key = name.trim().into();
                values = list;
            }
            rules.take(&section, &key, values)?;
            if values.trim_end().ends_with(']') {
                key.clear();
            }
        }
        if rules.licences.is_empty() {
            bail!("[licenses] allows nothing: keep `allow` a list of strings");
        }
        Ok(rules)
    }

    fn take(&mut self, section: &str, key: &str, values: &str) -> Result<()> {
        let strings = strings(values);
        match (section, key) {
            ("graph", "targets") => self.targets.extend(strings),
            ("licenses", "allow") => self.licences.extend(strings),
            ("bans", "deny") => match strings.as_slice() {
                [] => {}
                [name, reason] => {
                    self.banned.insert(name.clone(), reason.clone());
                }
                _ => bail!(
                    "[bans] deny: keep one `{{ crate = \"…\", reason = \"…\" }}` a line, not `{values}`"
                ),
            },
            _ => {}
        }
        Ok(())
    }
}

/// The line without its comment and the blanks around it; a `#` inside a string is none.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (index, letter) in line.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '#' if !quoted => return line.get(..index).unwrap_or_default().trim(),
            _ => {}
        }
    }
    line.trim()
}

/// What stands between quotes.
fn strings(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_read_from_the_forms_in_use() {
        let text = "# a comment\n[graph]\ntargets = [\"a\", \"b\"] # [c]\n[licenses]\nallow = [\n  \"MIT\", # why\n  \
            \"A WITH b\",\n]\n[bans]\nwildcards = \"deny\"\ndeny = [\n  { crate = \"x\", reason = \"no [#1]\" },\n]\n";
        let rules = Rules::parse(text).unwrap();
        assert_eq!(rules.targets, ["a", "b"]);
        assert_eq!(rules.licences, ["A WITH b", "MIT"].map(String::from).into());
        assert_eq!(rules.banned, [("x".into(), "no [#1]".into())].into());
    }

    #[test]
    fn an_unreadable_file_is_refused_not_taken_for_empty_rules() {
        assert!(Rules::parse("").is_err());
        let two_a_line = "[licenses]\nallow = [\"MIT\"]\n[bans]\ndeny = [{ crate = \"x\" }, { crate = \"y\", reason = \"z\" }]\n";
        assert!(Rules::parse(two_a_line).is_err());
    }
}
