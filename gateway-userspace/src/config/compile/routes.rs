//! A change of routes alone: a snapshot that shares with the one before all that stays as it is.
//!
//! Of 10,000 routes one changes at a time. The others keep their place in memory, so that a worker that takes the snapshot
//! sees at a glance which ones do; a router is made anew for the hosts of routes that changed, and not at all where no
//! pattern did. What comes of it is what [`compile`](super::compile) makes of the same settings.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::upstreams::Sources;
use super::{Joined, add_patterns, server_ticket_keys};
use crate::config::answers::Answers;
use crate::config::settings::{ListenerSettings, RouteSettings, Settings};
use crate::config::shared::Shared;
use crate::config::snapshot::{Listener, MergeSlashes, Route, Snapshot};
use crate::registry::Registry;
use crate::router::{HostPattern, RouteIndex, Router};

/// What a snapshot becomes when its routes change and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Change<'c> {
    /// The snapshot in force.
    pub old: &'c Snapshot,
    /// The settings that it was made of.
    pub before: &'c Settings,
    /// The same but for their routes.
    pub after: &'c Settings,
}

/// The snapshot of the settings after a change.
pub fn recompile(change: Change<'_>, registry: &Registry, answers: &Answers) -> Snapshot {
    let Change { old, before, after } = change;
    let sources = Sources {
        registry,
        answers,
        own: after.own(),
    };
    let upstreams = old.upstreams.iter();
    let mut joined = Joined {
        ticket_keys: server_ticket_keys(after, registry),
        // Listeners stay, and what they answer authorities with.
        challenges: None,
        sources: &sources,
        upstreams: upstreams.map(|one| (one.name.clone(), Arc::clone(one))).collect(),
        routes: HashMap::new(),
        http: Shared::default(),
    };
    let listener = |held: &Arc<Listener>| {
        let of = |settings: &Settings| {
            let mut listeners = settings.listeners.iter();
            listeners.find(|listener| listener.name == held.name).cloned()
        };
        match (of(before), of(after)) {
            (Some(before), Some(after)) => listener(held, &before, &after, &mut joined),
            _ => Arc::clone(held),
        }
    };
    Snapshot {
        number: old.number + 1,
        source: old.source.clone(),
        node: old.node.clone(),
        admin: old.admin.clone(),
        dataplane: old.dataplane.clone(),
        protection: Arc::clone(&old.protection),
        trace: old.trace.clone(),
        cluster: old.cluster.clone(),
        vips: old.vips.clone(),
        listeners: old.listeners.iter().map(listener).collect(),
        upstreams: old.upstreams.clone(),
    }
}

fn listener(
    held: &Arc<Listener>,
    before: &ListenerSettings,
    after: &ListenerSettings,
    joined: &mut Joined<'_>,
) -> Arc<Listener> {
    if is_same(&before.routes, &after.routes) {
        return Arc::clone(held);
    }
    let compiled: HashMap<*const RouteSettings, &Arc<Route>> =
        before.routes.iter().map(Arc::as_ptr).zip(&held.routes).collect();
    let route = |settings: &Arc<RouteSettings>| match compiled.get(&Arc::as_ptr(settings)) {
        Some(route) => Arc::clone(route),
        None => joined.route(settings, &after.route_http),
    };
    let routes: Vec<Arc<Route>> = after.routes.iter().map(route).collect();
    let router = router(held, (&before.routes, &after.routes), &routes);
    Arc::new(Listener {
        name: held.name.clone(),
        address: held.address,
        segment_bytes_max: held.segment_bytes_max,
        tls: held.tls.clone(),
        challenges: held.challenges.clone(),
        http: held.http.clone(),
        carries: held.carries,
        proxies: held.proxies.clone(),
        router,
        filters: held.filters.clone(),
        routes,
    })
}

