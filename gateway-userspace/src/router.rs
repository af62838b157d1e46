//! Which route a request takes: hosts, then paths, then methods, by one lookup structure.
//!
//! Precedence is that of the Kubernetes Gateway API (HTTPRoute, "matches"): the most specific host, then an exact
//! path, a path with parameters, the longer prefix, and at last a match that names the method over one that takes
//! all. Where the methods of a more specific pattern reject a request, a less specific one may still take it.
//! Later issues add conditions (headers, queries) to the leaves; hosts and paths stay as they are.

mod paths;

use std::collections::HashMap;

use http::Method;

use paths::{Outcome, Paths};

/// Position of a route in its listener's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteIndex(pub usize);

/// A host pattern: exact, `*.suffix`, or any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// Lower case, without a port.
    Exact(String),
    /// `*.example.com` is kept as `example.com`; matches one label or more before it.
    Wildcard(String),
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any host"),
            Self::Exact(host) => write!(f, "host {host:?}"),
            Self::Wildcard(suffix) => write!(f, "host \"*.{suffix}\""),
        }
    }
}

/// A path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// The whole path; segments in braces match any one segment that is not empty.
    Exact(String),
    /// Whole segments from the start; segments in braces as above, a slash at the end says nothing.
    Prefix(String),
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "path {path:?}"),
            Self::Prefix(path) => write!(f, "path_prefix {path:?}"),
        }
    }
}

/// What a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The route that takes it.
    Found(RouteIndex),
    /// A route has that host and path, none the method.
    MethodNotAllowed,
    /// No route has that host and path.
    NotFound,
}

/// The lookup structure of one listener.
#[derive(Debug, Default)]
pub struct Router {
    exact: HashMap<Box<str>, Paths>,
    /// By the suffix, without `*.`.
    wildcard: HashMap<Box<str>, Paths>,
    any: Paths,
}

impl Router {
    /// Adds one pattern of a route; no methods: every method.
    ///
    /// # Errors
    /// A pattern that says the same as an earlier one, or one that cannot be read; the text says which and why.
    pub fn insert(
        &mut self,
        host: &HostPattern,
        path: &PathPattern,
        methods: &[Method],
        route: RouteIndex,
    ) -> Result<(), String> {
        check_host(host)?;
        let paths = match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name.as_str().into()).or_default(),
            HostPattern::Wildcard(suffix) => self.wildcard.entry(suffix.as_str().into()).or_default(),
        };
        paths
            .insert(path, methods, route)
            .map_err(|fault| format!("{path} for {host}: {fault}"))
    }

    /// The route of a request. `host` is lower case without a port; `path` is normalised.
    ///
    /// Allocates nothing.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Lookup {
        let mut seen = Lookup::NotFound;
        for paths in self.tables(host) {
            match paths.find(path, method) {
                Outcome::Found(route) => return Lookup::Found(route),
                Outcome::MethodRejected => seen = Lookup::MethodNotAllowed,
                Outcome::Nothing => {}
            }
        }
        seen
    }

    /// The methods that routes of that host and path take, sorted: what `Allow` says beside a 405.
    pub fn allowed(&self, host: &str, path: &str) -> Vec<Method> {
        let mut methods = Vec::new();
        for paths in self.tables(host) {
            paths.collect_methods(path, &mut methods);
        }
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        methods.dedup();
        methods
    }

    /// The tables that may answer for a host, the most specific first.
    fn tables<'r>(&'r self, host: &'r str) -> impl Iterator<Item = &'r Paths> {
        let exact = (!self.exact.is_empty()).then(|| self.exact.get(host)).flatten();
        let suffixes = if self.wildcard.is_empty() { "" } else { host };
        let wildcard = std::iter::successors(parent(suffixes), |suffix| parent(suffix))
            .filter_map(|suffix| self.wildcard.get(suffix));
        exact
            .into_iter()
            .chain(wildcard)
            .chain(std::iter::once(&self.any))
    }
}

/// The domain that a host lies in: `b.c` for `a.b.c`.
fn parent(host: &str) -> Option<&str> {
    host.split_once('.').map(|(_, rest)| rest)
}

