//! `cors`: origins as browsers write them, and lists that become fields.

use http::HeaderValue;

use super::field_name;
use crate::config::given::{self, Time};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::validate::patterns;
use crate::filters::cors::{Cors, Credentials, Origin};

/// What browsers are told; `None` where it cannot be read.
pub(super) fn cors(given: &given::Cors, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Cors> {
    let origins = origins(given, path, problems);
    let mut methods = Vec::new();
    for (index, text) in given.methods.iter().flatten().enumerate() {
        if let Err((fault, remedy)) = patterns::method(text) {
            problems.add(&path.key("methods").index(index), fault, remedy);
        }
        methods.push(text.as_str());
    }
    if methods.is_empty() {
        methods.extend(limits::CORS_METHODS);
    }
    if let Some(Time(age)) = given.max_age
        && age.subsec_nanos() > 0
    {
        let remedy = format!("write \"{}s\"", age.as_secs() + 1);
        problems.add(&path.key("max_age"), "browsers count whole seconds", remedy);
    }
    Some(Cors {
        origins,
        methods: HeaderValue::from_str(&methods.join(", ")).ok()?,
        headers: names(given.headers.as_ref(), &path.key("headers"), problems),
        expose: names(given.expose.as_ref(), &path.key("expose"), problems),
        credentials: if given.credentials.unwrap_or(false) {
            Credentials::Allowed
        } else {
            Credentials::Omitted
        },
        max_age: given.max_age.map(|Time(age)| HeaderValue::from(age.as_secs())),
    })
}

fn origins(given: &given::Cors, path: &KeyPath, problems: &mut Problems<'_>) -> Vec<Origin> {
    let mut origins = Vec::new();
    let texts = given.origins.as_deref().unwrap_or_default();
    for (index, text) in texts.iter().enumerate() {
        let path = path.key("origins").index(index);
        match origin(text) {
            Ok(origin) if origins.contains(&origin) => {
                problems.add(&path, format!("\"{text}\" stands here twice"), "remove one");
            }
            Ok(Origin::Any) if texts.len() > 1 => {
                problems.add(
                    &path,
                    "\"*\" is every origin already",
                    "leave the others out, or this one",
                );
            }
            Ok(Origin::Any) if given.credentials == Some(true) => {
                let fault = "with credentials every page of the world could act as its reader";
                problems.add(&path, fault, "list the origins, or remove credentials");
            }
            Ok(origin) => origins.push(origin),
            Err((fault, remedy)) => problems.add(&path, format!("\"{text}\" {fault}"), remedy),
        }
    }
    origins
}

/// Source: RFC 6454, section 6.1; `null` is what pages without an origin say, and any page can be made such.
fn origin(text: &str) -> Result<Origin, (&'static str, &'static str)> {
    const FORM: &str = "write it as in \"https://app.example.com\" or \"https://*.example.com:8443\"";
    if text == "*" {
        return Ok(Origin::Any);
    }
    if text == "null" {
        return Err((
            "is what any page can be made to say",
            "list the origins that are meant",
        ));
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return Err(("is no origin", FORM));
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_scheme = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    let is_host = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.[:]".contains(&byte);
    let name = host.strip_prefix("*.").unwrap_or(host);
    if scheme.is_empty() || !scheme.bytes().all(is_scheme) || name.is_empty() || !name.bytes().all(is_host) {
        return Err(("is no origin in lower case", FORM));
    }
    if port.is_some_and(|port| port.parse::<u16>().is_err() || port.starts_with('0')) {
        return Err(("has no port behind its colon", FORM));
    }
    if matches!((scheme, port), ("https", Some("443")) | ("http", Some("80"))) {
        return Err(("has the port that browsers leave out", "leave it out, too"));
    }
    if name == host {
        return Ok(Origin::Exact(text.to_owned()));
    }
    if !name.contains('.') {
        return Err((
            "takes in every domain of all the world there",
            "write at least two labels behind \"*.\"",
        ));
    }
    let (before, after) = text.split_once('*').unwrap_or_default();
    Ok(Origin::Label {
        before: before.to_owned(),
        after: after.to_owned(),
    })
}

/// A list as a field has it.
fn names(given: Option<&Vec<String>>, path: &KeyPath, problems: &mut Problems<'_>) -> Option<HeaderValue> {
    let mut names = Vec::new();
    for (index, name) in given?.iter().enumerate() {
        names.extend(field_name(name, &path.index(index), problems));
    }
    let names: Vec<&str> = names.iter().map(http::HeaderName::as_str).collect();
    let value = HeaderValue::from_str(&names.join(", ")).ok();
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, kind_of};
    use super::*;
    use crate::filters::Settings;

    #[test]
    fn fields_are_made_of_the_lists() {
        let least = Cors {
            origins: vec![Origin::Any],
            methods: HeaderValue::from_static("GET, HEAD, POST"),
            headers: None,
            expose: None,
            credentials: Credentials::Omitted,
            max_age: None,
        };
        assert_eq!(kind_of("cors={origins=['*']}"), Settings::Cors(least));
        let all = "cors={origins=['https://a.example','http://*.b.example:81'],methods=['GET','PUT'],\
            headers=['content-type','x-a'],expose=['x-total'],credentials=true,max_age='10m'}";
        let expected = Cors {
            origins: vec![
                Origin::Exact("https://a.example".to_owned()),
                Origin::Label {
                    before: "http://".to_owned(),
                    after: ".b.example:81".to_owned(),
                },
            ],
            methods: HeaderValue::from_static("GET, PUT"),
            headers: Some(HeaderValue::from_static("content-type, x-a")),
            expose: Some(HeaderValue::from_static("x-total")),
            credentials: Credentials::Allowed,
            max_age: Some(HeaderValue::from_static("600")),
        };
        assert_eq!(kind_of(all), Settings::Cors(expected));
    }

    #[test]
    fn faults_of_cors_are_named() {
        let rows: [(&str, &[&str]); 7] = [
            ("{}", &["cors.origins: is missing"]),
            (
                "{origins=['null','a.example','https://A.example','https://a.example/','https://*.com','https://a.*.com']}",
                &[
                    "origins[0]: \"null\" is what any page",
                    "origins[1]: \"a.example\" is no origin",
                    "origins[2]: \"https://A.example\" is no origin in lower case",
                    "origins[3]: \"https://a.example/\" is no origin",
                    "origins[4]: \"https://*.com\" takes in every domain",
                    "origins[5]: \"https://a.*.com\" is no origin",
                ],
            ),
            (
                "{origins=['https://a.example:443','https://a.example:x','https://[2001:db8::1]']}",
                &[
                    "origins[0]: \"https://a.example:443\" has the port",
                    "origins[1]: \"https://a.example:x\" has no port",
                ],
            ),
            (
                "{origins=['*'],credentials=true}",
                &["origins[0]: with credentials every page"],
            ),
            (
                "{origins=['https://a.example','*','https://a.example']}",
                &[
                    "origins[1]: \"*\" is every origin already",
                    "origins[2]: \"https://a.example\" stands here twice",
                ],
            ),
            (
                "{origins=['*'],methods=['get'],headers=['X-A'],max_age='1500ms'}",
                &[
                    "methods[0]: ",
                    "headers[0]: \"X-A\" is no name",
                    "max_age: browsers count whole seconds; write \"2s\"",
                ],
            ),
            (
                "{origins=['*'],max_age='2days'}",
                &["max_age: \"2days\" is out of range"],
            ),
        ];
        for (cors, faults) in rows {
            check(&format!("{{name='f',cors={cors}}}"), faults);
        }
    }
}
