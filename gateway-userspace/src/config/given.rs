//! The configuration as given: what the file may say, and nothing made of it yet.
//!
//! Every field is optional here, so that all problems are found at once; which keys are required stands in the
//! schema, and `validate` turns this into [`Settings`](super::Settings). The doc comments are the text of the
//! reference in `docs/configuration.md` and of the JSON schema.

mod acme;
mod actions;
mod channel;
mod dataplane;
mod filters;
mod guard;
#[macro_use]
mod keys;
pub mod health;
mod matching;
mod protection;
mod retry;
mod sticky;
mod subsets;
mod tls;
mod trace;
mod upstream;
mod values;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::limits;
use super::snapshot::{Announce, EncodedSlash, Expect, HttpMode, Steering, Transport};
use values::SocketAddress;

pub use acme::{Acme, ExternalAccount};
pub use actions::{Abort, Delay, Fault, Mirror, Redirect, Respond, Rewrite, Share, SplitBy};
pub use channel::{Channel, Failback};
pub use dataplane::Dataplane;
pub use filters::{
    ApiKey, BasicAuth, BodyLimit, Compression, CompressionAlgorithm, Cors, Filter, ForwardAuth, HeaderEdit,
    HeadersFilter, Jwt, JwtAlgorithm, OnFailure, RateLimit,
};
pub use guard::{CircuitBreaker, EndpointLimits, Hash, Outlier, UpstreamLimits};
pub use keys::{ListenerKeys, RouteKeys};
pub use matching::{CertificateMatch, FieldMatch, Match, SanMatch, SanType, SubjectMatch};
pub use protection::{OwnBounds, Protection, SourceBounds, VipBounds, VipProtection};
pub use retry::{Fallback, Retry};
pub use sticky::Sticky;
pub use subsets::{Subset, SubsetBy};
pub use tls::{Certificate, ListenerTls, Tls, UpstreamTls};
pub use trace::Trace;
pub use upstream::{Endpoint, ProxyHeader, RetryBudget, Upstream};
pub use values::{Network, Place, Time, TimeOrNone, time_text};

/// The whole file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["node"]))]
pub struct Given {
    /// This node.
    pub node: Option<Node>,
    /// The admin API, which `gateway status`, `nodes`, `drain` and `reload` talk to.
    pub admin: Option<Admin>,
    /// Steering in the kernel by XDP. Without this table the node is an L7 proxy only and needs no root.
    pub dataplane: Option<Dataplane>,
    /// Who may not send to VIPs, and how many connections may begin. Bounds hold without this table, too.
    pub protection: Option<Protection>,
    /// Packets that are sampled into the log all the time. Without this table none is.
    pub trace: Option<Trace>,
    /// The other nodes. Without this table the node stands alone.
    pub cluster: Option<Cluster>,
    /// Who is asked for the addresses of host names. Without this table the system's configuration holds
    /// (`/etc/hosts`, `/etc/resolv.conf`).
    pub dns: Option<Dns>,
    /// What all listeners with TLS share.
    pub tls: Option<Tls>,
    /// The authority that issues certificates by ACME, those of listeners with `acme_names`.
    pub acme: Option<Acme>,
    /// What holds where a listener or a route says nothing.
    pub defaults: Option<Defaults>,
    /// Addresses that clients connect to, steered by the data plane to the node that owns the connection.
    #[schemars(length(max = limits::VIPS_MAX))]
    pub vip: Option<Vec<Vip>>,
    /// Where connections are accepted.
    #[schemars(length(max = limits::LISTENERS_MAX))]
    pub listener: Option<Vec<Listener>>,
    /// Which requests go where.
    #[schemars(length(max = limits::ROUTES_MAX))]
    pub route: Option<Vec<Route>>,
    /// Backend services.
    #[schemars(length(max = limits::UPSTREAMS_MAX))]
    pub upstream: Option<Vec<Upstream>>,
}

