//! `forward_auth`: whom to ask, for what, and what passes both ways.

use http::HeaderName;
use http::uri::PathAndQuery;

use super::{changeable, field_name};
use crate::config::given::{self, OnFailure as Given, Time};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::validate::health::check_path;
use crate::config::validate::names::{Names, Resolution};
use crate::filters::forward_auth::{ForwardAuth, OnFailure};

/// Who is asked, and how; `None` where it cannot be read.
pub(super) fn forward_auth(
    given: &given::ForwardAuth,
    upstreams: &Names,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<ForwardAuth> {
    let upstream = given
        .upstream
        .as_ref()
        .filter(|name| upstreams.resolves(name, &path.key("upstream"), problems) == Resolution::Found);
    let asked_for = given.path.as_deref().unwrap_or(limits::FORWARD_AUTH_PATH);
    check_path(asked_for, &path.key("path"), problems);
    let request_headers = match &given.request_headers {
        None => limits::FORWARD_AUTH_REQUEST_HEADERS
            .map(HeaderName::from_static)
            .to_vec(),
        // Whatever a client says may be told: what the gateway says itself is, in any case.
        Some(names) => fields(names, &path.key("request_headers"), problems, told),
    };
    let response_headers = given.response_headers.as_deref().unwrap_or_default();
    let response_headers = fields(
        response_headers,
        &path.key("response_headers"),
        problems,
        changeable,
    );
    Some(ForwardAuth {
        upstream: upstream?.clone(),
        path: asked_for.parse::<PathAndQuery>().ok()?,
        timeout: given
            .timeout
            .map_or(limits::FORWARD_AUTH_TIMEOUT, |Time(timeout)| timeout),
        request_headers,
        response_headers,
        on_failure: match given.on_failure {
            None | Some(Given::Deny) => OnFailure::Deny,
            Some(Given::Allow) => OnFailure::Allow,
        },
    })
}

type Read = fn(&str, &KeyPath, &mut Problems<'_>) -> Option<HeaderName>;

fn fields(names: &[String], path: &KeyPath, problems: &mut Problems<'_>, read: Read) -> Vec<HeaderName> {
    let mut fields = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let path = path.index(index);
        match read(name, &path, problems) {
            Some(name) if fields.contains(&name) => {
                problems.add(&path, format!("\"{name}\" stands here twice"), "remove one");
            }
            name => fields.extend(name),
        }
    }
    fields
}

/// A field that says something of the request, and not of its body: the question has none.
fn told(name: &str, path: &KeyPath, problems: &mut Problems<'_>) -> Option<HeaderName> {
    if name.starts_with("content-") {
        let name = field_name(name, path, problems)?;
        problems.add(
            path,
            format!("{name} speaks of a body, and the question has none"),
            "remove it",
        );
        return None;
    }
    changeable(name, path, problems)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;
    use crate::config::load::load_text;
    use crate::config::surroundings::{Invalid, Surroundings};
    use crate::filters::{FilterSettings, Settings};

    /// What a filter of a listener, and the same of a route, come to.
    fn load(keys: &str) -> Result<[Vec<FilterSettings>; 2], String> {
        let filters = format!("filters=[{{name='f',forward_auth={{{keys}}}}}]");
        let text = format!(
            "[node]\nname='a'\n[[listener]]\nname='web'\naddress='127.0.0.1:80'\n{filters}\n\
             [[route]]\nname='r'\nlisteners=['web']\nrespond={{status=200}}\nmatch={{path='/'}}\n{filters}\n\
             [[upstream]]\nname='auth'\nendpoints=[{{address='10.0.1.1:80'}}]\n"
        );
        let surroundings = Surroundings {
            cores: 1,
            state_directory: PathBuf::from("/state"),
            invalid: Invalid::Refused,
        };
        let loaded = load_text(Path::new("t.toml"), &text, &surroundings);
        let loaded = loaded.map_err(|refused| refused.to_string())?;
        Ok([
            loaded.listeners[0].filters.clone(),
            loaded.routes[0].filters.clone(),
        ])
    }

    #[test]
    fn all_of_it_reaches_the_settings() {
        let name = HeaderName::from_static;
        let plain = ForwardAuth {
            upstream: "auth".to_owned(),
            path: PathAndQuery::from_static("/"),
            timeout: Duration::from_secs(1),
            request_headers: vec![name("authorization"), name("cookie")],
            response_headers: Vec::new(),
            on_failure: OnFailure::Deny,
        };
        let full = ForwardAuth {
            path: PathAndQuery::from_static("/check?a=b"),
            timeout: Duration::from_millis(250),
            request_headers: vec![name("x-token")],
            response_headers: vec![name("x-user"), name("x-consumer")],
            on_failure: OnFailure::Allow,
            ..plain.clone()
        };
        let keys = "upstream='auth',path='/check?a=b',timeout='250ms',request_headers=['x-token'],\
                    response_headers=['x-user','x-consumer'],on_failure='allow'";
        for (keys, expected) in [("upstream='auth'", plain), (keys, full)] {
            for filters in load(keys).unwrap() {
                assert_eq!(filters[0].kind, Settings::ForwardAuth(expected.clone()), "{keys}");
            }
        }
    }

    #[test]
    fn faults_are_named() {
        let rows = [
            ("", "forward_auth.upstream: is missing"),
            (
                "upstream='aut'",
                "forward_auth.upstream: there is no upstream \"aut\"; did you mean \"auth\"?",
            ),
            ("upstream='auth',path='check'", "forward_auth.path: "),
            (
                "upstream='auth',timeout='60s'",
                "forward_auth.timeout: \"60s\" is out of range",
            ),
            (
                "upstream='auth',on_failure='maybe'",
                "forward_auth.on_failure: 'maybe' is not known here",
            ),
            (
                "upstream='auth',response_headers=['host']",
                "response_headers[0]: host frames",
            ),
            (
                "upstream='auth',response_headers=['x-a','x-a']",
                "response_headers[1]: \"x-a\" stands here twice",
            ),
            (
                "upstream='auth',request_headers=['X-A']",
                "request_headers[0]: \"X-A\" is no name",
            ),
            (
                "upstream='auth',request_headers=['content-type']",
                "request_headers[0]: content-type speaks of a body",
            ),
        ];
        for (keys, fault) in rows {
            let refused = load(keys).unwrap_err();
            assert!(refused.contains(fault), "{fault:?} is not in:\n{refused}");
        }
    }
}
