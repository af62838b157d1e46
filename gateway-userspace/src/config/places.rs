//! Where the tables of an accepted configuration stand, found by the names that they have.
//!
//! For explanations: snapshots know things by their names, people want lines. Made when it is asked for and not kept, as it
//! is some times as large as the file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::{Document, Format};
use super::path::{KeyPath, Step};
use super::problem::Refused;
use super::settings::Settings;

/// Where in the configuration something stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// As in `route[3].match.headers[0]`.
    pub path: String,
    /// Counted from 1.
    pub line: usize,
    /// The file, where that is not the configuration's own: that of the routes which the admin API set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// The key under which the values stand that the admin API set; no configuration has it.
const KEPT: &str = "kept";

/// A file's values, and where each of them stands.
#[derive(Debug)]
pub struct Places {
    document: Document,
    kept: Option<Document>,
    value: Value,
}

impl Places {
    /// Those of settings that were accepted, with the routes that are kept beside them.
    ///
    /// # Errors
    /// As [`Places::read`].
    pub fn of(settings: &Settings) -> Result<Self, Refused> {
        let mut places = Self::read(&settings.source, &settings.text)?;
        let kept = &settings.kept;
        let base = KeyPath::top(KEPT);
        let (document, value, _) = Document::part(&kept.file, &kept.text, Format::Toml, &base)?;
        places.kept = Some(document);
        if let Some(members) = places.value.as_object_mut() {
            members.insert(KEPT.to_owned(), value);
        }
        Ok(places)
    }

    /// Reads the text of a file that was accepted.
    ///
    /// # Errors
    /// It is no TOML.
    pub fn read(file: &Path, text: &str) -> Result<Self, Refused> {
        let (document, value, _) = Document::parse(file, text)?;
        Ok(Self {
            document,
            kept: None,
            value,
        })
    }

    /// The table of that name among those of a kind, as in `route[3]`; their list where there is none.
    pub fn named(&self, kind: &str, name: &str) -> KeyPath {
        let is_it = |table: &Value| says(table, "name", name);
        let list = KeyPath::top(kind);
        let found = self.entry(&list, is_it);
        let kept = KeyPath::top(KEPT).key(kind);
        match self.entry(&kept, is_it) {
            other if found == list && other != kept => other,
            _ => found,
        }
    }

    /// The table of that name in a list of another table; the list where there is none.
    pub fn named_in(&self, table: &KeyPath, list: &str, name: &str) -> KeyPath {
        self.entry(&table.key(list), |table| says(table, "name", name))
    }

    /// The first entry of a list that is so; the list where there is none.
    pub fn entry(&self, list: &KeyPath, is_it: impl Fn(&Value) -> bool) -> KeyPath {
        let entries = self.value(list).and_then(Value::as_array);
        let index = entries.and_then(|entries| entries.iter().position(is_it));
        index.map_or_else(|| list.clone(), |index| list.index(index))
    }

    /// What stands at a path.
    pub fn value(&self, path: &KeyPath) -> Option<&Value> {
        path.steps()
            .iter()
            .try_fold(&self.value, |value, step| match step {
                Step::Key(key) => value.get(key),
                Step::Index(index) => value.get(index),
            })
    }

    /// That place; where nothing is written there, what it would stand in.
    pub fn place(&self, path: &KeyPath) -> Place {
        let mut path = path.clone();
        let base = KeyPath::top(KEPT);
        let (document, base) = match &self.kept {
            Some(kept) if path.is_within(&base) => (kept, base),
            _ => (&self.document, KeyPath::default()),
        };
        while !document.has(&path)
            && let Some((parent, _)) = path.split_last()
        {
            path = parent;
        }
        Place {
            line: document.line(&path),
            file: (base != KeyPath::default()).then(|| document.file().to_owned()),
            path: path.below(&base).unwrap_or(path).to_string(),
        }
    }
}

fn says(table: &Value, key: &str, text: &str) -> bool {
    table.get(key).and_then(Value::as_str) == Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_found_by_their_names_and_what_is_not_written_by_what_it_would_stand_in() {
        let text = "[node]\nname = 'gw'\n[[route]]\nname = 'a'\n[[route]]\nname = 'b'\n\
                    [route.match]\nhosts = ['x']\nheaders = [{ name = 'h', exact = '1' }]\n\
                    [[route.filters]]\nname = 'f'\n";
        let places = Places::read(Path::new("t.toml"), text).unwrap();
        let route = places.named("route", "b");
        let rows = [
            (places.named("route", "a"), "route[0]", 3),
            (route.clone(), "route[1]", 5),
            (route.key("match").key("hosts"), "route[1].match.hosts", 8),
            (
                route.key("match").key("headers").index(0),
                "route[1].match.headers[0]",
                9,
            ),
            (route.key("match").key("methods"), "route[1].match", 7),
            (places.named_in(&route, "filters", "f"), "route[1].filters[0]", 10),
            (places.named_in(&route, "filters", "g"), "route[1].filters", 10),
            (places.named("upstream", "u"), "", 1),
        ];
        for (path, expected, line) in rows {
            let place = places.place(&path);
            assert_eq!((place.path.as_str(), place.line), (expected, line), "{path}");
        }
    }
}
