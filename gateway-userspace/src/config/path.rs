//! Where in a configuration something stands: `upstream[0].endpoints[1].weight`.

use std::fmt;

/// One step down from a table or an array.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Into a table.
    Key(String),
    /// Into an array.
    Index(usize),
}

/// The way from the top of a file to one value; empty: the file itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPath(Vec<Step>);

impl KeyPath {
    /// A key at the top of the file.
    pub fn top(key: &str) -> Self {
        Self::default().key(key)
    }

    /// One step further, into a table.
    pub fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// One step further, into an array.
    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// One step further.
    pub fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// All steps from the top.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// What it stands in, and its last step; `None` at the top.
    pub fn split_last(&self) -> Option<(Self, &Step)> {
        let (last, parent) = self.0.split_last()?;
        Some((Self(parent.to_vec()), last))
    }

    /// The way on from `base`, where it leads there.
    pub fn below(&self, base: &Self) -> Option<Self> {
        self.0
            .strip_prefix(base.0.as_slice())
            .map(|rest| Self(rest.to_vec()))
    }

    /// Whether `self` is `other` or stands below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                    if !key.is_empty() && key.chars().all(is_bare) {
                        f.write_str(key)?;
                    } else {
                        write!(f, "{key:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_reads_as_one_would_write_it_in_toml() {
        let path = KeyPath::top("upstream")
            .index(0)
            .key("endpoints")
            .index(1)
            .key("weight");
        assert_eq!(path.to_string(), "upstream[0].endpoints[1].weight");
        assert_eq!(KeyPath::top("node").key("a b").to_string(), "node.\"a b\"");
        assert!(path.is_within(&KeyPath::top("upstream").index(0)));
        assert!(!path.is_within(&KeyPath::top("upstream").index(1)));
    }
}
