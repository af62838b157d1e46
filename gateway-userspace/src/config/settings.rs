//! The resolved configuration: checked, every default filled in, every name turned into what it names.
//!
//! It knows nothing of the running node: `compile` joins it with the registry of state cells to a `Snapshot`.

mod restart;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::given::RouteKeys;
use super::kept::Kept;
use super::loops::Own;
use super::metadata::Metadata;
use super::snapshot::{
    Admin, Carries, Cluster, Dataplane, Faults, HashBy, Health, HttpMode, ListenerHttp, Networks, Node, Odds,
    Outcomes, Protection, Redirect, Respond, Rewrite, RouteHttp, Shares, StickySettings, SubsetBy,
    SubsetFallback, UpstreamProtocol, Vip,
};
use crate::acme;
use crate::balance::{self, RosterTerms, Zone};
use crate::filters::FilterSettings;
use crate::proxy_protocol;
use crate::registry::{Channel, GuardSettings};
use crate::resilience::budget::Budget;
use crate::resilience::channel;
use crate::resilience::limits::Limits;
use crate::router::{Conditions, HostPattern, PathPattern};
use crate::tls::{self, Security};
use crate::trace::Wish;

pub use super::given::Place;

/// A configuration that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The file it came from.
    pub source: PathBuf,
    /// Its text, as it was read: where explanations find the lines that they name.
    pub text: Arc<str>,
    /// `[node]`.
    pub node: Node,
    /// `[admin]`.
    pub admin: Admin,
    /// `[dataplane]`.
    pub dataplane: Option<Dataplane>,
    /// `[protection]`, with the content of its files.
    pub protection: Arc<Protection>,
    /// `[trace]`: packets that are sampled; `None`: none.
    pub trace: Option<Wish>,
    /// `[cluster]`, with the key's content.
    pub cluster: Option<Cluster>,
    /// `dns.servers`; empty: the system's configuration.
    pub dns_servers: Vec<SocketAddr>,
    /// `tls.ticket_keys_file`, with its content; `None`: keys of this process.
    pub ticket_keys: Option<(PathBuf, tls::TicketKeys)>,
    /// `[acme]`, with what is to be had by it; `None`: nothing is.
    pub acme: Option<acme::Settings>,
    /// `[[vip]]`, in the file's order.
    pub vips: Vec<Vip>,
    /// `[[listener]]`, in the file's order.
    pub listeners: Vec<ListenerSettings>,
    /// `[[route]]`, in the file's order; then those that the admin API set, in the order in which it first did.
    pub routes: Vec<Arc<RouteSettings>>,
    /// What the latter are, as they were set.
    pub kept: Arc<Kept>,
    /// `[[upstream]]`, in the file's order.
    pub upstreams: Vec<Arc<UpstreamSettings>>,
}

/// `[[listener]]`, with the routes that name it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSettings {
    /// Unique.
    pub name: String,
    /// Where it accepts.
    pub address: SocketAddr,
    /// What its connections carry.
    pub carries: Carries,
    /// Whose headers of the PROXY protocol are believed.
    pub proxies: Networks,
    /// How TLS is spoken there; `None`: it is not.
    pub tls: Option<ListenerTls>,
    /// How HTTP is read there.
    pub http: ListenerHttp,
    /// What holds for its requests where their routes say nothing.
    pub route_http: RouteHttp,
    /// What its requests pass first, in the file's order.
    pub filters: Vec<FilterSettings>,
    /// In the order of all.
    pub routes: Vec<Arc<RouteSettings>>,
}

/// `listener.tls` and `listener.certificates`.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// What they come to, with the content of their files.
    pub server: tls::ServerSettings,
    /// Where that came from: certificate and key of each pair, in the same order.
    pub files: Vec<(PathBuf, PathBuf)>,
}

/// Who says that there is a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file does: the number of its table, from 0, and its line, from 1.
    File(usize, usize),
    /// The admin API was told.
    Api,
}

