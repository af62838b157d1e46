//! What a route does: exactly one of `upstream`, `split`, `redirect` and `respond`; and `rewrite`.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::names::Names;
use super::patterns;
use super::split;
use crate::config::given::{self, Time};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::{ActionSettings, UpstreamSettings};
use crate::config::snapshot::{NewPath, Redirect, Respond, Rewrite, Template, TemplateFault};
use crate::router::{HostPattern, PathPattern};

/// A route that is read.
#[derive(Clone, Copy)]
pub struct RouteAt<'g> {
    /// What it says.
    pub route: &'g given::Route,
    /// What its path must be; `None`: that could not be read.
    pub pattern: Option<&'g PathPattern>,
    /// Where it stands.
    pub path: &'g KeyPath,
}

/// The actions that a route can have.
const ACTIONS: [&str; 4] = ["upstream", "split", "redirect", "respond"];

/// Exactly one of them.
pub fn action(
    place: RouteAt<'_>,
    upstreams: &[Arc<UpstreamSettings>],
    names: &Names,
    problems: &mut Problems<'_>,
) -> Option<ActionSettings> {
    let RouteAt { route, path, .. } = place;
    let is_given = [
        route.upstream.is_some(),
        route.split.is_some(),
        route.redirect.is_some(),
        route.respond.is_some(),
    ];
    if route.split_by.is_some() && route.split.is_none() && !problems.is_known_below(&path.key("split")) {
        let remedy = "add split = [ { upstream = \"NAME\", weight = 1 }, … ], or remove it";
        problems.add(&path.key("split_by"), "the route has no split", remedy);
    }
    let mut written = ACTIONS
        .iter()
        .zip(is_given)
        .filter_map(|(key, is_given)| is_given.then_some(*key));
    let Some(key) = written.next() else {
        // One of them was there, and is reported already.
        if !ACTIONS.iter().any(|key| problems.is_known_below(&path.key(key))) {
            let remedy = "add upstream = \"NAME\", or respond = { status = 200, body = \"…\" }";
            problems.add(&path.key("upstream"), "the route does nothing", remedy);
        }
        return None;
    };
    if let Some(other) = written.next() {
        let fault = format!("the route has {key} already");
        problems.add(&path.key(other), fault, format!("keep one of {key} and {other}"));
        return None;
    }
    if let Some(name) = &route.upstream {
        names.resolves(name, &path.key("upstream"), problems);
        let found = upstreams.iter().find(|upstream| upstream.name == *name);
        return found.map(|upstream| ActionSettings::Upstream(Arc::clone(upstream)));
    }
    if route.split.is_some() {
        return split::split(route, upstreams, names, path, problems).map(ActionSettings::Split);
    }
    if let Some(given) = &route.redirect {
        return redirect(given, place, problems).map(ActionSettings::Redirect);
    }
    let given = route.respond.as_ref()?;
    respond(given, &path.key("respond"), problems).map(ActionSettings::Respond)
}

/// What the upstream is asked for instead.
pub fn rewrite(place: RouteAt<'_>, problems: &mut Problems<'_>) -> Option<Rewrite> {
    let given = place.route.rewrite.as_ref()?;
    let path = place.path.key("rewrite");
    if place.route.redirect.is_some() || place.route.respond.is_some() {
        problems.add(&path, "the route asks no upstream", "remove it");
        return None;
    }
    if given.host.is_none()
        && given.path.is_none()
        && given.path_prefix.is_none()
        && !problems.is_known_below(&path)
    {
        let remedy = "add one of host, path and path_prefix";
        problems.add(&path, "it changes nothing", remedy);
    }
    let host = given.host.as_ref().and_then(|text| {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, Some(port)),
            _ => (text.as_str(), None),
        };
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        match (patterns::host(name), HeaderValue::from_str(text)) {
            (Ok(HostPattern::Exact(_)), Ok(value)) if is_port => Some(value),
            _ => {
                let fault = format!("\"{text}\" is not a host");
                problems.add(&path.key("host"), fault, "write it as in \"users.internal\"");
                None
            }
        }
    });
    let new = new_path(
        (given.path.as_ref(), given.path_prefix.as_ref()),
        place.pattern,
        &path,
        problems,
    );
    Some(Rewrite { host, path: new? })
}