/// This node.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct Node {
    /// Unique in the cluster: 1 to 63 letters, digits, `.`, `_` and `-`.
    #[schemars(extend("examples" = ["gw-1"]))]
    pub name: Option<String>,
    /// Where other nodes reach this one over IPv4. Required for IPv4 VIPs. Not a VIP, and not shared with another
    /// node.
    #[schemars(extend("examples" = ["10.0.0.11"]))]
    pub address: Option<Ipv4Addr>,
    /// Where other nodes reach this one over IPv6. Required for IPv6 VIPs.
    #[schemars(extend("examples" = ["2001:db8::11"]))]
    pub address_v6: Option<Ipv6Addr>,
    /// Share of connections that this node takes, against the weights of the others.
    #[schemars(range(min = limits::WEIGHT_MIN, max = limits::WEIGHT_MAX), extend("default" = limits::WEIGHT))]
    pub weight: Option<u32>,
    /// The zone that it stands in, as `zone` of endpoints names them.
    #[schemars(extend("examples" = ["rack-1"]))]
    pub zone: Option<String>,
    /// Worker threads of the proxy. Default: one for each core.
    #[schemars(range(min = 1, max = limits::WORKERS_MAX))]
    pub workers: Option<usize>,
    /// Whether each response carries `x-gateway-node` with this node's name.
    #[schemars(extend("default" = false))]
    pub node_header: Option<bool>,
    /// Client connections that this node holds at most, of all listeners; further ones wait in the kernel's queues. It
    /// must fit the limit of open files, of which a proxied request takes two. Default: what that limit allows.
    #[schemars(range(min = 1, max = limits::CONNECTIONS_MAX_MAX), extend("examples" = [20_000]))]
    pub connections_max: Option<usize>,
    /// Of these, how many one client address may have (of IPv6, one /64); further ones are closed at once. Default: no
    /// such limit.
    #[schemars(range(min = 1, max = limits::CONNECTIONS_MAX_MAX), extend("examples" = [200]))]
    pub connections_per_client_max: Option<usize>,
}

/// The admin API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// A loopback address and port, or `unix:` and the absolute path of a socket (made with mode 0600).
    #[schemars(extend("default" = limits::ADMIN_LISTEN, "examples" = ["unix:/run/gateway/admin.sock"]))]
    pub listen: Option<String>,
    /// File with the bearer token that clients must send; only its owner may read it. Made at the first start where it
    /// is absent. A relative path starts at the configuration file's directory. Default: `/var/lib/gateway/admin.token`
    /// as root, else `gateway/admin.token` below `$XDG_STATE_HOME` or `~/.local/state`.
    #[schemars(extend("examples" = ["/etc/gateway/admin.token"]))]
    pub token_file: Option<PathBuf>,
    /// File in which routes are kept that were set by the admin API (`gateway routes set`), so that they outlive the
    /// process; made where it is absent. A relative path starts at the configuration file's directory. Default:
    /// `routes/NAME.toml` beside the default of `token_file`, with the node's name.
    #[schemars(extend("examples" = ["/var/lib/gateway/routes.toml"]))]
    pub routes_file: Option<PathBuf>,
    /// File in which prefixes are kept that the admin API has denied (`gateway deny add`), in the same way. Default:
    /// `denied/NAME.toml` beside the default of `token_file`.
    #[schemars(extend("examples" = ["/var/lib/gateway/denied.toml"]))]
    pub denied_file: Option<PathBuf>,
}

