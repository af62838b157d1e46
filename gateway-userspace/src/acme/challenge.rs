//! What an authority is answered that looks whether a name leads here (HTTP-01, RFC 8555, section 8.3).
//!
//! The answer is the token that it asks for, a dot, and the thumbprint of the account's key. So every node that has the
//! account's key can answer for an order of any other, and nothing of an order is shared: behind a VIP the authority may come
//! to any node. That who asks learns the thumbprint does no harm: only who holds the key can order by it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;

/// Where authorities ask.
pub const PATH: &str = "/.well-known/acme-challenge/";
/// Characters of a token at least: of base64url they have 6 bits each, and a token has 128 bits (RFC 8555, section 8.3).
const TOKEN_CHARS_MIN: usize = 22;
/// Characters of a token at most: authorities use 43.
const TOKEN_CHARS_MAX: usize = 128;

/// The thumbprint of the account's key (RFC 7638), once it is known; a cell that outlives snapshots.
#[derive(Debug, Default)]
pub struct Thumbprint(Mutex<Option<Arc<str>>>);

impl Thumbprint {
    /// The key is that one, or not known.
    pub fn set(&self, thumbprint: Option<&str>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_deref() != thumbprint {
            *held = thumbprint.map(Arc::from);
        }
    }

    /// As it is known now.
    pub fn get(&self) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a plain listener answers authorities with.
#[derive(Debug)]
pub struct Challenges {
    /// Those that certificates are had for. Others' challenges are their services' own.
    names: HashSet<Box<str>>,
    thumbprint: Arc<Thumbprint>,
}

impl Challenges {
    /// Answers for those names, in lower case.
    pub fn new<'n>(names: impl Iterator<Item = &'n str>, thumbprint: Arc<Thumbprint>) -> Self {
        Self {
            names: names.map(Box::from).collect(),
            thumbprint,
        }
    }

    /// What is answered to a request for that normal path at that host; `None`: it is a request like others.
    pub fn answer(&self, method: &Method, host: &str, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        let asks = matches!(*method, Method::GET | Method::HEAD);
        let host = host.strip_suffix('.').unwrap_or(host);
        if !asks || !is_token(token) || !self.names.contains(host) {
            return None;
        }
        let thumbprint = self.thumbprint.get()?;
        Some(format!("{token}.{thumbprint}"))
    }
}

/// Whether it can be one: base64url without padding.
fn is_token(text: &str) -> bool {
    let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_of_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";

    fn challenges() -> (Challenges, Arc<Thumbprint>) {
        let thumbprint = Arc::<Thumbprint>::default();
        let names = ["a.example", "www.a.example"];
        (
            Challenges::new(names.into_iter(), Arc::clone(&thumbprint)),
            thumbprint,
        )
    }

    #[test]
    fn challenges_of_own_names_are_answered_and_all_else_is_a_request_like_others() {
        let (challenges, thumbprint) = challenges();
        thumbprint.set(Some("9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"));
        let path = format!("{PATH}{TOKEN}");
        let long = |length: usize| format!("{PATH}{}", "a".repeat(length));
        let rows = [
            (Method::GET, "a.example", path.as_str(), true, "a challenge"),
            (Method::HEAD, "www.a.example", &path, true, "by HEAD"),
            (Method::GET, "a.example.", &path, true, "a dot at the end"),
            (Method::POST, "a.example", &path, false, "nobody asks so"),
            (Method::GET, "b.example", &path, false, "another's name"),
            (Method::GET, "a.example", PATH, false, "no token"),
            (Method::GET, "a.example", &long(22), true, "the shortest"),
            (Method::GET, "a.example", &long(21), false, "too short to be one"),
            (Method::GET, "a.example", &long(128), true, "the longest"),
            (Method::GET, "a.example", &long(129), false, "too long to be one"),
            (Method::GET, "a.example", &format!("{path}/x"), false, "below it"),
            (Method::GET, "a.example", &format!("{path}="), false, "padding"),
            (
                Method::GET,
                "a.example",
                &format!("{path}%3C"),
                false,
                "an escape",
            ),
            (Method::GET, "a.example", &format!("{path}é"), false, "no ASCII"),
            (Method::GET, "a.example", &format!("/x{path}"), false, "elsewhere"),
            (Method::GET, "a.example", "/", false, "another path"),
        ];
        for (method, host, path, is_answered, why) in rows {
            let answer = challenges.answer(&method, host, path);
            assert_eq!(answer.is_some(), is_answered, "{why}");
            if let Some(answer) = answer {
                let token = path.strip_prefix(PATH).unwrap();
                let expected = format!("{token}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI");
                assert_eq!(answer, expected, "{why}");
            }
        }
    }

    #[test]
    fn without_an_account_nothing_is_answered() {
        let (challenges, thumbprint) = challenges();
        let path = format!("{PATH}{TOKEN}");
        assert_eq!(challenges.answer(&Method::GET, "a.example", &path), None);
        thumbprint.set(Some("x"));
        assert!(challenges.answer(&Method::GET, "a.example", &path).is_some());
        thumbprint.set(None);
        assert_eq!(challenges.answer(&Method::GET, "a.example", &path), None);
    }
}