fn redirect(given: &given::Redirect, place: RouteAt<'_>, problems: &mut Problems<'_>) -> Option<Redirect> {
    let path = place.path.key("redirect");
    let status = given.status.unwrap_or(limits::REDIRECT_STATUS);
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        let fault = format!("{status} sends no client anywhere");
        problems.add(&path.key("status"), fault, "write 301, 302, 303, 307 or 308");
    }
    let is_same = given.scheme.is_none()
        && given.host.is_none()
        && given.port.is_none()
        && given.path.is_none()
        && given.path_prefix.is_none();
    if is_same && !problems.is_known_below(&path) {
        let remedy = "add one of scheme, host, port, path and path_prefix";
        problems.add(&path, "it leads to where the client came from", remedy);
    }
    if let Some(host) = &given.host
        && !matches!(patterns::host(host), Ok(HostPattern::Exact(_)))
    {
        let fault = format!("\"{host}\" is not a host without a port");
        problems.add(&path.key("host"), fault, "write it as in \"www.example.com\"");
    }
    let new = new_path(
        (given.path.as_ref(), given.path_prefix.as_ref()),
        place.pattern,
        &path,
        problems,
    );
    Some(Redirect {
        status: StatusCode::from_u16(status).ok()?,
        scheme: given.scheme,
        host: given.host.clone(),
        port: given.port,
        path: new?,
    })
}

