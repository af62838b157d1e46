//! `[[route]]`: what each matches and does, and that no two say the same.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};

use super::fallback;
use super::filters::{self, Scope};
use super::keys;
use super::names::{Names, Resolution};
use super::patterns::{self, Wrong};
use super::subsets;
use crate::config::given::{self, Given, Time};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::{ActionSettings, ListenerSettings, RouteSettings, UpstreamSettings};
use crate::config::snapshot::Respond;
use crate::router::{HostPattern, PathPattern, RouteIndex, Router};

/// `[[route]]`; also adds each route to the listeners that it names.
pub fn routes(
    given: &Given,
    upstreams: &[Arc<UpstreamSettings>],
    listeners: &mut [ListenerSettings],
    problems: &mut Problems<'_>,
) -> Vec<Arc<RouteSettings>> {
    let references = References::collect(given);
    let mut names = Names::new("route");
    let mut lookups: HashMap<String, Lookup> = HashMap::new();
    let mut routes = Vec::new();
    for (index, route) in given.route.iter().flatten().enumerate() {
        let path = KeyPath::top("route").index(index);
        let name = names.declare(route.name.as_ref(), &path.key("name"), problems);
        let served = references.listeners(route, &path, problems);
        let action = action(route, upstreams, &references, &path, problems);
        let matching = route
            .matching
            .as_ref()
            .and_then(|m| matching(m, &path.key("match"), problems));
        let keys = route.route_keys();
        keys::route_keys(&keys, &path, problems);
        let own = route.upstream.as_ref();
        let own = own.and_then(|name| upstreams.iter().find(|upstream| upstream.name == *name));
        let subset = subsets::of_route(route, own.map(|own| &own.subsets), &path, problems);
        let scope = Scope::Route(matching.as_ref().map(|(_, pattern, _)| pattern));
        let filters = filters::filters(route.filters.as_deref(), scope, &path, problems);
        let ladder = fallback::fallback(route, upstreams, &references.upstreams, &path, problems);
        let (Some(name), Some((hosts, pattern, methods)), Some(action)) = (name, matching, action) else {
            continue;
        };
        let route = Arc::new(RouteSettings {
            name,
            hosts,
            path: pattern,
            methods,
            action,
            subset,
            fallbacks: ladder.upstreams,
            fallback_respond: ladder.respond,
            fallback_on: ladder.on,
            filters,
            keys,
        });
        for listener in &served {
            lookups
                .entry(listener.clone())
                .or_default()
                .add(&route, &path, problems);
        }
        for listener in listeners
            .iter_mut()
            .filter(|listener| served.contains(&listener.name))
        {
            listener.routes.push(Arc::clone(&route));
        }
        routes.push(route);
    }
    routes
}

/// The names that routes may refer to.
struct References {
    listeners: Names,
    upstreams: Names,
}

