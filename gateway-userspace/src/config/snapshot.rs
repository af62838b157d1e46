//! The compiled configuration: immutable, numbered, swapped whole.
//!
//! Everything here is checked and resolved already: no option that means "default", no name that needs a lookup.

mod balancing;
mod fault;
mod health;
mod key;
mod mirror;
mod outcomes;
mod protection;
mod respond;
mod rewrite;
mod route;
mod rules;
mod split;
mod sticky;
mod subsets;
mod under_way;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metadata::Metadata;
use crate::acme::challenge::Challenges;
use crate::filters::NamedFilter;
use crate::proxy_protocol;
use crate::registry::{Channel, EndpointState, GuardSettings, UpstreamState};
use crate::resilience::budget::Budget;
use crate::resilience::channel;
use crate::resilience::limits::Limits;
use crate::router::Router;
use crate::tls::{ClientTls, Security, ServerTls};
use crate::trace::Wish;

pub use balancing::{Balancer, Balancing, HashAlgorithm, HashBy};
pub use fault::{Faults, Odds};
pub use health::{Check, CheckMethod, Health, Heartbeat, HttpCheck, Kind, Pushed, Startup, Statuses, Way};
pub use key::ClusterKey;
pub use mirror::Mirror;
pub use outcomes::{Failure, Outcomes, Retries};
pub use protection::{Bounds, Prefixes, Protection, Scope, VipProtection};
pub use respond::{Filling, Piece, Respond};
pub use rewrite::{NewPath, Redirect, Rewrite, Scheme, Template, TemplateFault, Wanted};
pub use route::{Fallback, Route, RouteAction};
pub use rules::{EncodedSlash, Expect, GrpcWeb, HttpMode, ListenerHttp, MergeSlashes, Networks, RouteHttp};
pub use split::{Shares, Split};
pub use sticky::{SameSite, Sticky, StickySettings};
pub use subsets::{Choice, Subset, SubsetBy, SubsetFallback, SubsetPolicy, Subsets};

/// One immutable, numbered, compiled configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// 1 at the start, one more with each accepted configuration.
    pub number: u64,
    /// The file it came from.
    pub source: PathBuf,
    /// This node.
    pub node: Node,
    /// The admin API.
    pub admin: Admin,
    /// Steering in the kernel; `None`: L7 only.
    pub dataplane: Option<Dataplane>,
    /// What the data plane keeps from VIPs.
    pub protection: Arc<Protection>,
    /// Packets that are sampled into the log; `None`: none.
    pub trace: Option<Wish>,
    /// Other nodes; `None`: a single node.
    pub cluster: Option<Cluster>,
    /// Addresses that clients connect to.
    pub vips: Vec<Vip>,
    /// Where L7 accepts.
    pub listeners: Vec<Arc<Listener>>,
    /// All upstreams, referred to by routes or not.
    pub upstreams: Vec<Arc<Upstream>>,
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Unique in the cluster; also the value of `x-gateway-node`.
    pub name: String,
    /// Where other nodes reach this one over IPv4.
    pub address: Option<Ipv4Addr>,
    /// Where other nodes reach this one over IPv6.
    pub address_v6: Option<Ipv6Addr>,
    /// Share of connections, 1 to 1000.
    pub weight: u32,
    /// Where it stands.
    pub zone: Option<String>,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Whether responses carry `x-gateway-node`.
    pub node_header: NodeHeader,
    /// Client connections at most, of all listeners; must fit the limit of open files.
    pub connections_max: Option<usize>,
    /// Of one client address (IPv6: of one /64) at most.
    pub connections_per_client_max: Option<usize>,
}

/// Whether responses name the node that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeHeader {
    /// Each response carries `x-gateway-node`.
    Sent,
    /// None does (the default: names of machines are nobody else's business).
    Omitted,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Loopback or a unix socket.
    pub listen: AdminListen,
    /// Where the bearer token lies; made at the first start where absent.
    pub token_file: PathBuf,
    /// Where routes are kept that the API set.
    pub routes_file: PathBuf,
    /// Where prefixes are kept that the API has denied.
    pub denied_file: PathBuf,
}

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A unix socket, mode 0600.
    Unix(PathBuf),
}

