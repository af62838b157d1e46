//! `jwt`: a token that an issuer signed, with each request.
//!
//! `jsonwebtoken` verifies. What it may take is pinned to each key: nothing in a token chooses how it is verified.
//! Sources: RFC 7519 (claims), RFC 7515 (signatures), RFC 7517 (keys), RFC 8725 (what goes wrong).

pub mod fetched;
pub mod set;
#[cfg(test)]
pub(crate) mod tokens;

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HeaderName, HeaderValue};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::credentials::{authorization, cookie, query, refuse, single};
use super::{Asked, Denial, Mark, Step, credentials};
use fetched::{Fetched, Publisher};

/// Bytes of a token at most: a head has hardly more.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Clocks of issuers may be so many seconds ahead or behind.
const LEEWAY_SECONDS: u64 = 60;
/// Keys that are tried for a token that does not say which: each costs a tenth of a millisecond.
const TRIED_MAX: usize = 4;

/// `jwt`, with the content of its files.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Who may have signed: `iss`.
    pub issuers: Vec<String>,
    /// For whom: one of `aud`.
    pub audiences: Vec<String>,
    /// What signatures are verified by.
    pub keys: Keys,
    /// Where requests have their token.
    pub from: Source,
    /// What endpoints are told of it: claims, and the fields that they become.
    pub claims_to_headers: Vec<(String, HeaderName)>,
}

/// Where the public keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Keys {
    /// From a file.
    Given {
        /// Not empty; each can be verified by.
        keys: Vec<Key>,
        /// What may be verified by them.
        algorithms: Vec<Algorithm>,
    },
    /// From the issuer, again and again.
    Fetched {
        /// Where it publishes them.
        publisher: Publisher,
        /// What may be verified by them.
        algorithms: Vec<Algorithm>,
    },
}

/// A public key.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// `kid`.
    pub id: Option<String>,
    /// Itself.
    pub jwk: Jwk,
    /// What may be verified by it; not empty, of its own kind.
    pub algorithms: Vec<Algorithm>,
}

/// Where requests have their token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `Authorization: Bearer`.
    Bearer,
    /// In that field.
    Header(HeaderName),
    /// In that cookie.
    Cookie(String),
    /// In that parameter of the query.
    Query(String),
}

/// Lets pass who has a token.
#[derive(Debug)]
pub struct Jwt {
    from: Source,
    claims_to_headers: Vec<(String, HeaderName)>,
    /// For each algorithm that may be used, its own: nothing in a token makes one serve for another.
    validations: Vec<(Algorithm, Validation)>,
    verifiers: Verifiers,
}

#[derive(Debug)]
enum Verifiers {
    Given(Vec<Verifier>),
    Fetched { set: Arc<Fetched>, publisher: Publisher },
}

/// A public key, ready to verify.
pub struct Verifier {
    id: Option<String>,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl Verifier {
    /// `None`: nothing can be verified by it, which was looked at before.
    pub fn new(key: &Key) -> Option<Self> {
        Some(Self {
            id: key.id.clone(),
            key: DecodingKey::from_jwk(&key.jwk).ok()?,
            algorithms: key.algorithms.clone(),
        })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({:?}, {:?})", self.id, self.algorithms)
    }
}

/// What a token says of how it is signed.
#[derive(Deserialize)]
struct Head {
    alg: Algorithm,
    kid: Option<String>,
    /// Extensions that must be understood; none is.
    crit: Option<Value>,
}

impl Jwt {
    /// `cell` has what was fetched from a publisher so far.
    pub fn new(settings: &Settings, cell: impl FnOnce(&Publisher) -> Arc<Fetched>) -> Self {
        let (algorithms, verifiers) = match &settings.keys {
            Keys::Given { keys, .. } => {
                let mut algorithms: Vec<Algorithm> = Vec::new();
                for algorithm in keys.iter().flat_map(|key| &key.algorithms) {
                    if !algorithms.contains(algorithm) {
                        algorithms.push(*algorithm);
                    }
                }
                (
                    algorithms,
                    Verifiers::Given(keys.iter().filter_map(Verifier::new).collect()),
                )
            }
            Keys::Fetched {
                publisher,
                algorithms,
            } => {
                let (set, publisher) = (cell(publisher), publisher.clone());
                (algorithms.clone(), Verifiers::Fetched { set, publisher })
            }
        };
        let validation = |algorithm: Algorithm| {
            let mut validation = Validation::new(algorithm);
            validation.leeway = LEEWAY_SECONDS;
            validation.validate_nbf = true;
            validation.set_issuer(&settings.issuers);
            validation.set_audience(&settings.audiences);
            // Without these a claim that is absent would do.
            validation.set_required_spec_claims(&["exp", "iss", "aud"]);
            (algorithm, validation)
        };
        Self {
            from: settings.from.clone(),
            claims_to_headers: settings.claims_to_headers.clone(),
            validations: algorithms.into_iter().map(validation).collect(),
            verifiers,
        }
    }

