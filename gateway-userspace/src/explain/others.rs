//! Why the other routes of a listener do not take a request.
//!
//! Each route is asked alone, one thing that it wants after the other, by the router itself: a router is made of that one
//! thing, and looked up in. Which of two routes that both fit goes first is found likewise, by a router of two.

use std::sync::Arc;

use http::Method;

use super::request::{OTHERS_MAX, Other};
use crate::config::path::KeyPath;
use crate::config::settings::RouteSettings;
use crate::config::{Place, Places};
use crate::router::{
    Condition, Conditions, Facts, HostPattern, Lookup, PathPattern, RouteIndex, Router, Slashes, Source,
    Terms,
};

/// A request, as a router is asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'r> {
    /// Lower case, without a port.
    pub host: &'r str,
    /// The path in its one form.
    pub merged: &'r str,
    /// The same with its rows of slashes, where it has some.
    pub unmerged: Option<&'r str>,
    /// The method.
    pub method: &'r Method,
    /// What else it is told apart by.
    pub facts: &'r Facts<'r>,
}

/// A route as its listener has it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'r> {
    /// What it asks for.
    pub route: &'r RouteSettings,
    /// Which form of the path it sees.
    pub slashes: Slashes,
}

/// One thing that a route asks for, in the order in which they are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Hosts,
    Path,
    Methods,
    /// The condition of that index.
    Field(usize),
    /// The names in the client's certificate.
    Names,
    Clients,
}