fn is_same(one: &[Arc<RouteSettings>], other: &[Arc<RouteSettings>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

/// The router of the routes after a change.
fn router(
    held: &Listener,
    (before, after): (&[Arc<RouteSettings>], &[Arc<RouteSettings>]),
    routes: &[Arc<Route>],
) -> Arc<Router> {
    let count = before.len().max(after.len());
    let mut hosts: Vec<&HostPattern> = Vec::new();
    let mut changed = Vec::new();
    for index in 0..count {
        let (old, new) = (before.get(index), after.get(index));
        if let (Some(old), Some(new)) = (old, new) {
            let slashes = |route: Option<&Arc<Route>>| route.map(|route| route.http.merge_slashes);
            let is_like = slashes(held.routes.get(index)) == slashes(routes.get(index));
            if Arc::ptr_eq(old, new) || (is_like && has_same_patterns(old, new)) {
                continue;
            }
        }
        changed.push(RouteIndex(index));
        let of_both = [old, new].into_iter().flatten().flat_map(|route| &route.hosts);
        for host in of_both {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    if changed.is_empty() {
        return Arc::clone(&held.router);
    }
    // Most changes touch one; where many do, as a route in the middle goes, nothing is looked up in a list.
    let touched: HashSet<String> = hosts.iter().map(ToString::to_string).collect();
    let mut router = held.router.without_hosts(&hosts, &changed);
    for (index, settings) in after.iter().enumerate() {
        let is_touched = |host: &&HostPattern| touched.contains(&host.to_string());
        let slashes = routes
            .get(index)
            .map_or(MergeSlashes::On, |route| route.http.merge_slashes);
        let hosts = settings.hosts.iter().filter(is_touched);
        add_patterns(&mut router, settings, hosts, slashes, RouteIndex(index));
    }
    Arc::new(router)
}

fn has_same_patterns(one: &RouteSettings, other: &RouteSettings) -> bool {
    one.path == other.path
        && one.hosts == other.hosts
        && one.methods == other.methods
        && one.conditions == other.conditions
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde_json::{Value, json};

    use super::super::compile;
    use super::*;
    use crate::config::document::Document;
    use crate::config::kept;
    use crate::config::load::load_text;
    use crate::config::path::KeyPath;
    use crate::config::problem::Problems;
    use crate::config::shape;
    use crate::config::surroundings::{Invalid, Surroundings};
    use crate::config::validate::added;

    const TEXT: &str = "
        [node]
        name = 'a'
        [[listener]]
        name = 'web'
        address = '127.0.0.1:80'
        [[listener]]
        name = 'other'
        address = '127.0.0.1:81'
        merge_slashes = false
        [[upstream]]
        name = 'u'
        endpoints = [{ address = '10.0.1.1:80' }]
        [[route]]
        name = 'a'
        listeners = ['web', 'other']
        upstream = 'u'
        match = { hosts = ['a.example', '*.b.example'], path = '/u/{id}', methods = ['GET'] }
        [[route]]
        name = 'b'
        listeners = ['web']
        upstream = 'u'
        match = { path_prefix = '/' }
    ";

    fn settings() -> Settings {
        let surroundings = Surroundings {
            cores: 2,
            state_directory: PathBuf::from("/state"),
            invalid: Invalid::Refused,
        };
        load_text(Path::new("t.toml"), TEXT, &surroundings).unwrap()
    }

    fn read(settings: &Settings, value: &Value) -> Arc<RouteSettings> {
        let document = Document::parse(Path::new("x"), "").unwrap().0;
        let mut problems = Problems::new(&document);
        let given = shape::read_routes(kept::alone(value.clone()), &mut problems).unwrap();
        let path = KeyPath::top("route").index(0);
        let route = added(&given.route.unwrap()[0], &path, settings, &mut problems);
        problems.into_result().unwrap();
        route.unwrap()
    }

    /// Adds a route, or puts it in the place of one of its name.
    fn with(settings: &Settings, value: &Value) -> Settings {
        let route = read(settings, value);
        let mut routes = settings.routes.clone();
        match routes.iter_mut().find(|held| held.name == route.name) {
            Some(held) => *held = route,
            None => routes.push(route),
        }
        settings.with_routes(routes, Arc::default())
    }

    fn without(settings: &Settings, name: &str) -> Settings {
        let routes = settings.routes.iter().filter(|route| route.name != name);
        settings.with_routes(routes.cloned().collect(), Arc::default())
    }

    fn route(name: &str, matching: Value) -> Value {
        json!({ "name": name, "listeners": ["web", "other"], "upstream": "u", "match": matching })
    }

    /// What a step is called, and what it makes of settings.
    type Step<'s> = (&'s str, &'s dyn Fn(&Settings) -> Settings);

    /// What a router says of many requests.
    fn answers(snapshot: &Snapshot) -> Vec<String> {
        let mut all = Vec::new();
        for listener in &snapshot.listeners {
            for host in ["a.example", "x.b.example", "y.c.example", "c.example", "z"] {
                for path in ["/", "/u/7", "/x", "/x/y", "/x/9"] {
                    for method in [http::Method::GET, http::Method::POST] {
                        let found = listener.router.find(host, path, &method);
                        let name = match found {
                            crate::router::Lookup::Found(index) => {
                                let parameters = listener.router.parameters(index, path);
                                format!(
                                    "{} {:?}",
                                    listener.routes[index.0].name,
                                    parameters.collect::<Vec<_>>()
                                )
                            }
                            other => format!("{other:?}"),
                        };
                        all.push(name);
                    }
                }
            }
        }
        all
    }

    #[test]
    fn a_change_of_routes_comes_to_what_a_whole_compilation_comes_to_and_shares_the_rest() {
        let (registry, nobody) = (Registry::default(), Answers::default());
        let mut before = settings();
        let mut old = compile(&before, &registry, &nobody, 1);
        let steps: [Step<'_>; 9] = [
            ("one is added", &|s| {
                with(s, &route("c", json!({ "hosts": ["c.example"], "path": "/x" })))
            }),
            ("another is", &|s| {
                with(
                    s,
                    &route("d", json!({ "hosts": ["*.c.example"], "path_prefix": "/x" })),
                )
            }),
            ("one of every host is", &|s| {
                with(s, &route("e", json!({ "path": "/x/{m}", "methods": ["POST"] })))
            }),
            ("its action changes", &|s| {
                let mut changed = route("c", json!({ "hosts": ["c.example"], "path": "/x" }));
                changed["timeout"] = "3s".into();
                with(s, &changed)
            }),
            ("its host changes", &|s| {
                with(
                    s,
                    &route("c", json!({ "hosts": ["a.example", "z"], "path": "/x" })),
                )
            }),
            ("its path has a parameter now", &|s| {
                with(s, &route("c", json!({ "hosts": ["z"], "path": "/x/{q}" })))
            }),
            ("its listeners change", &|s| {
                let mut changed = route("c", json!({ "hosts": ["z"], "path": "/x/{q}" }));
                changed["listeners"] = json!(["other"]);
                with(s, &changed)
            }),
            ("one in the middle goes", &|s| without(s, "d")),
            ("the last goes", &|s| without(s, "e")),
        ];
        for (what, step) in steps {
            let after = step(&before);
            let change = Change {
                old: &old,
                before: &before,
                after: &after,
            };
            let next = recompile(change, &registry, &nobody);
            let whole = compile(&after, &registry, &nobody, next.number);
            assert_eq!(answers(&next), answers(&whole), "{what}");
            assert_eq!(next.number, old.number + 1);
            for (listener, (next, whole)) in next.listeners.iter().zip(&whole.listeners).enumerate() {
                assert_eq!(
                    format!("{:?}", next.routes),
                    format!("{:?}", whole.routes),
                    "{what}"
                );
                for route in &next.routes {
                    let held = old.listeners[listener]
                        .routes
                        .iter()
                        .find(|held| held.name == route.name);
                    let settings = |s: &Settings| s.route(&route.name).cloned();
                    let stays = settings(&before)
                        .zip(settings(&after))
                        .is_some_and(|(b, a)| Arc::ptr_eq(&b, &a));
                    if let Some(held) = held.filter(|_| stays) {
                        assert!(Arc::ptr_eq(held, route), "{what}: {}", route.name);
                    }
                }
            }
            let is_shared =
                |index: usize| Arc::ptr_eq(&old.listeners[index].router, &next.listeners[index].router);
            assert_eq!((0..2).all(is_shared), what == "its action changes", "{what}");
            assert!(Arc::ptr_eq(&old.upstreams[0], &next.upstreams[0]), "{what}");
            (before, old) = (after, next);
        }
        let same = Change {
            old: &old,
            before: &before,
            after: &before.clone(),
        };
        let next = recompile(same, &registry, &nobody);
        assert!(
            next.listeners
                .iter()
                .zip(&old.listeners)
                .all(|(one, other)| Arc::ptr_eq(one, other))
        );
    }
}