    /// What is to be fetched for it, and where it is put.
    pub fn fetched(&self) -> Option<(&Arc<Fetched>, &Publisher)> {
        match &self.verifiers {
            Verifiers::Given(_) => None,
            Verifiers::Fetched { set, publisher } => Some((set, publisher)),
        }
    }

    /// Lets pass who has a token, which goes on: it is the client's with the endpoint, too.
    pub fn request(&self, asked: &mut Asked<'_>, mark: &mut Mark) -> Step {
        let headers = &asked.head.headers;
        let token = match &self.from {
            Source::Bearer => authorization(headers, "Bearer"),
            Source::Header(name) => single(headers, name).map(HeaderValue::as_bytes),
            Source::Cookie(name) => cookie(headers, name),
            Source::Query(name) => query(&asked.head.uri, name).map(str::as_bytes),
        };
        let claims = match token.and_then(|token| self.verify(token)) {
            Ok(claims) => claims,
            // It may be good.
            Err(Denial::KeysMissing) => return Step::Deny(Denial::KeysMissing),
            Err(denial) => return refuse(denial, &challenge(denial), mark),
        };
        for (claim, name) in &self.claims_to_headers {
            // What the client writes there itself goes in any case.
            asked.head.headers.remove(name);
            if let Some(value) = claims.get(claim).and_then(field) {
                asked.head.headers.insert(name, value);
            }
        }
        match claims.get("sub").and_then(field) {
            Some(subject) => credentials::admit(asked, &subject),
            None => {
                asked.head.headers.remove(credentials::CONSUMER);
                Step::Next
            }
        }
    }

    fn verify(&self, token: &[u8]) -> Result<Map<String, Value>, Denial> {
        let head = head(token).ok_or(Denial::CredentialsRefused)?;
        match &self.verifiers {
            Verifiers::Given(all) => self.verify_by(all, &head, token),
            Verifiers::Fetched { set, .. } => {
                let all = set.get().ok_or(Denial::KeysMissing)?;
                // The issuer may have made it since.
                if head.kid.is_some() && all.iter().all(|verifier| verifier.id != head.kid) {
                    set.wants_another();
                }
                self.verify_by(&all, &head, token)
            }
        }
    }

    fn verify_by(&self, all: &[Verifier], head: &Head, token: &[u8]) -> Result<Map<String, Value>, Denial> {
        let mut denial = Denial::CredentialsRefused;
        let validation = self
            .validations
            .iter()
            .find(|(algorithm, _)| *algorithm == head.alg);
        let (_, validation) = validation.ok_or(denial)?;
        let is_it = |verifier: &&Verifier| {
            verifier.algorithms.contains(&head.alg) && (head.kid.is_none() || head.kid == verifier.id)
        };
        for verifier in all.iter().filter(is_it).take(TRIED_MAX) {
            match decode(token, &verifier.key, validation) {
                Ok(data) => return Ok(data.claims),
                Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => {
                    denial = Denial::TokenExpired;
                }
                Err(_) => {}
            }
        }
        Err(denial)
    }
}

/// How it says that it is signed; `None`: nobody could verify it.
fn head(token: &[u8]) -> Option<Head> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let encoded = token.split(|byte| *byte == b'.').next()?;
    let head: Head = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
    head.crit.is_none().then_some(head)
}

/// Source: RFC 6750, section 3.
fn challenge(denial: Denial) -> HeaderValue {
    HeaderValue::from_static(match denial {
        Denial::CredentialsMissing => "Bearer",
        _ => "Bearer error=\"invalid_token\"",
    })
}

/// A claim as a field has it: text, numbers and truth as they are, lists of these with commas between.
fn field(claim: &Value) -> Option<HeaderValue> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    let value = match claim {
        Value::Array(items) => {
            // What has a comma of its own could pass for two.
            let items: Option<Vec<_>> = items.iter().map(text).collect();
            let items = items.filter(|items| !items.iter().any(|item| item.contains(',')));
            items?.join(",")
        }
        other => text(other)?,
    };
    // What is no ASCII has no encoding in a field that all servers agree on.
    let is_plain = !value.is_empty() && value.trim() == value && value.is_ascii();
    is_plain.then(|| HeaderValue::from_str(&value).ok()).flatten()
}