/// `[[route]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSettings {
    /// Unique.
    pub name: String,
    /// Who says so.
    pub origin: Origin,
    /// Names of the listeners that it serves, each once.
    pub listeners: Arc<Vec<String>>,
    /// Not empty; [`HostPattern::Any`] alone where none was given.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// Empty: every method.
    pub methods: Vec<Method>,
    /// What else it asks for.
    pub conditions: Arc<Conditions>,
    /// What happens to a request.
    pub action: ActionSettings,
    /// Which subset of its upstream it goes to: an index.
    pub subset: Option<usize>,
    /// What the upstream is asked for instead.
    pub rewrite: Option<Box<Rewrite>>,
    /// What is done to requests on purpose.
    pub fault: Option<Box<Faults>>,
    /// Where copies of requests go.
    pub mirror: Option<MirrorSettings>,
    /// Further upstreams that are asked where the first fails, in order.
    pub fallbacks: Vec<Arc<UpstreamSettings>>,
    /// What is answered where those fail, too.
    pub fallback_respond: Option<Arc<Respond>>,
    /// After which outcomes.
    pub fallback_on: Outcomes,
    /// What its requests pass, in the file's order.
    pub filters: Vec<FilterSettings>,
    /// What it says of its requests itself; what it does not say, each listener that it serves says.
    pub keys: Arc<RouteKeys>,
}

/// What a route does.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionSettings {
    /// Sends the request on.
    Upstream(Arc<UpstreamSettings>),
    /// Sends the request on to one of several.
    Split(SplitSettings),
    /// Sends the client elsewhere.
    Redirect(Redirect),
    /// Answers by itself.
    Respond(Respond),
}

/// `route.mirror`.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorSettings {
    /// Who gets copies.
    pub upstream: Arc<UpstreamSettings>,
    /// Of how many requests.
    pub odds: Odds,
    /// Copies under way at most.
    pub requests_max: u32,
}

/// `route.split`, with `split_by`.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitSettings {
    /// Distinct.
    pub upstreams: Vec<Arc<UpstreamSettings>>,
    /// In the same order; not all 0.
    pub weights: Vec<u32>,
    /// The same for whoever looks.
    pub shares: Shares,
    /// What keeps a client with its share.
    pub by: HashBy,
}

/// `[[upstream]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamSettings {
    /// Unique.
    pub name: String,
    /// Which endpoint takes a request.
    pub balancer: balance::Balancer,
    /// What is hashed.
    pub hash_by: HashBy,
    /// How priorities, zones and panic work.
    pub terms: RosterTerms,
    /// Parts of its endpoints.
    pub subsets: SubsetsSettings,
    /// The cookie by which clients stay with an endpoint.
    pub sticky: Option<StickySettings>,
    /// How long the share of an endpoint that comes back grows.
    pub slow_start: Duration,
    /// What takes endpoints out, and the whole.
    pub guards: GuardSettings,
    /// How much may be under way.
    pub limits: Limits,
    /// An answer that takes longer to begin is slow.
    pub slow_call: Option<Duration>,
    /// What is spoken to the endpoints.
    pub protocol: UpstreamProtocol,
    /// The header that connections of clients begin with.
    pub proxy_header: Option<proxy_protocol::Version>,
    /// How TLS is spoken to them; `None`: it is not.
    pub tls: Option<UpstreamTls>,
    /// Bound of a connection attempt.
    pub connect_timeout: Duration,
    /// What becomes of responses that are readable but bad.
    pub mode: HttpMode,
    /// Idle connections kept per endpoint on this node.
    pub idle_per_endpoint: usize,
    /// After it an idle connection is closed.
    pub idle_timeout: Duration,
    /// After it a connection takes no further request; `None`: never.
    pub connection_age: Option<Duration>,
    /// Requests under way at an endpoint that is taken out may go on for so long.
    pub drain_timeout: Duration,
    /// HTTP/2: connections per endpoint on this node at most.
    pub h2_connections_max: usize,
    /// HTTP/2: streams on one connection before another is opened.
    pub h2_streams_max: usize,
    /// Places distinct; empty only where endpoints may register.
    pub endpoints: Vec<EndpointSettings>,
    /// Other ways to each endpoint that has none of its own.
    pub channels: Vec<ChannelSettings>,
    /// `failback`.
    pub failback: channel::Settings,
    /// `health`.
    pub health: Health,
    /// `registration.endpoints_max`; 0: none may register.
    pub registered_max: usize,
    /// `retry_budget`.
    pub retry_budget: Budget,
}

