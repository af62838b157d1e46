//! Cookies by which a client stays with an endpoint: what they say, and whom a value names.
//!
//! A value is a keyed hash of the upstream's name and the endpoint's address: whoever has the key gets the same, so nodes
//! of a cluster agree, and neither restarts nor edits of other endpoints change it. Whoever lacks the key learns nothing
//! of the address, and cannot make a value. Values of no endpoint here name nobody. Source: RFC 2104 (HMAC).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::ClusterKey;

/// Characters of a value: 96 bits in base64, of which a guess finds none.
const VALUE_CHARS: usize = 16;
/// Bytes of the hash that a value shows.
const VALUE_BYTES: usize = 12;
/// Bytes that SHA-1 takes at once.
const BLOCK_BYTES: usize = 64;
/// Says what is hashed: the key has other uses.
const LABEL: &[u8] = b"gateway sticky cookie 1";

/// `upstream.sticky`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickySettings {
    /// The cookie's name.
    pub cookie: String,
    /// How long it lives, in whole seconds; `None`: as long as the client's session.
    pub ttl: Option<Duration>,
    /// Requests below it carry the cookie.
    pub path: String,
    /// Whether requests from other sites carry it.
    pub same_site: SameSite,
    /// Sent by TLS alone.
    pub secure: bool,
    /// Hidden from scripts.
    pub http_only: bool,
    /// What values are made with.
    pub key: ClusterKey,
}

#[cfg(test)]
impl StickySettings {
    /// A cookie `srv` of the session, as the defaults have it.
    pub fn plain(key: [u8; 32]) -> Self {
        Self {
            cookie: "srv".to_owned(),
            ttl: None,
            path: "/".to_owned(),
            same_site: SameSite::Lax,
            secure: false,
            http_only: true,
            key: ClusterKey(key),
        }
    }
}

/// `upstream.sticky.same_site`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// No request from another site carries it.
    Strict,
    /// A followed link does.
    Lax,
    /// All do; browsers want `secure` then.
    None,
}

/// The cookies of an upstream's endpoints.
#[derive(Debug)]
pub struct Sticky {
    /// Its name.
    cookie: String,
    by_value: HashMap<[u8; VALUE_CHARS], usize>,
    /// `Set-Cookie`, by endpoint.
    set: Vec<HeaderValue>,
}

impl Sticky {
    /// Cookies for the endpoints at those addresses.
    pub fn new(
        settings: &StickySettings,
        upstream: &str,
        endpoints: impl Iterator<Item = SocketAddr>,
    ) -> Self {
        let values = endpoints.map(|address| value(&settings.key, upstream, address));
        let (mut by_value, mut set) = (HashMap::new(), Vec::new());
        let attributes = settings.attributes();
        for (index, value) in values.enumerate() {
            let text = format!(
                "{}={}{attributes}",
                settings.cookie,
                String::from_utf8_lossy(&value)
            );
            // All of it was checked with the file, so no value is ever missing.
            let Ok(header) = HeaderValue::from_str(&text) else {
                break;
            };
            by_value.insert(value, index);
            set.push(header);
        }
        Self {
            cookie: settings.cookie.clone(),
            by_value,
            set,
        }
    }

    /// The cookie's name.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// The endpoint that a value names.
    pub fn names(&self, value: &[u8]) -> Option<usize> {
        self.by_value.get(value).copied()
    }

    /// What makes a client stay with that endpoint.
    pub fn set_cookie(&self, endpoint: usize) -> Option<&HeaderValue> {
        self.set.get(endpoint)
    }
}

impl StickySettings {
    /// Source: RFC 6265, section 4.1.1; `SameSite` is of its successor's draft.
    fn attributes(&self) -> String {
        let mut text = format!("; Path={}", self.path);
        if let Some(ttl) = self.ttl {
            text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
        }
        text.push_str(match self.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        if self.secure {
            text.push_str("; Secure");
        }
        if self.http_only {
            text.push_str("; HttpOnly");
        }
        text
    }
}

fn value(key: &ClusterKey, upstream: &str, address: SocketAddr) -> [u8; VALUE_CHARS] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let parts = [
        LABEL,
        &ip.octets(),
        &address.port().to_be_bytes(),
        upstream.as_bytes(),
    ];
    let hash = hmac(&key.0, &parts);
    let mut value = [0; VALUE_CHARS];
    let shown = hash.get(..VALUE_BYTES).unwrap_or(&hash);
    // 12 bytes are 16 characters.
    let written = URL_SAFE_NO_PAD.encode_slice(shown, &mut value);
    debug_assert_eq!(written, Ok(VALUE_CHARS));
    value
}

