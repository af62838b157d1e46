//! A gateway with its workers, and upstreams, all in this process.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::net::TcpListener;

use crate::balance::{self, Member, RosterTerms};
use crate::config::answers::Answers;
use crate::config::load::load_text;
use crate::config::snapshot::{
    Admin, AdminListen, Balancing, Carries, Endpoint, Fallback, HashBy, HttpMode, Listener, ListenerHttp,
    Missing, Networks, Node, NodeHeader, Outcomes, Respond, Retries, Route, RouteAction, RouteHttp, Snapshot,
    Sticky, StickySettings, Subset, SubsetBy, SubsetFallback, Subsets, Upstream, UpstreamProtocol,
};
use crate::config::surroundings::Surroundings;
use crate::config::{Settings, compile, limits};
use crate::filters::{FilterSettings, Owner};
use crate::guards::Driver;
use crate::jwks::Fetcher;
use crate::l7::{Shared, Workers};
use crate::names::Names;
use crate::registry::{Channel, EndpointState, GuardSettings, Registry};
use crate::resilience::budget::Budget;
use crate::resilience::channel;
use crate::resilience::limits::Limits;
use crate::router::{HostPattern, PathPattern, RouteIndex, Router};
use crate::telemetry::access_log::AccessLog;
use crate::tls::{ClientSettings, ClientTls, ServerSettings, ServerTls};

pub(super) use super::client::*;
pub(super) use super::server::*;

pub(super) type Body = BoxBody<Bytes, hyper::Error>;

/// Longest wait for what should happen soon.
pub(super) const SOON: Duration = Duration::from_secs(20);

pub(super) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// A body of unknown length.
pub(super) fn in_pieces(pieces: &[&'static str]) -> Body {
    let frames: Vec<_> = pieces
        .iter()
        .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
        .collect();
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

pub(super) async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// An answer of the configuration's.
pub(super) fn respond(status: StatusCode, body: &str) -> Respond {
    Respond {
        status,
        body: Respond::pieces(body),
        content_type: http::HeaderValue::from_static(limits::RESPOND_CONTENT_TYPE),
        retry_after: None,
    }
}

/// The access log in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a test wants its gateway; changed and applied again for a reload.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) workers: usize,
    /// Of all listeners.
    pub(super) tls: Option<ServerSettings>,
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) node_header: NodeHeader,
    pub(super) protocol: UpstreamProtocol,
    /// How TLS is spoken to the endpoints of `users`.
    pub(super) upstream_tls: Option<ClientSettings>,
    pub(super) endpoints: Vec<SocketAddr>,
    pub(super) timeout: Duration,
    pub(super) body_bytes_max: u64,
    pub(super) stalled_timeout: Duration,
    pub(super) first_byte_timeout: Duration,
    pub(super) head_timeout: Duration,
    pub(super) response_idle_timeout: Duration,
    pub(super) timeout_total: Option<Duration>,
    pub(super) try_timeout: Option<Duration>,
    pub(super) deadline_header: Option<&'static str>,
    pub(super) trusted_proxies: Networks,
    /// Whose headers of the PROXY protocol are believed.
    pub(super) proxies: Networks,
    pub(super) connections_per_client_max: Option<usize>,
    pub(super) connect_timeout: Duration,
    pub(super) idle_per_endpoint: usize,
    pub(super) balancer: balance::Balancer,
    pub(super) hash_by: HashBy,
    pub(super) guards: GuardSettings,
    pub(super) limits: Limits,
    pub(super) slow_call: Option<Duration>,
    pub(super) slow_start: Duration,
    /// Of the endpoints in their order; absent: 0.
    pub(super) priorities: Vec<u8>,
    /// Of the endpoints in their order; absent: 1.
    pub(super) weights: Vec<u32>,
    pub(super) sticky: Option<StickySettings>,
    /// Of each subset, which endpoints are in it; the header `x-version` chooses by the subset's number.
    pub(super) subsets: Vec<Vec<usize>>,
    pub(super) subset_fallback: SubsetFallback,
    /// Which one the route goes to.
    pub(super) subset: Option<usize>,
    pub(super) retry: Retries,
    pub(super) retry_budget: Budget,
    /// Endpoints of the upstream `backup`, which the route falls back to; none: it does not.
    pub(super) backup: Vec<SocketAddr>,
    pub(super) backup_protocol: UpstreamProtocol,
    /// Other ways to each endpoint of `users`.
    pub(super) channels: Vec<Channel>,
    pub(super) failback: channel::Settings,
    pub(super) fallback_on: Outcomes,
    pub(super) fallback_respond: Option<Respond>,
    pub(super) listener_filters: Vec<FilterSettings>,
    /// Of all routes.
    pub(super) filters: Vec<FilterSettings>,
}

