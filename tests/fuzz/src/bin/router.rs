//! Routes: the tree finds what a list searched from end to end finds.
//!
//! Inputs are lines: `HOST PATH METHODS` adds a route (`-`: any host, or every method; `PATH*`: a prefix; `~PATH`:
//! one that keeps slashes), `? HOST PATH METHOD` asks. Behind the methods, `+a` asks for a header field, `+a=1` for its
//! value, `+a!` for none; `$s` for the subject of the client's certificate, and `$d`, `$u`, `$e` for one of its names, in
//! the same three forms. In a question they are what the request has.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use gateway_fuzz::gateway::router::{
    Certificate, Claims, Condition, Conditions, Facts, HostPattern, Lookup, NameKind, PathPattern, RouteIndex, Router,
    Slashes, Source, Terms, Test,
};
use gateway_fuzz::naive::{Naive, Route};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

/// Lines of one input at most: the list is searched for each.
const LINES_MAX: usize = 200;

fuzz_target!(|text: &str| {
    let mut router = Router::default();
    let mut naive = Naive::default();
    for (index, line) in text.lines().take(LINES_MAX).enumerate() {
        match line.strip_prefix("? ") {
            Some(question) => ask(&router, &naive, question),
            None => add(&mut router, &mut naive, line, RouteIndex(index)),
        }
    }
});

fn add(router: &mut Router, naive: &mut Naive, line: &str, index: RouteIndex) {
    let mut words = line.split(' ');
    let (Some(host), Some(path)) = (words.next(), words.next()) else {
        return;
    };
    let host = match (host, host.strip_prefix("*.")) {
        ("-", _) => HostPattern::Any,
        (_, Some(suffix)) => HostPattern::Wildcard(suffix.to_owned()),
        _ => HostPattern::Exact(host.to_owned()),
    };
    let (path, slashes) = match path.strip_prefix('~') {
        Some(path) => (path, Slashes::Kept),
        None => (path, Slashes::Merged),
    };
    let path = match path.strip_suffix('*') {
        Some(prefix) => PathPattern::Prefix(prefix.to_owned()),
        None => PathPattern::Exact(path.to_owned()),
    };
    let (asked, methods): (Vec<&str>, Vec<&str>) =
        words.filter(|word| *word != "-").partition(|word| word.starts_with(['+', '$']));
    let methods = methods.into_iter().map(str::parse).collect::<Result<Vec<Method>, _>>();
    let Ok(methods) = methods else { return };
    let (mut fields, mut names): (Vec<Condition>, Vec<Condition>) = Default::default();
    for condition in asked.into_iter().filter_map(condition) {
        if matches!(condition.source, Source::Name(_)) {
            // As the configuration has it: each once.
            if !names.contains(&condition) {
                names.push(condition);
            }
        } else if fields.iter().all(|other| other.source != condition.source) {
            fields.push(condition);
        }
    }
    let conditions = Arc::new(Conditions::new(fields, Vec::new()).with_names(names));
    let terms = Terms {
        methods: &methods,
        slashes,
        conditions: &conditions,
    };
    if router.insert_if(&host, &path, terms, index).is_ok() {
        naive.0.push(Route {
            host,
            path,
            methods,
            slashes,
            conditions: Conditions::clone(&conditions),
            index,
        });
    }
}

/// What a word asks for.
fn condition(word: &str) -> Option<Condition> {
    let (source, value) = source(word)?;
    let test = match value {
        "" => Test::Present,
        "!" => Test::Absent,
        value => Test::Exact(value.to_owned()),
    };
    Some(Condition { source, test })
}

/// Where a word looks, and its value: `+a=1`, `+a`, `+a!`, `$s=1`, `$d!`.
fn source(word: &str) -> Option<(Source, &str)> {
    let (name, value) = match (word.split_once('='), word.strip_suffix('!')) {
        (Some(pair), _) => pair,
        (None, Some(name)) => (name, "!"),
        (None, None) => (word, ""),
    };
    let source = match name {
        "$s" => Source::Subject,
        "$d" => Source::Name(NameKind::Dns),
        "$u" => Source::Name(NameKind::Uri),
        "$e" => Source::Name(NameKind::Email),
        name => Source::Header(HeaderName::from_bytes(name.strip_prefix('+')?.as_bytes()).ok()?),
    };
    Some((source, value))
}

fn ask(router: &Router, naive: &Naive, question: &str) {
    let mut words = question.split(' ');
    let (Some(host), Some(path), Some(method)) = (words.next(), words.next(), words.next()) else {
        return;
    };
    let Ok(method) = method.parse::<Method>() else {
        return;
    };
    let mut headers = HeaderMap::new();
    let (mut subject, mut dns, mut uris, mut emails) = (None, Vec::new(), Vec::new(), Vec::new());
    for (source, value) in words.filter_map(source) {
        if matches!(source, Source::Subject | Source::Name(_)) {
            subject.get_or_insert(String::new());
        }
        match source {
            Source::Header(name) => {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.append(name, value);
                }
            }
            Source::Subject => subject = Some(value.to_owned()),
            Source::Name(NameKind::Dns) => dns.push(value.to_owned()),
            Source::Name(NameKind::Uri) => uris.push(value.to_owned()),
            Source::Name(NameKind::Email) => emails.push(value.to_owned()),
            Source::Query(_) | Source::Cookie(_) => {}
        }
    }
    let facts = Facts {
        headers: &headers,
        query: None,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        claims: Claims::Believed,
        certificate: subject.as_deref().map(|subject| Certificate {
            subject,
            dns: &dns,
            uris: &uris,
            emails: &emails,
        }),
    };
    let found = router.find_either(host, path, None, &method, &facts);
    assert_eq!(found, naive.find(host, path, None, &method, &facts), "{question}");
    let mut merged = path.to_owned();
    while merged.contains("//") {
        merged = merged.replace("//", "/");
    }
    let either = router.find_either(host, &merged, Some(path), &method, &facts);
    assert_eq!(
        either,
        naive.find(host, &merged, Some(path), &method, &facts),
        "{question}"
    );
    let allowed = router.allowed(host, path, &facts);
    match found {
        Lookup::Found(index) => {
            for (name, value) in router.parameters(index, path) {
                assert!(
                    !name.is_empty() && !value.is_empty() && !value.contains('/'),
                    "{question}"
                );
            }
        }
        Lookup::MethodNotAllowed => assert!(!allowed.is_empty() && !allowed.contains(&method), "{question}"),
        Lookup::NotFound => assert!(allowed.is_empty(), "{question}"),
    }
}
