//! Routes: the tree finds what a list searched from end to end finds.
//!
//! Inputs are lines: `HOST PATH METHODS` adds a route (`-`: any host, or every method; `PATH*`: a prefix; `~PATH`:
//! one that keeps slashes), `? HOST PATH METHOD` asks. Behind the methods, `+a` asks for a header field, `+a=1` for its
//! value, `+a!` for none; in a question they are what the request has.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use gateway_fuzz::gateway::router::{
    Claims, Condition, Conditions, Facts, HostPattern, Lookup, PathPattern, RouteIndex, Router, Slashes,
    Source, Terms, Test,
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
    let (asked, methods): (Vec<&str>, Vec<&str>) = words
        .filter(|word| *word != "-")
        .partition(|word| word.starts_with('+'));
    let methods = methods
        .into_iter()
        .map(str::parse)
        .collect::<Result<Vec<Method>, _>>();
    let Ok(methods) = methods else { return };
    let mut fields: Vec<Condition> = Vec::new();
    for condition in asked.into_iter().filter_map(condition) {
        // As the configuration has it: each name once.
        if fields.iter().all(|other| other.source != condition.source) {
            fields.push(condition);
        }
    }
    let conditions = Arc::new(Conditions::new(fields, Vec::new()));
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
    let (name, value) = field(word)?;
    let test = match value {
        "" => Test::Present,
        "!" => Test::Absent,
        value => Test::Exact(value.to_owned()),
    };
    Some(Condition {
        source: Source::Header(name),
        test,
    })
}

/// The name and the value of a word: `+a=1`, `+a`, `+a!`.
fn field(word: &str) -> Option<(HeaderName, &str)> {
    let word = word.strip_prefix('+')?;
    let (name, value) = match (word.split_once('='), word.strip_suffix('!')) {
        (Some(pair), _) => pair,
        (None, Some(name)) => (name, "!"),
        (None, None) => (word, ""),
    };
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
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
    for (name, value) in words.filter_map(field) {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    }
    let facts = Facts {
        headers: &headers,
        query: None,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        claims: Claims::Believed,
    };
    let found = router.find_either(host, path, None, &method, &facts);
    assert_eq!(
        found,
        naive.find(host, path, None, &method, &headers),
        "{question}"
    );
    let mut merged = path.to_owned();
    while merged.contains("//") {
        merged = merged.replace("//", "/");
    }
    let either = router.find_either(host, &merged, Some(path), &method, &facts);
    assert_eq!(
        either,
        naive.find(host, &merged, Some(path), &method, &headers),
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
