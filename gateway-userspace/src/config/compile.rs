//! From settings to the snapshot that workers and kernel tables are made of. Pure: no clock, file or socket.

mod filters;
mod routes;
mod upstreams;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use gateway_common::encap::Format;
use gateway_common::parse::Family;

use super::answers::Answers;
use super::settings::{
    ActionSettings, ListenerSettings, ListenerTls, RouteSettings, Settings, UpstreamSettings,
};
use super::shared::Shared;
use super::snapshot::{
    Carries, Dataplane, Encapsulation, Fallback, Listener, MergeSlashes, Mirror, Node, Route, RouteAction,
    RouteHttp, Snapshot, Split, Upstream,
};
use crate::acme::challenge::Challenges;
use crate::filters::Owner;
use crate::registry::Registry;
use crate::router::{HostPattern, RouteIndex, Router, Slashes, Terms};
use crate::tls::{ServerTls, TicketKeys};
use upstreams::Sources;

pub use routes::{Change, recompile};

#[cfg(test)]
pub(crate) use filters::filters;

/// Bytes of an IPv4 header without options.
const IPV4_HEADER_BYTES: u16 = 20;
/// Bytes of an IPv6 header without extensions.
const IPV6_HEADER_BYTES: u16 = 40;
/// Bytes of a TCP header without options, which the segment size counts as data.
const TCP_HEADER_BYTES: u16 = 20;

/// Joins accepted settings with the state cells of the node.
///
/// The same settings, registry and answers give the same snapshot, but for its number: endpoints that stay keep their
/// cells.
pub fn compile(settings: &Settings, registry: &Registry, answers: &Answers, number: u64) -> Snapshot {
    let sources = Sources {
        registry,
        answers,
        own: settings.own(),
    };
    let upstreams: Vec<Arc<Upstream>> = settings
        .upstreams
        .iter()
        .map(|settings| Arc::new(upstreams::upstream(settings, &sources)))
        .collect();
    let by_name = upstreams
        .iter()
        .map(|upstream| (upstream.name.clone(), Arc::clone(upstream)))
        .collect();
    let mut joined = Joined {
        ticket_keys: server_ticket_keys(settings, registry),
        challenges: challenges(settings, registry),
        sources: &sources,
        upstreams: by_name,
        routes: HashMap::new(),
        http: Shared::default(),
    };
    let way = settings
        .dataplane
        .as_ref()
        .map(|dataplane| (dataplane, &settings.node));
    let listeners = settings
        .listeners
        .iter()
        .filter_map(|listener| self::listener(listener, way, &mut joined).map(Arc::new))
        .collect();
    Snapshot {
        number,
        source: settings.source.clone(),
        node: settings.node.clone(),
        admin: settings.admin.clone(),
        dataplane: settings.dataplane.clone(),
        protection: Arc::clone(&settings.protection),
        trace: settings.trace.clone(),
        cluster: settings.cluster.clone(),
        vips: settings.vips.clone(),
        listeners,
        upstreams,
    }
}

fn server_ticket_keys(settings: &Settings, registry: &Registry) -> TicketKeys {
    match &settings.ticket_keys {
        Some((_, keys)) => keys.clone(),
        None => registry.ticket_keys(),
    }
}

/// What all plain listeners answer authorities with.
fn challenges(settings: &Settings, registry: &Registry) -> Option<Arc<Challenges>> {
    let acme = settings.acme.as_ref()?;
    let names = acme.wanted.iter().flat_map(|wanted| &wanted.names);
    let thumbprint = registry.acme_thumbprint();
    Some(Arc::new(Challenges::new(names.map(String::as_str), thumbprint)))
}

/// What several listeners share.
struct Joined<'s> {
    ticket_keys: TicketKeys,
    challenges: Option<Arc<Challenges>>,
    sources: &'s Sources<'s>,
    upstreams: HashMap<String, Arc<Upstream>>,
    /// By name; several where listeners say different things of one.
    routes: HashMap<String, Vec<Arc<Route>>>,
    /// What holds for requests of several of them.
    http: Shared<RouteHttp>,
}

