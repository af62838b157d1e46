//! Routes: the tree finds what a list searched from end to end finds.
//!
//! Inputs are lines: `HOST PATH METHODS` adds a route (`-`: any host, or every method; `PATH*`: a prefix; `~PATH`:
//! one that keeps slashes), `? HOST PATH METHOD` asks.

#![no_main]

use gateway_fuzz::gateway::router::{HostPattern, Lookup, PathPattern, RouteIndex, Router, Slashes};
use gateway_fuzz::naive::{Naive, Route};
use http::Method;
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
    let methods = words
        .filter(|word| *word != "-")
        .map(str::parse)
        .collect::<Result<Vec<Method>, _>>();
    let Ok(methods) = methods else { return };
    if router.insert_with(&host, &path, &methods, slashes, index).is_ok() {
        naive.0.push(Route {
            host,
            path,
            methods,
            slashes,
            index,
        });
    }
}

fn ask(router: &Router, naive: &Naive, question: &str) {
    let mut words = question.split(' ');
    let (Some(host), Some(path), Some(method)) = (words.next(), words.next(), words.next()) else {
        return;
    };
    let Ok(method) = method.parse::<Method>() else {
        return;
    };
    let found = router.find(host, path, &method);
    assert_eq!(found, naive.find(host, path, None, &method), "{question}");
    let mut merged = path.to_owned();
    while merged.contains("//") {
        merged = merged.replace("//", "/");
    }
    let either = router.find_either(host, &merged, Some(path), &method);
    assert_eq!(
        either,
        naive.find(host, &merged, Some(path), &method),
        "{question}"
    );
    let allowed = router.allowed(host, path);
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
