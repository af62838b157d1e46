//! What is wrong with the files that were given: all of it at once, as the gateway says it of its own configuration.

use std::fmt;
use std::path::Path;

use gateway::config::path::KeyPath;
use gateway::config::problem;

pub use gateway::config::Problem;

/// Files that were not taken. Nothing was sent.
#[derive(Debug)]
pub struct Refused(Vec<Problem>);

impl Refused {
    /// Those problems.
    pub fn new(problems: Vec<Problem>) -> Self {
        Self(problems)
    }

    /// A file that cannot be read at all.
    pub fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        Self(vec![problem_of_file(
            file,
            format!("cannot be read: {error}"),
            "give the path of a file that can be read",
        )])
    }

    /// The problems of two files.
    pub fn both(first: Option<Self>, second: Option<Self>) -> Self {
        Self(
            [first, second]
                .into_iter()
                .flatten()
                .flat_map(|refused| refused.0)
                .collect(),
        )
    }

    /// All of them.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl From<problem::Refused> for Refused {
    fn from(refused: problem::Refused) -> Self {
        Self(refused.problems().to_vec())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        let count = self.0.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} problem{plural}; nothing was sent")
    }
}

impl std::error::Error for Refused {}

/// A problem of a file as a whole.
pub fn problem_of_file(file: &Path, fault: String, remedy: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        line: None,
        path: KeyPath::default(),
        fault,
        remedy: remedy.to_owned(),
    }
}

/// A problem of one line of a file that is no TOML.
pub fn problem_of_line(file: &Path, line: usize, fault: String, remedy: &str) -> Problem {
    Problem {
        line: Some(line),
        ..problem_of_file(file, fault, remedy)
    }
}
