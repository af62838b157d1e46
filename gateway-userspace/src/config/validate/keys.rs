//! The keys that `[defaults]`, listeners and routes share: what one asks of another, and lists of networks and protocols.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::given::{Given, ListenerKeys, Network, RouteKeys, Time, TimeOrNone};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::precedence::NO_HEADER;
use crate::config::problem::Problems;
use crate::config::snapshot::{Failure, Networks, Outcomes};

/// `[defaults]`.
pub fn defaults(given: &Given, problems: &mut Problems<'_>) {
    let path = KeyPath::top("defaults");
    let Some(defaults) = &given.defaults else { return };
    listener_keys(&defaults.listener_keys(), &path, problems);
    route_keys(&defaults.route_keys(), &path, problems);
}

/// Keys of a listener. Two that do not go together are named where one table has both: what is inherited gives way.
pub fn listener_keys(keys: &ListenerKeys, path: &KeyPath, problems: &mut Problems<'_>) {
    let mut ordered = |low: (&str, Option<u64>), high: (&str, Option<u64>)| {
        let ((low_key, Some(low)), (high_key, Some(high))) = (low, high) else {
            return;
        };
        if low > high {
            let fault = format!("{low} is more than {high_key}, which is {high}");
            let remedy = format!("write at most {high} here, or more for {high_key}");
            problems.add(&path.key(low_key), fault, remedy);
        }
    };
    let bytes = |given: Option<usize>| given.and_then(|bytes| u64::try_from(bytes).ok());
    ordered(
        ("target_bytes_max", bytes(keys.target_bytes_max)),
        ("head_bytes_max", bytes(keys.head_bytes_max)),
    );
    ordered(
        (
            "h2_stream_window_bytes",
            keys.h2_stream_window_bytes.map(u64::from),
        ),
        (
            "h2_connection_window_bytes",
            keys.h2_connection_window_bytes.map(u64::from),
        ),
    );
    let given = keys.trusted_proxies.as_deref().unwrap_or_default();
    networks(given, &path.key("trusted_proxies"), problems);
}

/// A list of networks; what is wrong with it is reported.
pub fn networks(given: &[Network], path: &KeyPath, problems: &mut Problems<'_>) -> Networks {
    for (index, Network(network)) in given.iter().enumerate() {
        let path = path.index(index);
        let mut before = given.iter().take(index);
        if let Some((fault, remedy)) = misleading(network) {
            problems.add(&path, fault, remedy);
        } else if before.any(|Network(other)| other == network) {
            problems.add(&path, format!("{network} stands here twice"), "remove one");
        }
    }
    Networks(given.iter().map(|Network(network)| *network).collect())
}

