//! Names: what they may be made of, that each is used once, and that what refers to one finds it.

use std::collections::HashMap;

use crate::config::given::Given;
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::{Problems, listed, nearest};

/// The names of one kind of table.
#[derive(Debug)]
pub struct Names {
    /// What the table is called in messages.
    kind: &'static str,
    known: HashMap<String, KeyPath>,
    order: Vec<String>,
}

impl Names {
    /// None yet.
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            known: HashMap::new(),
            order: Vec::new(),
        }
    }

    /// Those of all upstreams.
    pub fn of_upstreams(given: &Given) -> Self {
        let mut names = Self::new("upstream");
        let upstreams = given.upstream.iter().flatten();
        names.expect(upstreams.filter_map(|upstream| upstream.name.as_ref()));
        names
    }

    /// Takes in names that are declared, and checked, elsewhere.
    pub fn expect<'n>(&mut self, names: impl Iterator<Item = &'n String>) {
        for name in names.filter(|name| !name.is_empty()) {
            self.known.insert(name.clone(), KeyPath::default());
            self.order.push(name.clone());
        }
    }

    /// Takes in a name; `None` where there is none or it will not do.
    pub fn declare(
        &mut self,
        name: Option<&String>,
        path: &KeyPath,
        problems: &mut Problems<'_>,
    ) -> Option<String> {
        let name = name?;
        check(name, path, problems)?;
        if let Some(first) = self.known.get(name) {
            let line = problems.document().line(first);
            let fault = format!(
                "\"{name}\" is the name of another {} already (line {line})",
                self.kind
            );
            problems.add(path, fault, "write a name of its own");
            return None;
        }
        self.known.insert(name.clone(), path.clone());
        self.order.push(name.clone());
        Some(name.clone())
    }

    /// Whether a reference finds what it names.
    pub fn resolves(&self, name: &str, path: &KeyPath, problems: &mut Problems<'_>) -> Resolution {
        if self.known.contains_key(name) {
            return Resolution::Found;
        }
        // A table of that kind whose name could not be read may be the one that is meant.
        if problems.is_known_nameless(self.kind) {
            return Resolution::Unknown;
        }
        let names = || self.order.iter().map(String::as_str);
        let remedy = match nearest(name, names()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if self.order.is_empty() => format!("add a [[{}]] with that name", self.kind),
            None => format!("known: {}", listed(names())),
        };
        problems.add(path, format!("there is no {} \"{name}\"", self.kind), remedy);
        Resolution::Unknown
    }
}

/// What became of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It names something.
    Found,
    /// It does not, and that is reported.
    Unknown,
}

/// Whether a name has the right characters: it becomes a path, a header's value and a metric's label.
pub fn check(name: &str, path: &KeyPath, problems: &mut Problems<'_>) -> Option<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && name.len() <= limits::NAME_CHARS_MAX && name.chars().all(is_plain) {
        return Some(());
    }
    let seen = problems.document().seen(path);
    // A name that comes by another way than the text, as in a request's path, is not seen there.
    let seen = if seen.is_empty() {
        format!("\"{name}\"")
    } else {
        seen
    };
    let fault = format!("{seen} will not do as a name");
    let remedy = format!(
        "write 1 to {} letters, digits, '.', '_' or '-', a letter or digit first",
        limits::NAME_CHARS_MAX
    );
    problems.add(path, fault, remedy);
    None
}
