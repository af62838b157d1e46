//! `route.match`: hosts, path and methods, and what else a route asks for.

use http::{HeaderName, Method};

use super::certificate;
use super::keys;
use super::patterns::{self, Wrong};
use crate::config::given::{self, FieldMatch, Network};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::router::{Condition, Conditions, HostPattern, PathPattern, Source, Test};

/// What a route matches.
pub struct Matching {
    /// Not empty.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// Empty: every method.
    pub methods: Vec<Method>,
    /// Anything else.
    pub conditions: Conditions,
}

type ReadPath = fn(&str) -> Result<PathPattern, Wrong>;
type ReadSource = fn(&str) -> Result<Source, Wrong>;

/// Reads it; `None` where no path can be read.
pub fn matching(given: &given::Match, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Matching> {
    let mut hosts = each(given.hosts.as_ref(), patterns::host, &path.key("hosts"), problems);
    if hosts.is_empty() {
        hosts = vec![HostPattern::Any];
    }
    let methods = each(
        given.methods.as_ref(),
        patterns::method,
        &path.key("methods"),
        problems,
    );
    let conditions = conditions(given, path, problems);
    let kinds: [(&'static str, Option<&String>, ReadPath); 3] = [
        ("path", given.path.as_ref(), patterns::path),
        ("path_prefix", given.path_prefix.as_ref(), patterns::path_prefix),
        ("path_regex", given.path_regex.as_ref(), patterns::path_regex),
    ];
    let mut written = kinds
        .iter()
        .filter_map(|(key, text, read)| Some((*key, (*text)?, read)));
    let Some((key, text, read)) = written.next() else {
        if !kinds.iter().any(|(key, ..)| problems.is_known_at(&path.key(key))) {
            problems.add(
                &path.key("path"),
                "no path is given",
                "add path_prefix = \"/\" for every path",
            );
        }
        return None;
    };
    if let Some((other, ..)) = written.next() {
        problems.add(
            &path.key(other),
            format!("the route has {key} already"),
            format!("keep one of {key} and {other}"),
        );
        return None;
    }
    match read(text) {
        Ok(pattern) => Some(Matching {
            hosts,
            path: pattern,
            methods,
            conditions,
        }),
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

/// What is asked for beside host, path and method.
fn conditions(given: &given::Match, path: &KeyPath, problems: &mut Problems<'_>) -> Conditions {
    let kinds: [(&str, &Option<Vec<FieldMatch>>, ReadSource); 3] = [
        ("headers", &given.headers, header),
        ("query", &given.query, query),
        ("cookies", &given.cookies, cookie),
    ];
    let mut fields: Vec<Condition> = Vec::new();
    for (key, list, read) in kinds {
        for (index, field) in list.iter().flatten().enumerate() {
            let path = path.key(key).index(index);
            let test = Tests::from(field).read(&path, problems);
            let Some(name) = &field.name else { continue };
            let path = path.key("name");
            match read(name) {
                Ok(source) if fields.iter().any(|other| other.source == source) => {
                    problems.add(&path, format!("\"{name}\" stands here twice"), "remove one");
                }
                Ok(source) => fields.extend(test.map(|test| Condition { source, test })),
                Err((fault, remedy)) => problems.add(&path, fault, remedy),
            }
        }
    }
    let networks = given.client.as_deref().unwrap_or_default();
    keys::networks(networks, &path.key("client"), problems);
    let clients = networks.iter().map(|Network(network)| *network);
    let wanted = given.client_certificate.as_ref();
    let (subject, names) = wanted
        .map(|wanted| certificate::conditions(wanted, &path.key("client_certificate"), problems))
        .unwrap_or_default();
    fields.extend(subject);
    Conditions::new(fields, clients.collect()).with_names(names)
}

/// The keys that say what a value must be.
#[derive(Clone, Copy)]
pub(super) struct Tests<'g> {
    pub(super) exact: Option<&'g str>,
    pub(super) prefix: Option<&'g str>,
    pub(super) regex: Option<&'g str>,
    pub(super) present: Option<bool>,
}

impl<'g> From<&'g FieldMatch> for Tests<'g> {
    fn from(given: &'g FieldMatch) -> Self {
        Self {
            exact: given.exact.as_deref(),
            prefix: given.prefix.as_deref(),
            regex: given.regex.as_deref(),
            present: given.present,
        }
    }
}

impl Tests<'_> {
    /// Exactly one of them is given.
    pub(super) fn read(self, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Test> {
        test(self, path, problems)
    }
}

fn test(given: Tests<'_>, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Test> {
    let tests = [
        ("exact", given.exact.map(|text| Ok(Test::Exact(text.to_owned())))),
        (
            "prefix",
            given.prefix.map(|text| Ok(Test::Prefix(text.to_owned()))),
        ),
        (
            "regex",
            given.regex.map(|text| patterns::regex(text).map(Test::Regex)),
        ),
        (
            "present",
            given
                .present
                .map(|is_there| Ok(if is_there { Test::Present } else { Test::Absent })),
        ),
    ];
    let mut written = tests.into_iter().filter_map(|(key, test)| Some((key, test?)));
    let Some((key, test)) = written.next() else {
        if !problems.is_known_below(path) {
            let remedy = "add one of exact, prefix, regex and present = true";
            problems.add(path, "it does not say what the value must be", remedy);
        }
        return None;
    };
    if let Some((other, _)) = written.next() {
        let fault = format!("{key} is given already");
        problems.add(&path.key(other), fault, format!("keep one of {key} and {other}"));
        return None;
    }
    let path = path.key(key);
    match test {
        Ok(Test::Exact(text) | Test::Prefix(text)) if text.len() > limits::CONDITION_BYTES_MAX => {
            let fault = format!("a value of {} bytes is too long", text.len());
            let remedy = format!("write at most {}", limits::CONDITION_BYTES_MAX);
            problems.add(&path, fault, remedy);
            None
        }
        Ok(Test::Prefix(text)) if text.is_empty() => {
            problems.add(&path, "every value begins with nothing", "write present = true");
            None
        }
        Ok(test) => Some(test),
        Err((fault, remedy)) => {
            problems.add(&path, fault, remedy);
            None
        }
    }
}

fn header(name: &str) -> Result<Source, Wrong> {
    match HeaderName::from_lowercase(name.as_bytes()) {
        Ok(header) if header == http::header::HOST => Err((
            "the host is matched by itself".to_owned(),
            "write it into match.hosts".to_owned(),
        )),
        Ok(header) if header == http::header::COOKIE => Err((
            "cookies are matched one by one".to_owned(),
            "write them into match.cookies".to_owned(),
        )),
        Ok(header) => Ok(Source::Header(header)),
        Err(_) => Err((
            format!("\"{name}\" is no name of a header field in lower case"),
            "write it as in \"x-tenant\"".to_owned(),
        )),
    }
}

fn query(name: &str) -> Result<Source, Wrong> {
    if name.is_empty() || name.len() > limits::CONDITION_BYTES_MAX {
        let fault = format!("\"{name}\" is no name of a query parameter");
        return Err((fault, "write it as in \"version\"".to_owned()));
    }
    Ok(Source::Query(name.to_owned()))
}

fn cookie(name: &str) -> Result<Source, Wrong> {
    // The names of both are tokens.
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) => Ok(Source::Cookie(name.to_owned())),
        Err(_) => Err((
            format!("\"{name}\" is no name of a cookie"),
            "write it as in \"session\"".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::load::load_text;
    use crate::config::problem::Refused;
    use crate::config::settings::Settings;
    use crate::config::surroundings::Surroundings;

    fn load(matches: &[&str]) -> Result<Settings, Refused> {
        let mut text = "[node]\nname='a'\n[[listener]]\nname='web'\naddress='127.0.0.1:80'\n".to_owned();
        for (index, matching) in matches.iter().enumerate() {
            text.push_str(&format!(
                "[[route]]\nname='r{index}'\nlisteners=['web']\nrespond={{status=200}}\nmatch={{{matching}}}\n"
            ));
        }
        let surroundings = Surroundings {
            cores: 1,
            state_directory: PathBuf::from("/state"),
            invalid: crate::config::surroundings::Invalid::Refused,
        };
        load_text(Path::new("t.toml"), &text, &surroundings)
    }

    #[test]
    fn what_is_asked_for_reaches_the_settings() {
        let settings = load(&["path_regex='/a/[0-9]+',\
             headers=[{name='x-a',exact='1'},{name='x-b',prefix='2'},{name='x-c',present=false}],\
             query=[{name='v',regex='[0-9]+'}],cookies=[{name='sid',present=true}],client=['10.0.0.0/8','::1']"])
        .unwrap();
        let route = &settings.routes[0];
        assert_eq!(route.path.to_string(), "path_regex \"/a/[0-9]+\"");
        assert_eq!(
            route.conditions.to_string(),
            "client 10.0.0.0/8, client ::1/128, cookie sid present, header x-a = \"1\", \
             header x-b = \"2\" and more, header x-c absent, query v like \"[0-9]+\""
        );
        let plain = load(&["path='/'"]).unwrap();
        assert!(plain.routes[0].conditions.is_empty());
    }

    #[test]
    fn routes_may_share_all_but_their_conditions() {
        let same = ["path='/',headers=[{name='x-a',exact='1'}]"; 2];
        let refused = load(&same).unwrap_err().to_string();
        let wanted = "t.toml:15: route[1].match: route \"r0\" (line 6) takes every method / for every host with header x-a = \"1\" already";
        assert!(refused.contains(wanted), "{refused}");
        for other in [
            "path='/'",
            "path='/',headers=[{name='x-a',exact='2'}]",
            "path='/',methods=['GET']",
        ] {
            load(&[same[0], other]).unwrap();
        }
        let expressions: Vec<String> = (0..=limits::EXPRESSIONS_MAX)
            .map(|n| format!("path_regex='/{n}'"))
            .collect();
        let expressions: Vec<&str> = expressions.iter().map(String::as_str).collect();
        load(&expressions[1..]).unwrap();
        let refused = load(&expressions).unwrap_err().to_string();
        assert!(
            refused.contains("256 routes of every host have path_regex already"),
            "{refused}"
        );
    }

    #[test]
    fn faults_are_named_with_their_places() {
        let long = format!(
            "headers=[{{name='x-a',exact='{}'}}]",
            "v".repeat(limits::CONDITION_BYTES_MAX + 1)
        );
        let rows: [(&str, &str); 18] = [
            ("headers=[]", "match.headers: the list is empty"),
            ("headers=[{exact='1'}]", "headers[0].name: is missing"),
            (
                "headers=[{name='x-a'}]",
                "headers[0]: it does not say what the value must be",
            ),
            (
                "headers=[{name='x-a',exact='1',regex='2'}]",
                "headers[0].regex: exact is given already; keep one of exact and regex",
            ),
            (
                "headers=[{name='X-A',exact='1'}]",
                "is no name of a header field in lower case",
            ),
            ("headers=[{name='host',exact='1'}]", "write it into match.hosts"),
            (
                "headers=[{name='cookie',exact='1'}]",
                "write them into match.cookies",
            ),
            (
                "headers=[{name='x-a',exact='1'},{name='x-a',exact='2'}]",
                "headers[1].name: \"x-a\" stands here twice",
            ),
            (
                "headers=[{name='x-a',prefix=''}]",
                "headers[0].prefix: every value begins with nothing",
            ),
            (
                "headers=[{name='x-a',regex='(1'}]",
                "headers[0].regex: \"(1\" is not a regular expression that is taken: unclosed group",
            ),
            (
                "headers=[{name='x-a',present='yes'}]",
                "headers[0].present: 'yes' is not true or false",
            ),
            ("headers=[{name='x-a',like='1'}]", "headers[0].like: unknown key"),
            (&long, "a value of 4097 bytes is too long"),
            (
                "query=[{name='',present=true}]",
                "query[0].name: \"\" is no name of a query parameter",
            ),
            (
                "cookies=[{name='a b',present=true}]",
                "cookies[0].name: \"a b\" is no name of a cookie",
            ),
            (
                "client=['10.0.0.1/8']",
                "client[0]: 10.0.0.1/8 has bits beyond its prefix",
            ),
            (
                "client=['10.0.0.0/8','10.0.0.0/8']",
                "client[1]: 10.0.0.0/8 stands here twice",
            ),
            (
                "client=['office']",
                "client[0]: 'office' is not a network or an IP address",
            ),
        ];
        for (keys, fault) in rows {
            let refused = load(&[&format!("path='/',{keys}")]).unwrap_err().to_string();
            assert!(refused.contains(fault), "{keys}: {refused}");
        }
        let refused = load(&["path='/',path_regex='/a'"]).unwrap_err().to_string();
        assert!(refused.contains("keep one of path and path_regex"), "{refused}");
    }
}
