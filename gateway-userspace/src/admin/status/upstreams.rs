//! What the admin API says of upstreams and their endpoints: readiness, ejection, breakers, counters.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use crate::balance;
use crate::config::metadata::Metadata;
use crate::config::snapshot::{self, Kind, Snapshot};
use crate::health::{KindStatus, Known};
use crate::registry::{BreakerStatus, Readiness};
use crate::resilience::breaker::State;
use crate::resilience::limits::{Limit, Limits, Maxima, UNLIMITED};

/// `GET /v1/upstreams`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstreams {
    /// Backend services.
    pub upstreams: Vec<Upstream>,
}

/// One upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Its circuit breaker, the one of the whole; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<State>,
    /// What is under way at all its endpoints together.
    #[serde(default)]
    pub under_way: UnderWay,
    /// Its addresses.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// The host name that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What is said of it, for subsets.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// Its share; 0: no new requests.
    pub weight: u32,
    /// What the checks know of it.
    pub readiness: EndpointReadiness,
    /// Whether its failures have taken it out (`upstream.outlier`).
    #[serde(default)]
    pub ejected: bool,
    /// The way that is taken to it, where it is not the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Its circuit breaker; absent: the upstream has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<State>,
    /// Requests under way.
    pub active: u32,
    /// What is under way, with the limits.
    #[serde(default)]
    pub under_way: UnderWay,
    /// Requests since the start.
    pub requests: u64,
    /// Of these, failed before a response head came.
    pub failures: u64,
    /// What each kind of check says; empty where it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckStatus>,
}

/// What is under way at an upstream or an endpoint (`upstream.limits`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Open connections.
    pub connections: Used,
    /// Requests that wait for one.
    pub pending: Used,
    /// Requests.
    pub requests: Used,
    /// Retries of requests that were sent already.
    pub retries: Used,
}

/// How much of something is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// So much.
    pub now: u32,
    /// Of so much; absent: there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl Used {
    /// Whether no more may come.
    pub fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.now >= limit)
    }
}

fn under_way(limits: &Limits, maxima: &Maxima, now: impl Fn(Limit) -> u32) -> UnderWay {
    // Where connections have no limit, nobody waits.
    let is_bound = |limit| limit != Limit::Pending || limits.bounds_connections();
    let used = |limit| Used {
        now: now(limit),
        limit: Some(maxima.of(limit)).filter(|max| *max != UNLIMITED && is_bound(limit)),
    };
    UnderWay {
        connections: used(Limit::Connections),
        pending: used(Limit::Pending),
        requests: used(Limit::Requests),
        retries: used(Limit::Retries),
    }
}

/// What one kind of check says of an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// The kind.
    pub kind: Kind,
    /// What it says; a startup check is unknown until it has passed or its grace is over.
    pub state: EndpointReadiness,
    /// Seconds since it began to say so.
    pub since_s: u64,
    /// Why it failed last, whenever that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}

/// What the checks know of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointReadiness {
    /// It has no checks: always taken to be ready.
    Unchecked,
    /// Not checked yet.
    Unknown,
    /// May get traffic.
    Ready,
    /// Gets none while another is ready or unknown.
    Failing,
}

impl EndpointReadiness {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Unknown => "unknown",
            Self::Ready => "ready",
            Self::Failing => "failing",
        }
    }
}

/// The upstreams of a snapshot, with what is known of their endpoints now.
pub fn upstreams(snapshot: &Snapshot, known: &Known) -> Vec<Upstream> {
    snapshot
        .upstreams
        .iter()
        .map(|upstream| one(upstream, known))
        .collect()
}

fn one(upstream: &snapshot::Upstream, known: &Known) -> Upstream {
    let breakers = upstream.state.breakers();
    let members = upstream.endpoints.iter().zip(&upstream.balancing.members);
    Upstream {
        name: upstream.name.clone(),
        breaker: breaker(&breakers, None),
        under_way: under_way(&upstream.limits, &upstream.limits.whole, |limit| {
            upstream.under_way(limit)
        }),
        endpoints: members
            .map(|(one, member)| Endpoint {
                breaker: breaker(&breakers, Some(one.address)),
                checks: known
                    .endpoint(&upstream.name, one.address)
                    .iter()
                    .map(check)
                    .collect(),
                ..endpoint(upstream, one, member)
            })
            .collect(),
    }
}

/// One endpoint, but for what its breaker and its checks say.
fn endpoint(
    upstream: &snapshot::Upstream,
    endpoint: &snapshot::Endpoint,
    member: &balance::Member,
) -> Endpoint {
    Endpoint {
        address: endpoint.address,
        host: endpoint.host.as_deref().map(str::to_owned),
        metadata: Metadata::clone(&endpoint.metadata),
        weight: member.weight,
        readiness: if upstream.health.is_empty() {
            EndpointReadiness::Unchecked
        } else {
            endpoint.state.readiness().into()
        },
        ejected: endpoint.state.is_ejected(),
        channel: {
            let other = endpoint.state.channel().checked_sub(1);
            let other = other.and_then(|index| endpoint.channels.get(index));
            other.map(ToString::to_string)
        },
        breaker: None,
        active: endpoint.state.active.load(Relaxed),
        under_way: under_way(&upstream.limits, &upstream.limits.endpoint, |limit| {
            endpoint.under_way(limit)
        }),
        requests: endpoint.state.requests.load(Relaxed),
        failures: endpoint.state.failures.load(Relaxed),
        checks: Vec::new(),
    }
}

/// The breaker of an endpoint; of `None`, the one of the whole.
fn breaker(breakers: &[BreakerStatus], of: Option<SocketAddr>) -> Option<State> {
    let found = breakers.iter().find(|breaker| breaker.endpoint == of)?;
    Some(found.state)
}

fn check(status: &KindStatus) -> CheckStatus {
    CheckStatus {
        kind: status.kind,
        state: status.state.into(),
        since_s: status.age.as_secs(),
        last_failure: status.last_failure.clone(),
    }
}

impl From<Readiness> for EndpointReadiness {
    fn from(readiness: Readiness) -> Self {
        match readiness {
            Readiness::Unknown => Self::Unknown,
            Readiness::Ready => Self::Ready,
            Readiness::Failing => Self::Failing,
        }
    }
}
