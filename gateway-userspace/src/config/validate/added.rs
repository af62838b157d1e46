//! A route that the admin API sets: the same checks as of the file's, beside those that are in force already.
//!
//! It is held against each route of its listeners, one by one, so that a change of one among 10,000 costs a fraction of a
//! millisecond; the lookup of [`routes`](super::routes) would have to be made of all of them.

use std::sync::Arc;

use super::connections;
use super::names::check;
use super::routes::{self, Known, host_text, shape};
use crate::config::given;
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::{Origin, RouteSettings, Settings};
use crate::config::snapshot::Carries;
use crate::router::{PathPattern, RouteIndex, Router, Slashes, Terms};

/// Reads and checks one; what is in `settings` under its name is what it replaces.
///
/// `None` only where there are problems.
pub fn added(
    given: &given::Route,
    path: &KeyPath,
    settings: &Settings,
    problems: &mut Problems<'_>,
) -> Option<Arc<RouteSettings>> {
    let name = given.name.clone();
    if let Some(name) = &name {
        check(name, &path.key("name"), problems)?;
    }
    let route = routes::route(given, name, Origin::Api, path, &mut Known::of(settings), problems)?;
    let match_path = path.key("match");
    fits_by_itself(&route, &match_path, problems);
    connections::headers_of_added(&route, settings, path, problems);
    for listener in settings
        .listeners
        .iter()
        .filter(|l| route.listeners.contains(&l.name))
    {
        let others = listener.routes.iter().filter(|other| other.name != route.name);
        let others: Vec<&RouteSettings> = others.map(Arc::as_ref).collect();
        if let Some((other, host)) = others
            .iter()
            .find_map(|other| Some((other, overlap(&route, other)?)))
        {
            let place = match other.origin {
                Origin::File(_, line) => format!("{}:{line}", settings.source.display()),
                Origin::Api => "set by the admin API".to_owned(),
            };
            let (pattern, conditions) = (shape(&route.path), route.conditions.to_string());
            let with = if conditions.is_empty() { "" } else { " with " };
            let what = match listener.carries {
                Carries::Requests => format!("the same methods of {pattern}"),
                Carries::Bytes | Carries::Tls => "connections".to_owned(),
            };
            let fault = format!(
                "route \"{}\" ({place}) takes {what} for {host}{with}{conditions} already",
                other.name
            );
            problems.add(&match_path, fault, "change one of the two, or remove it");
        }
        has_room_for_expression(&route, &others, &match_path, problems);
    }
    Some(Arc::new(route))
}

/// Whether a router takes its patterns.
fn fits_by_itself(route: &RouteSettings, match_path: &KeyPath, problems: &mut Problems<'_>) {
    let mut router = Router::default();
    for host in &route.hosts {
        let terms = Terms {
            methods: &route.methods,
            slashes: Slashes::Merged,
            conditions: &route.conditions,
        };
        if let Err(text) = router.insert_if(host, &route.path, terms, RouteIndex(0)) {
            let (fault, remedy) = text.split_once("; ").unwrap_or((&text, "change this route"));
            problems.add(match_path, fault, remedy);
        }
    }
}

/// The host of which two routes take the same requests, so that one of them would never be asked.
fn overlap(one: &RouteSettings, other: &RouteSettings) -> Option<String> {
    if !one.path.takes_same(&other.path) {
        return None;
    }
    let methods = match (one.methods.as_slice(), other.methods.as_slice()) {
        ([], []) => true,
        (one, other) => one.iter().any(|method| other.contains(method)),
    };
    let host = one.hosts.iter().find(|host| other.hosts.contains(host))?;
    let is_same = methods && one.conditions.to_string() == other.conditions.to_string();
    is_same.then(|| host_text(host))
}

fn has_room_for_expression(
    route: &RouteSettings,
    others: &[&RouteSettings],
    match_path: &KeyPath,
    problems: &mut Problems<'_>,
) {
    if !matches!(route.path, PathPattern::Regex(_)) {
        return;
    }
    let others = others
        .iter()
        .filter(|other| matches!(other.path, PathPattern::Regex(_)));
    for host in &route.hosts {
        if others.clone().filter(|other| other.hosts.contains(host)).count() >= limits::EXPRESSIONS_MAX {
            let (most, host) = (limits::EXPRESSIONS_MAX, host_text(host));
            let fault = format!("{most} routes of {host} have path_regex already");
            let remedy = "use path or path_prefix, or one expression for several: each is tried in its turn";
            problems.add(&match_path.key("path_regex"), fault, remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::document::Document;
    use crate::config::load::load_text;
    use crate::config::path::KeyPath;
    use crate::config::problem::Problems;
    use crate::config::settings::Settings;
    use crate::config::shape;
    use crate::config::surroundings::{Invalid, Surroundings};

    const HEAD: &str = "[node]\nname='a'\n[[listener]]\nname='web'\naddress='127.0.0.1:80'\n";

    fn load(text: &str) -> Result<Settings, String> {
        let surroundings = Surroundings {
            cores: 1,
            state_directory: "/state".into(),
            invalid: Invalid::Refused,
        };
        load_text(Path::new("t.toml"), text, &surroundings).map_err(|refused| refused.to_string())
    }

    fn route(name: &str, matching: &str) -> String {
        format!(
            "[[route]]\nname='{name}'\nlisteners=['web']\nrespond={{status=204}}\nmatch={{ {matching} }}\n"
        )
    }

    /// Whether the admin API would set it beside what is there.
    fn is_added(settings: &Settings, text: &str) -> bool {
        let (document, value, _) = Document::parse(Path::new("x"), text).unwrap();
        let mut problems = Problems::new(&document);
        let given = shape::read_routes(value, &mut problems).unwrap();
        let path = KeyPath::top("route").index(0);
        super::added(&given.route.unwrap()[0], &path, settings, &mut problems);
        problems.into_result().is_ok()
    }

    #[test]
    fn two_routes_stand_beside_each_other_where_one_file_could_have_both() {
        let matches = [
            "path='/a'",
            "path='/a/'",
            "path_prefix='/a'",
            "path='/a/{x}'",
            "path='/a/{y}'",
            "path='/a/{x}/b'",
            "path='/a/{x}', methods=['GET']",
            "path='/a/{y}', methods=['GET','POST']",
            "path='/a/{y}', methods=['PUT']",
            "path='/a', hosts=['a.example']",
            "path='/a', hosts=['A.example','b.example']",
            "path='/a', hosts=['*.example']",
            "path='/a', headers=[{name='x-a', exact='1'}]",
            "path='/a', headers=[{exact='1', name='x-a'}]",
            "path='/a', headers=[{name='x-a', exact='2'}]",
            "path='/a', headers=[{name='x-a', exact='1'}], methods=['GET']",
            "path_regex='/a'",
            "path_regex='/a.*'",
        ];
        for one in matches {
            let first = format!("{HEAD}{}", route("one", one));
            let settings = load(&first).unwrap();
            for other in matches {
                let second = route("other", other);
                let both = load(&format!("{first}{second}"));
                assert_eq!(
                    is_added(&settings, &second),
                    both.is_ok(),
                    "{one} | {other}: {both:?}"
                );
            }
            assert!(is_added(&settings, &route("one", one)), "in its own place: {one}");
        }
        let broken = route("x", "path='/{a}/{a}'");
        assert!(!is_added(
            &load(&format!("{HEAD}{}", route("one", "path='/'"))).unwrap(),
            &broken
        ));
    }
}
