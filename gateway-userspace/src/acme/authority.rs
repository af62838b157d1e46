//! What an authority says where it issues nothing: its problem documents (RFC 9457, RFC 8555, section 6.7) in words.

use instant_acme::{Error, Problem};

/// Characters of what an authority says that are passed on.
const WORDS_MAX: usize = 600;

/// Why an authority did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It says so, in its words.
    #[error("the authority says: {0}")]
    Refused(String),
    /// It cannot be asked, or not understood.
    #[error(transparent)]
    Failed(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => Self::Refused(words(&problem)),
            other => Self::Failed(other),
        }
    }
}

/// A problem document in words.
pub(super) fn words(problem: &Problem) -> String {
    let mut text = problem.detail.clone().unwrap_or_else(|| "no reason".to_owned());
    if let Some(kind) = &problem.r#type {
        text.push_str(&format!(" ({kind})"));
    }
    for part in &problem.subproblems {
        text.push_str(&format!("; {part}"));
    }
    bounded(&text)
}

/// It comes from outside and goes to logs.
pub(super) fn bounded(text: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(plain).take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_is_told_in_words_of_bounded_length() {
        let problem = |text: &str| serde_json::from_str::<Problem>(text).unwrap();
        let rows = [
            (
                r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many\ncertificates","status":429}"#,
                "too many certificates (urn:ietf:params:acme:error:rateLimited)",
            ),
            (r#"{"type":"urn:x"}"#, "no reason (urn:x)"),
            (
                r#"{"detail":"some names","subproblems":[{"type":"urn:y","detail":"no address","identifier":{"type":"dns","value":"a.example"}}]}"#,
                "some names; for \"a.example\": no address (urn:y)",
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(words(&problem(text)), expected);
        }
        let long = format!("{{\"detail\":\"{}\"}}", "é".repeat(10_000));
        assert_eq!(words(&problem(&long)).chars().count(), WORDS_MAX);
    }
}
