//! A request that is explained: the question, and what is answered.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::Step;
use crate::config::Place;
use crate::tls::ClientCertificate;

/// Whose request it is where nobody is named: an address for examples (RFC 5737), which no proxy has.
pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Other routes that are listed at most; of more, those that come closest.
pub const OTHERS_MAX: usize = 50;
/// Endpoints that are listed at most; of more, those with the greatest shares.
pub const CANDIDATES_MAX: usize = 100;

/// `POST /v1/explain/request`: a request of HTTP/1.1, without its body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// As it goes over the wire.
    pub method: String,
    /// `http://HOST[:PORT]/PATH?QUERY`, the same with `https`, a path alone, or `*`.
    pub url: String,
    /// Names and values, in their order. `host` takes the place of the URL's.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Who connects; absent: [`CLIENT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// The listener's name; absent: the one that the URL leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The name that the client asked for in its TLS handshake; absent: the URL's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// What the certificate says that the client shows, which is taken to be good; absent: it shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ClientCertificate>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The file that decides.
    pub config: String,
    /// Number of the snapshot in force; absent: the file alone was asked, and no node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<u64>,
    /// What becomes of the request.
    pub verdict: Verdict,
    /// How that came, in the order of the request's way.
    pub steps: Vec<Step>,
    /// Other routes of the listener, and why none of them takes it; those that come closest first.
    pub others: Vec<Other>,
    /// How many more there are.
    pub others_left_out: usize,
    /// Endpoints of the upstreams that it may go to, those with the greatest shares first.
    pub candidates: Vec<Candidate>,
    /// How many more there are.
    pub candidates_left_out: usize,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// In a word.
    pub fate: Fate,
    /// What the client gets, where no endpoint says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Of a gRPC call: the `grpc-status` of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u16>,
    /// Why it is refused, or answered in place of an upstream that cannot be asked: as in the access log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    pub says: String,
    /// The route that takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The upstream that it goes to; absent where chance decides among several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The endpoint that gets it; absent where chance, or whose turn it is, decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
}

/// What becomes of a request, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// An endpoint is asked.
    Forwarded,
    /// The configuration answers.
    Answered,
    /// Nothing is served.
    Refused,
}

impl Fate {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Answered => "answered",
            Self::Refused => "refused",
        }
    }
}

impl Verdict {
    /// One of which nothing else is known yet.
    pub fn new(fate: Fate, says: impl Into<String>) -> Self {
        Self {
            fate,
            status: None,
            grpc_status: None,
            reason: None,
            says: says.into(),
            route: None,
            upstream: None,
            endpoint: None,
        }
    }
}

/// A route that does not take the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// Its name.
    pub route: String,
    /// The first thing of it that does not fit, or why another one goes first.
    pub says: String,
    /// Where that stands.
    pub place: Place,
}

/// An endpoint that may get the request, or might.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its upstream.
    pub upstream: String,
    /// Where it listens.
    pub endpoint: SocketAddr,
    /// Its weight.
    pub weight: u32,
    /// Lower ones first.
    pub priority: u8,
    /// `unchecked`, `unknown`, `ready` or `failing`.
    pub readiness: String,
    /// Whether its failures have taken it out.
    pub ejected: bool,
    /// What its circuit breaker lets through, where that is not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<String>,
    /// Requests under way.
    pub active: u32,
    /// Of a thousand requests like this one, how many it gets at its upstream.
    pub per_mille: u16,
    /// Why it gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// Where it stands in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}
