//! One configuration file: its text, its values, and where each value stands in the text.
//!
//! TOML is read by `toml`, which keeps positions; the values are kept as JSON values, which `serde_path_to_error` and
//! the schema speak. What the admin API takes may be JSON as well (`json`). What a value means is left to `shape` and
//! `validate`.

mod json;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::limits;
use super::path::KeyPath;
use super::problem::{Problem, Refused, refuse};

/// Characters of a value or a line that a message repeats.
const SEEN_CHARS_MAX: usize = 60;

/// A parsed file.
#[derive(Debug)]
pub struct Document {
    file: PathBuf,
    /// Where relative paths in it start.
    directory: PathBuf,
    text: String,
    places: HashMap<KeyPath, Place>,
    /// Where lines begin, in bytes.
    lines: Vec<usize>,
}

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As files are.
    Toml,
    /// As programs like it.
    Json,
}

/// Where a value stands, in bytes of the text.
#[derive(Debug)]
struct Place {
    /// Where its key starts, or, in an array, itself.
    start: usize,
    value: Range<usize>,
}

/// A value that TOML has and no key takes.
#[derive(Debug)]
pub struct Foreign {
    /// Where.
    pub path: KeyPath,
    /// What is wrong with it.
    pub fault: String,
    /// What to write instead.
    pub remedy: &'static str,
}

impl Document {
    /// Reads TOML; also returns its values, and those that no key takes (which stand as empty strings among them).
    ///
    /// # Errors
    /// Every syntax error, with line, column and the text of the line.
    pub fn parse(file: &Path, text: &str) -> Result<(Self, Value, Vec<Foreign>), Refused> {
        Self::part(file, text, Format::Toml, &KeyPath::default())
    }

    /// Reads a text that stands for the table at a path: problems in it are found at places below that.
    ///
    /// # Errors
    /// As [`Document::parse`]; of JSON, the first syntax error.
    pub fn part(
        file: &Path,
        text: &str,
        format: Format,
        base: &KeyPath,
    ) -> Result<(Self, Value, Vec<Foreign>), Refused> {
        let starts = memchr::memchr_iter(b'\n', text.as_bytes()).map(|newline| newline + 1);
        let mut document = Self {
            file: file.to_owned(),
            directory: file.parent().unwrap_or(Path::new("")).to_owned(),
            text: text.to_owned(),
            places: HashMap::new(),
            lines: std::iter::once(0).chain(starts).collect(),
        };
        if format == Format::Json {
            let (value, foreign) = document.json(base)?;
            return Ok((document, value, foreign));
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        let (listed, unlisted) = errors.split_at(errors.len().min(limits::PROBLEMS_MAX));
        refuse(
            listed
                .iter()
                .map(|error| document.syntax_problem(error))
                .collect(),
            unlisted.len(),
        )?;
        let mut foreign = Vec::new();
        let value = document.table(base, table.get_ref(), &mut foreign);
        Ok((document, value, foreign))
    }

    /// The file's path, as it was given.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether something stands there.
    pub fn has(&self, path: &KeyPath) -> bool {
        self.places.contains_key(path)
    }

    /// The directory that relative paths in it start at.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The same, with relative paths that start at another file's directory.
    #[must_use]
    pub fn beside(mut self, file: &Path) -> Self {
        self.directory = file.parent().unwrap_or(Path::new("")).to_owned();
        self
    }

    /// The line, counted from 1, of a value, or of the nearest thing that it would stand in.
    pub fn line(&self, path: &KeyPath) -> usize {
        let mut path = path.clone();
        loop {
            if let Some(place) = self.places.get(&path) {
                return self.position(place.start).0;
            }
            match path.split_last() {
                Some((parent, _)) => path = parent,
                None => return 1,
            }
        }
    }

    /// A value as the file writes it, shortened; empty where it stands nowhere.
    pub fn seen(&self, path: &KeyPath) -> String {
        let range = self.places.get(path).map(|place| place.value.clone());
        let text = range.and_then(|range| self.text.get(range)).unwrap_or_default();
        shortened(text)
    }

    /// Line and column, each counted from 1, of a byte.
    fn position(&self, byte: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= byte);
        let start = self
            .lines
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or_default();
        let before = self.text.get(start..byte.min(self.text.len()));
        (line, before.map_or(0, |text| text.chars().count()) + 1)
    }

    fn syntax_problem(&self, error: &toml::de::Error) -> Problem {
        let start = error.span().map_or(self.text.len(), |span| span.start);
        let (line, column) = self.position(start);
        let text = shortened(self.text.lines().nth(line - 1).unwrap_or_default());
        Problem {
            file: self.file.clone(),
            line: Some(line),
            path: KeyPath::default(),
            fault: format!("column {column}: {} in `{text}`", error.message()),
            remedy: "the file must be TOML".to_owned(),
        }
    }

