//! `jwt`: who signs for whom, and keys that can be verified by.

use std::path::Path;
use std::sync::Arc;

use http::Uri;
use jsonwebtoken::Algorithm;

use super::secrets::{self, Readers, Wrong};
use super::{changeable, field_name};
use crate::config::given::{self, JwtAlgorithm, Time};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::snapshot::Scheme;
use crate::config::validate::node::existing_name;
use crate::config::validate::tls;
use crate::filters::jwt::fetched::Publisher;
use crate::filters::jwt::{Key, Keys, Settings, Source, set};
use crate::tls::{ClientSettings, ClientTls, Roots};

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
    let keys = match (&given.jwks_file, &given.jwks_url) {
        (Some(_), Some(_)) => {
            let remedy = "remove one: keys come from a file, or from the issuer";
            problems.add(&path.key("jwks_url"), "the filter has jwks_file already", remedy);
            None
        }
        (None, None) if problems.is_known_below(path) => None,
        (None, None) => {
            let remedy = "add jwks_url with the issuer's jwks_uri, or jwks_file";
            problems.add(path, "it does not say where the issuers' keys are", remedy);
            None
        }
        (Some(file), None) => {
            of_url_alone(given, path, problems);
            let path = path.key("jwks_file");
            let file = existing_name(file, &path, problems)?;
            match keys(&file, &algorithms) {
                Ok(keys) => Some(Keys::Given { keys, algorithms }),
                Err((fault, remedy)) => {
                    problems.add(&path, format!("{} {fault}", file.display()), remedy);
                    None
                }
            }
        }
        (None, Some(url)) => {
            let publisher = publisher(url, given, path, problems);
            publisher.map(|publisher| Keys::Fetched {
                publisher,
                algorithms,
            })
        }
    };
    Some(Settings {
        issuers: issuers?,
        audiences: audiences?,
        keys: keys?,
        from: from?,
        claims_to_headers,
    })
}

/// Keys that say how a set is fetched, where none is.
fn of_url_alone(given: &given::Jwt, path: &KeyPath, problems: &mut Problems<'_>) {
    let keys = [
        ("jwks_refresh", given.jwks_refresh.is_some()),
        ("jwks_ca_file", given.jwks_ca_file.is_some()),
    ];
    for (key, _) in keys.iter().filter(|(_, is_there)| *is_there) {
        problems.add(
            &path.key(key),
            "nothing is fetched",
            "remove it, or write jwks_url instead of jwks_file",
        );
    }
}

/// The same with what the file holds now: keys, or the authorities of who publishes them.
///
/// # Errors
/// What is wrong with the file, and what helps.
pub(super) fn renewed(held: &Settings, file: &Path) -> Result<Settings, Wrong> {
    let keys = match &held.keys {
        Keys::Given { algorithms, .. } => Keys::Given {
            keys: keys(file, algorithms)?,
            algorithms: algorithms.clone(),
        },
        Keys::Fetched {
            publisher,
            algorithms,
        } => {
            let settings = ClientSettings {
                roots: Roots::load(file).map_err(|fault| (fault.fault, fault.remedy))?,
                name: None,
                pair: None,
            };
            let tls = ClientTls::new(&settings).map_err(|error| {
                (
                    format!("cannot be used: {error}"),
                    "write another file".to_owned(),
                )
            })?;
            Keys::Fetched {
                publisher: Publisher {
                    tls: Some(Arc::new(tls)),
                    ..publisher.clone()
                },
                algorithms: algorithms.clone(),
            }
        }
    };
    Ok(Settings { keys, ..held.clone() })
}