impl UpstreamSettings {
    /// Whether the first way to its endpoints is encrypted.
    pub fn security(&self) -> Security {
        match self.tls {
            Some(_) => Security::Tls,
            None => Security::Plain,
        }
    }
}

/// `upstream.tls`.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    /// What it comes to, with the content of its files.
    pub client: Arc<tls::ClientTls>,
    /// Where our certificate and its key came from; `None`: there is none. Where roots came from they say themselves.
    pub files: Option<(PathBuf, PathBuf)>,
}

/// `upstream.subsets`, with who chooses among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubsetsSettings {
    /// Names unique, no two with the same match.
    pub all: Vec<SubsetSettings>,
    /// `subset_by`.
    pub by: Option<SubsetBy>,
    /// `subset_fallback`.
    pub fallback: SubsetFallback,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsetSettings {
    /// Unique in its upstream.
    pub name: String,
    /// What its endpoints have; not empty.
    pub matching: Metadata,
}

/// `upstream.endpoints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSettings {
    /// An address, or a name that stands for some.
    pub place: Place,
    /// 0 to 1000; 0: no new requests.
    pub weight: u32,
    /// Lower ones first.
    pub priority: u8,
    /// Whether it stands in this node's zone.
    pub zone: Zone,
    /// What is said of it.
    pub metadata: Arc<Metadata>,
    /// Other ways to it.
    pub channels: Vec<ChannelSettings>,
}

/// `channels`, of an endpoint or an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelSettings {
    /// Where it leads.
    pub target: ChannelTarget,
    /// What is spoken there; `None`: what is spoken to the endpoint.
    pub protocol: Option<UpstreamProtocol>,
    /// Whether that is encrypted; `None`: as the first way is.
    pub security: Option<Security>,
}

/// Where a channel leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelTarget {
    /// To the endpoint's own address and port.
    Same,
    /// To another port of it.
    Port(u16),
    /// To another address.
    Address(SocketAddr),
}

impl ChannelSettings {
    /// That way to the endpoint at an address, in an upstream that speaks a protocol.
    pub fn to(&self, endpoint: SocketAddr, protocol: UpstreamProtocol, security: Security) -> Channel {
        Channel {
            address: match self.target {
                ChannelTarget::Same => endpoint,
                ChannelTarget::Port(port) => SocketAddr::new(endpoint.ip(), port),
                ChannelTarget::Address(address) => address,
            },
            protocol: self.protocol.unwrap_or(protocol),
            security: self.security.unwrap_or(security),
        }
    }
}

impl Settings {
    /// The same with other routes.
    #[must_use]
    pub fn with_routes(&self, routes: Vec<Arc<RouteSettings>>, kept: Arc<Kept>) -> Self {
        let mut next = Self {
            routes,
            kept,
            ..self.clone()
        };
        for listener in &mut next.listeners {
            let served = next
                .routes
                .iter()
                .filter(|route| route.listeners.contains(&listener.name));
            listener.routes = served.cloned().collect();
        }
        next
    }

    /// The route of that name.
    pub fn route(&self, name: &str) -> Option<&Arc<RouteSettings>> {
        self.routes.iter().find(|route| route.name == name)
    }

    /// The host names of endpoints, each once.
    pub fn names(&self) -> BTreeSet<Arc<str>> {
        let endpoints = self.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
        let names = endpoints.filter_map(|endpoint| match &endpoint.place {
            Place::Name(host, _) => Some(Arc::clone(host)),
            Place::Address(_) => None,
        });
        names.collect()
    }

    /// What this gateway accepts on: no endpoint may lead there.
    pub fn own(&self) -> Own<'_> {
        Own {
            node: [
                self.node.address.map(IpAddr::V4),
                self.node.address_v6.map(IpAddr::V6),
            ],
            listeners: self.listeners.iter().map(|listener| listener.address).collect(),
            vips: &self.vips,
        }
    }
}
