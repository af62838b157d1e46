//! `[[route]]`: what each matches and does, and that no two say the same.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use super::actions;
use super::certificate::{self, Asks};
use super::connections;
use super::fallback;
use super::fault;
use super::filters::{self, Scope};
use super::keys;
use super::matching::{Matching, matching};
use super::mirror;
use super::names::{Names, Resolution};
use super::subsets;
use crate::config::given::{self, Given, RouteKeys};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::{ListenerSettings, Origin, RouteSettings, Settings, UpstreamSettings};
use crate::config::shared::Shared;
use crate::config::snapshot::Carries;
use crate::router::{Conditions, HostPattern, PathPattern, RouteIndex, Router, Slashes, Terms};

/// `[[route]]`; also adds each route to the listeners that it names.
pub fn routes(
    given: &Given,
    upstreams: &[Arc<UpstreamSettings>],
    listeners: &mut [ListenerSettings],
    problems: &mut Problems<'_>,
) -> Vec<Arc<RouteSettings>> {
    let asks = given.listener.iter().flatten();
    let asks = asks.filter_map(|listener| Some((listener.name.clone()?, Asks::given(listener))));
    let mut known = Known {
        references: References::collect(given),
        upstreams,
        asks: asks.collect(),
        carries: carried(listeners),
        common: Common::default(),
    };
    let mut names = Names::new("route");
    let mut lookups: HashMap<String, Lookup> = HashMap::new();
    let mut routes = Vec::new();
    for (index, route) in given.route.iter().flatten().enumerate() {
        let path = KeyPath::top("route").index(index);
        let name = names.declare(route.name.as_ref(), &path.key("name"), problems);
        let origin = Origin::File(index, problems.document().line(&path));
        let Some(route) = self::route(route, name, origin, &path, &mut known, problems) else {
            continue;
        };
        let route = Arc::new(route);
        for listener in route.listeners.iter() {
            lookups.entry(listener.clone()).or_default().add(
                &route,
                known.carried_by(listener),
                &path,
                problems,
            );
        }
        for listener in listeners
            .iter_mut()
            .filter(|listener| route.listeners.contains(&listener.name))
        {
            listener.routes.push(Arc::clone(&route));
        }
        routes.push(route);
    }
    routes
}