impl Setup {
    pub(super) fn new(workers: usize, endpoints: &[SocketAddr]) -> Self {
        Self {
            workers,
            tls: None,
            listeners: vec!["127.0.0.1:0".parse().unwrap()],
            node_header: NodeHeader::Omitted,
            protocol: UpstreamProtocol::Http1,
            upstream_tls: None,
            endpoints: endpoints.to_vec(),
            timeout: SOON,
            body_bytes_max: 64 << 20,
            stalled_timeout: Duration::from_secs(30),
            first_byte_timeout: SOON,
            head_timeout: SOON,
            response_idle_timeout: SOON,
            timeout_total: None,
            try_timeout: None,
            deadline_header: None,
            trusted_proxies: Networks::default(),
            proxies: Networks::default(),
            connections_per_client_max: None,
            connect_timeout: Duration::from_secs(2),
            idle_per_endpoint: 8,
            balancer: balance::Balancer::RoundRobin,
            hash_by: HashBy::Nothing,
            guards: GuardSettings::default(),
            limits: Limits::default(),
            slow_call: None,
            slow_start: Duration::ZERO,
            priorities: Vec::new(),
            weights: Vec::new(),
            sticky: None,
            subsets: Vec::new(),
            subset_fallback: SubsetFallback::Any,
            subset: None,
            retry: Retries::default(),
            retry_budget: Budget::default(),
            backup: Vec::new(),
            backup_protocol: UpstreamProtocol::Http1,
            channels: Vec::new(),
            failback: channel::Settings::default(),
            fallback_on: Outcomes::of(&limits::FALLBACK_ON),
            fallback_respond: None,
            listener_filters: Vec::new(),
            filters: Vec::new(),
        }
    }

