//! `basic_auth`: a name and a password with each request. Source: RFC 7617.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderValue};

use super::credentials::{admit, authorization, refuse};
use super::passwords::{self, Answer, Hash, Verified};
use super::{Asked, Denial, Mark, Step};

/// `basic_auth`, with the file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `WWW-Authenticate`.
    pub challenge: HeaderValue,
    /// Names are unique.
    pub users: Vec<User>,
    /// Of any of them: what users that do not exist are verified by, to take as long.
    pub some: Arc<Hash>,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Printable ASCII without a colon.
    pub name: HeaderValue,
    /// Of the password.
    pub hash: Arc<Hash>,
}

/// Lets users pass that know their passwords.
#[derive(Debug)]
pub struct BasicAuth {
    challenge: HeaderValue,
    users: HashMap<Vec<u8>, User>,
    some: Arc<Hash>,
    verified: Arc<Verified>,
}

impl BasicAuth {
    /// Goes on with what was verified.
    pub fn new(settings: &Settings, verified: Arc<Verified>) -> Self {
        let users = settings.users.iter();
        Self {
            challenge: settings.challenge.clone(),
            some: Arc::clone(&settings.some),
            users: users
                .map(|user| (user.name.as_bytes().to_vec(), user.clone()))
                .collect(),
            verified,
        }
    }

    /// Lets pass whom it knows; others are looked into, and [`BasicAuth::answered`] goes on.
    pub fn request(&self, asked: &mut Asked<'_>, mark: &mut Mark) -> Step {
        let read = authorization(&asked.head.headers, "Basic").and_then(read);
        let (name, password) = match read {
            Ok(read) => read,
            Err(denial) => return refuse(denial, &self.challenge, mark),
        };
        let user = self.users.get(&name);
        let hash = user.map(|user| &user.hash);
        match passwords::verify(&self.verified, &name, &password, hash, &self.some) {
            Answer::Right => self.right(&name, asked, mark),
            Answer::Wrong => refuse(Denial::CredentialsRefused, &self.challenge, mark),
            Answer::Pending(question) => {
                *mark = Mark::Question { question, name };
                Step::Wait
            }
            Answer::Busy => Step::Deny(Denial::VerifierBusy),
        }
    }

    /// Whether a request has credentials of somebody who may pass, whatever the password; its head is what it would be
    /// behind this filter.
    ///
    /// # Errors
    /// Why it has not.
    pub fn foresee(&self, asked: &mut Asked<'_>) -> Result<(), Denial> {
        let (name, _) = authorization(&asked.head.headers, "Basic").and_then(read)?;
        if !self.users.contains_key(&name) {
            return Err(Denial::CredentialsRefused);
        }
        self.right(&name, asked, &mut Mark::default());
        Ok(())
    }

    /// It was found out whether the password is that name's.
    pub fn answered(
        &self,
        is_right: Option<bool>,
        name: &[u8],
        asked: &mut Asked<'_>,
        mark: &mut Mark,
    ) -> Step {
        match is_right {
            Some(true) => self.right(name, asked, mark),
            Some(false) => refuse(Denial::CredentialsRefused, &self.challenge, mark),
            None => Step::Deny(Denial::VerifierBusy),
        }
    }

    fn right(&self, name: &[u8], asked: &mut Asked<'_>, mark: &mut Mark) -> Step {
        let Some(user) = self.users.get(name) else {
            return refuse(Denial::CredentialsRefused, &self.challenge, mark);
        };
        // They were meant for us.
        asked.head.headers.remove(header::AUTHORIZATION);
        admit(asked, &user.name)
    }
}

