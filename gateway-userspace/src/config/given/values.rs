//! Values that TOML has no type for: lengths of time, networks, addresses with a port; and what each is in the schema.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

/// A length of time, written as a number and a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(D::Error::custom)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "time-span" })
    }
}

/// A length of time, or `"none"` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOrNone(pub Option<Duration>);

impl<'de> Deserialize<'de> for TimeOrNone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "none" {
            return Ok(Self(None));
        }
        humantime::parse_duration(&text)
            .map(|time| Self(Some(time)))
            .map_err(D::Error::custom)
    }
}

impl JsonSchema for TimeOrNone {
    fn schema_name() -> Cow<'static, str> {
        "TimeOrNone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "time-span", "x-none": true })
    }
}

/// A network, written as `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let alone = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>()
            .or_else(|_| alone())
            .map(Self)
            .map_err(D::Error::custom)
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "network" })
    }
}

/// Where something listens: an address or a host name, with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An IP address.
    Address(SocketAddr),
    /// A host name in lower case; a dot at its end says that no search list applies.
    Name(Arc<str>, u16),
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        let is_label = |label: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            (1..=63).contains(&label.len()) && label.chars().all(is_plain)
        };
        let name = host.strip_suffix('.').unwrap_or(host);
        // Names end in no number (RFC 1123, section 2.1), so that a mistyped address is not asked for.
        let is_number = |label: &str| label.chars().all(|c| c.is_ascii_digit());
        let is_name = name.len() <= 253
            && name.split('.').all(is_label)
            && !name.rsplit('.').next().is_some_and(is_number);
        is_name.then(|| Self::Name(host.to_ascii_lowercase().into(), port))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("neither an address nor a name with a port"))
    }
}

impl JsonSchema for Place {
    fn schema_name() -> Cow<'static, str> {
        "Place".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "place" })
    }
}

/// Stands for a socket address in the schema.
pub(super) struct SocketAddress;

impl JsonSchema for SocketAddress {
    fn schema_name() -> Cow<'static, str> {
        "SocketAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "socket-address" })
    }
}

/// A length of time as the file would say it.
pub fn time_text(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
