//! `[upstream.health]` of a snapshot: what is asked of an endpoint, how, and how often.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::UpstreamProtocol;

/// How the endpoints of an upstream are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Is it there at all? Failing takes its traffic away.
    pub heartbeat: Option<Heartbeat>,
    /// May it live? Failing is told to people.
    pub liveness: Option<Check>,
    /// May it get traffic?
    pub readiness: Option<Check>,
    /// Has it started?
    pub startup: Option<Startup>,
}

impl Health {
    /// Whether anything is checked at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a kind of check is configured.
    pub fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::Heartbeat => self.heartbeat.is_some(),
            Kind::Liveness => self.liveness.is_some(),
            Kind::Readiness => self.readiness.is_some(),
            Kind::Startup => self.startup.is_some(),
        }
    }

    /// The checks that ask, in the order of [`Kind::ALL`].
    pub fn asked(&self) -> impl Iterator<Item = (Kind, &Check)> {
        let of = |kind| match kind {
            Kind::Heartbeat => match &self.heartbeat {
                Some(Heartbeat::Asked(check)) => Some(check),
                Some(Heartbeat::Pushed(_)) | None => None,
            },
            Kind::Liveness => self.liveness.as_ref(),
            Kind::Readiness => self.readiness.as_ref(),
            Kind::Startup => self.startup.as_ref().map(|startup| &startup.check),
        };
        Kind::ALL
            .into_iter()
            .filter_map(move |kind| of(kind).map(|check| (kind, check)))
    }

    /// The pushed heartbeat, where it is one.
    pub fn pushed(&self) -> Option<Pushed> {
        match self.heartbeat {
            Some(Heartbeat::Pushed(pushed)) => Some(pushed),
            Some(Heartbeat::Asked(_)) | None => None,
        }
    }
}

/// What a check is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Is it there at all?
    Heartbeat,
    /// May it live?
    Liveness,
    /// May it get traffic?
    Readiness,
    /// Has it started?
    Startup,
}

impl Kind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Heartbeat, Self::Liveness, Self::Readiness, Self::Startup];

    /// The word for it, as in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::Startup => "startup",
        }
    }
}

/// `health.heartbeat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// The gateway asks.
    Asked(Check),
    /// The endpoint renews itself.
    Pushed(Pushed),
}

/// A heartbeat that the endpoint sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Longest time to live of a renewal, and longest wait for the first one.
    pub ttl_max: Duration,
}

/// `health.startup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// What says that it has started.
    pub check: Check,
    /// After it the other checks count all the same.
    pub grace: Duration,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub way: Way,
    /// Asked instead of the endpoint's own port.
    pub port: Option<u16>,
    /// Between two checks of one endpoint, spread by jitter.
    pub interval: Duration,
    /// Bound of one check.
    pub timeout: Duration,
    /// Successes in a row that end a failure, at least 1.
    pub rise: u32,
    /// Failures in a row that begin one, at least 1.
    pub fall: u32,
}

impl Check {
    /// Where it asks about an endpoint.
    pub fn target(&self, endpoint: SocketAddr) -> SocketAddr {
        SocketAddr::new(endpoint.ip(), self.port.unwrap_or(endpoint.port()))
    }
}

/// How an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A request and the status of its answer.
    Http(HttpCheck),
    /// A connection is enough.
    Tcp,
    /// The gRPC health protocol; an empty service is the whole server.
    Grpc {
        /// The service that is asked for.
        service: String,
        /// What is sent as `:authority`; `None`: the endpoint's name, else its address.
        host: Option<String>,
    },
    /// A program's exit status.
    Command {
        /// Absolute.
        program: PathBuf,
        /// Given to it as they are.
        arguments: Vec<String>,
    },
}

/// A check over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// Path and query.
    pub path: String,
    /// The method.
    pub method: CheckMethod,
    /// What is sent as `Host`; `None`: the endpoint's name, else its address.
    pub host: Option<String>,
    /// Which statuses pass.
    pub statuses: Statuses,
    /// What is spoken.
    pub protocol: UpstreamProtocol,
}

/// `method` of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum CheckMethod {
    /// The whole answer, of which the head is read.
    Get,
    /// The head alone.
    Head,
    /// What the server can do.
    Options,
}

/// Ranges of statuses, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(pub Vec<(u16, u16)>);

impl Statuses {
    /// Whether that status is among them.
    pub fn contains(&self, status: StatusCode) -> bool {
        let status = status.as_u16();
        self.0
            .iter()
            .any(|(least, most)| (*least..=*most).contains(&status))
    }
}