/// The other nodes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["listen", "key_file"]))]
pub struct Cluster {
    /// UDP address and port of the heartbeats: an address of this node that others reach, never a VIP.
    #[schemars(with = "Option<String>", extend("format" = "socket-address", "examples" = ["10.0.0.11:7946"]))]
    pub listen: Option<SocketAddr>,
    /// `listen` addresses of other nodes to begin with; one that lives is enough. This node's own may stand among them.
    #[schemars(
        with = "Option<Vec<SocketAddress>>",
        length(max = limits::SEEDS_MAX),
        extend("default" = [] as [&str; 0], "examples" = [["10.0.0.12:7946"]])
    )]
    pub seeds: Option<Vec<SocketAddr>>,
    /// File with the secret that all nodes share: 32 bytes as 64 hexadecimal digits or as base64, not readable by
    /// others. Make one with `od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'`. A relative path starts at the
    /// configuration file's directory.
    #[schemars(extend("examples" = ["/etc/gateway/cluster.key"]))]
    pub key_file: Option<PathBuf>,
    /// Which floating addresses this node answers for when it is their holder.
    #[schemars(extend("default" = Announce::Vip))]
    pub announce: Option<Announce>,
}

/// Who is asked for the addresses of host names.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["servers"]))]
pub struct Dns {
    /// Addresses and ports of recursive DNS servers, asked over UDP, and over TCP where an answer is cut. The system's
    /// hosts file and search list do not count then.
    #[schemars(
        with = "Option<Vec<SocketAddress>>",
        length(min = 1, max = limits::DNS_SERVERS_MAX),
        extend("examples" = [["10.0.0.53:53"]])
    )]
    pub servers: Option<Vec<SocketAddr>>,
}

listener_keys! { route_keys! table! {
    /// What holds where a listener or a route says nothing. A route's own word comes first, then that of the listener
    /// that the request came by, then this table's.
    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Defaults {}
} }

/// An address that clients connect to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name", "address", "ports"]))]
pub struct Vip {
    /// Unique among VIPs.
    #[schemars(extend("examples" = ["public"]))]
    pub name: Option<String>,
    /// What clients connect to.
    #[schemars(extend("examples" = ["203.0.113.10"]))]
    pub address: Option<IpAddr>,
    /// Each TCP port needs a listener that accepts on it. An empty list is every port that no other VIP of the address
    /// names, for UDP only.
    #[schemars(
        length(max = limits::VIP_PORTS_MAX),
        inner(range(min = 1, max = 65535)),
        extend("examples" = [[80, 443]])
    )]
    pub ports: Option<Vec<u16>>,
    /// The transport.
    #[schemars(extend("default" = Transport::Tcp))]
    pub protocol: Option<Transport>,
    /// What chooses the node that owns a connection.
    #[schemars(extend("default" = Steering::FlowHash))]
    pub steering: Option<Steering>,
    /// Whether its datagrams are QUIC: packets whose connection id names a node go there, whatever the client's address.
    /// For UDP only.
    #[schemars(extend("default" = false))]
    pub quic: Option<bool>,
    /// Bounds of its own in the place of those of `[protection]`. For TCP only.
    pub protection: Option<VipProtection>,
}

listener_keys! { route_keys! table! {
    /// Where HTTP is accepted.
    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[schemars(extend("required" = ["name", "address"]))]
    pub struct Listener {
        /// Unique among listeners.
        #[schemars(extend("examples" = ["web"]))]
        pub name: Option<String>,
        /// Address and port. `[::]` takes IPv6 and IPv4, `0.0.0.0` IPv4 only; both take the VIPs of that port too.
        #[schemars(with = "Option<String>", extend("format" = "socket-address", "examples" = ["[::]:80"]))]
        pub address: Option<SocketAddr>,
        /// What clients speak.
        #[schemars(extend("default" = ListenerProtocol::Http))]
        pub protocol: Option<ListenerProtocol>,
        /// Proxies that say by the PROXY protocol (version 1 or 2, before TLS) for whom they connect. Their connections must begin
        /// with its header, whole within `first_byte_timeout`; all others are taken as they are. Without this table nobody is
        /// believed, and a header is bytes like others.
        pub proxy_protocol: Option<ProxyProtocol>,
        /// How TLS is spoken, where `protocol` is `https`.
        pub tls: Option<ListenerTls>,
        /// The certificates that clients get. Required where `protocol` is `https`.
        #[schemars(length(min = 1, max = limits::CERTIFICATES_MAX))]
        pub certificates: Option<Vec<Certificate>>,
        /// What is done to each request that comes by it and that a route takes, before what the route does: tables as in
        /// `route.filters`.
        #[schemars(length(max = limits::FILTERS_MAX), extend("x-as" = "route.filters"))]
        pub filters: Option<Vec<Filter>>,
    }
} }

