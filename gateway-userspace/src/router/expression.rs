//! A regular expression that a whole text must match.
//!
//! Matching takes time by the length of the text, whatever the expression, and the compiled program is bounded. Bytes
//! are matched, not characters: `\w` and `\d` are those of ASCII, and `.` is any byte but a line feed.
//! Source: the syntax is that of the crate `regex`, without its Unicode classes.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// Bytes of an expression's text at most: longer ones are lists, which belong into routes of their own.
pub const EXPRESSION_BYTES_MAX: usize = 1024;
/// Bytes of a compiled expression at most: 10,000 routes with such ones would fill 640 MB, and common ones take 5 kB.
pub const COMPILED_BYTES_MAX: usize = 64 << 10;
/// Bytes that a thread keeps of what an expression has seen: more than most ever fill.
const CACHE_BYTES_MAX: usize = 256 << 10;

/// A compiled expression, anchored at both ends; two are the same if their texts are.
#[derive(Clone)]
pub struct Expression {
    text: Box<str>,
    regex: Regex,
}

impl Expression {
    /// Compiles it.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(format!(
                "it has {} bytes; at most {EXPRESSION_BYTES_MAX} are taken",
                text.len()
            ));
        }
        // By itself first: it must not close the group that anchors it.
        compiled(text)?;
        Ok(Self {
            text: text.into(),
            regex: compiled(&format!("\\A(?:{text})\\z"))?,
        })
    }

    /// Whether the whole of a text matches.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text)
    }
}

fn compiled(text: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(text);
    builder
        .unicode(false)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(CACHE_BYTES_MAX);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            format!("it would take more than {COMPILED_BYTES_MAX} bytes; repeat less in it")
        }
        // The text stands above it, with a mark below the place: more lines than a problem has.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_must_match() {
        let rows = [
            ("a", "a", true),
            ("a", "ab", false),
            ("a", "ba", false),
            ("a|b", "b", true),
            ("a|b", "ab", false),
            ("", "", true),
            ("", "a", false),
            ("a.*", "a", true),
            ("(?i)abc", "ABC", true),
            ("^a$", "a", true),
            (r"\d+", "42", true),
            (r"\d+", "4x", false),
            ("a$", "a\n", false),
        ];
        for (text, subject, expected) in rows {
            let expression = Expression::new(text).unwrap();
            assert_eq!(
                expression.is_match(subject.as_bytes()),
                expected,
                "{text:?} on {subject:?}"
            );
        }
        assert!(Expression::new(".+").unwrap().is_match(b"\xff\x80"), "bytes");
    }

    #[test]
    fn what_cannot_be_compiled_is_refused_in_one_line() {
        let long = "a".repeat(EXPRESSION_BYTES_MAX + 1);
        let rows: [(&str, &str); 7] = [
            ("(a", "unclosed group"),
            ("a)|(b", "unopened group"),
            ("a{2,1}", "invalid repetition"),
            ("(?x)a # ", ""),
            ("((a{100}){100}){100}", "would take more than"),
            (r"\pL", "Unicode"),
            (&long, "at most 1024"),
        ];
        for (text, fault) in rows {
            match Expression::new(text) {
                Ok(_) => panic!("accepted: {text}"),
                Err(said) => {
                    assert!(said.contains(fault), "{text}: {said}");
                    assert!(!said.contains('\n') && !said.is_empty(), "{text}: {said}");
                }
            }
        }
    }
}