/// Name and password. A name has no colon, a password may.
fn read(encoded: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Denial> {
    let plain = STANDARD.decode(encoded).map_err(|_| Denial::CredentialsRefused)?;
    let colon = plain.iter().position(|byte| *byte == b':');
    let (name, rest) = plain.split_at(colon.ok_or(Denial::CredentialsRefused)?);
    Ok((name.to_vec(), rest.get(1..).unwrap_or_default().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::asked;
    use crate::filters::passwords::tests::{ARGON2, BCRYPT};

    fn basic_auth() -> BasicAuth {
        let user = |name, hash| User {
            name: HeaderValue::from_static(name),
            hash: Arc::new(Hash::parse(hash).unwrap()),
        };
        let settings = Settings {
            challenge: HeaderValue::from_static("Basic realm=\"x\""),
            users: vec![user("ann", BCRYPT), user("bob", ARGON2)],
            some: Arc::new(Hash::parse(BCRYPT).unwrap()),
        };
        BasicAuth::new(&settings, Arc::default())
    }

    /// What becomes of a request with these credentials, and what its endpoint would learn.
    async fn ask(auth: &BasicAuth, authorization: Option<&str>) -> (Step, Option<String>, bool) {
        let mut request = http::Request::get("/").header("x-consumer", "forged");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        let mut asked = asked(&mut head, "192.0.2.1");
        let mut mark = Mark::default();
        let mut step = auth.request(&mut asked, &mut mark);
        if step == Step::Wait {
            let Mark::Question { question, name } = std::mem::take(&mut mark) else {
                panic!("nothing to wait for")
            };
            step = auth.answered(question.answer().await, &name, &mut asked, &mut mark);
        }
        let consumer = asked.consumer.map(|name| name.to_str().unwrap().to_owned());
        if step == Step::Next {
            assert_eq!(
                head.headers.get("x-consumer").unwrap(),
                consumer.as_deref().unwrap()
            );
            assert!(!head.headers.contains_key("authorization"));
        }
        (step, consumer, matches!(mark, Mark::Challenge(_)))
    }

    #[tokio::test]
    async fn users_pass_with_their_passwords_alone() {
        let auth = basic_auth();
        let plain = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let refused = || Step::Deny(Denial::CredentialsRefused);
        let rows = [
            (Some(plain("ann:password")), Step::Next, Some("ann")),
            (Some(plain("ann:password")), Step::Next, Some("ann")),
            (Some(plain("bob:password")), Step::Next, Some("bob")),
            (Some(plain("ann:")), refused(), None),
            (Some(plain("ann:password:")), refused(), None),
            (Some(plain("cat:password")), refused(), None),
            (Some(plain(":password")), refused(), None),
            (Some(plain("password")), refused(), None),
            (Some("Basic %%%".to_owned()), refused(), None),
            (
                Some("Bearer x".to_owned()),
                Step::Deny(Denial::CredentialsMissing),
                None,
            ),
            (None, Step::Deny(Denial::CredentialsMissing), None),
        ];
        for (authorization, expected, consumer) in rows {
            let (step, who, is_challenged) = ask(&auth, authorization.as_deref()).await;
            assert_eq!(
                (&step, who.as_deref()),
                (&expected, consumer),
                "{authorization:?}"
            );
            assert_eq!(is_challenged, step != Step::Next, "{authorization:?}");
        }
    }

    #[test]
    fn what_is_foreseen_verifies_no_password() {
        let auth = basic_auth();
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let rows = [
            (None, Err(Denial::CredentialsMissing)),
            (Some(basic("nobody:x")), Err(Denial::CredentialsRefused)),
            (Some("Basic !".to_owned()), Err(Denial::CredentialsRefused)),
            (Some(basic("ann:surely wrong")), Ok(())),
        ];
        for (value, expected) in rows {
            let mut request = http::Request::get("/");
            if let Some(value) = &value {
                request = request.header("authorization", value);
            }
            let mut head = request.body(()).unwrap().into_parts().0;
            let mut asked = asked(&mut head, "192.0.2.1");
            assert_eq!(auth.foresee(&mut asked), expected, "{value:?}");
            let consumer = asked.consumer.is_some();
            assert_eq!(consumer, expected.is_ok(), "{value:?}");
        }
    }
}