fn publisher(
    url: &str,
    given: &given::Jwt,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<Publisher> {
    let Some((url, security)) = read_url(url) else {
        let remedy = "write it as in \"https://id.example.com/jwks.json\"";
        problems.add(
            &path.key("jwks_url"),
            format!("\"{url}\" is no URL that can be fetched"),
            remedy,
        );
        return None;
    };
    let tls = match security {
        Scheme::Https => {
            let path = path.key("jwks_ca_file");
            let roots = tls::roots(given.jwks_ca_file.as_ref(), &path, problems)?;
            let settings = ClientSettings {
                roots,
                name: None,
                pair: None,
            };
            match ClientTls::new(&settings) {
                Ok(tls) => Some(Arc::new(tls)),
                Err(error) => {
                    problems.add(&path, format!("cannot be used: {error}"), "write another file");
                    return None;
                }
            }
        }
        Scheme::Http => {
            if given.jwks_ca_file.is_some() {
                let fault = "the URL has no TLS: whoever answers would be believed";
                problems.add(
                    &path.key("jwks_ca_file"),
                    fault,
                    "write https in jwks_url, or remove it",
                );
                return None;
            }
            None
        }
    };
    Some(Publisher {
        url,
        tls,
        refresh: given
            .jwks_refresh
            .map_or(limits::JWKS_REFRESH, |Time(refresh)| refresh),
    })
}

/// With a host, and nothing that is not sent.
fn read_url(text: &str) -> Option<(Uri, Scheme)> {
    let url: Uri = text.parse().ok().filter(|_| !text.contains('#'))?;
    let scheme = match url.scheme_str()? {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let authority = url
        .authority()
        .filter(|authority| !authority.as_str().contains('@'))?;
    let has_good_port = authority.port().is_none() || authority.port_u16().is_some_and(|port| port > 0);
    (!authority.host().is_empty() && has_good_port).then_some((url, scheme))
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

/// Keys of a file.
fn keys(file: &Path, algorithms: &[Algorithm]) -> Result<Vec<Key>, Wrong> {
    let text = secrets::text(file, Readers::All)?;
    let keys = set::parse(&text, algorithms).map_err(|fault| {
        let remedy = "get the issuer's public keys as it publishes them (its jwks_uri)";
        (fault, remedy.to_owned())
    })?;
    if keys.is_empty() {
        let remedy = "write the issuer's algorithms into algorithms, or get its keys anew";
        let fault = "has no key that one of the algorithms can be verified by";
        return Err((fault.to_owned(), remedy.to_owned()));
    }
    Ok(keys)
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
        type Row<'r> = (&'r str, &'r [(&'r str, &'r [Algorithm])]);
        let rows: [Row<'_>; 3] = [
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
            let Keys::Given { keys, .. } = &settings.keys else {
                panic!("not given")
            };
            let seen: Vec<_> = keys
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
        for key in ["issuers", "audiences"] {
            assert!(refused.contains(&format!("jwt.{key}: is missing")), "{refused}");
        }
        let refused = scratch.load("jwt={issuers=['a'],audiences=['a']}").unwrap_err();
        assert!(
            refused.contains("jwt: it does not say where the issuers' keys are"),
            "{refused}"
        );
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

    #[test]
    fn keys_may_be_fetched() {
        let scratch = Scratch::new("jwt-url", "no certificate", 0o644);
        let load = |keys: &str| scratch.load(&format!("jwt={{issuers=['a'],audiences=['a'],{keys}}}"));
        let http = "jwks_url='http://127.0.0.1:8080/jwks?v=1',jwks_refresh='30s',algorithms=['EdDSA']";
        let Ok(Kind::Jwt(settings)) = load(http) else {
            panic!("not read")
        };
        let publisher = Publisher {
            url: "http://127.0.0.1:8080/jwks?v=1".parse().unwrap(),
            tls: None,
            refresh: std::time::Duration::from_secs(30),
        };
        let algorithms = vec![Algorithm::EdDSA];
        assert_eq!(
            settings.keys,
            Keys::Fetched {
                publisher,
                algorithms
            }
        );
        let https = "https://id.example.com/jwks";
        let rows = [
            (
                "jwks_url='id.example.com/jwks'".to_owned(),
                "jwt.jwks_url: \"id.example.com/jwks\" is no URL",
            ),
            (
                "jwks_url='ftp://id.example.com/'".to_owned(),
                "is no URL that can be fetched",
            ),
            (
                "jwks_url='https://a:b@id.example.com/'".to_owned(),
                "is no URL that can be fetched",
            ),
            (
                "jwks_url='https://id.example.com/#a'".to_owned(),
                "is no URL that can be fetched",
            ),
            (
                "jwks_url='https://id.example.com:0/'".to_owned(),
                "is no URL that can be fetched",
            ),
            (
                "jwks_url='https:///jwks'".to_owned(),
                "is no URL that can be fetched",
            ),
            (
                format!("jwks_url='{https}',jwks_file='secrets'"),
                "jwt.jwks_url: the filter has jwks_file already",
            ),
            (
                format!("jwks_url='{https}',jwks_refresh='1s'"),
                "jwt.jwks_refresh: \"1s\" is out of range",
            ),
            (
                format!("jwks_url='{https}',jwks_ca_file='secrets'"),
                "holds no certificate",
            ),
            (
                "jwks_url='http://id.example.com/',jwks_ca_file='secrets'".to_owned(),
                "the URL has no TLS",
            ),
            (
                "jwks_file='secrets',jwks_refresh='30s'".to_owned(),
                "jwt.jwks_refresh: nothing is fetched",
            ),
        ];
        for (keys, fault) in rows {
            let refused = load(&keys).unwrap_err();
            assert!(refused.contains(fault), "{fault:?} is not in:\n{refused}");
        }
    }
}