/// `[dataplane]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataplane {
    /// Interfaces the XDP program is attached to.
    pub interfaces: Vec<String>,
    /// How it is attached.
    pub mode: AttachMode,
    /// How packets reach their owner.
    pub encapsulation: Encapsulation,
    /// Interfaces that encapsulated packets are taken from; a subset of `interfaces`.
    pub cluster_interfaces: Vec<String>,
    /// Bound of the flow table.
    pub flow_table_entries: u32,
    /// Bound of the number of Maglev tables.
    pub tables: u32,
    /// Directory on bpffs below which this node's maps and links are pinned.
    pub pin_directory: PathBuf,
    /// Largest IP packet that passes between nodes, in bytes, 1280 to 9000.
    pub path_mtu: u16,
    /// How long a UDP flow without datagrams is remembered.
    pub udp_idle: Duration,
    /// Bound of the table of UDP flows.
    pub udp_flow_table_entries: u32,
    /// Bound of each list of prefixes.
    pub prefixes_max: u32,
    /// The port of the nodes' heartbeats; 0: there are none.
    pub heartbeat_port: u16,
}

/// `dataplane.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttachMode {
    /// Native, else generic with a warning.
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the stack, for drivers without XDP.
    Generic,
}

/// `dataplane.encapsulation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encapsulation {
    /// IP in UDP (draft-ietf-intarea-gue), with a cookie by which nodes know each other, also across routers.
    Gue,
    /// IP in IP (RFC 2003, RFC 2473, RFC 4213): fewer bytes; nodes must share a segment.
    Ipip,
    /// A new hardware address on the way to the owner, GUE from there on; nodes must share a segment.
    L2,
}

/// `[cluster]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// UDP address of the heartbeats.
    pub listen: SocketAddr,
    /// Other nodes to begin with.
    pub seeds: Vec<SocketAddr>,
    /// Shared by all nodes; encrypts and authenticates what they say.
    pub key: ClusterKey,
    /// Which floating addresses are answered for.
    pub announce: Announce,
}

/// `cluster.announce`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Announce {
    /// The VIPs themselves, on a flat segment.
    Vip,
    /// Nothing: a router or an operator sees to it.
    None,
}

/// `[[vip]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// Unique.
    pub name: String,
    /// What clients connect to.
    pub address: IpAddr,
    /// Sorted, distinct; empty for all ports.
    pub ports: Vec<u16>,
    /// The transport.
    pub protocol: Transport,
    /// What chooses the owner of a connection.
    pub steering: Steering,
    /// What its datagrams are.
    pub payload: Payload,
    /// Bounds of its own.
    pub protection: VipProtection,
}

/// `vip.quic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing that steering looks into.
    Plain,
    /// QUIC, whose connection ids name nodes.
    Quic,
}

/// `vip.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// `vip.steering`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Steering {
    /// By the 5-tuple: the best spread.
    FlowHash,
    /// By the client's address: all of a client's connections on one node.
    IpHash,
}

/// `[[listener]]`, with the routes that name it.
#[derive(Debug)]
pub struct Listener {
    /// Unique.
    pub name: String,
    /// Where it accepts.
    pub address: SocketAddr,
    /// The largest TCP segment that still fits the path after encapsulation; `None` without a data plane.
    pub segment_bytes_max: Option<u16>,
    /// What its connections carry.
    pub carries: Carries,
    /// Whose headers of the PROXY protocol are believed; none: nobody's.
    pub proxies: Networks,
    /// How TLS is spoken there; `None`: it is not.
    pub tls: Option<Arc<ServerTls>>,
    /// What authorities are answered that look whether names lead here; `None`: such requests are like others.
    pub challenges: Option<Arc<Challenges>>,
    /// How HTTP is read there, and how long clients may take.
    pub http: ListenerHttp,
    /// Which route a request takes; an index into `routes`.
    pub router: Arc<Router>,
    /// What requests pass before those of their route, in this order.
    pub filters: Vec<Arc<NamedFilter>>,
    /// The routes of this listener.
    pub routes: Vec<Arc<Route>>,
}