#[cfg(test)]
pub(crate) use tests::settings as settings_of_tests;

#[cfg(test)]
mod tests {
    use super::tokens;
    use super::*;
    use crate::filters::asked;

    /// With all keys of the tests, each for its own algorithm.
    pub(crate) fn settings(from: Source) -> Settings {
        let keys: Value = serde_json::from_str(tokens::KEYS).unwrap();
        let algorithms = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256];
        let keys = keys["keys"].as_array().unwrap().iter().zip(algorithms);
        let key = |(key, algorithm): (&Value, Algorithm)| Key {
            id: key["kid"].as_str().map(str::to_owned),
            jwk: serde_json::from_value(key.clone()).unwrap(),
            algorithms: vec![algorithm],
        };
        let name = HeaderName::from_static;
        Settings {
            issuers: vec![
                "https://id.example".to_owned(),
                "https://other.example".to_owned(),
            ],
            audiences: vec!["api".to_owned()],
            keys: Keys::Given {
                keys: keys.map(key).collect(),
                algorithms: algorithms.to_vec(),
            },
            from,
            claims_to_headers: vec![
                ("roles".to_owned(), name("x-roles")),
                ("age".to_owned(), name("x-age")),
                ("admin".to_owned(), name("x-admin")),
                ("none".to_owned(), name("x-none")),
            ],
        }
    }

    fn given(settings: &Settings) -> Jwt {
        Jwt::new(settings, |_| panic!("nothing is fetched"))
    }

    #[test]
    fn fetched_keys_verify_what_is_allowed_and_unknown_ones_are_asked_for() {
        let set = Arc::new(Fetched::default());
        let mut settings = settings(Source::Bearer);
        settings.keys = Keys::Fetched {
            publisher: Publisher {
                url: "http://id.example/jwks".parse().unwrap(),
                tls: None,
                refresh: std::time::Duration::from_secs(300),
            },
            algorithms: vec![Algorithm::ES256, Algorithm::EdDSA],
        };
        let jwt = Jwt::new(&settings, |_| Arc::clone(&set));
        let verify = |token: &str| jwt.verify(token.as_bytes()).map(drop);
        assert_eq!(
            verify(tokens::ED),
            Err(Denial::KeysMissing),
            "nothing was fetched yet"
        );
        let mut head = http::Request::get("/").header("authorization", format!("Bearer {}", tokens::ED));
        head.headers_mut()
            .unwrap()
            .insert("x-age", HeaderValue::from_static("99"));
        let mut head = head.body(()).unwrap().into_parts().0;
        let mut mark = Mark::default();
        let step = jwt.request(&mut asked(&mut head, "192.0.2.1"), &mut mark);
        assert_eq!(step, Step::Deny(Denial::KeysMissing));
        assert!(matches!(mark, Mark::Nothing), "no client can do better: {mark:?}");

        let all = set::parse(tokens::KEYS, &set::ALGORITHMS).unwrap();
        let verifiers = |ids: &[&str]| {
            let of = |key: &&Key| ids.contains(&key.id.as_deref().unwrap());
            all.iter()
                .filter(of)
                .filter_map(Verifier::new)
                .collect::<Vec<_>>()
        };
        let refused = Err(Denial::CredentialsRefused);
        set.put(verifiers(&["ec", "rsa"]));
        assert!(!set.is_wanted());
        assert_eq!(verify(tokens::EC), Ok(()));
        assert_eq!(verify(tokens::RSA), refused, "RS256 is not allowed");
        assert!(!set.is_wanted(), "the key is there");
        assert_eq!(verify(tokens::ED), refused);
        assert!(set.is_wanted(), "the key is not there");
        set.put(verifiers(&["ed", "ec", "rsa"]));
        assert_eq!(
            (verify(tokens::ED), verify(tokens::EXPIRED)),
            (Ok(()), Err(Denial::TokenExpired))
        );
    }

    #[test]
    fn tokens_pass_that_a_known_issuer_signed_for_us_and_nothing_else_does() {
        let jwt = given(&settings(Source::Bearer));
        let refused = Err(Denial::CredentialsRefused);
        let rows: [(&str, Result<(), Denial>); 21] = [
            (tokens::ED, Ok(())),
            (tokens::EC, Ok(())),
            (tokens::RSA, Ok(())),
            (tokens::NO_KID, Ok(())),
            (tokens::AUD_LIST, Ok(())),
            (tokens::EXPIRED, Err(Denial::TokenExpired)),
            (tokens::NOT_YET, refused),
            (tokens::NO_EXP, refused),
            (tokens::NO_ISS, refused),
            (tokens::OTHER_ISS, refused),
            (tokens::NO_AUD, refused),
            (tokens::OTHER_AUD, refused),
            (tokens::OTHER_KEY, refused),
            (tokens::OTHER_KID, refused),
            (tokens::UNSIGNED, refused),
            (tokens::CONFUSED, refused),
            (&tokens::ED[..tokens::ED.len() - 4], refused),
            (&tokens::ED.replace(".ey", ".ex"), refused),
            ("", refused),
            ("a.b.c", refused),
            ("...", refused),
        ];
        for (token, expected) in rows {
            assert_eq!(jwt.verify(token.as_bytes()).map(drop), expected, "{token}");
        }
        let critical = URL_SAFE_NO_PAD.encode(br#"{"alg":"EdDSA","crit":["exp"]}"#);
        assert!(
            head(critical.as_bytes()).is_none(),
            "extensions that nobody understands"
        );
        assert!(head(&vec![b'e'; 1 << 20]).is_none());
    }

    #[test]
    fn a_key_verifies_what_it_is_pinned_to_alone() {
        let mut settings = settings(Source::Bearer);
        let Keys::Given { keys, .. } = &mut settings.keys else {
            panic!("not given")
        };
        keys.retain(|key| key.id.as_deref() == Some("rsa"));
        keys[0].algorithms = vec![Algorithm::PS256];
        let jwt = given(&settings);
        let refused = Err(Denial::CredentialsRefused);
        assert_eq!(jwt.verify(tokens::RSA.as_bytes()).map(drop), refused, "RS256");
        assert_eq!(
            jwt.verify(tokens::ED.as_bytes()).map(drop),
            refused,
            "another key"
        );
    }

    #[test]
    fn tokens_are_read_from_their_place_and_claims_become_fields() {
        let query = format!("/?a=1&token={}", tokens::ED);
        let rows = [
            (
                Source::Bearer,
                "/",
                Some(("authorization", format!("bearer {}", tokens::ED))),
            ),
            (
                Source::Header(HeaderName::from_static("x-token")),
                "/",
                Some(("x-token", tokens::ED.to_owned())),
            ),
            (
                Source::Cookie("session".to_owned()),
                "/",
                Some(("cookie", format!("a=1; session={}; b=2", tokens::ED))),
            ),
            (Source::Query("token".to_owned()), &*query, None),
        ];
        for (from, target, given) in rows {
            let jwt = super::tests::given(&settings(from.clone()));
            for is_given in [true, false] {
                let target = if is_given { target } else { "/" };
                let mut request = http::Request::get(target)
                    .header("x-none", "forged")
                    .header("x-age", "99");
                if let Some((name, value)) = given.as_ref().filter(|_| is_given) {
                    request = request.header(*name, value);
                }
                let mut head = request.body(()).unwrap().into_parts().0;
                let mut asked = asked(&mut head, "192.0.2.1");
                let mut mark = Mark::default();
                let step = jwt.request(&mut asked, &mut mark);
                if !is_given {
                    assert_eq!(step, Step::Deny(Denial::CredentialsMissing), "{from:?}");
                    assert!(matches!(mark, Mark::Challenge(challenge) if challenge == "Bearer"));
                    continue;
                }
                assert_eq!(step, Step::Next, "{from:?}");
                assert_eq!(asked.consumer.unwrap(), "ann");
                let value = |name| {
                    head.headers
                        .get(name)
                        .map_or("-", |value| value.to_str().unwrap())
                };
                let names = ["x-roles", "x-age", "x-admin", "x-none", "x-consumer"];
                assert_eq!(names.map(value), ["a,b", "7", "true", "-", "ann"], "{from:?}");
            }
        }
    }

    #[test]
    fn claims_that_no_field_can_have_are_left_out() {
        let rows = [
            (r#""a b""#, Some("a b")),
            ("7", Some("7")),
            ("1.5", Some("1.5")),
            ("false", Some("false")),
            (r#"["a",1]"#, Some("a,1")),
            ("null", None),
            ("{}", None),
            ("[[1]]", None),
            (r#"["a,b"]"#, None),
            (r#""a\nb""#, None),
            (r#""""#, None),
            (r#"" a""#, None),
            (r#""Jürgen""#, None),
        ];
        for (claim, expected) in rows {
            let claim: Value = serde_json::from_str(claim).unwrap();
            let expected = expected.map(HeaderValue::from_static);
            assert_eq!(field(&claim), expected, "{claim}");
        }
    }
}
