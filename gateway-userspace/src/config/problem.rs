//! What is wrong with a configuration: every problem at once, each with its place and its remedy.

use std::fmt;
use std::path::PathBuf;

use super::document::Document;
use super::limits;
use super::path::{KeyPath, Step};

/// What is wrong with a key that no table of its kind has.
pub const UNKNOWN_KEY: &str = "unknown key";

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file it stands in.
    pub file: PathBuf,
    /// Counted from 1; `None`: the file as a whole.
    pub line: Option<usize>,
    /// The value; empty: the file as a whole.
    pub path: KeyPath,
    /// What is wrong with what was seen.
    pub fault: String,
    /// What to write or do instead.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.path.steps().is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}; {}", self.fault, self.remedy)
    }
}

/// A configuration that was not taken. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    problems: Vec<Problem>,
    unlisted: usize,
}

impl Refused {
    /// A file that could not even be read.
    pub fn unreadable(file: PathBuf, fault: String, remedy: &str) -> Self {
        let (line, path, remedy) = (None, KeyPath::default(), remedy.to_owned());
        Self {
            problems: vec![Problem {
                file,
                line,
                path,
                fault,
                remedy,
            }],
            unlisted: 0,
        }
    }

    /// The same, told by someone who sees the part at `base` alone: places are those in it.
    #[must_use]
    pub fn within(mut self, base: &KeyPath) -> Self {
        for problem in &mut self.problems {
            if let Some(rest) = problem.path.below(base) {
                problem.path = rest;
            }
        }
        self
    }

    /// All of them, by line; at most [`limits::PROBLEMS_MAX`].
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        match (self.problems.len(), self.unlisted) {
            (1, 0) => f.write_str("1 problem; nothing was changed"),
            (listed, 0) => write!(f, "{listed} problems; nothing was changed"),
            (listed, more) => {
                write!(
                    f,
                    "{} problems, the first {listed} listed; nothing was changed",
                    listed + more
                )
            }
        }
    }
}

/// Collects problems of one file while it is checked.
#[derive(Debug)]
pub struct Problems<'d> {
    document: &'d Document,
    found: Vec<Problem>,
    /// Those above [`limits::PROBLEMS_MAX`], which are counted and not kept.
    unlisted: usize,
}

impl<'d> Problems<'d> {
    /// None yet.
    pub fn new(document: &'d Document) -> Self {
        Self {
            document,
            found: Vec::new(),
            unlisted: 0,
        }
    }

    /// The file that is checked.
    pub fn document(&self) -> &'d Document {
        self.document
    }

    /// Adds one, unless one at the same place or above it is known already: what follows from a problem is none.
    pub fn add(&mut self, path: &KeyPath, fault: impl Into<String>, remedy: impl Into<String>) {
        if self.is_known_at(path) {
            return;
        }
        if self.found.len() >= limits::PROBLEMS_MAX {
            self.unlisted += 1;
            return;
        }
        self.found.push(Problem {
            file: self.document.file().to_owned(),
            line: Some(self.document.line(path)),
            path: path.clone(),
            fault: fault.into(),
            remedy: remedy.into(),
        });
    }

    /// Adds one that stands in another file.
    pub fn add_elsewhere(&mut self, problem: Problem) {
        if self.found.len() >= limits::PROBLEMS_MAX {
            self.unlisted += 1;
            return;
        }
        self.found.push(problem);
    }

    /// Whether a problem at that value, or at something it stands in, is known.
    pub fn is_known_at(&self, path: &KeyPath) -> bool {
        self.found.iter().any(|problem| path.is_within(&problem.path))
    }

    /// Whether a problem at that value, or at something below it, is known.
    pub fn is_known_below(&self, path: &KeyPath) -> bool {
        self.found.iter().any(|problem| problem.path.is_within(path))
    }

    /// Whether a key at that table, or below it, is known to be one that nobody knows: it may stand for another.
    pub fn has_unknown_below(&self, path: &KeyPath) -> bool {
        let mut unknown = self.found.iter().filter(|problem| problem.fault == UNKNOWN_KEY);
        unknown.any(|problem| problem.path.is_within(path))
    }

    /// Whether a table of that kind is known to have no name, or one that could not be read.
    pub fn is_known_nameless(&self, kind: &str) -> bool {
        let below = KeyPath::top(kind);
        self.found
            .iter()
            .filter(|problem| problem.path.is_within(&below))
            .any(|problem| match problem.path.steps().get(2) {
                None => true,
                Some(Step::Key(key)) => key == "name",
                Some(Step::Index(_)) => false,
            })
    }

    /// How many were found.
    pub fn count(&self) -> usize {
        self.found.len()
    }

    /// The end of the check.
    ///
    /// # Errors
    /// All problems, where there is one.
    pub fn into_result(self) -> Result<(), Refused> {
        refuse(self.found, self.unlisted)
    }
}

/// Sorts, bounds and refuses; `unlisted` are more that were counted only.
///
/// # Errors
/// All of them, where there is one.
pub fn refuse(mut problems: Vec<Problem>, unlisted: usize) -> Result<(), Refused> {
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
    let unlisted = unlisted + problems.len().saturating_sub(limits::PROBLEMS_MAX);
    problems.truncate(limits::PROBLEMS_MAX);
    Err(Refused { problems, unlisted })
}

/// The name that was probably meant: a slip of a third of its letters, or the same beginning.
pub fn nearest<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    /// Similarity, 0 to 1, from which a suggestion is more than a guess.
    const LIKELY: f64 = 0.87;
    let wrong = wrong.to_lowercase();
    let slips = |name: &&str| strsim::osa_distance(&wrong, &name.to_lowercase());
    let is_near = |name: &&str| {
        let longest = wrong.chars().count().max(name.chars().count());
        slips(name) <= (longest + 1) / 3 || strsim::jaro_winkler(&wrong, &name.to_lowercase()) >= LIKELY
    };
    known.into_iter().filter(is_near).min_by_key(slips)
}

/// The names as a sentence would list them.
pub fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    /// Names listed; more would bury the message.
    const LISTED_MAX: usize = 20;
    let names: Vec<&str> = names.into_iter().collect();
    let mut text = names
        .iter()
        .take(LISTED_MAX)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > LISTED_MAX {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
impl Refused {
    /// Each wanted text stands in a problem of its own, and there are no others; without any, nothing is refused.
    #[track_caller]
    pub(crate) fn expect<T>(result: Result<T, Self>, text: &str, wanted: &[&str]) {
        let refused = match result {
            Ok(_) if wanted.is_empty() => return,
            Ok(_) => panic!("accepted:\n{text}"),
            Err(refused) => refused,
        };
        for wanted in wanted {
            assert!(
                refused.to_string().contains(wanted),
                "{wanted:?} is not in:\n{refused}"
            );
        }
        assert_eq!(refused.problems().len(), wanted.len(), "{refused}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_a_slip_away_or_none() {
        let known = ["web", "users", "users-next", "cluster_interfaces"];
        for (wrong, near) in [
            ("wb", Some("web")),
            ("wbe", Some("web")),
            ("Users", Some("users")),
            ("user-next", Some("users-next")),
            ("cluster_interface", Some("cluster_interfaces")),
            ("cluster", Some("cluster_interfaces")),
            ("x", None),
            ("zzz", None),
        ] {
            assert_eq!(nearest(wrong, known), near, "{wrong}");
        }
        assert_eq!(nearest("a", ["b"]), None);
    }
}