/// HMAC with SHA-1, of which collisions are known but nothing that would touch it as a keyed hash.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 20] {
    let padded = |pad: u8| {
        let mut block = [pad; BLOCK_BYTES];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = parts
        .iter()
        .fold(Sha1::new_with_prefix(padded(0x36)), |hash, part| {
            hash.chain_update(part)
        });
    let outer = Sha1::new_with_prefix(padded(0x5c)).chain_update(inner.finalize());
    outer.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> StickySettings {
        StickySettings::plain([7; 32])
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn values(settings: &StickySettings, upstream: &str, texts: &[&str]) -> Vec<String> {
        let sticky = Sticky::new(settings, upstream, addresses(texts).into_iter());
        let all = sticky.set.iter().map(|set| set.to_str().unwrap());
        let value = |set: &str| {
            set.split_once('=')
                .unwrap()
                .1
                .split(';')
                .next()
                .unwrap()
                .to_owned()
        };
        all.map(value).collect()
    }

    #[test]
    fn hash_is_that_of_the_rfc() {
        // Printed by Python's hmac module.
        let key: [u8; 32] = std::array::from_fn(|index| index as u8);
        let text: String = hmac(&key, &[b"what do ya want ", b"for nothing?"])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(text, HMAC);
    }

    const HMAC: &str = "33a6e775e966f0a3be89cee5d778b4cbb886dd57";

    #[test]
    fn values_stay_through_edits_and_restarts_and_differ_by_key_upstream_and_address() {
        let all = ["10.0.1.1:80", "10.0.1.2:80", "10.0.1.1:81", "[2001:db8::1]:80"];
        let before = values(&settings(), "users", &all);
        let edited = values(&settings(), "users", &["10.0.9.9:80", all[3], all[0]]);
        assert_eq!(edited[1..], [before[3].clone(), before[0].clone()]);
        assert_eq!(before[0], VALUE, "of every release");
        let other_key = StickySettings {
            key: ClusterKey([8; 32]),
            ..settings()
        };
        let mut different = before.clone();
        different.extend(values(&settings(), "orders", &all));
        different.extend(values(&other_key, "users", &all));
        different.sort();
        different.dedup();
        assert_eq!(different.len(), 12);
    }

    const VALUE: &str = "xzcwfW-Ndh1u5j6X";

    #[test]
    fn only_values_of_its_own_endpoints_name_somebody() {
        let sticky = Sticky::new(&settings(), "users", addresses(&["10.0.1.1:80"]).into_iter());
        assert_eq!(sticky.names(VALUE.as_bytes()), Some(0));
        for foreign in [
            "",
            "10.0.1.1:80",
            &VALUE[..15],
            &format!("{VALUE}A"),
            &VALUE.to_lowercase(),
        ] {
            assert_eq!(sticky.names(foreign.as_bytes()), None, "{foreign}");
        }
        let gone = values(&settings(), "users", &["10.0.1.2:80"]);
        assert_eq!(sticky.names(gone[0].as_bytes()), None);
    }

    #[test]
    fn attributes_are_what_the_settings_say() {
        let all = StickySettings {
            ttl: Some(Duration::from_secs(3600)),
            path: "/app".to_owned(),
            same_site: SameSite::None,
            secure: true,
            http_only: false,
            ..settings()
        };
        let strict = StickySettings {
            same_site: SameSite::Strict,
            ..settings()
        };
        let rows = [
            (settings(), "; Path=/; SameSite=Lax; HttpOnly"),
            (all, "; Path=/app; Max-Age=3600; SameSite=None; Secure"),
            (strict, "; Path=/; SameSite=Strict; HttpOnly"),
        ];
        for (settings, expected) in rows {
            let sticky = Sticky::new(&settings, "users", addresses(&["10.0.1.1:80"]).into_iter());
            let set = sticky.set_cookie(0).unwrap().to_str().unwrap();
            assert_eq!(set.split_once(';').unwrap().1, &expected[1..]);
            assert_eq!(sticky.set_cookie(1), None);
        }
    }
}