/// Which requests a route takes; it must say so.
fn requests(route: &given::Route, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Matching> {
    let at = path.key("match");
    match &route.matching {
        Some(given) => matching(given, &at, problems),
        None => {
            // It may be there under a name that is nearly right, or unreadable.
            let is_known = problems.is_known_at(&at) || problems.is_known_below(&at);
            if !is_known && !problems.has_unknown_below(path) {
                let remedy = "add match = { path_prefix = \"/\" }, or a narrower one";
                problems.add(&at, "is missing", remedy);
            }
            None
        }
    }
}

/// What one route says; `None` where it says too little, which is reported, or has no name.
pub(super) fn route(
    route: &given::Route,
    name: Option<String>,
    origin: Origin,
    path: &KeyPath,
    known: &mut Known<'_>,
    problems: &mut Problems<'_>,
) -> Option<RouteSettings> {
    let (upstreams, references, common) = (known.upstreams, &known.references, &mut known.common);
    let listeners = references.listeners(route, path, problems);
    let carries = connections::carries(route, &listeners, &known.carries, path, problems);
    let matching = match carries {
        Carries::Requests => requests(route, path, problems),
        Carries::Bytes | Carries::Tls => {
            connections::route(route, path, problems);
            let given = route.matching.as_ref();
            Some(connections::matching(given, carries, path, problems))
        }
    };
    let place = actions::RouteAt {
        route,
        pattern: matching.as_ref().map(|matching| &matching.path),
        path,
    };
    if let Some(given::Match {
        client_certificate: Some(_),
        ..
    }) = &route.matching
    {
        certificate::asked_for(&known.asks, &listeners, path, problems);
    }
    let action = actions::action(place, upstreams, &references.upstreams, problems);
    let rewrite = actions::rewrite(place, problems);
    let fault = fault::fault(route, path, problems);
    let mirror = mirror::mirror(route, upstreams, &references.upstreams, path, problems);
    let keys = route.route_keys();
    keys::route_keys(&keys, path, problems);
    let own = route.upstream.as_ref();
    let own = own.and_then(|name| upstreams.iter().find(|upstream| upstream.name == *name));
    let subset = subsets::of_route(route, own.map(|own| &own.subsets), path, problems);
    let scope = Scope::Route(matching.as_ref().map(|matching| &matching.path));
    let filters = route.filters.as_deref();
    let filters = filters::filters(filters, scope, &references.upstreams, path, problems);
    if carries != Carries::Requests {
        connections::upstreams(route, upstreams, path, problems);
    }
    let ladder = fallback::fallback(route, upstreams, &references.upstreams, path, problems);
    let (matching, action) = (matching?, action?);
    Some(RouteSettings {
        name: name?,
        origin,
        listeners: common.listeners.of(listeners),
        hosts: matching.hosts,
        path: matching.path,
        methods: matching.methods,
        conditions: common.conditions.of(matching.conditions),
        action,
        subset,
        rewrite: rewrite.map(Box::new),
        fault: fault.map(Box::new),
        mirror,
        fallbacks: ladder.upstreams,
        fallback_respond: ladder.respond.map(Arc::new),
        fallback_on: ladder.on,
        filters,
        keys: common.keys.of(keys),
    })
}

/// What routes may refer to.
pub(super) struct Known<'k> {
    references: References,
    upstreams: &'k [Arc<UpstreamSettings>],
    /// What listeners ask clients for, by name.
    asks: Vec<(String, Asks)>,
    /// What they carry, by name.
    carries: Vec<(String, Carries)>,
    common: Common,
}

/// What many routes say alike.
#[derive(Default)]
struct Common {
    listeners: Shared<Vec<String>>,
    conditions: Shared<Conditions>,
    keys: Shared<RouteKeys>,
}

impl<'k> Known<'k> {
    /// What the listener of that name carries.
    fn carried_by(&self, listener: &str) -> Carries {
        let found = self.carries.iter().find(|(name, _)| name == listener);
        found.map_or(Carries::Requests, |(_, carries)| *carries)
    }

    /// What there is in settings that were accepted.
    pub(super) fn of(settings: &'k Settings) -> Self {
        let (mut listeners, mut upstreams) = (Names::new("listener"), Names::new("upstream"));
        listeners.expect(settings.listeners.iter().map(|listener| &listener.name));
        upstreams.expect(settings.upstreams.iter().map(|upstream| &upstream.name));
        Self {
            references: References { listeners, upstreams },
            upstreams: &settings.upstreams,
            asks: settings
                .listeners
                .iter()
                .map(|one| (one.name.clone(), Asks::accepted(one)))
                .collect(),
            carries: carried(&settings.listeners),
            common: Common::default(),
        }
    }
}

/// What listeners carry, by name.
fn carried(listeners: &[ListenerSettings]) -> Vec<(String, Carries)> {
    let each = listeners.iter();
    each.map(|one| (one.name.clone(), one.carries)).collect()
}

/// The names that routes may refer to.
struct References {
    listeners: Names,
    upstreams: Names,
}

impl References {
    fn collect(given: &Given) -> Self {
        let mut listeners = Names::new("listener");
        listeners.expect(
            given
                .listener
                .iter()
                .flatten()
                .filter_map(|listener| listener.name.as_ref()),
        );
        let upstreams = Names::of_upstreams(given);
        Self { listeners, upstreams }
    }

    /// The names of the listeners that a route serves, each once.
    fn listeners(&self, route: &given::Route, path: &KeyPath, problems: &mut Problems<'_>) -> Vec<String> {
        let mut served: Vec<String> = Vec::new();
        for (index, name) in route.listeners.iter().flatten().enumerate() {
            let path = path.key("listeners").index(index);
            if served.contains(name) {
                problems.add(&path, format!("\"{name}\" stands here twice"), "remove one");
            } else if self.listeners.resolves(name, &path, problems) == Resolution::Found {
                served.push(name.clone());
            }
        }
        served
    }
}