/// `listener.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListenerProtocol {
    /// HTTP/1.1, and HTTP/2 with prior knowledge.
    Http,
    /// The same over TLS, where clients choose between HTTP/1.1 and HTTP/2 by ALPN.
    Https,
    /// Anything: each connection is joined with one to an endpoint.
    Tcp,
    /// TLS that the endpoints speak: the same, by the name that the client asks for.
    TlsPassthrough,
}

/// `listener.proxy_protocol`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["from"]))]
pub struct ProxyProtocol {
    /// Networks or addresses of the proxies.
    #[schemars(
        length(min = 1, max = limits::TRUSTED_PROXIES_MAX),
        extend("examples" = [["10.0.0.0/8", "2001:db8::1"]])
    )]
    pub from: Option<Vec<Network>>,
}

route_keys! { table! {
    /// Which requests go where.
    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[schemars(extend("required" = ["name", "listeners"]))]
    pub struct Route {
        /// Unique among routes.
        #[schemars(extend("examples" = ["users"]))]
        pub name: Option<String>,
        /// Names of the listeners that it serves.
        #[schemars(length(min = 1, max = limits::LISTENERS_MAX), extend("examples" = [["web"]]))]
        pub listeners: Option<Vec<String>>,
        /// Which requests it takes. The most exact route wins, whatever the order in the file. Required, but where it serves
        /// listeners of `tcp` or `tls_passthrough`: of those it may have `hosts` (for `tls_passthrough`, the name that the client
        /// asks for by SNI) and `client` alone.
        #[serde(rename = "match")]
        pub matching: Option<Match>,
        /// Name of the upstream that requests are sent to. Exactly one of `upstream`, `split`, `redirect` and
        /// `respond`.
        #[schemars(extend("examples" = ["users"]))]
        pub upstream: Option<String>,
        /// Name of the upstream's subset that they are sent to. It does not hold for `fallback`.
        #[schemars(extend("examples" = ["canary"]))]
        pub subset: Option<String>,
        /// Upstreams that share the requests, each by its weight.
        #[schemars(length(min = 1, max = limits::SHARES_MAX))]
        pub split: Option<Vec<Share>>,
        /// What keeps a client with one of them as long as the weights stay. Default: chance decides for each request.
        pub split_by: Option<SplitBy>,
        /// Where the client is sent instead.
        pub redirect: Option<Redirect>,
        /// An answer without any upstream.
        pub respond: Option<Respond>,
        /// What the upstream is asked for, where that is not what the client asks for.
        pub rewrite: Option<Rewrite>,
        /// Another upstream that gets copies of requests; its answers are thrown away.
        pub mirror: Option<Mirror>,
        /// What is done to requests on purpose, to see how clients and upstreams take it.
        pub fault: Option<Fault>,
        /// What is done, in this order, where the upstream fails for good, retries included. A request goes on to an upstream
        /// only if it may be sent again and `timeout` is not over; an answer always can be given.
        #[schemars(length(min = 1, max = limits::FALLBACKS_MAX))]
        pub fallback: Option<Vec<Fallback>>,
        /// After which outcomes of the upstream, retries included: words as in `retry.on`.
        #[schemars(
            length(min = 1, max = limits::OUTCOMES_MAX),
            extend("default" = limits::FALLBACK_ON_WORDS, "examples" = [["connect-failure", "502-504"]])
        )]
        pub fallback_on: Option<Vec<String>>,
        /// What is done to each of its requests before an endpoint is chosen, in this order, and to the answer's head, in the
        /// reverse order. `docs/filters.md` says more.
        #[schemars(length(max = limits::FILTERS_MAX))]
        pub filters: Option<Vec<Filter>>,
    }
} }