    /// Routes: everything under `/` goes to the upstream, `/own` is answered, `/post` takes POST alone.
    pub(super) fn snapshot(&self, number: u64, registry: &Registry) -> Snapshot {
        let terms = RosterTerms {
            panic_below_per_cent: 1,
            ..RosterTerms::default()
        };
        let upstream = |name: &str, endpoints: &[SocketAddr]| {
            let members: Vec<Member> = endpoints
                .iter()
                .enumerate()
                .map(|(index, address)| Member {
                    priority: self.priorities.get(index).copied().unwrap_or(0),
                    ..Balancing::member(*address, self.weights.get(index).copied().unwrap_or(1))
                })
                .collect();
            let subset = |(number, chosen): (usize, &Vec<usize>)| {
                let name = format!("subset-{number}");
                Subset::new(&name, self.balancer, &members, &terms, |index| {
                    chosen.contains(&index)
                })
            };
            let numbers = (0..self.subsets.len()).map(|number| (number.to_string(), number));
            let subsets = Subsets {
                all: self.subsets.iter().enumerate().map(subset).collect(),
                by: (!self.subsets.is_empty()).then(|| SubsetBy {
                    header: http::HeaderName::from_static("x-version"),
                    subsets: numbers.collect(),
                }),
                fallback: self.subset_fallback,
            };
            let endpoint = |address: &SocketAddr| Endpoint {
                address: *address,
                host: None,
                metadata: Arc::default(),
                channels: if name == "users" {
                    self.channels.clone().into()
                } else {
                    Arc::default()
                },
                state: registry.endpoint(name, *address),
            };
            Arc::new(Upstream {
                name: name.into(),
                balancing: Balancing::new(
                    self.balancer,
                    members,
                    terms,
                    self.hash_by.clone(),
                    self.slow_start,
                ),
                subsets,
                sticky: self
                    .sticky
                    .as_ref()
                    .map(|settings| Box::new(Sticky::new(settings, name, endpoints.iter().copied()))),
                guards: self.guards.clone(),
                limits: self.limits,
                slow_call: self.slow_call,
                endpoints: endpoints.iter().map(endpoint).collect(),
                missing: Missing::Nothing,
                protocol: if name == "backup" {
                    self.backup_protocol
                } else {
                    self.protocol
                },
                tls: match &self.upstream_tls {
                    Some(tls) if name == "users" => Some(Arc::new(ClientTls::new(tls).unwrap())),
                    _ => None,
                },
                proxy_header: None,
                failback: self.failback,
                mode: HttpMode::Strict,
                idle_timeout: Duration::from_secs(60),
                connection_age: None,
                drain_timeout: std::time::Duration::from_secs(30),
                h2_connections_max: 8,
                h2_streams_max: 100,
                connect_timeout: self.connect_timeout,
                idle_per_endpoint: self.idle_per_endpoint,
                health: crate::config::snapshot::Health::default(),
                registered_max: 0,
                retry_budget: self.retry_budget,
                state: registry.upstream(name),
            })
        };
        let backup = (!self.backup.is_empty()).then(|| upstream("backup", &self.backup));
        let upstream = upstream("users", &self.endpoints);
        let route = |name: &str, action: RouteAction| {
            Arc::new(Route {
                name: name.into(),
                action,
                subset: self.subset,
                rewrite: None,
                fault: None,
                mirror: None,
                fallback: Fallback {
                    on: self.fallback_on,
                    upstreams: backup.clone().into_iter().collect(),
                    respond: self.fallback_respond.clone().map(Arc::new),
                },
                filters: compile::filters(&self.filters, &Owner::Route(name.into()), registry),
                http: Arc::new(RouteHttp {
                    retry: self.retry.clone(),
                    timeout: self.timeout,
                    body_bytes_max: self.body_bytes_max,
                    response_idle_timeout: self.response_idle_timeout,
                    timeout_total: self.timeout_total,
                    try_timeout: self.try_timeout,
                    deadline_header: self.deadline_header.map(http::HeaderName::from_static),
                    ..RouteHttp::default()
                }),
            })
        };
        let respond = Arc::new(respond(StatusCode::OK, "own"));
        let routes = vec![
            route("all", RouteAction::Upstream(Arc::clone(&upstream))),
            route("own", RouteAction::Respond(Arc::clone(&respond))),
            route("post", RouteAction::Respond(respond)),
        ];
        let listener = |(index, address): (usize, &SocketAddr)| {
            let mut router = Router::default();
            let mut add = |path: PathPattern, methods: &[Method], index| {
                router
                    .insert(&HostPattern::Any, &path, methods, RouteIndex(index))
                    .unwrap();
            };
            add(PathPattern::Prefix("/up".into()), &[], 0);
            add(PathPattern::Exact("/own".into()), &[], 1);
            add(PathPattern::Exact("/post".into()), &[Method::POST], 2);
            Arc::new(Listener {
                name: format!("web-{index}"),
                address: *address,
                segment_bytes_max: None,
                carries: Carries::Requests,
                proxies: self.proxies.clone(),
                tls: self.tls.as_ref().map(|tls| {
                    let tls = ServerTls::new(&format!("web-{index}"), tls, &registry.ticket_keys());
                    Arc::new(tls.unwrap())
                }),
                challenges: None,
                http: ListenerHttp {
                    stalled_timeout: self.stalled_timeout,
                    first_byte_timeout: self.first_byte_timeout,
                    head_timeout: self.head_timeout,
                    trusted_proxies: self.trusted_proxies.clone(),
                    ..ListenerHttp::default()
                },
                filters: compile::filters(
                    &self.listener_filters,
                    &Owner::Listener(format!("web-{index}")),
                    registry,
                ),
                router: Arc::new(router),
                routes: routes.clone(),
            })
        };
        Snapshot {
            number,
            source: "test".into(),
            node: Node {
                name: "gw-1".into(),
                address: None,
                address_v6: None,
                weight: 1,
                zone: None,
                workers: self.workers,
                node_header: self.node_header,
                connections_max: None,
                connections_per_client_max: self.connections_per_client_max,
            },
            admin: Admin {
                listen: AdminListen::Tcp("127.0.0.1:0".parse().unwrap()),
                token_file: "none".into(),
                routes_file: "none".into(),
                denied_file: "none".into(),
            },
            dataplane: None,
            protection: Arc::default(),
            trace: None,
            cluster: None,
            vips: Vec::new(),
            listeners: self.listeners.iter().enumerate().map(listener).collect(),
            upstreams: [upstream].into_iter().chain(backup).collect(),
        }
    }
}

/// The settings of a file without its node and listener.
pub(super) fn settings(workers: usize, text: &str) -> Settings {
    let text = format!(
        "[node]\nname='gw-1'\nworkers={workers}\n[[listener]]\nname='web'\naddress='127.0.0.1:1'\n{text}"
    );
    let surroundings = Surroundings {
        cores: workers,
        state_directory: "/state".into(),
        invalid: crate::config::surroundings::Invalid::Refused,
    };
    let mut settings = load_text(Path::new("t.toml"), &text, &surroundings).unwrap();
    for listener in &mut settings.listeners {
        listener.address.set_port(0);
    }
    settings
}