    fn table(&mut self, path: &KeyPath, table: &DeTable<'_>, foreign: &mut Vec<Foreign>) -> Value {
        let mut values = Map::new();
        for (key, value) in table {
            let path = path.key(key.get_ref());
            let start = match value.get_ref() {
                // Tables of an array stand at their own headers, a table at its own; other values at their key.
                DeValue::Table(_) => value.span().start,
                _ => key.span().start,
            };
            self.places.insert(
                path.clone(),
                Place {
                    start,
                    value: value.span(),
                },
            );
            values.insert(key.get_ref().to_string(), self.value(&path, value, foreign));
        }
        Value::Object(values)
    }

    fn value(&mut self, path: &KeyPath, value: &Spanned<DeValue<'_>>, foreign: &mut Vec<Foreign>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(integer) => integer_value(integer).unwrap_or_else(|| {
                let (fault, remedy) = (
                    format!("{integer} does not fit into 64 bits"),
                    "write a smaller number",
                );
                foreign.push(Foreign {
                    path: path.clone(),
                    fault,
                    remedy,
                });
                Value::String(String::new())
            }),
            DeValue::Float(float) => {
                let number = float
                    .as_str()
                    .replace('_', "")
                    .parse()
                    .ok()
                    .and_then(Number::from_f64);
                number.map_or_else(|| Value::String(float.to_string()), Value::Number)
            }
            DeValue::Datetime(time) => {
                let (fault, remedy) = (
                    format!("{time} is a date or a time"),
                    "no key takes one; text stands in quotes",
                );
                foreign.push(Foreign {
                    path: path.clone(),
                    fault,
                    remedy,
                });
                Value::String(String::new())
            }
            DeValue::Array(items) => {
                let mut values = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let path = path.index(index);
                    let place = Place {
                        start: item.span().start,
                        value: item.span(),
                    };
                    self.places.insert(path.clone(), place);
                    values.push(self.value(&path, item, foreign));
                }
                Value::Array(values)
            }
            DeValue::Table(table) => self.table(path, table, foreign),
        }
    }
}

fn integer_value(integer: &DeInteger<'_>) -> Option<Value> {
    let text = integer.as_str().replace('_', "");
    let signed = i64::from_str_radix(&text, integer.radix()).map(Value::from);
    signed
        .or_else(|_| u64::from_str_radix(&text, integer.radix()).map(Value::from))
        .ok()
}

/// The first line of a text, at most [`SEEN_CHARS_MAX`] characters of it.
fn shortened(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let mut seen: String = line.chars().take(SEEN_CHARS_MAX).collect();
    if seen.len() < text.trim().len() {
        seen.push('…');
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_at_their_lines() {
        let text = "[node]\nname = \"a\"\n\n[[upstream]]\nname = \"u\"\nendpoints = [\n  { address = \"x\" },\n  \
                    { address = \"y\", weight = 0 },\n]\n[upstream.health.readiness]\nrise = 2\n[[upstream]]\n";
        let (document, _, foreign) = Document::parse(Path::new("t.toml"), text).unwrap();
        assert!(foreign.is_empty());
        let upstream = KeyPath::top("upstream");
        let rows = [
            (KeyPath::top("node"), 1),
            (KeyPath::top("node").key("name"), 2),
            (KeyPath::top("node").key("absent"), 1),
            (upstream.index(0), 4),
            (upstream.index(0).key("endpoints").index(1).key("weight"), 8),
            (upstream.index(0).key("endpoints").index(0), 7),
            (upstream.index(0).key("health").key("readiness"), 10),
            (upstream.index(0).key("health").key("readiness").key("rise"), 11),
            (upstream.index(1).key("name"), 12),
        ];
        for (path, line) in rows {
            assert_eq!(document.line(&path), line, "{path}");
        }
        assert_eq!(
            document.seen(&upstream.index(0).key("endpoints").index(1).key("weight")),
            "0"
        );
    }

    #[test]
    fn syntax_errors_are_all_listed_with_line_column_and_text() {
        let text = "[node]\nname = gw 1\nweight = 1\nweight = 2\n";
        let refused = Document::parse(Path::new("t.toml"), text)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("t.toml:2: column "), "{refused}");
        assert!(refused.contains("in `name = gw 1`"), "{refused}");
        assert!(refused.contains("t.toml:4: column 1"), "{refused}");
        assert!(refused.contains("duplicate key"), "{refused}");
    }

    #[test]
    fn dates_and_huge_numbers_are_named_not_guessed_at() {
        let text = "a = 2024-01-01\nb = 99999999999999999999\nc = 1.5\nd = 0xff\n";
        let (_, value, foreign) = Document::parse(Path::new("t.toml"), text).unwrap();
        assert_eq!(
            foreign.iter().map(|f| f.path.to_string()).collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(value["c"], 1.5);
        assert_eq!(value["d"], 255);
    }
}