impl Joined<'_> {
    /// The route as a listener has it that says so much of its requests; shared where another says the same.
    fn route(&mut self, settings: &RouteSettings, listener: &RouteHttp) -> Arc<Route> {
        let http = settings.keys.over(listener);
        let known = self.routes.get(&settings.name).into_iter().flatten();
        if let Some(route) = known.clone().find(|route| *route.http == http) {
            return Arc::clone(route);
        }
        let action = match &settings.action {
            ActionSettings::Split(split) => RouteAction::Split(Split {
                upstreams: split.upstreams.iter().map(|share| self.upstream(share)).collect(),
                shares: split.shares.clone(),
                by: split.by.clone(),
            }),
            ActionSettings::Redirect(redirect) => RouteAction::Redirect(Arc::new(redirect.clone())),
            ActionSettings::Respond(respond) => RouteAction::Respond(Arc::new(respond.clone())),
            ActionSettings::Upstream(settings) => RouteAction::Upstream(self.upstream(settings)),
        };
        let fallback = Fallback {
            on: settings.fallback_on,
            upstreams: settings
                .fallbacks
                .iter()
                .map(|rung| self.upstream(rung))
                .collect(),
            respond: settings.fallback_respond.clone(),
        };
        let mirror = settings.mirror.as_ref().map(|mirror| Mirror {
            upstream: self.upstream(&mirror.upstream),
            odds: mirror.odds,
            requests_max: mirror.requests_max,
        });
        let route = Arc::new(Route {
            name: settings.name.clone(),
            action,
            subset: settings.subset,
            rewrite: settings.rewrite.clone(),
            fault: settings.fault.clone(),
            mirror,
            fallback,
            filters: filters::filters(
                &settings.filters,
                &Owner::Route(settings.name.clone()),
                self.sources.registry,
            ),
            http: self.http.of(http),
        });
        let known = self.routes.entry(settings.name.clone()).or_default();
        known.push(Arc::clone(&route));
        route
    }

    fn upstream(&mut self, settings: &UpstreamSettings) -> Arc<Upstream> {
        let known = self.upstreams.entry(settings.name.clone());
        Arc::clone(known.or_insert_with(|| Arc::new(upstreams::upstream(settings, self.sources))))
    }
}

fn listener(
    settings: &ListenerSettings,
    way: Option<(&Dataplane, &Node)>,
    joined: &mut Joined<'_>,
) -> Option<Listener> {
    // Never without TLS what was to have it.
    let tls = match &settings.tls {
        Some(tls) => Some(server_tls(&settings.name, tls, joined)?),
        None => None,
    };
    let is_plain = settings.carries == Carries::Requests && tls.is_none();
    let mut router = Router::default();
    let mut routes = Vec::new();
    for (index, route) in settings.routes.iter().enumerate() {
        let compiled = joined.route(route, &settings.route_http);
        let (slashes, index) = (compiled.http.merge_slashes, RouteIndex(index));
        add_patterns(&mut router, route, route.hosts.iter(), slashes, index);
        routes.push(compiled);
    }
    Some(Listener {
        name: settings.name.clone(),
        address: settings.address,
        segment_bytes_max: way.map(|(dataplane, node)| segment_bytes_max(dataplane, node, settings.address)),
        carries: settings.carries,
        proxies: settings.proxies.clone(),
        tls,
        challenges: joined.challenges.clone().filter(|_| is_plain),
        http: settings.http.clone(),
        router: Arc::new(router),
        filters: filters::filters(
            &settings.filters,
            &Owner::Listener(settings.name.clone()),
            joined.sources.registry,
        ),
        routes,
    })
}

/// Adds a route's patterns for some of its hosts.
fn add_patterns<'h>(
    router: &mut Router,
    route: &RouteSettings,
    hosts: impl Iterator<Item = &'h HostPattern>,
    slashes: MergeSlashes,
    index: RouteIndex,
) {
    let slashes = match slashes {
        MergeSlashes::On => Slashes::Merged,
        MergeSlashes::Off => Slashes::Kept,
    };
    for host in hosts {
        let terms = Terms {
            methods: &route.methods,
            slashes,
            conditions: &route.conditions,
        };
        if let Err(fault) = router.insert_if(host, &route.path, terms, index) {
            // `validate` inserted the same patterns in the same order, and refused where that failed.
            debug_assert!(false, "route {}: {fault}", route.name);
            tracing::error!(
                route = route.name,
                fault,
                "a route that was accepted cannot be compiled"
            );
        }
    }
}

fn server_tls(listener: &str, settings: &ListenerTls, joined: &Joined<'_>) -> Option<Arc<ServerTls>> {
    match ServerTls::new(listener, &settings.server, &joined.ticket_keys) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(error) => {
            // `validate` read the same roots and keys, and refused what rustls does not take.
            debug_assert!(false, "listener {listener}: {error}");
            tracing::error!(%error, listener, "TLS that was accepted cannot be compiled; the listener is left out");
            None
        }
    }
}