/// What a listener's connections carry, as `listener.protocol` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Requests, over TLS or not.
    Requests,
    /// Whatever the endpoint understands.
    Bytes,
    /// TLS that is the endpoint's: its first message says where to.
    Tls,
}

/// `[[upstream]]`.
#[derive(Debug)]
pub struct Upstream {
    /// Unique.
    pub name: String,
    /// Which endpoint takes a request.
    pub balancing: Balancing,
    /// Parts of its endpoints.
    pub subsets: Subsets,
    /// The cookies by which clients stay with an endpoint.
    pub sticky: Option<Box<Sticky>>,
    /// What takes endpoints out, and the whole.
    pub guards: GuardSettings,
    /// How much may be under way.
    pub limits: Limits,
    /// An answer that takes longer to begin is slow.
    pub slow_call: Option<Duration>,
    /// Of each configured address: itself, or what its name resolves to.
    pub endpoints: Vec<Endpoint>,
    /// Why there is no endpoint, if there is none.
    pub missing: Missing,
    /// What is spoken to the endpoints.
    pub protocol: UpstreamProtocol,
    /// The header that connections of clients begin with; `None`: they begin as the clients' do.
    pub proxy_header: Option<proxy_protocol::Version>,
    /// How TLS is spoken to them; `None`: it is not.
    pub tls: Option<Arc<ClientTls>>,
    /// What becomes of responses that are readable but bad.
    pub mode: HttpMode,
    /// Bound of a connection attempt.
    pub connect_timeout: Duration,
    /// Idle connections kept per endpoint on this node, divided among its workers.
    pub idle_per_endpoint: usize,
    /// After it an idle connection is closed.
    pub idle_timeout: Duration,
    /// After it a connection takes no further request; `None`: never.
    pub connection_age: Option<Duration>,
    /// Requests under way at an endpoint that is taken out may go on for so long.
    pub drain_timeout: Duration,
    /// HTTP/2: connections per endpoint on this node at most, divided among its workers.
    pub h2_connections_max: usize,
    /// HTTP/2: streams on one connection before another is opened.
    pub h2_streams_max: usize,
    /// `health`: how its endpoints are watched; without checks they are always taken to be ready.
    pub health: Health,
    /// `registration.endpoints_max`: how many more may come by themselves.
    pub registered_max: usize,
    /// Retries that may be under way.
    pub retry_budget: Budget,
    /// How the first channel of an endpoint is taken again.
    pub failback: channel::Settings,
    /// Its state cell, which outlives snapshots.
    pub state: Arc<UpstreamState>,
}

impl Upstream {
    /// Whether the first way to its endpoints is encrypted.
    pub fn security(&self) -> Security {
        match self.tls {
            Some(_) => Security::Tls,
            None => Security::Plain,
        }
    }
}

/// `upstream.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1 with connection reuse.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Why an upstream has no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It has some.
    Nothing,
    /// Its names have not been resolved yet, or to nothing.
    Unresolved,
    /// They resolve to listeners of this node or to VIPs: requests would go in circles.
    Loop,
    /// The file lists none, and none has registered.
    Unregistered,
}

/// One address of an upstream.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// The host name that it came from, in lower case and without a dot at its end; `None`: the file has the address.
    pub host: Option<Arc<str>>,
    /// What is said of it.
    pub metadata: Arc<Metadata>,
    /// Other ways to it, in the order in which they are taken.
    pub channels: Arc<[Channel]>,
    /// Its state cell, which outlives snapshots.
    pub state: Arc<EndpointState>,
}