fn configured(workers: usize, text: &str, number: u64, registry: &Registry) -> Snapshot {
    compile(&settings(workers, text), registry, &Answers::default(), number)
}

/// A running gateway.
pub(super) struct Gateway {
    pub(super) workers: Workers,
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Registry,
    guards: Driver,
    keys: Fetcher,
    number: u64,
    lines: Lines,
}

impl Gateway {
    pub(super) fn start(setup: &Setup) -> Self {
        Self::start_with(setup, 10_000)
    }

    pub(super) fn start_with(setup: &Setup, connections_max: usize) -> Self {
        let registry = Registry::default();
        let snapshot = setup.snapshot(1, &registry);
        Self::run(snapshot, registry, connections_max)
    }

    /// One with the routes and upstreams of a file, its node and listener (`web`) apart.
    pub(super) fn configured(workers: usize, text: &str) -> Self {
        let registry = Registry::default();
        let snapshot = configured(workers, text, 1, &registry);
        Self::run(snapshot, registry, 10_000)
    }

    fn run(snapshot: Snapshot, registry: Registry, connections_max: usize) -> Self {
        let snapshot = Arc::new(snapshot);
        let lines = Lines::default();
        let log = Arc::new(AccessLog::start(lines.clone()).unwrap());
        let shared = Shared::new(Arc::clone(&snapshot), log);
        let workers = snapshot.node.workers;
        let workers = Workers::start_with(Arc::clone(&shared), workers, connections_max).unwrap();
        let prepared = workers.prepare(&snapshot).unwrap();
        let guards = Driver::start(&tokio::runtime::Handle::current());
        guards.apply(&snapshot);
        let keys = Fetcher::start(
            tokio::runtime::Handle::current(),
            Names::start(tokio::runtime::Handle::current()).asker(),
        );
        keys.apply(&snapshot);
        workers.commit(prepared, snapshot);
        Self {
            workers,
            shared,
            registry,
            guards,
            keys,
            number: 1,
            lines,
        }
    }

    pub(super) fn reload(&mut self, setup: &Setup) {
        let next = setup.snapshot(self.number + 1, &self.registry);
        self.put_in_force(next);
    }

    pub(super) fn reconfigure(&mut self, workers: usize, text: &str) {
        let next = configured(workers, text, self.number + 1, &self.registry);
        self.put_in_force(next);
    }

    /// Workers may see it, but are not told.
    pub(super) fn show(&mut self, setup: &Setup) {
        let next = setup.snapshot(self.number + 1, &self.registry);
        self.number = next.number;
        self.shared.snapshot.store(Arc::new(next));
    }

    /// Tells workers of what they may have seen.
    pub(super) fn tell_shown(&mut self) {
        let shown = self.shared.snapshot.load_full();
        let prepared = self.workers.prepare(&shown).unwrap();
        self.workers.commit(prepared, shown);
    }

    fn put_in_force(&mut self, next: Snapshot) {
        self.number = next.number;
        let next = Arc::new(next);
        let prepared = self.workers.prepare(&next).unwrap();
        self.guards.apply(&next);
        self.keys.apply(&next);
        self.workers.commit(prepared, next);
    }

    /// Where the first listener is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address_of("127.0.0.1:0")
    }

    pub(super) fn address_of(&self, configured: &str) -> SocketAddr {
        self.workers.local_address(configured.parse().unwrap()).unwrap()
    }

    pub(super) fn state(&self, endpoint: SocketAddr) -> Arc<EndpointState> {
        self.registry.endpoint("users", endpoint)
    }

    /// What a scrape gets.
    pub(super) fn metrics(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        crate::l7::register_metrics(&mut registry, &self.shared);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    pub(super) fn log(&self) -> Log {
        Log(self.lines.clone())
    }

    /// The log once it has that many lines.
    pub(super) async fn lines(&self, count: usize) -> Vec<String> {
        self.log().lines(count).await
    }
}

/// The access log, which outlives the gateway.
pub(super) struct Log(Lines);

impl Log {
    pub(super) fn now(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) async fn lines(&self, count: usize) -> Vec<String> {
        wait_until("access-log lines", || self.now().len() >= count).await;
        let lines = self.now();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }
}

/// A port on which nobody listens, for as long as nobody else takes it.
pub(super) async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