fn check_host(host: &HostPattern) -> Result<(), String> {
    let (HostPattern::Exact(name) | HostPattern::Wildcard(name)) = host else {
        return Ok(());
    };
    let fault = if name.is_empty() {
        "is empty: name a host, or leave `hosts` out to match every one"
    } else if name.contains('*') {
        "has a `*` that is not its first label: only `*.suffix` is a wildcard"
    } else if name.bytes().any(|b| b.is_ascii_uppercase()) {
        "has upper-case letters: hosts are compared in lower case"
    } else if !name.starts_with('[') && name.contains(':') {
        "has a port: routes match the host alone, the listener has the port"
    } else if !name.bytes().all(|b| b.is_ascii_graphic() && b != b'/') {
        "has characters that no host has"
    } else {
        return Ok(());
    };
    Err(format!("{host} {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(pattern: &str) -> HostPattern {
        match pattern {
            "" => HostPattern::Any,
            _ => match pattern.strip_prefix("*.") {
                Some(suffix) => HostPattern::Wildcard(suffix.into()),
                None => HostPattern::Exact(pattern.into()),
            },
        }
    }

    /// `/a*` is the prefix `/a`.
    fn path(pattern: &str) -> PathPattern {
        match pattern.strip_suffix('*') {
            Some(prefix) => PathPattern::Prefix(prefix.into()),
            None => PathPattern::Exact(pattern.into()),
        }
    }

    fn methods(list: &str) -> Vec<Method> {
        list.split_whitespace().map(|m| m.parse().unwrap()).collect()
    }

    fn router(rows: &[(&str, &str, &str)]) -> Router {
        let mut router = Router::default();
        for (index, (h, p, m)) in rows.iter().enumerate() {
            router
                .insert(&host(h), &path(p), &methods(m), RouteIndex(index))
                .unwrap();
        }
        router
    }

    const FOUND: fn(usize) -> Lookup = |index| Lookup::Found(RouteIndex(index));

    #[test]
    fn most_specific_host_wins_and_others_take_what_it_lacks() {
        let table = router(&[
            ("", "/*", ""),                       // 0
            ("*.example.com", "/*", ""),          // 1
            ("*.api.example.com", "/*", ""),      // 2
            ("v1.api.example.com", "/only", ""),  // 3
            ("example.com", "/*", ""),            // 4
            ("*.post.example.org", "/*", "POST"), // 5
        ]);
        let rows = [
            ("elsewhere.org", "/x", FOUND(0), "no pattern but any"),
            ("a.example.com", "/x", FOUND(1), "one label under a wildcard"),
            ("a.b.example.com", "/x", FOUND(1), "two labels under a wildcard"),
            (
                "example.com",
                "/x",
                FOUND(4),
                "a wildcard does not match its own suffix",
            ),
            ("a.api.example.com", "/x", FOUND(2), "the longer wildcard"),
            (
                "api.example.com",
                "/x",
                FOUND(1),
                "the longer wildcard needs a label",
            ),
            ("v1.api.example.com", "/only", FOUND(3), "exact host"),
            ("v1.api.example.com", "/x", FOUND(2), "exact host lacks the path"),
            ("notexample.com", "/x", FOUND(0), "suffixes are whole labels"),
            (
                "a.post.example.org",
                "/x",
                FOUND(0),
                "a wildcard's methods reject, any takes it",
            ),
            ("", "/x", FOUND(0), "an empty host"),
        ];
        for (h, p, expected, why) in rows {
            assert_eq!(table.find(h, p, &Method::GET), expected, "{why}: {h}{p}");
        }
    }

    #[test]
    fn exact_beats_parameter_beats_longer_prefix() {
        let table = router(&[
            ("", "/users/me", ""),            // 0
            ("", "/users/{id}", ""),          // 1
            ("", "/users*", ""),              // 2
            ("", "/users/{id}/files*", ""),   // 3
            ("", "/users/{id}/files", ""),    // 4
            ("", "/", ""),                    // 5
            ("", "/{any}/files/new", ""),     // 6
            ("", "/users/me/files/list", ""), // 7
            ("", "/static/a/b*", ""),         // 8
            ("", "/static*", ""),             // 9
            ("", "/dir/", ""),                // 10
        ]);
        let rows = [
            ("/users/me", FOUND(0), "exact"),
            ("/users/7", FOUND(1), "parameter"),
            ("/users/", FOUND(2), "a parameter is never empty"),
            ("/users", FOUND(2), "a prefix matches itself"),
            ("/users/7/x", FOUND(2), "prefix below a parameter's sibling"),
            ("/users/7/files", FOUND(4), "exact with a parameter over prefix"),
            ("/users/7/files/a/b", FOUND(3), "the longer prefix"),
            ("/users/me/files/a", FOUND(3), "backtracks out of a literal"),
            (
                "/users/files/new",
                FOUND(6),
                "a parameter first, over a longer literal prefix",
            ),
            ("/users/files/old", FOUND(2), "no pattern has it but the prefix"),
            ("/users/me/files/list", FOUND(7), "literal to the end"),
            ("/usersx", Lookup::NotFound, "prefixes are whole segments"),
            ("/", FOUND(5), "the root"),
            ("/static/a/bc", FOUND(9), "segments are whole"),
            ("/static/a/b/c", FOUND(8), "longer prefix"),
            ("/dir/", FOUND(10), "exact with a slash at the end"),
            ("/dir", Lookup::NotFound, "exact without it is another path"),
            (
                "//",
                Lookup::NotFound,
                "empty segments match nothing by themselves",
            ),
        ];
        for (p, expected, why) in rows {
            assert_eq!(table.find("h", p, &Method::GET), expected, "{why}: {p}");
        }
    }

    #[test]
    fn methods_over_none_and_backtracking_where_they_reject() {
        let table = router(&[
            ("", "/a", "GET"),        // 0
            ("", "/a", ""),           // 1
            ("", "/b/{x}", "GET"),    // 2
            ("", "/b*", "POST"),      // 3
            ("", "/c", "PUT DELETE"), // 4
            ("h", "/c", "GET"),       // 5
        ]);
        let rows = [
            ("h", "/a", "GET", FOUND(0), "the one that names the method"),
            ("h", "/a", "POST", FOUND(1), "the one that names none"),
            ("h", "/b/1", "GET", FOUND(2), "parameter"),
            ("h", "/b/1", "POST", FOUND(3), "prefix takes what it rejects"),
            ("h", "/b/1", "PUT", Lookup::MethodNotAllowed, "neither"),
            (
                "h",
                "/c",
                "DELETE",
                FOUND(4),
                "any host takes what the exact one rejects",
            ),
            ("h", "/c", "POST", Lookup::MethodNotAllowed, "no host"),
            ("h", "/d", "POST", Lookup::NotFound, "no path"),
        ];
        for (h, p, m, expected, why) in rows {
            assert_eq!(table.find(h, p, &m.parse().unwrap()), expected, "{why}: {m} {p}");
        }
        assert_eq!(table.allowed("h", "/c"), methods("DELETE GET PUT"));
        assert_eq!(table.allowed("other", "/c"), methods("DELETE PUT"));
        assert_eq!(table.allowed("h", "/b/1"), methods("GET POST"));
    }

    #[test]
    fn duplicates_and_unreadable_patterns_are_refused_with_text() {
        let mut table = router(&[
            ("a.example", "/users/{id}", "GET"),
            ("", "/p*", ""),
            ("", "/p", ""),
            ("", "/{x}/y*", ""),
        ]);
        let rows = [
            (
                "a.example",
                "/users/{name}",
                "POST GET",
                "GET",
                "same shape and a method of it",
            ),
            (
                "",
                "/p/*",
                "",
                "same",
                "a slash at the end of a prefix says nothing",
            ),
            ("", "/p", "", "same", "exact twice"),
            ("", "/{other}/y*", "", "same", "parameters differ in name only"),
            ("", "p", "", "begin with", "no slash"),
            ("", "/a{b}", "", "whole segment", "part of a segment"),
            ("", "/{}", "", "name", "no name"),
            ("", "/{a}/{a}", "", "twice", "a name twice"),
            ("", "/a?b", "", "`?`", "query"),
            ("", "/x", "GET GET", "twice", "a method twice"),
            ("A.example", "/x", "", "upper-case", "upper case host"),
            ("a.*.example", "/x", "", "wildcard", "star inside"),
            ("a.example:80", "/x", "", "port", "port"),
        ];
        for (h, p, m, word, why) in rows {
            let refused = table
                .insert(&host(h), &path(p), &methods(m), RouteIndex(9))
                .expect_err(why);
            assert!(refused.contains(word), "{why}: {refused}");
            if !h.starts_with('A') && !h.contains('*') && !h.contains(':') {
                assert!(refused.contains(p.trim_end_matches('*')), "{why}: {refused}");
            }
        }
        assert_eq!(
            table.find("a.example", "/users/1", &Method::POST),
            Lookup::MethodNotAllowed,
            "a refused pattern leaves nothing behind"
        );
        table
            .insert(
                &host("a.example"),
                &path("/users/{other}"),
                &methods("POST"),
                RouteIndex(4),
            )
            .unwrap();
        assert_eq!(table.find("a.example", "/users/1", &Method::POST), FOUND(4));
    }
}
