//! `api_key`: a secret that programs send with each request.
//!
//! Keys are long and random, so that a plain SHA-256 of each is as good as a slow hash of a password.

use std::collections::HashMap;
use std::fmt;

use http::header::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::credentials::{admit, query, refuse, single, without};
use super::{Asked, Denial, Mark, Step};

/// `api_key`, with the file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where requests have it.
    pub place: Place,
    /// Not empty.
    pub keys: Vec<Key>,
}

/// Where requests have their key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In that field.
    Header(HeaderName),
    /// In that parameter of the query.
    Query(String),
}

/// A line of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Whose it is; several may be of one.
    pub name: HeaderValue,
    /// SHA-256 of it.
    pub digest: [u8; 32],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, …)", self.name)
    }
}

/// Bytes of a digest that keys are looked up by: what their time tells is no way back to a key.
const LOOKUP_BYTES: usize = 8;

/// Lets pass who has a key.
#[derive(Debug)]
pub struct ApiKey {
    place: Place,
    keys: HashMap<[u8; LOOKUP_BYTES], Vec<Key>>,
}

impl ApiKey {
    /// Those of the settings.
    pub fn new(settings: &Settings) -> Self {
        let mut keys: HashMap<_, Vec<Key>> = HashMap::new();
        for key in &settings.keys {
            keys.entry(lookup(&key.digest)).or_default().push(key.clone());
        }
        Self {
            place: settings.place.clone(),
            keys,
        }
    }

    /// Lets pass who has a key, which goes no further.
    pub fn request(&self, asked: &mut Asked<'_>, mark: &mut Mark) -> Step {
        const CHALLENGE: HeaderValue = HeaderValue::from_static("ApiKey");
        let found = match &self.place {
            Place::Header(name) => {
                single(&asked.head.headers, name).and_then(|value| self.find(value.as_bytes()))
            }
            Place::Query(name) => query(&asked.head.uri, name).and_then(|value| self.find(value.as_bytes())),
        };
        let key = match found {
            Ok(key) => key,
            Err(denial) => return refuse(denial, &CHALLENGE, mark),
        };
        match &self.place {
            Place::Header(name) => drop(asked.head.headers.remove(name)),
            Place::Query(name) => match without(&asked.head.uri, name) {
                Some(uri) => asked.head.uri = uri,
                None => return refuse(Denial::CredentialsRefused, &CHALLENGE, mark),
            },
        }
        admit(asked, &key.name)
    }

    fn find(&self, secret: &[u8]) -> Result<&Key, Denial> {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let near = self.keys.get(&lookup(&digest)).into_iter().flatten();
        let mut found = near.filter(|key| bool::from(key.digest.ct_eq(&digest)));
        found.next().ok_or(Denial::CredentialsRefused)
    }
}

fn lookup(digest: &[u8; 32]) -> [u8; LOOKUP_BYTES] {
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::asked;

    fn filter(place: Place) -> ApiKey {
        let key = |name, secret: &str| Key {
            name: HeaderValue::from_static(name),
            digest: Sha256::digest(secret.as_bytes()).into(),
        };
        ApiKey::new(&Settings {
            place,
            keys: vec![key("shop", "k-1"), key("shop", "k-2"), key("bank", "k-3")],
        })
    }

    #[test]
    fn keys_are_read_from_their_place_and_go_no_further() {
        let header = filter(Place::Header(HeaderName::from_static("x-api-key")));
        let query = filter(Place::Query("key".to_owned()));
        let missing = || Step::Deny(Denial::CredentialsMissing);
        let refused = || Step::Deny(Denial::CredentialsRefused);
        type Row<'r> = (&'r ApiKey, &'r [&'r str], &'r str, Step, Option<&'r str>, &'r str);
        let rows: [Row<'_>; 10] = [
            (&header, &["k-1"], "/a?b=1", Step::Next, Some("shop"), "/a?b=1"),
            (&header, &["k-2"], "/a", Step::Next, Some("shop"), "/a"),
            (&header, &["k-3"], "/a", Step::Next, Some("bank"), "/a"),
            (&header, &["k-4"], "/a", refused(), None, "/a"),
            (&header, &[""], "/a", refused(), None, "/a"),
            (&header, &["k-1", "k-1"], "/a", refused(), None, "/a"),
            (&header, &[], "/a?key=k-1", missing(), None, "/a?key=k-1"),
            (&query, &[], "/a?key=k-1&b=1", Step::Next, Some("shop"), "/a?b=1"),
            (&query, &["k-1"], "/a?b=1", missing(), None, "/a?b=1"),
            (&query, &[], "/a?key=k-4", refused(), None, "/a?key=k-4"),
        ];
        for (filter, fields, target, expected, name, left) in rows {
            let request = fields.iter().fold(http::Request::get(target), |request, value| {
                request.header("x-api-key", *value)
            });
            let mut head = request.body(()).unwrap().into_parts().0;
            let mut asked = asked(&mut head, "192.0.2.1");
            let mut mark = Mark::default();
            let step = filter.request(&mut asked, &mut mark);
            let consumer = asked.consumer.take();
            assert_eq!(step, expected, "{fields:?} {target}");
            let consumer = consumer.as_ref().map(|name| name.to_str().unwrap());
            assert_eq!(consumer, name, "{fields:?} {target}");
            assert_eq!(head.uri.to_string(), left, "{fields:?} {target}");
            if step == Step::Next {
                assert!(!head.headers.contains_key("x-api-key"));
                assert_eq!(head.headers.get("x-consumer").unwrap(), name.unwrap());
            } else {
                assert!(matches!(mark, Mark::Challenge(_)));
            }
        }
    }
}
