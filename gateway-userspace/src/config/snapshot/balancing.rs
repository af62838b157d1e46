//! Which endpoint takes a request: an upstream's balancer with all that is computed once for a configuration.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::balance::{self, Ewma, Member, Plan, RosterTerms, mix};

/// `upstream.balancer`. Weights apply to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balancer {
    /// In turn, smoothly.
    RoundRobin,
    /// At random.
    Random,
    /// The one with the fewest requests under way.
    LeastRequests,
    /// By the client's address.
    IpHash,
    /// By what `hash` names.
    ConsistentHash,
    /// The less busy of two at random.
    TwoChoices,
    /// The better of two at random, by latency and requests under way; a failure counts as a long latency.
    PeakEwma,
}

/// `upstream.hash.algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HashAlgorithm {
    /// A table that spreads keys evenly.
    Maglev,
    /// A ring on which an endpoint that is too busy is passed over.
    Ring,
}

/// What a request is told apart by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashBy {
    /// Nothing: the balancer does not hash.
    #[default]
    Nothing,
    /// A header field.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// The path.
    Path,
    /// The client's address.
    Client,
}

/// How an upstream's requests are spread.
#[derive(Clone, Debug)]
pub struct Balancing {
    /// What is configured of each endpoint, in their order.
    pub members: Vec<Member>,
    /// The balancer's tables.
    pub plan: Arc<Plan>,
    /// How priorities, zones and panic work.
    pub terms: RosterTerms,
    /// What is hashed.
    pub by: HashBy,
    /// How long the share of an endpoint that comes back grows.
    pub slow_start: Duration,
    /// How latencies are remembered, where the balancer asks for them.
    pub ewma: Option<Ewma>,
}

/// As people say it.
impl fmt::Display for HashBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Header(name) => write!(f, "the header {name}"),
            Self::Cookie(name) => write!(f, "the cookie {name}"),
            Self::Query(name) => write!(f, "the query parameter {name}"),
            Self::Path => f.write_str("the path"),
            Self::Client => f.write_str("the client's address"),
        }
    }
}

impl Balancing {
    /// Computes the tables: a millisecond or more where keys are hashed.
    pub fn new(
        balancer: balance::Balancer,
        members: Vec<Member>,
        terms: RosterTerms,
        by: HashBy,
        slow_start: Duration,
    ) -> Self {
        Self {
            plan: Arc::new(Plan::new(balancer, &members, &terms)),
            members,
            terms,
            by,
            slow_start,
            ewma: (balancer == balance::Balancer::PeakEwma).then(Ewma::default),
        }
    }

    /// The endpoint of that address, local and of the first priority. What tells it apart is the same on all nodes.
    pub fn member(address: SocketAddr, weight: u32) -> Member {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let (high, low) = ((ip.to_bits() >> 64) as u64, ip.to_bits() as u64);
        Member::new(mix(mix(mix(high) ^ low) ^ u64::from(address.port())), weight)
    }
}
