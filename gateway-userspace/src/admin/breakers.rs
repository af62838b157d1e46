//! `/v1/upstreams/{name}/breaker` and `…/endpoints/{address}/breaker`: an operator forces a circuit breaker.

use std::net::SocketAddr;

use http::Method;
use serde::{Deserialize, Serialize};

use super::endpoints::{self, Refused};
use crate::resilience::breaker::{Force, State};

/// A circuit breaker, as the path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// The upstream's name.
    pub upstream: String,
    /// The endpoint; `None`: the breaker of the whole upstream.
    pub endpoint: Option<SocketAddr>,
}

/// What can be asked of one breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `PUT`.
    Force(Breaker),
    /// `DELETE`.
    Release(Breaker),
}

/// The body of `PUT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forcing {
    /// What it is to be, until it is released.
    pub force: Force,
}

/// The answer to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// Where the breaker stands now.
    pub breaker: State,
}

/// What a request asks of one breaker; `None`: its path is another one.
pub fn asked(method: &Method, path: &str) -> Option<Result<Asked, Refused>> {
    let rest = path.strip_prefix("/v1/upstreams/")?.strip_suffix("/breaker")?;
    let (upstream, address) = match rest.split_once("/endpoints/") {
        Some((upstream, address)) => (upstream, Some(address)),
        // The endpoint whose address is "breaker", and the like: not this matter.
        None if rest.contains('/') => return None,
        None => (rest, None),
    };
    Some(of(method, upstream, address))
}

fn of(method: &Method, upstream: &str, address: Option<&str>) -> Result<Asked, Refused> {
    let ask = match *method {
        Method::PUT => Asked::Force,
        Method::DELETE => Asked::Release,
        _ => return Err(Refused::Method),
    };
    Ok(ask(Breaker {
        upstream: upstream.to_owned(),
        endpoint: address.map(endpoints::address).transpose()?,
    }))
}

/// Reads the body of `PUT`.
///
/// # Errors
/// A sentence for the client.
pub fn force(body: &[u8]) -> Result<Force, String> {
    let read: Result<Forcing, _> = serde_json::from_slice(body);
    read.map(|forcing| forcing.force).map_err(|error| {
        format!("The body must be {{ \"force\": \"open\" }} or {{ \"force\": \"closed\" }}: {error}.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_the_breaker_of_an_upstream_or_of_an_endpoint() {
        let breaker = |endpoint: Option<&str>| Breaker {
            upstream: "users".to_owned(),
            endpoint: endpoint.map(|address| address.parse().unwrap()),
        };
        type Row<'r> = (Method, &'r str, Option<Result<Asked, ()>>, &'r str);
        let rows: &[Row<'_>] = &[
            (
                Method::PUT,
                "/v1/upstreams/users/breaker",
                Some(Ok(Asked::Force(breaker(None)))),
                "the whole",
            ),
            (
                Method::DELETE,
                "/v1/upstreams/users/breaker",
                Some(Ok(Asked::Release(breaker(None)))),
                "the whole, released",
            ),
            (
                Method::PUT,
                "/v1/upstreams/users/endpoints/10.0.1.1:80/breaker",
                Some(Ok(Asked::Force(breaker(Some("10.0.1.1:80"))))),
                "an endpoint",
            ),
            (
                Method::DELETE,
                "/v1/upstreams/users/endpoints/%5B2001:db8::1%5D:80/breaker",
                Some(Ok(Asked::Release(breaker(Some("[2001:db8::1]:80"))))),
                "IPv6, escaped",
            ),
            (
                Method::GET,
                "/v1/upstreams/users/breaker",
                Some(Err(())),
                "another method",
            ),
            (
                Method::PUT,
                "/v1/upstreams/users/endpoints/users:80/breaker",
                Some(Err(())),
                "a name",
            ),
            (
                Method::PUT,
                "/v1/upstreams/users/endpoints/breaker",
                None,
                "an odd address of an endpoint",
            ),
            (
                Method::PUT,
                "/v1/upstreams/users/endpoints/10.0.1.1:80",
                None,
                "an endpoint itself",
            ),
            (Method::PUT, "/v1/upstreams/breaker", None, "no upstream"),
        ];
        for (method, path, expected, why) in rows {
            let seen = asked(method, path).map(|asked| asked.map_err(drop));
            assert_eq!(seen, *expected, "{why}");
        }
    }

    #[test]
    fn bodies_say_open_or_closed_or_are_refused_with_a_sentence() {
        type Row<'r> = (&'r str, Result<Force, &'r str>);
        let rows: &[Row<'_>] = &[
            (r#"{ "force": "open" }"#, Ok(Force::Open)),
            (r#"{ "force": "closed" }"#, Ok(Force::Closed)),
            ("", Err("The body must be")),
            ("{}", Err("missing field `force`")),
            (r#"{ "force": "half-open" }"#, Err("unknown variant")),
            (r#"{ "force": "open", "for": "1m" }"#, Err("unknown field")),
        ];
        for (body, expected) in rows {
            match (force(body.as_bytes()), expected) {
                (Ok(seen), Ok(wanted)) => assert_eq!(seen, *wanted, "{body}"),
                (Err(text), Err(wanted)) => assert!(text.contains(wanted), "{body}: {text}"),
                (seen, _) => panic!("{body}: {seen:?}"),
            }
        }
    }

    #[test]
    fn states_have_one_word_in_json_logs_and_metrics() {
        let states = [
            State::Closed,
            State::Ramping,
            State::Open,
            State::HalfOpen,
            State::ForcedOpen,
            State::ForcedClosed,
        ];
        for state in states {
            let json = serde_json::to_string(&Switched { breaker: state }).unwrap();
            assert_eq!(json, format!("{{\"breaker\":\"{state}\"}}"));
        }
    }
}
