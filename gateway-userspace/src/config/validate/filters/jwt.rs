//! `jwt`: who signs for whom, and keys that can be verified by.

use std::path::Path;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::secrets::{self, Readers, Wrong};
use super::{changeable, field_name};
use crate::config::given::{self, JwtAlgorithm};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::validate::node::existing_name;
use crate::filters::jwt::{Key, Settings, Source};

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// What tokens must be; `None` where it cannot be read.
pub(super) fn jwt(given: &given::Jwt, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Settings> {
    let issuers = names(given.issuers.as_ref(), &path.key("issuers"), problems);
    let audiences = names(given.audiences.as_ref(), &path.key("audiences"), problems);
    let from = from(
        given.from.as_deref().unwrap_or(limits::JWT_FROM),
        &path.key("from"),
        problems,
    );
    let mut claims_to_headers = Vec::new();
    let claims = given.claims_to_headers.iter().flatten();
    if claims.clone().count() > limits::JWT_NAMES_MAX {
        let remedy = format!("list at most {}", limits::JWT_NAMES_MAX);
        problems.add(&path.key("claims_to_headers"), "these are too many", remedy);
    }
    for (claim, name) in claims {
        let path = path.key("claims_to_headers").key(claim);
        let Some(name) = changeable(name, &path, problems) else {
            continue;
        };
        if claims_to_headers.iter().any(|(_, other)| *other == name) {
            problems.add(
                &path,
                format!("{name} has another claim already"),
                "write another field",
            );
        }
        claims_to_headers.push((claim.clone(), name));
    }
    let algorithms = given.algorithms.as_deref().unwrap_or(&limits::JWT_ALGORITHMS);
    let algorithms: Vec<Algorithm> = algorithms.iter().copied().map(Algorithm::from).collect();
    let path = path.key("jwks_file");
    let file = existing_name(given.jwks_file.as_ref()?, &path, problems)?;
    let keys = match keys(&file, &algorithms) {
        Ok(keys) => keys,
        Err((fault, remedy)) => {
            problems.add(&path, format!("{} {fault}", file.display()), remedy);
            return None;
        }
    };
    Some(Settings {
        issuers: issuers?,
        audiences: audiences?,
        keys,
        from: from?,
        claims_to_headers,
    })
}

fn names(given: Option<&Vec<String>>, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Vec<String>> {
    let given = given?;
    for (index, name) in given.iter().enumerate() {
        let path = path.index(index);
        if name.is_empty() {
            problems.add(&path, "it is empty", "write what tokens have, to the letter");
        } else if given.iter().take(index).any(|other| other == name) {
            problems.add(&path, format!("\"{name}\" stands here twice"), "remove one");
        }
    }
    Some(given.clone())
}

fn from(text: &str, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Source> {
    let is_token = |name: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        (1..=limits::NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(is_plain)
    };
    match text.split_once(':') {
        None if text == "bearer" => Some(Source::Bearer),
        Some(("header", name)) => field_name(name, path, problems).map(Source::Header),
        Some(("cookie", name)) if is_token(name) => Some(Source::Cookie(name.to_owned())),
        Some(("query", name)) if is_token(name) => Some(Source::Query(name.to_owned())),
        _ => {
            let remedy = "write \"bearer\", \"header:NAME\", \"cookie:NAME\" or \"query:NAME\"";
            problems.add(path, format!("\"{text}\" is no place of a token"), remedy);
            None
        }
    }
}

/// The keys of a set that one of these algorithms can be verified by. Those for encryption, and of other algorithms, are
/// passed over: sets have them for others.
fn keys(file: &Path, algorithms: &[Algorithm]) -> Result<Vec<Key>, Wrong> {
    let wrong = |fault: String| {
        let remedy = "get the issuer's public keys as it publishes them (its jwks_uri)";
        (fault, remedy.to_owned())
    };
    let text = secrets::text(file, Readers::All)?;
    let set: Value = serde_json::from_str(&text).map_err(|error| wrong(format!("is no JSON: {error}")))?;
    let all = set.get("keys").and_then(Value::as_array);
    let all = all.ok_or_else(|| wrong("has no list \"keys\"".to_owned()))?;
    if all.len() > limits::JWT_KEYS_MAX {
        return Err(wrong(format!("has more than {} keys", limits::JWT_KEYS_MAX)));
    }
    let mut keys = Vec::new();
    for (index, key) in all.iter().enumerate() {
        let read = self::key(key, algorithms).map_err(|fault| wrong(format!("keys[{index}] {fault}")))?;
        keys.extend(read);
    }
    if keys.is_empty() {
        let remedy = "write the issuer's algorithms into algorithms, or get its keys anew";
        let fault = "has no key that one of the algorithms can be verified by";
        return Err((fault.to_owned(), remedy.to_owned()));
    }
    Ok(keys)
}

fn key(given: &Value, algorithms: &[Algorithm]) -> Result<Option<Key>, &'static str> {
    let text = |name: &str| given.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|what| what != "sig") {
        return Ok(None);
    }
    if text("kty") == Some("oct") || given.get("d").is_some() {
        return Err("is a secret, which has no place in a set of public keys");
    }
    // Of kinds that nobody here knows.
    let Ok(jwk) = serde_json::from_value::<Jwk>(given.clone()) else {
        return match text("kty") {
            Some("RSA" | "EC") => Err("cannot be read"),
            _ => Ok(None),
        };
    };
    let fits = |algorithm: &Algorithm| match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => RSA.contains(algorithm),
        AlgorithmParameters::EllipticCurve(key) => matches!(
            (&key.curve, algorithm),
            (EllipticCurve::P256, Algorithm::ES256) | (EllipticCurve::P384, Algorithm::ES384)
        ),
        AlgorithmParameters::OctetKeyPair(key) => {
            key.curve == EllipticCurve::Ed25519 && *algorithm == Algorithm::EdDSA
        }
        AlgorithmParameters::OctetKey(_) => false,
    };
    let only = match text("alg").map(str::parse::<Algorithm>) {
        None => None,
        Some(Ok(only)) => Some(only),
        // It is for something that nobody here knows.
        Some(Err(_)) => return Ok(None),
    };
    let fitting = algorithms.iter().filter(|algorithm| fits(algorithm));
    let pinned: Vec<Algorithm> = fitting
        .filter(|algorithm| only.is_none_or(|only| only == **algorithm))
        .copied()
        .collect();
    if pinned.is_empty() {
        return Ok(None);
    }
    if let AlgorithmParameters::RSA(key) = &jwk.algorithm
        && key.n.len() < limits::JWT_RSA_CHARS_MIN
    {
        return Err("is an RSA key of less than 2048 bits");
    }
    if DecodingKey::from_jwk(&jwk).is_err() {
        return Err("cannot be verified by");
    }
    Ok(Some(Key {
        id: text("kid").map(str::to_owned),
        jwk,
        algorithms: pinned,
    }))
}