impl References {
    fn collect(given: &Given) -> Self {
        let (mut listeners, mut upstreams) = (Names::new("listener"), Names::new("upstream"));
        listeners.expect(
            given
                .listener
                .iter()
                .flatten()
                .filter_map(|listener| listener.name.as_ref()),
        );
        upstreams.expect(
            given
                .upstream
                .iter()
                .flatten()
                .filter_map(|upstream| upstream.name.as_ref()),
        );
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

/// Exactly one of `upstream` and `respond`.
fn action(
    route: &given::Route,
    upstreams: &[Arc<UpstreamSettings>],
    references: &References,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<ActionSettings> {
    match (&route.upstream, &route.respond) {
        (Some(name), None) => {
            references
                .upstreams
                .resolves(name, &path.key("upstream"), problems);
            upstreams
                .iter()
                .find(|upstream| upstream.name == *name)
                .map(|u| ActionSettings::Upstream(Arc::clone(u)))
        }
        (None, Some(given)) => respond(given, &path.key("respond"), problems).map(ActionSettings::Respond),
        (Some(_), Some(_)) => {
            problems.add(
                &path.key("respond"),
                "the route has upstream already",
                "keep one of upstream and respond",
            );
            None
        }
        // One of them was there, and is reported already.
        (None, None)
            if ["upstream", "respond"]
                .iter()
                .any(|key| problems.is_known_below(&path.key(key))) =>
        {
            None
        }
        (None, None) => {
            let remedy = "add upstream = \"NAME\", or respond = { status = 200, body = \"…\" }";
            problems.add(&path.key("upstream"), "the route does nothing", remedy);
            None
        }
    }
}

/// An answer of our own.
pub(super) fn respond(
    given: &given::Respond,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<Respond> {
    let status = StatusCode::from_u16(given.status?).ok()?;
    let body = given.body.clone().unwrap_or_default();
    let content_type = content_type(given.content_type.as_deref(), &path.key("content_type"), problems);
    let retry_after = given
        .retry_after
        .map(|Time(time)| HeaderValue::from(time.as_secs()));
    let path = path.key("body");
    if body.len() > limits::RESPOND_BODY_BYTES_MAX {
        let fault = format!("a body of {} bytes is too long", body.len());
        problems.add(
            &path,
            fault,
            format!("write at most {}", limits::RESPOND_BODY_BYTES_MAX),
        );
    }
    let is_bodiless = matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    if is_bodiless && !body.is_empty() {
        problems.add(
            &path,
            format!("answers with status {} have no body", status.as_u16()),
            "leave it out",
        );
    }
    Some(Respond {
        status,
        body: Respond::pieces(&body),
        content_type,
        retry_after,
    })
}

fn content_type(given: Option<&str>, path: &KeyPath, problems: &mut Problems<'_>) -> HeaderValue {
    let default = HeaderValue::from_static(limits::RESPOND_CONTENT_TYPE);
    let Some(given) = given else { return default };
    let is_media_type = given.len() <= limits::CONTENT_TYPE_CHARS_MAX
        && given.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && given
            .split_once('/')
            .is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty());
    match HeaderValue::from_str(given) {
        Ok(value) if is_media_type => value,
        _ => {
            let fault = format!("\"{given}\" is no content type");
            problems.add(path, fault, "write it as in \"application/json\"");
            default
        }
    }
}

type Matching = (Vec<HostPattern>, PathPattern, Vec<Method>);

fn matching(given: &given::Match, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Matching> {
    let mut hosts = each(given.hosts.as_ref(), patterns::host, &path.key("hosts"), problems);
    if hosts.is_empty() {
        hosts.push(HostPattern::Any);
    }
    let methods = each(
        given.methods.as_ref(),
        patterns::method,
        &path.key("methods"),
        problems,
    );
    let (key, read) = match (&given.path, &given.path_prefix) {
        (Some(text), None) => ("path", patterns::path(text)),
        (None, Some(text)) => ("path_prefix", patterns::path_prefix(text)),
        (Some(_), Some(_)) => {
            problems.add(
                &path.key("path_prefix"),
                "the route has path already",
                "keep one of path and path_prefix",
            );
            return None;
        }
        (None, None)
            if ["path", "path_prefix"]
                .iter()
                .any(|key| problems.is_known_at(&path.key(key))) =>
        {
            return None;
        }
        (None, None) => {
            problems.add(
                &path.key("path"),
                "no path is given",
                "add path_prefix = \"/\" for every path",
            );
            return None;
        }
    };
    match read {
        Ok(pattern) => Some((hosts, pattern, methods)),
        Err((fault, remedy)) => {
            problems.add(&path.key(key), fault, remedy);
            None
        }
    }
}

/// Reads each entry of a list.
fn each<T: PartialEq>(
    given: Option<&Vec<String>>,
    read: fn(&str) -> Result<T, Wrong>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Vec<T> {
    let mut values = Vec::new();
    for (index, text) in given.into_iter().flatten().enumerate() {
        let path = path.index(index);
        match read(text) {
            Ok(value) if values.contains(&value) => {
                problems.add(&path, format!("\"{text}\" stands here twice"), "remove one");
            }
            Ok(value) => values.push(value),
            Err((fault, remedy)) => problems.add(&path, fault, remedy),
        }
    }
    values
}

/// What one listener's routes match so far.
#[derive(Default)]
struct Lookup {
    router: Router,
    count: usize,
    taken: HashMap<(String, String, Option<Method>), (String, KeyPath)>,
}

impl Lookup {
    /// Adds a route; one that matches exactly what an earlier one matches could never be reached.
    fn add(&mut self, route: &RouteSettings, path: &KeyPath, problems: &mut Problems<'_>) {
        let match_path = path.key("match");
        let methods: Vec<Option<Method>> = match route.methods.as_slice() {
            [] => vec![None],
            methods => methods.iter().cloned().map(Some).collect(),
        };
        for host in &route.hosts {
            for method in &methods {
                let key = (host_text(host), shape(&route.path), method.clone());
                let Some((name, first)) = self.taken.get(&key) else {
                    self.taken.insert(key, (route.name.clone(), path.clone()));
                    continue;
                };
                let line = problems.document().line(first);
                let method = method.as_ref().map_or("every method", Method::as_str);
                let (host, pattern, _) = key;
                let fault =
                    format!("route \"{name}\" (line {line}) takes {method} {pattern} for {host} already");
                problems.add(&match_path, fault, "change one of the two, or remove it");
            }
            if let Err(text) = self
                .router
                .insert(host, &route.path, &route.methods, RouteIndex(self.count))
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

fn host_text(host: &HostPattern) -> String {
    match host {
        HostPattern::Any => "every host".to_owned(),
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
    }
}

/// A pattern without the names of its parameters, which make no difference to what it matches.
fn shape(path: &PathPattern) -> String {
    match path {
        PathPattern::Prefix(prefix) => format!("{prefix} and below"),
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
