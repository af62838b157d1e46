//! `rate_limit`: figures that make a rate, and what requests are told apart by.

use std::num::NonZeroU32;

use super::{Scope, field_name};
use crate::config::given::{self, Time};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::filters::rate_limit::{Key, Mode, Settings};

/// The limit; `None` where it cannot be read.
pub(super) fn rate_limit(
    given: &given::RateLimit,
    scope: Scope<'_>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<Settings> {
    let text = given.key.as_deref().unwrap_or(limits::RATE_KEY);
    let key = key(text, scope, &path.key("key"), problems);
    if key == Some(Key::Route) && given.keys_max.is_some() {
        let fault = "there is one key alone where all requests have the same";
        problems.add(&path.key("keys_max"), fault, "remove it");
    }
    let requests = NonZeroU32::new(given.requests?)?;
    let per = given.per.map_or(limits::RATE_PER, |Time(per)| per);
    let burst = given.burst.and_then(NonZeroU32::new).unwrap_or(requests);
    let refill = (per / requests.get()).checked_mul(burst.get());
    if refill.is_none_or(|refill| refill > limits::RATE_REFILL_MAX) {
        let remedy = "write a smaller burst, or more requests for the time";
        problems.add(
            &path.key("burst"),
            "such a bucket takes more than a year to fill",
            remedy,
        );
    }
    Some(Settings {
        requests,
        per,
        burst,
        key: key?,
        keys_max: given.keys_max.unwrap_or(limits::RATE_KEYS_MAX),
        mode: if given.dry_run.unwrap_or(false) {
            Mode::DryRun
        } else {
            Mode::Enforced
        },
    })
}

fn key(text: &str, scope: Scope<'_>, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Key> {
    match (text, text.split_once(':')) {
        ("client-ip", _) => Some(Key::Client),
        ("route", _) => Some(Key::Route),
        (_, Some(("header", name))) => field_name(name, path, problems).map(Key::Header),
        (_, Some(("path", parameter))) => match scope {
            Scope::Listener => {
                let fault = "a listener has no path whose parameters could be told apart";
                problems.add(path, fault, "write another key, or limit a route");
                None
            }
            // What is wrong with the path is reported already.
            Scope::Route(None) => None,
            Scope::Route(Some(pattern)) if pattern.has_parameter(parameter) => Some(Key::Path {
                pattern: pattern.clone(),
                parameter: parameter.to_owned(),
            }),
            Scope::Route(Some(pattern)) => {
                let fault = format!("the route's {pattern} has no parameter {{{parameter}}}");
                problems.add(path, fault, "write one that it has, or another key");
                None
            }
        },
        _ => {
            let remedy = "write \"client-ip\", \"header:NAME\", \"path:PARAM\" or \"route\"";
            problems.add(path, format!("\"{text}\" is no key"), remedy);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderName;

    use super::super::tests::{check, kind_of, load};
    use super::*;
    use crate::filters::Settings as Kind;
    use crate::router::PathPattern;

    #[test]
    fn limits_are_read_with_their_defaults() {
        let number = |number| NonZeroU32::new(number).unwrap();
        let least = Settings {
            requests: number(7),
            per: Duration::from_secs(1),
            burst: number(7),
            key: Key::Client,
            keys_max: 100_000,
            mode: Mode::Enforced,
        };
        assert_eq!(kind_of("rate_limit={requests=7}"), Kind::RateLimit(least.clone()));
        let all = "rate_limit={requests=7,per='1m',burst=9,key='path:id',keys_max=5000,dry_run=true}";
        let expected = Settings {
            per: Duration::from_secs(60),
            burst: number(9),
            key: Key::Path {
                pattern: PathPattern::Exact("/u/{id}".to_owned()),
                parameter: "id".to_owned(),
            },
            keys_max: 5_000,
            mode: Mode::DryRun,
            ..least
        };
        assert_eq!(kind_of(all), Kind::RateLimit(expected));
        let Kind::RateLimit(header) = kind_of("rate_limit={requests=7,key='header:x-tenant'}") else {
            panic!("another kind");
        };
        assert_eq!(header.key, Key::Header(HeaderName::from_static("x-tenant")));
    }

    #[test]
    fn faults_of_limits_are_named() {
        let rows: [(&str, &[&str]); 9] = [
            (
                "{requests=1,per='1day',burst=1000}",
                &["burst: such a bucket takes more than a year"],
            ),
            ("{}", &["rate_limit.requests: is missing"]),
            ("{requests=0}", &["rate_limit.requests: 0 is out of range"]),
            (
                "{requests=1,per='10ms'}",
                &["rate_limit.per: \"10ms\" is out of range"],
            ),
            (
                "{requests=1,key='ip'}",
                &["rate_limit.key: \"ip\" is no key; write \"client-ip\""],
            ),
            (
                "{requests=1,key='header:X-A'}",
                &["rate_limit.key: \"X-A\" is no name of a field"],
            ),
            ("{requests=1,key='path:user'}", &["has no parameter {user}"]),
            (
                "{requests=1,key='route',keys_max=2000}",
                &["keys_max: there is one key alone"],
            ),
            ("{requests=1,keys_max=10}", &["keys_max: 10 is out of range"]),
        ];
        for (limit, faults) in rows {
            check(&format!("{{name='f',rate_limit={limit}}}"), faults);
        }
        let listener = load("{name='f',rate_limit={requests=1,key='path:id'}}", "").unwrap_err();
        assert!(
            listener.to_string().contains("a listener has no path"),
            "{listener}"
        );
    }
}
