//! `/v1/upstreams/{name}/endpoints/{address}`: an endpoint renews its pushed heartbeat, registers, or goes.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use crate::config::metadata::{Metadata, faults};

/// An endpoint of an upstream, as the path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The upstream's name.
    pub upstream: String,
    /// Where the endpoint listens.
    pub address: SocketAddr,
}

/// What an endpoint says of itself: the body of `PUT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// It lives for that long, if nothing else comes.
    pub ttl: Duration,
    /// The share it wants; counts for endpoints that the configuration does not list.
    pub weight: Option<u32>,
    /// What is said of it, for subsets; counts for those, too.
    pub metadata: Metadata,
}

/// What can be asked of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `PUT`.
    Renew(Place),
    /// `DELETE`.
    Withdraw(Place),
}

/// The answer to `PUT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// The upstream's name.
    pub upstream: String,
    /// Where the endpoint listens.
    pub address: SocketAddr,
    /// The share that it has: the configuration's, where that lists it.
    pub weight: u32,
    /// How long it is believed to live, as in `"10s"`.
    pub ttl: String,
}

/// The answer to `DELETE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// The upstream's name.
    pub upstream: String,
    /// Where the endpoint listens.
    pub address: SocketAddr,
}

/// Methods that such a path takes.
pub const METHODS: &str = "PUT, DELETE";

/// Why such a path cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It takes other methods.
    Method,
    /// It names no address; the text is for the client.
    Address(String),
}

/// What a request asks of one endpoint; `None`: its path is another one.
pub fn asked(method: &Method, path: &str) -> Option<Result<Asked, Refused>> {
    let rest = path.strip_prefix("/v1/upstreams/")?;
    let (upstream, address) = rest.split_once("/endpoints/")?;
    Some(of(method, upstream, address))
}

fn of(method: &Method, upstream: &str, address: &str) -> Result<Asked, Refused> {
    let ask = match *method {
        Method::PUT => Asked::Renew,
        Method::DELETE => Asked::Withdraw,
        _ => return Err(Refused::Method),
    };
    Ok(ask(Place {
        upstream: upstream.to_owned(),
        address: self::address(address)?,
    }))
}

/// An address in a path, escaped or not.
pub(super) fn address(text: &str) -> Result<SocketAddr, Refused> {
    // Of what has to be escaped in a path, addresses have brackets alone.
    let plain = text
        .replace("%5B", "[")
        .replace("%5b", "[")
        .replace("%5D", "]")
        .replace("%5d", "]");
    plain
        .replace("%3A", ":")
        .replace("%3a", ":")
        .parse()
        .map_err(|_| {
            Refused::Address(format!(
                "{text} is not an address with a port, as in 10.0.1.1:8080 or [2001:db8::1]:8080."
            ))
        })
}

/// Reads the body of `PUT`.
///
/// # Errors
/// A sentence for the client.
pub fn renewal(body: &[u8]) -> Result<Renewal, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        ttl: String,
        weight: Option<u32>,
        #[serde(default)]
        metadata: Metadata,
    }
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| format!("The body must be as {{ \"ttl\": \"10s\", \"weight\": 1 }}: {error}."))?;
    let ttl = humantime::parse_duration(&body.ttl).map_err(|_| {
        format!(
            "ttl must be a number and a unit, as in \"10s\", not \"{}\".",
            body.ttl
        )
    })?;
    if let Some((name, fault, remedy)) = faults(&body.metadata).into_iter().next() {
        let place = name.map_or_else(String::new, |name| format!(".{name}"));
        return Err(format!("metadata{place}: {fault}; {remedy}."));
    }
    Ok(Renewal {
        ttl,
        weight: body.weight,
        metadata: body.metadata,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_an_upstream_and_an_address_or_are_another_matter() {
        let place = |upstream: &str, address: &str| Place {
            upstream: upstream.to_owned(),
            address: address.parse().unwrap(),
        };
        type Row<'r> = (Method, &'r str, Option<Result<Asked, ()>>, &'r str);
        let rows: &[Row<'_>] = &[
            (
                Method::PUT,
                "/v1/upstreams/users/endpoints/10.0.1.1:80",
                Some(Ok(Asked::Renew(place("users", "10.0.1.1:80")))),
                "IPv4",
            ),
            (
                Method::DELETE,
                "/v1/upstreams/users/endpoints/[2001:db8::1]:80",
                Some(Ok(Asked::Withdraw(place("users", "[2001:db8::1]:80")))),
                "IPv6",
            ),
            (
                Method::PUT,
                "/v1/upstreams/users/endpoints/%5B2001:db8::1%5d:80",
                Some(Ok(Asked::Renew(place("users", "[2001:db8::1]:80")))),
                "IPv6, escaped",
            ),
            (
                Method::PUT,
                "/v1/upstreams/users/endpoints/users:80",
                Some(Err(())),
                "a name",
            ),
            (
                Method::PUT,
                "/v1/upstreams/users/endpoints/10.0.1.1",
                Some(Err(())),
                "no port",
            ),
            (
                Method::GET,
                "/v1/upstreams/users/endpoints/10.0.1.1:80",
                Some(Err(())),
                "another method",
            ),
            (Method::GET, "/v1/upstreams", None, "another path"),
        ];
        for (method, path, expected, why) in rows {
            let seen = asked(method, path).map(|asked| asked.map_err(drop));
            assert_eq!(seen, *expected, "{why}");
        }
    }

    #[test]
    fn bodies_say_how_long_or_are_refused_with_a_sentence() {
        type Row<'r> = (&'r str, Result<(u64, Option<u32>), &'r str>);
        let rows: &[Row<'_>] = &[
            (r#"{ "ttl": "10s", "weight": 3 }"#, Ok((10, Some(3)))),
            (r#"{ "ttl": "1m" }"#, Ok((60, None))),
            ("", Err("The body must be as")),
            ("{}", Err("missing field `ttl`")),
            (r#"{ "ttl": 10 }"#, Err("invalid type")),
            (r#"{ "ttl": "10" }"#, Err("not \"10\"")),
            (r#"{ "ttl": "10s", "wait": 1 }"#, Err("unknown field")),
        ];
        for (body, expected) in rows {
            match (renewal(body.as_bytes()), expected) {
                (Ok(seen), Ok((ttl, weight))) => {
                    assert_eq!((seen.ttl.as_secs(), seen.weight), (*ttl, *weight), "{body}");
                }
                (Err(text), Err(wanted)) => assert!(text.contains(wanted), "{body}: {text}"),
                (seen, _) => panic!("{body}: {seen:?}"),
            }
        }
    }
}