impl From<JwtAlgorithm> for Algorithm {
    fn from(algorithm: JwtAlgorithm) -> Self {
        match algorithm {
            JwtAlgorithm::RS256 => Self::RS256,
            JwtAlgorithm::RS384 => Self::RS384,
            JwtAlgorithm::RS512 => Self::RS512,
            JwtAlgorithm::PS256 => Self::PS256,
            JwtAlgorithm::PS384 => Self::PS384,
            JwtAlgorithm::PS512 => Self::PS512,
            JwtAlgorithm::ES256 => Self::ES256,
            JwtAlgorithm::ES384 => Self::ES384,
            JwtAlgorithm::EdDSA => Self::EdDSA,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::credentials::tests::Scratch;
    use super::*;
    use crate::filters::Settings as Kind;
    use crate::filters::jwt::tokens;

    const WHO: &str = "issuers=['https://id.example'],audiences=['api'],jwks_file='secrets'";

    fn load(test: &str, keys: &str, rest: &str) -> Result<Settings, String> {
        // Public keys may be read by anybody.
        let scratch = Scratch::new(&format!("jwt-{test}"), keys, 0o644);
        match scratch.load(&format!("jwt={{{WHO}{rest}}}"))? {
            Kind::Jwt(settings) => Ok(settings),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_are_pinned_to_what_they_are_for() {
        let all = ",algorithms=['RS256','RS512','PS256','ES256','ES384','EdDSA']";
        let rows: [(&str, &[(&str, &[Algorithm])]); 3] = [
            ("", &[("ec", &[Algorithm::ES256]), ("rsa", &[Algorithm::RS256])]),
            (",algorithms=['EdDSA']", &[("ed", &[Algorithm::EdDSA])]),
            (
                all,
                &[
                    ("ed", &[Algorithm::EdDSA]),
                    ("ec", &[Algorithm::ES256]),
                    // It does not say what it is for.
                    ("rsa", &[Algorithm::RS256, Algorithm::RS512, Algorithm::PS256]),
                ],
            ),
        ];
        for (index, (rest, expected)) in rows.into_iter().enumerate() {
            let settings = load(&format!("pins-{index}"), tokens::KEYS, rest).unwrap();
            let seen: Vec<_> = settings
                .keys
                .iter()
                .map(|key| (key.id.as_deref().unwrap(), key.algorithms.as_slice()))
                .collect();
            assert_eq!(seen, expected, "{rest}");
        }
    }

    #[test]
    fn places_and_claims_are_read() {
        let rows = [
            ("", Source::Bearer),
            (",from='bearer'", Source::Bearer),
            (
                ",from='header:x-token'",
                Source::Header(http::HeaderName::from_static("x-token")),
            ),
            (",from='cookie:session'", Source::Cookie("session".to_owned())),
            (",from='query:t'", Source::Query("t".to_owned())),
        ];
        for (index, (rest, from)) in rows.into_iter().enumerate() {
            let rest = format!("{rest},claims_to_headers={{email='x-email'}}");
            let settings = load(&format!("places-{index}"), tokens::KEYS, &rest).unwrap();
            assert_eq!(settings.from, from);
            let email = ("email".to_owned(), http::HeaderName::from_static("x-email"));
            assert_eq!(settings.claims_to_headers, [email]);
            assert_eq!(
                (settings.issuers, settings.audiences),
                (vec!["https://id.example".to_owned()], vec!["api".to_owned()])
            );
        }
    }

    #[test]
    fn faults_of_tokens_and_keys_are_named() {
        let short = tokens::KEYS.replacen("\"n\": \"", "\"n\": \"AQAB\", \"x\": \"", 1);
        let set = |key: &str| format!("{{\"keys\":[{key}]}}");
        let rows = [
            (
                tokens::KEYS.to_owned(),
                ",from='body'",
                "jwt.from: \"body\" is no place",
            ),
            (
                tokens::KEYS.to_owned(),
                ",from='cookie:a;b'",
                "jwt.from: \"cookie:a;b\" is no place",
            ),
            (
                tokens::KEYS.to_owned(),
                ",algorithms=['HS256']",
                "algorithms[0]: 'HS256' is not known here",
            ),
            (
                tokens::KEYS.to_owned(),
                ",algorithms=['none']",
                "algorithms[0]: 'none' is not known here",
            ),
            (
                tokens::KEYS.to_owned(),
                ",algorithms=['ES384']",
                "has no key that one of the algorithms",
            ),
            (
                tokens::KEYS.to_owned(),
                ",claims_to_headers={a='x-a',b='x-a',c='host'}",
                "claims_to_headers.b: x-a has another claim already",
            ),
            ("{".to_owned(), "", "is no JSON"),
            ("[]".to_owned(), "", "has no list \"keys\""),
            (set(""), "", "has no key that one of the algorithms"),
            (set(r#"{"kty":"oct","k":"c2VjcmV0"}"#), "", "keys[0] is a secret"),
            (set(r#"{"kty":"RSA","n":7}"#), "", "keys[0] cannot be read"),
            (short, "", "keys[2] is an RSA key of less than 2048 bits"),
        ];
        for (index, (keys, rest, fault)) in rows.into_iter().enumerate() {
            let refused = load(&format!("faults-{index}"), &keys, rest).unwrap_err();
            assert!(refused.contains(fault), "{fault:?} is not in:\n{refused}");
        }
        let scratch = Scratch::new("jwt-missing", tokens::KEYS, 0o600);
        let refused = scratch.load("jwt={}").unwrap_err();
        for key in ["issuers", "audiences", "jwks_file"] {
            assert!(refused.contains(&format!("jwt.{key}: is missing")), "{refused}");
        }
        let refused = scratch
            .load("jwt={issuers=['a','a'],audiences=[''],jwks_file='none'}")
            .unwrap_err();
        for fault in [
            "issuers[1]: \"a\" stands here twice",
            "audiences[0]: it is empty",
            "none cannot be read",
        ] {
            assert!(refused.contains(fault), "{fault:?} is not in:\n{refused}");
        }
    }
}