/// The other routes, those that come closest first, and how many are left out.
///
/// `taken` is the one that takes the request; `None`: none does.
pub fn others(
    routes: &[Known<'_>],
    taken: Option<usize>,
    wanted: Wanted<'_>,
    places: &Places,
) -> (Vec<Other>, usize) {
    let rest = routes
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != taken);
    let mut seen: Vec<(usize, &Known<'_>, Option<Part>)> = rest
        .map(|(index, known)| (index, known, known.misfit(wanted)))
        .collect();
    // Whom nothing keeps out comes closest, then whom the last thing does.
    seen.sort_by_key(|(index, _, misfit)| (misfit.is_some(), std::cmp::Reverse(*misfit), *index));
    let left_out = seen.len().saturating_sub(OTHERS_MAX);
    let winner = taken.and_then(|index| routes.get(index));
    let listed = seen.into_iter().take(OTHERS_MAX).map(|(_, known, misfit)| {
        let at = places.named("route", &known.route.name);
        let (says, place) = match (misfit, winner) {
            (Some(part), _) => (known.says(part), known.place(part, &at, places)),
            (None, Some(winner)) => (
                format!("fits, but {}", winner.goes_before(known, wanted)),
                places.place(&at.key("match")),
            ),
            // It would have been found.
            (None, None) => ("fits".to_owned(), places.place(&at)),
        };
        Other {
            route: known.route.name.clone(),
            says,
            place,
        }
    });
    (listed.collect(), left_out)
}

impl Known<'_> {
    /// The first thing that keeps a request out.
    fn misfit(&self, wanted: Wanted<'_>) -> Option<Part> {
        let fields = (0..self.route.conditions.fields.len()).map(Part::Field);
        let parts = [Part::Hosts, Part::Path, Part::Methods].into_iter().chain(fields);
        parts
            .chain([Part::Names, Part::Clients])
            .find(|part| !Pattern::of(self, |kept| kept == *part).takes(wanted))
    }

    fn says(&self, part: Part) -> String {
        let route = self.route;
        match part {
            Part::Hosts => {
                let hosts = route.hosts.iter().map(ToString::to_string);
                format!("takes {}", hosts.collect::<Vec<_>>().join(", "))
            }
            Part::Path => format!("takes {}", route.path),
            Part::Methods => {
                let methods: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
                format!("takes {}", methods.join(", "))
            }
            Part::Field(index) => match route.conditions.fields.get(index) {
                Some(condition) => format!("wants {condition}"),
                None => "wants something else".to_owned(),
            },
            Part::Names => {
                let names = route.conditions.names.iter().map(ToString::to_string);
                format!("wants {}", names.collect::<Vec<_>>().join(" or "))
            }
            Part::Clients => {
                let networks = route.conditions.clients.iter().map(ToString::to_string);
                format!("wants a client of {}", networks.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn place(&self, part: Part, at: &KeyPath, places: &Places) -> Place {
        let matching = at.key("match");
        let fields = &self.route.conditions.fields;
        places.place(&match part {
            Part::Hosts => matching.key("hosts"),
            Part::Path => matching.key(path_key(&self.route.path)),
            Part::Methods => matching.key("methods"),
            Part::Clients => matching.key("client"),
            Part::Names => matching.key("client_certificate").key("san"),
            Part::Field(index) => match fields.get(index) {
                Some(Condition {
                    source: Source::Subject,
                    ..
                }) => matching.key("client_certificate").key("subject"),
                Some(condition) => {
                    let list = list_of(condition);
                    let before = fields.iter().take(index);
                    matching
                        .key(list)
                        .index(before.filter(|other| list_of(other) == list).count())
                }
                None => matching,
            },
        })
    }

    /// Why it goes before another that fits, too: the first respect in which it does, whichever comes first in the file.
    fn goes_before(&self, other: &Self, wanted: Wanted<'_>) -> String {
        type Keeps = fn(Part, Option<&Condition>) -> bool;
        let respects: [(&str, Keeps); 8] = [
            ("host", |part, _| part == Part::Hosts),
            ("path", |part, _| part == Part::Path),
            ("methods", |part, _| part == Part::Methods),
            ("headers", |_, field| {
                field.is_some_and(|field| list_of(field) == "headers")
            }),
            ("query", |_, field| {
                field.is_some_and(|field| list_of(field) == "query")
            }),
            ("cookies", |_, field| {
                field.is_some_and(|field| list_of(field) == "cookies")
            }),
            ("client_certificate", |part, field| {
                part == Part::Names || field.is_some_and(|field| list_of(field) == "client_certificate")
            }),
            ("client", |part, _| part == Part::Clients),
        ];
        let name = &self.route.name;
        for (respect, keeps) in respects {
            let only = |known: &Self| {
                let mut pattern = Pattern::of(known, |part| keeps(part, known.condition(part)));
                pattern.keep_the_host_of(wanted);
                pattern
            };
            let (one, two) = (only(self), only(other));
            if first(&one, &two, wanted) == Some(0) && first(&two, &one, wanted) == Some(1) {
                return format!("\"{name}\" is more exact in its {respect}");
            }
        }
        format!("\"{name}\" comes first in the file")
    }

    fn condition(&self, part: Part) -> Option<&Condition> {
        match part {
            Part::Field(index) => self.route.conditions.fields.get(index),
            _ => None,
        }
    }
}

/// Some of what a route asks for; for the rest, anything will do.
struct Pattern {
    hosts: Vec<HostPattern>,
    path: PathPattern,
    methods: Vec<Method>,
    slashes: Slashes,
    conditions: Arc<Conditions>,
}

impl Pattern {
    fn of(known: &Known<'_>, keeps: impl Fn(Part) -> bool) -> Self {
        let route = known.route;
        let fields = route.conditions.fields.iter().enumerate();
        let kept = fields.filter(|(index, _)| keeps(Part::Field(*index)));
        let clients = keeps(Part::Clients).then(|| route.conditions.clients.clone());
        let names = keeps(Part::Names).then(|| route.conditions.names.clone());
        let conditions = Conditions::new(
            kept.map(|(_, field)| field.clone()).collect(),
            clients.unwrap_or_default(),
        )
        .with_names(names.unwrap_or_default());
        Self {
            hosts: if keeps(Part::Hosts) {
                route.hosts.clone()
            } else {
                vec![HostPattern::Any]
            },
            path: if keeps(Part::Path) {
                route.path.clone()
            } else {
                PathPattern::Prefix("/".to_owned())
            },
            methods: if keeps(Part::Methods) {
                route.methods.clone()
            } else {
                Vec::new()
            },
            slashes: known.slashes,
            conditions: Arc::new(conditions),
        }
    }

    fn takes(&self, wanted: Wanted<'_>) -> bool {
        let mut router = Router::default();
        self.insert(&mut router, 0).is_ok() && found(&router, wanted).is_some()
    }

    /// Of several hosts only the one that takes the request.
    fn keep_the_host_of(&mut self, wanted: Wanted<'_>) {
        let mut router = Router::default();
        for (index, host) in self.hosts.iter().enumerate() {
            let only = Self {
                hosts: vec![host.clone()],
                path: PathPattern::Prefix("/".to_owned()),
                methods: Vec::new(),
                slashes: self.slashes,
                conditions: Arc::default(),
            };
            // Hosts of a route are different ones.
            drop(only.insert(&mut router, index));
        }
        if let Some(host) = found(&router, wanted).and_then(|index| self.hosts.get(index)) {
            self.hosts = vec![host.clone()];
        }
    }

    /// # Errors
    /// One that says the same is there.
    fn insert(&self, router: &mut Router, index: usize) -> Result<(), String> {
        let terms = Terms {
            methods: &self.methods,
            slashes: self.slashes,
            conditions: &self.conditions,
        };
        let mut hosts = self.hosts.iter();
        hosts.try_for_each(|host| router.insert_if(host, &self.path, terms, RouteIndex(index)))
    }
}

/// Which of two goes first where they are added in that order; `None`: they say the same.
fn first(one: &Pattern, two: &Pattern, wanted: Wanted<'_>) -> Option<usize> {
    let mut router = Router::default();
    one.insert(&mut router, 0).ok()?;
    two.insert(&mut router, 1).ok()?;
    found(&router, wanted)
}

fn found(router: &Router, wanted: Wanted<'_>) -> Option<usize> {
    let Wanted {
        host,
        merged,
        unmerged,
        method,
        facts,
    } = wanted;
    match router.find_either(host, merged, unmerged, method, facts) {
        Lookup::Found(index) => Some(index.0),
        Lookup::MethodNotAllowed | Lookup::NotFound => None,
    }
}

/// The key of `match` that has such conditions.
fn list_of(condition: &Condition) -> &'static str {
    match condition.source {
        Source::Header(_) => "headers",
        Source::Query(_) => "query",
        Source::Cookie(_) => "cookies",
        Source::Subject | Source::Name(_) => "client_certificate",
    }
}

/// The key of `match` that has such a path.
pub fn path_key(path: &PathPattern) -> &'static str {
    match path {
        PathPattern::Exact(_) => "path",
        PathPattern::Prefix(_) => "path_prefix",
        PathPattern::Regex(_) => "path_regex",
    }
}