/// Why a network takes in others than one would read, and what to write instead.
fn misleading(network: &IpNet) -> Option<(String, String)> {
    if *network != network.trunc() {
        let fault = format!("{network} has bits beyond its prefix");
        let remedy = format!(
            "write \"{}\" for the network, or \"{}\" for the address",
            network.trunc(),
            network.addr()
        );
        return Some((fault, remedy));
    }
    let is_mapped = matches!(network.addr(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    is_mapped.then(|| {
        let fault = format!("{network} is IPv4 written as IPv6, which no client has");
        (fault, "write it as IPv4, as in \"10.0.0.0/8\"".to_owned())
    })
}

/// Why no deadline can be read from the field of that name.
fn unfit(name: &str) -> Option<String> {
    if name == NO_HEADER {
        return None;
    }
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > limits::NAME_CHARS_MAX || !name.bytes().all(is_plain) {
        return Some(format!("\"{name}\" is no name of a field in lower case"));
    }
    // Standard fields, and what the gateway writes or reads itself.
    let is_own = !name.contains('-')
        || TAKEN.contains(&name)
        || TAKEN_PREFIXES.iter().any(|taken| name.starts_with(taken));
    is_own.then(|| format!("{name} has a meaning of its own"))
}

const TAKEN: [&str; 3] = ["x-real-ip", "x-request-id", "x-gateway-node"];
const TAKEN_PREFIXES: [&str; 13] = [
    "accept-",
    "access-",
    "cache-",
    "content-",
    "grpc-",
    "if-",
    "keep-",
    "last-",
    "proxy-",
    "sec-",
    "transfer-",
    "user-",
    "x-forwarded-",
];

/// Keys of a route. Two that do not go together are named where one table has both: what is inherited gives way.
pub fn route_keys(keys: &RouteKeys, path: &KeyPath, problems: &mut Problems<'_>) {
    let limit = |given: Option<TimeOrNone>| given.and_then(|TimeOrNone(time)| time);
    let timeout = keys.timeout.map(|Time(time)| time);
    let mut ordered = |key: &str, short: Option<Duration>, long_key: &str, long: Option<Duration>| {
        if let (Some(short), Some(long)) = (short, long)
            && short > long
        {
            let fault = format!("is longer than {long_key}, which comes first");
            let remedy = format!("write a shorter time here, or a longer one for {long_key}");
            problems.add(&path.key(key), fault, remedy);
        }
    };
    ordered("try_timeout", limit(keys.try_timeout), "timeout", timeout);
    ordered("timeout", timeout, "timeout_total", limit(keys.timeout_total));
    if let Some(name) = &keys.deadline_header
        && let Some(fault) = unfit(name)
    {
        let remedy = "write a name of your own, as in \"x-request-deadline-ms\", or \"none\"";
        problems.add(&path.key("deadline_header"), fault, remedy);
    }
    if let Some(retry) = &keys.retry {
        let path = path.key("retry");
        let on = outcomes(retry.on.as_deref().unwrap_or_default(), &path.key("on"), problems);
        if on.has(Failure::Unavailable) {
            let fault = "nobody can be asked where an upstream is unavailable";
            problems.add(&path.key("on"), fault, "leave it out; fallback_on may have it");
        }
        let [backoff, most] = [retry.backoff, retry.backoff_max].map(|given| given.map(|Time(time)| time));
        if let Some(backoff) = backoff
            && backoff > most.unwrap_or(limits::RETRY_BACKOFF_MAX)
        {
            let remedy = "write a shorter time here, or a longer one for backoff_max";
            problems.add(&path.key("backoff"), "is longer than backoff_max", remedy);
        }
    }
    let path = path.key("upgrades");
    let given = keys.upgrades.iter().flatten();
    for (index, name) in given.clone().enumerate() {
        let path = path.index(index);
        if let Some((fault, remedy)) = no_upgrade(name) {
            problems.add(&path, format!("\"{name}\" {fault}"), remedy);
        } else if given.clone().take(index).any(|other| other == name) {
            problems.add(&path, format!("\"{name}\" stands here twice"), "remove one");
        }
    }
}

/// A list of outcomes; what is wrong with it is reported.
pub fn outcomes(words: &[String], path: &KeyPath, problems: &mut Problems<'_>) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (index, word) in words.iter().enumerate() {
        if let Err((fault, remedy)) = outcomes.add(word) {
            problems.add(&path.index(index), fault, remedy);
        }
    }
    outcomes
}

/// Why clients cannot switch to that, and what to write instead.
///
/// Source: RFC 9110, section 7.8 (`Upgrade`) and section 5.6.2 (tokens).
fn no_upgrade(name: &str) -> Option<(&'static str, String)> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let lower = name.to_ascii_lowercase();
    if lower == "h2c" {
        let fault = "is HTTP/2 by upgrade, which is never taken up: such requests are answered by HTTP/1.1";
        let remedy = "leave it out; clients speak HTTP/2 with prior knowledge";
        Some((fault, remedy.to_owned()))
    } else if name.contains('/') {
        let remedy = "write the name of the protocol alone, as in \"websocket\"";
        Some(("has a version", remedy.to_owned()))
    } else if name.is_empty() || name.len() > limits::UPGRADE_CHARS_MAX || !name.chars().all(is_token) {
        let remedy = format!(
            "write a token of 1 to {} characters, as in \"websocket\"",
            limits::UPGRADE_CHARS_MAX
        );
        Some(("is not the name of a protocol", remedy))
    } else if lower != name {
        Some((
            "is not in lower case, in which names are compared",
            format!("write \"{lower}\""),
        ))
    } else {
        None
    }
}