/// What one listener's routes match so far.
#[derive(Default)]
struct Lookup {
    router: Router,
    count: usize,
    taken: HashMap<Taken, (String, KeyPath)>,
    /// Regular expressions by host.
    expressions: HashMap<String, usize>,
}

/// Host, path and conditions as texts, and the method.
type Taken = (String, String, String, Option<Method>);

impl Lookup {
    /// Adds a route; one that matches exactly what an earlier one matches could never be reached.
    fn add(&mut self, route: &RouteSettings, carries: Carries, path: &KeyPath, problems: &mut Problems<'_>) {
        let match_path = path.key("match");
        let methods: Vec<Option<Method>> = match route.methods.as_slice() {
            [] => vec![None],
            methods => methods.iter().cloned().map(Some).collect(),
        };
        let conditions = route.conditions.to_string();
        for host in &route.hosts {
            for method in &methods {
                let key = (
                    host_text(host),
                    shape(&route.path),
                    conditions.clone(),
                    method.clone(),
                );
                let Some((name, first)) = self.taken.get(&key) else {
                    self.taken.insert(key, (route.name.clone(), path.clone()));
                    continue;
                };
                let line = problems.document().line(first);
                if carries != Carries::Requests {
                    let conditions = if conditions.is_empty() {
                        String::new()
                    } else {
                        format!(" with {conditions}")
                    };
                    let fault = format!(
                        "route \"{name}\" (line {line}) takes connections for {}{conditions} already",
                        host_text(host)
                    );
                    problems.add(&match_path, fault, "change one of the two, or remove it");
                    continue;
                }
                let method = method.as_ref().map_or("every method", Method::as_str);
                let (host, pattern, conditions, _) = key;
                let with = if conditions.is_empty() { "" } else { " with " };
                let fault = format!(
                    "route \"{name}\" (line {line}) takes {method} {pattern} for {host}{with}{conditions} already"
                );
                problems.add(&match_path, fault, "change one of the two, or remove it");
            }
            if let PathPattern::Regex(_) = route.path {
                let count = self.expressions.entry(host_text(host)).or_default();
                *count += 1;
                if *count > limits::EXPRESSIONS_MAX {
                    let most = limits::EXPRESSIONS_MAX;
                    let fault = format!("{most} routes of {} have path_regex already", host_text(host));
                    let remedy =
                        "use path or path_prefix, or one expression for several: each is tried in its turn";
                    problems.add(&match_path.key("path_regex"), fault, remedy);
                }
            }
            let terms = Terms {
                methods: &route.methods,
                slashes: Slashes::Merged,
                conditions: &route.conditions,
            };
            if let Err(text) = self
                .router
                .insert_if(host, &route.path, terms, RouteIndex(self.count))
            {
                // The router says what is wrong and what to do, in that order.
                let (fault, remedy) = text
                    .split_once("; ")
                    .unwrap_or((&text, "change this route, or the one in its way"));
                problems.add(&match_path, fault, remedy);
            }
        }
        self.count += 1;
    }
}

pub(super) fn host_text(host: &HostPattern) -> String {
    match host {
        HostPattern::Any => "every host".to_owned(),
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
    }
}

/// A pattern without the names of its parameters, which make no difference to what it matches.
pub(super) fn shape(path: &PathPattern) -> String {
    match path {
        PathPattern::Prefix(prefix) => format!("{prefix} and below"),
        PathPattern::Regex(expression) => format!("what is like {}", expression.text()),
        PathPattern::Exact(path) => {
            let plain = |segment| {
                if str::starts_with(segment, '{') {
                    "{}"
                } else {
                    segment
                }
            };
            path.split('/').map(plain).collect::<Vec<_>>().join("/")
        }
    }
}