/// `path` and `path_prefix` of a redirect or a rewrite, of which there is one at most.
fn new_path(
    (whole, prefix): (Option<&String>, Option<&String>),
    pattern: Option<&PathPattern>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<NewPath> {
    let (key, read) = match (whole, prefix) {
        (None, None) => return Some(NewPath::Same),
        (Some(_), Some(_)) => {
            let remedy = "keep one of path and path_prefix";
            problems.add(&path.key("path_prefix"), "path is given already", remedy);
            return None;
        }
        (Some(text), None) => ("path", new_whole(text, pattern?)),
        (None, Some(text)) => ("path_prefix", new_prefix(text, pattern?)),
    };
    match read {
        Ok(new) => Some(new),
        Err((fault, remedy)) => {
            problems.add(&path.key(key), fault, remedy);
            None
        }
    }
}

fn new_whole(text: &str, pattern: &PathPattern) -> Result<NewPath, patterns::Wrong> {
    patterns::check_form(text)?;
    match Template::new(text, pattern) {
        Ok(template) => Ok(NewPath::Whole(template)),
        Err(TemplateFault::Brace) => Err((
            format!("\"{text}\" has a brace without its other half"),
            "write parameters as in \"/users/{id}\"".to_owned(),
        )),
        Err(TemplateFault::Unknown(name)) => Err((
            format!("\"{text}\" has the parameter {{{name}}}, which the route's {pattern} has not"),
            "name a parameter of match.path, or remove it".to_owned(),
        )),
    }
}

fn new_prefix(text: &str, pattern: &PathPattern) -> Result<NewPath, patterns::Wrong> {
    patterns::path_prefix(text)?;
    match pattern {
        PathPattern::Prefix(of) => Ok(NewPath::Prefix {
            of: of.trim_end_matches('/').to_owned(),
            with: text.trim_end_matches('/').to_owned(),
        }),
        _ => Err((
            format!("the route's {pattern} has no prefix to replace"),
            "write match.path_prefix, or path here".to_owned(),
        )),
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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use crate::config::load::load_text;
    use crate::config::problem::Refused;
    use crate::config::settings::{ActionSettings, RouteSettings};
    use crate::config::surroundings::Surroundings;

    fn load(route: &str) -> Result<RouteSettings, Refused> {
        let text = format!(
            "[node]\nname='a'\n[[listener]]\nname='web'\naddress='127.0.0.1:80'\n\
             [[route]]\nname='r'\nlisteners=['web']\n{route}\n\
             [[upstream]]\nname='u'\nendpoints=[{{address='10.0.1.1:80'}}]\n\
             [[upstream]]\nname='v'\nendpoints=[{{address='10.0.1.2:80'}}]\n"
        );
        let surroundings = Surroundings {
            cores: 1,
            state_directory: PathBuf::from("/state"),
            invalid: crate::config::surroundings::Invalid::Refused,
        };
        let settings = load_text(Path::new("t.toml"), &text, &surroundings)?;
        Ok(RouteSettings::clone(&settings.routes[0]))
    }

    #[track_caller]
    fn check(rows: &[(&str, &str)]) {
        for (route, fault) in rows {
            match load(route) {
                Ok(_) => panic!("accepted: {route}"),
                Err(refused) => {
                    assert!(refused.to_string().contains(fault), "{route}: {refused}");
                    assert_eq!(refused.problems().len(), 1, "{route}: {refused}");
                }
            }
        }
    }

    #[test]
    fn redirects_and_rewrites_reach_the_settings() {
        let redirected = |route: &str| match load(route).unwrap().action {
            ActionSettings::Redirect(redirect) => redirect.to_string(),
            other => panic!("{other:?}"),
        };
        let all = "match={path='/a/{id}'}\nredirect={status=308,scheme='https',host='b.example',port=8443,path='/b/{id}'}";
        assert_eq!(redirected(all), "308 to https://b.example:8443/b/{id}");
        let prefix = "match={path_prefix='/'}\nredirect={path_prefix='/b'}";
        assert_eq!(redirected(prefix), "302 to /b/…");
        let route =
            load("match={path_prefix='/a'}\nupstream='u'\nrewrite={host='b.internal:81',path_prefix='/'}");
        let rewrite = route.unwrap().rewrite.unwrap();
        assert_eq!(rewrite.host.unwrap(), "b.internal:81");
        assert_eq!(rewrite.path.of("/a/x").unwrap(), "/x");
    }

    #[test]
    fn faults_of_redirects_and_rewrites_are_named() {
        check(&[
            (
                "match={path='/'}\nredirect={}",
                "route[0].redirect: it leads to where the client came from",
            ),
            (
                "match={path='/'}\nredirect={status=304,host='b'}",
                "redirect.status: 304 sends no client anywhere; write 301, 302, 303, 307 or 308",
            ),
            (
                "match={path='/'}\nredirect={status=200,host='b'}",
                "redirect.status: 200 is out of range",
            ),
            (
                "match={path='/'}\nredirect={scheme='ftp'}",
                "redirect.scheme: 'ftp' is not known here",
            ),
            (
                "match={path='/'}\nredirect={host='b:81'}",
                "redirect.host: \"b:81\" is not a host without a port",
            ),
            ("match={path='/'}\nredirect={host='*.b'}", "\"*.b\" is not a host"),
            (
                "match={path='/'}\nredirect={path='/a',path_prefix='/b'}",
                "redirect.path_prefix: path is given already",
            ),
            (
                "match={path='/a'}\nredirect={path_prefix='/b'}",
                "redirect.path_prefix: the route's path \"/a\" has no prefix to replace",
            ),
            (
                "match={path_prefix='/a'}\nredirect={path_prefix='/b/'}",
                "redirect.path_prefix: \"/b/\" ends with a slash",
            ),
            (
                "match={path='/{id}'}\nredirect={path='/{key}'}",
                "redirect.path: \"/{key}\" has the parameter {key}, which the route's path \"/{id}\" has not",
            ),
            (
                "match={path='/{id}'}\nredirect={path='/{id'}",
                "has a brace without its other half",
            ),
            (
                "match={path='/{id}'}\nredirect={path='/../{id}'}",
                "has a dot segment",
            ),
            (
                "match={path_regex='/a+'}\nredirect={path='/{a}'}",
                "which the route's path_regex \"/a+\" has not",
            ),
            (
                "match={path='/'}\nredirect={host='b'}\nrespond={status=200}",
                "route[0].respond: the route has redirect already; keep one of redirect and respond",
            ),
            (
                "match={path='/'}\nupstream='u'\nsplit=[{upstream='v',weight=1}]",
                "route[0].split: the route has upstream already; keep one of upstream and split",
            ),
            (
                "match={path='/'}\nredirect={host='b'}\nrewrite={host='c'}",
                "route[0].rewrite: the route asks no upstream",
            ),
            (
                "match={path='/'}\nredirect={host='b'}\nfallback=[{upstream='u'}]",
                "route[0].fallback: the route asks no upstream that could fail",
            ),
            (
                "match={path='/'}\nupstream='u'\nrewrite={}",
                "route[0].rewrite: it changes nothing",
            ),
            (
                "match={path='/'}\nupstream='u'\nrewrite={host='a b'}",
                "rewrite.host: \"a b\" is not a host",
            ),
            (
                "match={path='/'}\nupstream='u'\nrewrite={host='a:0'}",
                "rewrite.host: \"a:0\" is not a host",
            ),
            (
                "match={path='/'}\nupstream='u'\nrewrite={path='a'}",
                "rewrite.path: \"a\" does not start with /",
            ),
        ]);
    }
}