/// The largest segment that a listener's clients may send: what is left of the path MTU after the outer and inner
/// headers. An IPv6 socket may serve both families, so the smaller figure holds for all of its connections.
fn segment_bytes_max(dataplane: &Dataplane, node: &Node, address: SocketAddr) -> u16 {
    let header = match address {
        SocketAddr::V4(_) => IPV4_HEADER_BYTES,
        SocketAddr::V6(_) => IPV6_HEADER_BYTES,
    };
    // The outer header may be of any family that this node has an address of.
    let outer = match node.address_v6 {
        Some(_) => Family::V6,
        None => Family::V4,
    };
    let encapsulation = match dataplane.encapsulation {
        Encapsulation::Ipip => Format::Ipip.bytes(outer),
        // From the owner on, packets go by GUE.
        Encapsulation::Gue | Encapsulation::L2 => Format::Gue.bytes(outer),
    };
    dataplane
        .path_mtu
        .saturating_sub(header + encapsulation as u16 + TCP_HEADER_BYTES)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::answers::Registered;
    use super::super::load::load_text;
    use super::super::metadata::Metadata;
    use super::super::snapshot::{Endpoint, Expect, Missing};
    use super::super::surroundings::Surroundings;
    use super::*;
    use crate::registry::Readiness;

    const TEXT: &str = "
        [node]
        name = 'a'
        address = '10.0.0.1'
        [[listener]]
        name = 'four'
        address = '0.0.0.0:80'
        [[listener]]
        name = 'six'
        address = '[2001:db8::1]:81'
        [[listener]]
        name = 'both'
        address = '[::]:82'
        [[route]]
        name = 'r'
        listeners = ['four', 'both']
        upstream = 'u'
        match = { hosts = ['a.example', '*.b.example'], path = '/u/{id}', methods = ['GET'] }
        [[route]]
        name = 's'
        listeners = ['both']
        upstream = 'u'
        match = { path_prefix = '/' }
        [[upstream]]
        name = 'u'
        endpoints = [{ address = '10.0.1.1:80' }, { address = '10.0.1.2:80', weight = 3 }]
        [[upstream]]
        name = 'spare'
        endpoints = [{ address = '10.0.1.3:80' }]
    ";
    const DATAPLANE: &str = "[dataplane]\ninterfaces = ['eth0']\n";

    fn settings(text: &str) -> Settings {
        let surroundings = Surroundings {
            cores: 2,
            state_directory: PathBuf::from("/state"),
            invalid: crate::config::surroundings::Invalid::Refused,
        };
        load_text(Path::new("t.toml"), text, &surroundings).unwrap()
    }

    fn segments(text: &str) -> Vec<Option<u16>> {
        let snapshot = compile(&settings(text), &Registry::default(), &Answers::default(), 1);
        snapshot
            .listeners
            .iter()
            .map(|listener| listener.segment_bytes_max)
            .collect()
    }

    #[test]
    fn compile_gives_the_same_for_the_same() {
        let (settings, registry) = (settings(&format!("{TEXT}{DATAPLANE}")), Registry::default());
        let (one, two) = (
            compile(&settings, &registry, &Answers::default(), 7),
            compile(&settings, &registry, &Answers::default(), 7),
        );
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
        assert_eq!((one.number, one.source.as_path()), (7, Path::new("t.toml")));
    }

    #[test]
    fn listeners_share_routes_and_routes_share_upstreams() {
        let snapshot = compile(&settings(TEXT), &Registry::default(), &Answers::default(), 1);
        let [four, six, both] = snapshot.listeners.as_slice() else {
            panic!("{snapshot:?}")
        };
        assert_eq!(
            (four.routes.len(), six.routes.len(), both.routes.len()),
            (1, 0, 2)
        );
        assert!(Arc::ptr_eq(&four.routes[0], &both.routes[0]));
        let upstream = |route: &Route| match &route.action {
            RouteAction::Upstream(upstream) => Arc::clone(upstream),
            _ => panic!("{route:?}"),
        };
        assert!(Arc::ptr_eq(
            &upstream(&both.routes[0]),
            &upstream(&both.routes[1])
        ));
        assert!(Arc::ptr_eq(&upstream(&both.routes[0]), &snapshot.upstreams[0]));
        assert_eq!(snapshot.upstreams[1].name, "spare");
    }

    #[test]
    fn a_route_gets_from_each_listener_what_it_does_not_say_itself() {
        let text = TEXT
            .replace(
                "address = '0.0.0.0:80'",
                "address = '0.0.0.0:80'\ntimeout = '1s'\nexpect = 'forward'",
            )
            .replace("address = '[::]:82'", "address = '[::]:82'\nexpect = 'forward'")
            .replace("name = 'r'", "name = 'r'\nbody_bytes_max = 5")
            .replace(
                "[[listener]]\n        name = 'four'",
                "[defaults]\ntimeout = '9s'\n[[listener]]\nname = 'four'",
            );
        let timeout_of = |snapshot: &Snapshot, listener: usize| {
            let http = &snapshot.listeners[listener].routes[0].http;
            assert_eq!((http.body_bytes_max, http.expect), (5, Expect::Forward));
            http.timeout.as_secs()
        };
        let snapshot = compile(&settings(&text), &Registry::default(), &Answers::default(), 1);
        assert_eq!((timeout_of(&snapshot, 0), timeout_of(&snapshot, 2)), (1, 9));
        let [four, _, both] = snapshot.listeners.as_slice() else {
            panic!("{snapshot:?}")
        };
        assert!(!Arc::ptr_eq(&four.routes[0], &both.routes[0]));
        let text = text.replace("name = 'r'", "name = 'r'\ntimeout = '3s'");
        let snapshot = compile(&settings(&text), &Registry::default(), &Answers::default(), 1);
        assert_eq!((timeout_of(&snapshot, 0), timeout_of(&snapshot, 2)), (3, 3));
        let [four, _, both] = snapshot.listeners.as_slice() else {
            panic!("{snapshot:?}")
        };
        assert!(Arc::ptr_eq(&four.routes[0], &both.routes[0]), "nothing differs");
    }

    #[test]
    fn endpoints_that_stay_keep_their_state() {
        let (settings, registry) = (settings(TEXT), Registry::default());
        let old = compile(&settings, &registry, &Answers::default(), 1);
        old.upstreams[0].endpoints[1]
            .state
            .set_readiness(Readiness::Failing);
        let new = compile(&settings, &registry, &Answers::default(), 2);
        let readiness: Vec<Readiness> = new.upstreams[0]
            .endpoints
            .iter()
            .map(|e| e.state.readiness())
            .collect();
        assert_eq!(readiness, [Readiness::Unknown, Readiness::Failing]);
        assert_eq!(new.upstreams[0].balancing.members[1].weight, 3);
    }

    #[test]
    fn names_become_the_addresses_that_they_have() {
        let text = "
            [node]
            name = 'a'
            address = '10.0.0.1'
            [[listener]]
            name = 'web'
            address = '0.0.0.0:80'
            [[upstream]]
            name = 'u'
            endpoints = [
              { address = '10.0.1.2:80' },
              { address = 'Users.internal.:80', weight = 3 },
              { address = 'more.internal:81' },
            ]
            [[upstream]]
            name = 'names'
            endpoints = [{ address = 'users.internal.:80' }]
        ";
        let (settings, registry) = (settings(text), Registry::default());
        let answers = |rows: &[(&str, &[&str])]| Answers {
            registered: Default::default(),
            number: 1,
            by_name: rows
                .iter()
                .map(|(host, addresses)| {
                    let addresses = addresses.iter().map(|address| address.parse().unwrap());
                    (Arc::from(*host), addresses.collect())
                })
                .collect(),
        };
        // What is known, and the endpoints of both upstreams, with weights and hosts.
        type Row<'r> = (&'r [(&'r str, &'r [&'r str])], &'r str, &'r str, Missing, &'r str);
        let rows: &[Row<'_>] = &[
            (
                &[],
                "10.0.1.2:80 1 -",
                "",
                Missing::Unresolved,
                "nothing is known yet",
            ),
            (
                &[
                    ("users.internal.", &["10.0.1.1", "10.0.1.2", "2001:db8::1"]),
                    ("more.internal", &["10.0.1.1"]),
                ],
                "10.0.1.2:80 1 -, 10.0.1.1:80 3 users.internal, [2001:db8::1]:80 3 users.internal, \
                 10.0.1.1:81 1 more.internal",
                "10.0.1.1:80 3 users.internal, 10.0.1.2:80 3 users.internal, [2001:db8::1]:80 3 users.internal",
                Missing::Nothing,
                "each address has the weight of its name; one that the file has, too, comes once",
            ),
            (
                &[("users.internal.", &["10.0.0.1", "10.0.1.1"])],
                "10.0.1.2:80 1 -, 10.0.1.1:80 3 users.internal",
                "10.0.1.1:80 3 users.internal",
                Missing::Nothing,
                "this node's listener is left out",
            ),
            (
                &[("users.internal.", &["10.0.0.1", "127.0.0.1"])],
                "10.0.1.2:80 1 -",
                "",
                Missing::Loop,
                "nothing else is left",
            ),
        ];
        for (known, first, second, missing, why) in rows {
            let snapshot = compile(&settings, &registry, &answers(known), 1);
            let seen = |index: usize| {
                let endpoint = |(endpoint, member): (&Endpoint, &crate::balance::Member)| {
                    let host = endpoint.host.as_deref().unwrap_or("-");
                    format!("{} {} {host}", endpoint.address, member.weight)
                };
                let upstream = &snapshot.upstreams[index];
                let endpoints = upstream.endpoints.iter().zip(&upstream.balancing.members);
                endpoints.map(endpoint).collect::<Vec<_>>().join(", ")
            };
            let weights = |text: &str| text.replace(" 3 ", " 1 ");
            assert_eq!(seen(0), *first, "{why}");
            assert_eq!(seen(1), weights(second), "{why}");
            assert_eq!(snapshot.upstreams[0].missing, Missing::Nothing, "{why}");
            assert_eq!(snapshot.upstreams[1].missing, *missing, "{why}");
        }
        let one = compile(
            &settings,
            &registry,
            &answers(&[("users.internal.", &["10.0.1.1"])]),
            1,
        );
        let both = answers(&[("users.internal.", &["10.0.1.0", "10.0.1.1"])]);
        let two = compile(&settings, &registry, &both, 2);
        assert!(Arc::ptr_eq(
            &one.upstreams[1].endpoints[0].state,
            &two.upstreams[1].endpoints[1].state
        ));
    }

    #[test]
    fn segments_fit_the_path_after_encapsulation() {
        assert_eq!(segments(TEXT), [None, None, None]);
        assert_eq!(
            segments(&format!("{TEXT}{DATAPLANE}")),
            [Some(1416), Some(1396), Some(1396)]
        );
        let plain = format!("{TEXT}{DATAPLANE}encapsulation = \"ipip\"\n");
        assert_eq!(segments(&plain), [Some(1440), Some(1420), Some(1420)]);
        let narrow = format!("{TEXT}{DATAPLANE}path_mtu = 1280\n");
        assert_eq!(segments(&narrow), [Some(1196), Some(1176), Some(1176)]);
    }

    #[test]
    fn registered_endpoints_stand_behind_those_of_the_file() {
        let text = "
            [node]
            name = 'a'
            [[listener]]
            name = 'web'
            address = '127.0.0.1:8080'
            [[upstream]]
            name = 'mixed'
            endpoints = [{ address = '10.0.1.1:80', weight = 2 }]
            health = { heartbeat = { pushed = true } }
            registration = { endpoints_max = 2 }
            [[upstream]]
            name = 'empty'
            health = { heartbeat = { pushed = true } }
            registration = {}
            [[upstream]]
            name = 'closed'
            endpoints = [{ address = '10.0.1.1:80' }]
        ";
        let (settings, registry) = (settings(text), Registry::default());
        let mut answers = Answers::default();
        let first = compile(&settings, &registry, &answers, 1);
        assert_eq!(first.upstreams[1].missing, Missing::Unregistered);
        let weights = [("10.0.1.1:80", 9), ("10.0.1.2:80", 3), ("10.0.1.3:80", 4)];
        let weights = weights.map(|(address, weight)| {
            let metadata = Metadata::from([("version".to_owned(), weight.to_string())]).into();
            (address.parse().unwrap(), Registered { weight, metadata })
        });
        for name in ["mixed", "closed"] {
            answers.registered.insert(name.to_owned(), weights.clone().into());
        }
        let next = compile(&settings, &registry, &answers, 2);
        let seen = |index: usize| {
            let upstream = &next.upstreams[index];
            let endpoints = upstream.endpoints.iter().zip(&upstream.balancing.members);
            let one = |(endpoint, member): (&Endpoint, &crate::balance::Member)| {
                let metadata: Vec<_> = endpoint
                    .metadata
                    .values()
                    .map(|value| format!(" v{value}"))
                    .collect();
                format!("{} {}{}", endpoint.address, member.weight, metadata.concat())
            };
            endpoints.map(one).collect::<Vec<_>>()
        };
        assert_eq!(
            seen(0),
            ["10.0.1.1:80 2", "10.0.1.2:80 3 v3"],
            "the file's weight and metadata, and within the bound"
        );
        assert_eq!(seen(1), [""; 0]);
        assert_eq!(seen(2), ["10.0.1.1:80 1"], "none may register there");
    }
}
