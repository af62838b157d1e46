//! Which route a request takes: hosts, then paths, then methods, by one lookup structure.
//!
//! Precedence is that of the Kubernetes Gateway API (v1, HTTPRoute: "hostnames" and "matches"): an exact host, the
//! longer wildcard, any; then an exact path, a path with parameters (which that API lacks; more literal segments
//! first, of equals the one whose literals come first), the longer prefix, a regular expression; then a match that names
//! the method over one that takes all; then the one that asks for more headers, more of the query, more cookies, more of
//! the client's certificate, for a client; at last the order in which they were added. Where a more specific pattern rejects a request, a less specific
//! one may still take it; where all that have its path and what else they ask for reject its method, it is 405 here, and
//! 404 in that API.
//! Paths are a tree of segments; what else routes ask for is tried where that leads to, so that a lookup costs by the
//! request and not by the number of routes. Regular expressions alone are tried one after the other.
//! This file and its submodules stand alone, so that a fuzz target can include them.

mod candidates;
mod certificate;
mod conditions;
mod expression;
mod paths;
mod pattern;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, Method};

use candidates::Wanted;
use paths::{Outcome, Paths, Table};

pub use certificate::{Certificate, NameKind};
pub use conditions::{Claims, Condition, Conditions, Facts, Source, Test};
pub use expression::{COMPILED_BYTES_MAX, EXPRESSION_BYTES_MAX, Expression};
pub use pattern::Parameters;

/// Position of a route in its listener's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// The whole path matches.
    Regex(Expression),
}

impl PathPattern {
    fn has_parameters(&self) -> bool {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text.contains('{'),
            Self::Regex(_) => false,
        }
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "path {path:?}"),
            Self::Prefix(path) => write!(f, "path_prefix {path:?}"),
            Self::Regex(path) => write!(f, "path_regex {:?}", path.text()),
        }
    }
}

/// What a route makes of slashes in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slashes {
    /// It sees one.
    #[default]
    Merged,
    /// It sees them all.
    Kept,
}

/// What a pattern asks for beside host and path.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'t> {
    /// Which methods; none: every method.
    pub methods: &'t [Method],
    /// Which form of the path.
    pub slashes: Slashes,
    /// Anything else.
    pub conditions: &'t Arc<Conditions>,
}

/// Which form of a path is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// There is but one.
    Only,
    /// That for routes with these slashes.
    Of(Slashes),
}

impl Form {
    fn is_for(self, slashes: Slashes) -> bool {
        match self {
            Self::Only => true,
            Self::Of(only) => only == slashes,
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
///
/// Each host's part is shared with the routers that were made of this one ([`Router::without_hosts`]).
#[derive(Clone, Debug, Default)]
pub struct Router {
    exact: Table<Arc<Paths>>,
    /// By the suffix, without `*.`.
    wildcard: Table<Arc<Paths>>,
    any: Arc<Paths>,
    /// The patterns with parameters of each route, to read them by.
    parameters: HashMap<RouteIndex, Vec<PathPattern>>,
}

impl Router {
    /// The same without whatever those hosts have, and without what is known of the parameters of those routes: for the
    /// routes of these hosts to be added anew.
    #[must_use]
    pub fn without_hosts(&self, hosts: &[&HostPattern], routes: &[RouteIndex]) -> Self {
        let mut next = self.clone();
        for host in hosts {
            match host {
                HostPattern::Any => next.any = Arc::default(),
                HostPattern::Exact(name) => drop(next.exact.remove(name.as_str())),
                HostPattern::Wildcard(suffix) => drop(next.wildcard.remove(suffix.as_str())),
            }
        }
        next.parameters.retain(|route, _| !routes.contains(route));
        next
    }

    /// Adds one pattern of a route that merges slashes; no methods: every method.
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
        self.insert_with(host, path, methods, Slashes::Merged, route)
    }

    /// Adds one pattern of a route; no methods: every method.
    ///
    /// # Errors
    /// As [`Router::insert`].
    pub fn insert_with(
        &mut self,
        host: &HostPattern,
        path: &PathPattern,
        methods: &[Method],
        slashes: Slashes,
        route: RouteIndex,
    ) -> Result<(), String> {
        let terms = Terms {
            methods,
            slashes,
            conditions: &Arc::default(),
        };
        self.insert_if(host, path, terms, route)
    }

    /// Adds one pattern of a route that may ask for more.
    ///
    /// # Errors
    /// As [`Router::insert`].
    pub fn insert_if(
        &mut self,
        host: &HostPattern,
        path: &PathPattern,
        terms: Terms<'_>,
        route: RouteIndex,
    ) -> Result<(), String> {
        check_host(host)?;
        let paths = match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name.as_str().into()).or_default(),
            HostPattern::Wildcard(suffix) => self.wildcard.entry(suffix.as_str().into()).or_default(),
        };
        // Shared with another router, it was taken out by `without_hosts`.
        let paths = Arc::get_mut(paths).ok_or_else(|| format!("{host} is shared with another router"))?;
        paths
            .insert(path, terms, route)
            .map_err(|fault| format!("{path} for {host}: {fault}"))?;
        if path.has_parameters() {
            let patterns = self.parameters.entry(route).or_default();
            if !patterns.contains(path) {
                patterns.push(path.clone());
            }
        }
        Ok(())
    }

    /// The route of a request of which nothing else is known, whose path has one form. `host` is lower case without a
    /// port; `path` is normalised.
    ///
    /// Allocates nothing.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Lookup {
        let facts = Facts {
            headers: &HeaderMap::new(),
            query: None,
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            claims: Claims::Ignored,
            certificate: None,
        };
        self.find_either(host, path, None, method, &facts)
    }

    /// The route of a request. `unmerged` is the path with its rows of slashes, where it has some: routes that keep
    /// slashes see that alone, the others `merged` alone. The caller forwards what the found route saw.
    ///
    /// Allocates nothing (but for escapes in a query that a route asks for), and looks once where there is no `unmerged`.
    pub fn find_either(
        &self,
        host: &str,
        merged: &str,
        unmerged: Option<&str>,
        method: &Method,
        facts: &Facts<'_>,
    ) -> Lookup {
        let mut seen = Lookup::NotFound;
        for paths in self.tables(host) {
            let find = |path, form| {
                paths.find(Wanted {
                    method,
                    form,
                    path,
                    facts,
                })
            };
            let outcome = match unmerged {
                None => find(merged, Form::Only),
                Some(unmerged) => {
                    let merged = find(merged, Form::Of(Slashes::Merged));
                    merged.or_better(find(unmerged, Form::Of(Slashes::Kept)))
                }
            };
            match outcome {
                Outcome::Found(found) => return Lookup::Found(found.route),
                Outcome::MethodRejected => seen = Lookup::MethodNotAllowed,
                Outcome::Nothing => {}
            }
        }
        seen
    }

    /// What the route that was found for a path has in place of its parameters: names and values; allocates nothing.
    pub fn parameters<'r>(&'r self, route: RouteIndex, path: &'r str) -> Parameters<'r> {
        let patterns = self.parameters.get(&route).into_iter().flatten();
        let mut read = patterns.filter_map(|pattern| Parameters::new(pattern, path));
        read.next().unwrap_or_default()
    }

    /// The methods that routes of that host and path take, where what else they ask for holds; sorted: what `Allow` says
    /// beside a 405.
    pub fn allowed(&self, host: &str, path: &str, facts: &Facts<'_>) -> Vec<Method> {
        let mut methods = Vec::new();
        for paths in self.tables(host) {
            paths.collect_methods(path, facts, &mut methods);
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
            .map(Arc::as_ref)
    }
}

/// A lookup looks at one more thing: counted by the tests that bound it.
#[cfg(not(test))]
#[inline]
fn step() {}

#[cfg(test)]
fn step() {
    tests::STEPS.with(|steps| steps.set(steps.get() + 1));
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
    mod precedence;

    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// What lookups of this thread have looked at.
        pub(super) static STEPS: Cell<usize> = const { Cell::new(0) };
    }

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

    /// Nothing but host, path and method.
    fn with_nothing<T>(look: impl FnOnce(&Facts<'_>) -> T) -> T {
        let headers = HeaderMap::new();
        look(&Facts {
            headers: &headers,
            query: None,
            client: "192.0.2.1".parse().unwrap(),
            claims: Claims::Ignored,
            certificate: None,
        })
    }

    fn allowed(table: &Router, h: &str, p: &str) -> Vec<Method> {
        with_nothing(|facts| table.allowed(h, p, facts))
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
        assert_eq!(allowed(&table, "h", "/c"), methods("DELETE GET PUT"));
        assert_eq!(allowed(&table, "other", "/c"), methods("DELETE PUT"));
        assert_eq!(allowed(&table, "h", "/b/1"), methods("GET POST"));
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

    #[test]
    fn more_literals_beat_fewer_and_of_equals_the_first_literal_wins() {
        let table = router(&[
            ("", "/a/{x}/{y}", ""),    // 0
            ("", "/{x}/b/c", ""),      // 1
            ("", "/{x}/b/{y}", ""),    // 2
            ("", "/{x}/{y}/{z}", ""),  // 3
            ("", "/{x}/b/c", "POST"),  // 4
            ("", "/p/{x}/q*", ""),     // 5
            ("", "/p/r*", ""),         // 6
            ("", "/{x}/r/q*", "POST"), // 7
        ]);
        let rows = [
            (
                "/a/b/c",
                "GET",
                FOUND(1),
                "two literals, though the other begins with one",
            ),
            ("/a/b/c", "POST", FOUND(4), "and the method named"),
            ("/a/b/d", "GET", FOUND(0), "one each: the first segment decides"),
            ("/d/b/d", "GET", FOUND(2), "one literal over none"),
            ("/d/e/f", "GET", FOUND(3), "none"),
            ("/p/r/q/s", "GET", FOUND(5), "the longer prefix has a parameter"),
            (
                "/p/r/q/s",
                "POST",
                FOUND(5),
                "of equals the first literal, before the method",
            ),
            ("/p/r/s", "GET", FOUND(3), "whole paths before prefixes"),
            ("/p/r", "GET", FOUND(6), "its own end"),
        ];
        for (p, m, expected, why) in rows {
            assert_eq!(
                table.find("h", p, &m.parse().unwrap()),
                expected,
                "{why}: {m} {p}"
            );
        }
    }

    /// Patterns, and requests with their routes, as in the conformance tests of the Gateway API, v1.
    #[test]
    fn the_cases_of_the_gateway_api_hold() {
        type Request<'t> = (&'t str, &'t str, &'t str, Lookup);
        type Case<'t> = (&'t str, &'t [(&'t str, &'t str, &'t str)], &'t [Request<'t>]);
        let cases: &[Case<'_>] = &[
            (
                "HTTPRouteMatching",
                &[("", "/*", ""), ("", "/v2*", "")],
                &[
                    ("GET", "h", "/", FOUND(0)),
                    ("GET", "h", "/example", FOUND(0)),
                    ("GET", "h", "/v2", FOUND(1)),
                    ("GET", "h", "/v2/example", FOUND(1)),
                    ("GET", "h", "/v2/", FOUND(1)),
                    ("GET", "h", "/v2example", FOUND(0)),
                    ("GET", "h", "/foo/v2/example", FOUND(0)),
                ],
            ),
            (
                "HTTPExactPathMatching",
                &[("", "/one", ""), ("", "/two", "")],
                &[
                    ("GET", "h", "/one", FOUND(0)),
                    ("GET", "h", "/two", FOUND(1)),
                    ("GET", "h", "/", Lookup::NotFound),
                    ("GET", "h", "/one/example", Lookup::NotFound),
                    ("GET", "h", "/two/", Lookup::NotFound),
                    ("GET", "h", "/Two", Lookup::NotFound),
                ],
            ),
            (
                "HTTPRoutePathMatchOrder",
                &[
                    ("", "/match/exact/one", ""),
                    ("", "/match/exact*", ""),
                    ("", "/match/exact", ""),
                    ("", "/match", ""),
                    ("", "/match/prefix/one*", ""),
                    ("", "/match/prefix*", ""),
                    ("", "/match*", ""),
                ],
                &[
                    ("GET", "h", "/match/exact/one", FOUND(0)),
                    ("GET", "h", "/match/exact", FOUND(2)),
                    ("GET", "h", "/match", FOUND(3)),
                    ("GET", "h", "/match/prefix/one/any", FOUND(4)),
                    ("GET", "h", "/match/prefix/any", FOUND(5)),
                    ("GET", "h", "/match/any", FOUND(6)),
                ],
            ),
            (
                "HTTPRouteMatchingAcrossRoutes",
                &[
                    ("example.com", "/*", ""),
                    ("example.net", "/*", ""),
                    ("example.com", "/v2*", ""),
                ],
                &[
                    ("GET", "example.com", "/", FOUND(0)),
                    ("GET", "example.com", "/example", FOUND(0)),
                    ("GET", "example.net", "/example", FOUND(1)),
                    ("GET", "example.com", "/v2", FOUND(2)),
                    ("GET", "example.net", "/v2", FOUND(1)),
                    ("GET", "example.com", "/v2/example", FOUND(2)),
                ],
            ),
            (
                "HTTPRouteMethodMatching",
                &[
                    ("", "/*", "POST"),
                    ("", "/*", "GET"),
                    ("", "/path1*", "GET"),
                    ("", "/path3*", ""),
                    ("", "/path5*", ""),
                    ("", "/*", "PATCH"),
                ],
                &[
                    ("POST", "h", "/", FOUND(0)),
                    ("GET", "h", "/", FOUND(1)),
                    // There 404; what other methods it has is worth saying.
                    ("HEAD", "h", "/", Lookup::MethodNotAllowed),
                    ("GET", "h", "/path1", FOUND(2)),
                    ("PATCH", "h", "/path3", FOUND(3)),
                    // Paths come before methods.
                    ("PATCH", "h", "/path5", FOUND(4)),
                    ("PATCH", "h", "/", FOUND(5)),
                ],
            ),
            (
                "HTTPRouteHostnameIntersection",
                &[
                    ("very.specific.com", "/s1*", ""),
                    ("foo.wildcard.io", "/s2*", ""),
                    ("foo.bar.wildcard.io", "/s2*", ""),
                    ("*.specific.com", "/s3*", ""),
                    ("*.anotherwildcard.io", "/s4*", ""),
                ],
                &[
                    ("GET", "very.specific.com", "/s1", FOUND(0)),
                    ("GET", "very.specific.com", "/s3", FOUND(3)),
                    (
                        "GET",
                        "very.specific.com",
                        "/non-matching-prefix",
                        Lookup::NotFound,
                    ),
                    ("GET", "non.matching.com", "/s1", Lookup::NotFound),
                    ("GET", "foo.wildcard.io", "/s2", FOUND(1)),
                    ("GET", "foo.bar.wildcard.io", "/s2", FOUND(2)),
                    ("GET", "wildcard.io", "/s2", Lookup::NotFound),
                    ("GET", "foo.anotherwildcard.io", "/s4", FOUND(4)),
                    ("GET", "foo.bar.anotherwildcard.io", "/s4", FOUND(4)),
                    ("GET", "anotherwildcard.io", "/s4", Lookup::NotFound),
                ],
            ),
            (
                "HTTPRouteListenerHostnameMatching",
                &[
                    ("bar.com", "/*", ""),
                    ("foo.bar.com", "/*", ""),
                    ("*.bar.com", "/*", ""),
                    ("*.foo.com", "/*", ""),
                ],
                &[
                    ("GET", "bar.com", "/", FOUND(0)),
                    ("GET", "foo.bar.com", "/", FOUND(1)),
                    ("GET", "baz.bar.com", "/", FOUND(2)),
                    ("GET", "boo.bar.com", "/", FOUND(2)),
                    ("GET", "multiple.prefixes.bar.com", "/", FOUND(2)),
                    ("GET", "multiple.prefixes.foo.com", "/", FOUND(3)),
                    ("GET", "foo.com", "/", Lookup::NotFound),
                    ("GET", "no.matching.host", "/", Lookup::NotFound),
                ],
            ),
        ];
        for (case, patterns, requests) in cases {
            let table = router(patterns);
            for (m, h, p, expected) in *requests {
                let got = table.find(h, p, &m.parse().unwrap());
                assert_eq!(got, *expected, "{case}: {m} {h}{p}");
            }
        }
    }

    #[test]
    fn rows_of_slashes_are_seen_by_routes_that_keep_them_alone() {
        let mut table = router(&[
            ("", "/merged*", ""),     // 0
            ("", "/both/x", "GET"),   // 1
            ("a.example", "/h*", ""), // 2
        ]);
        for (h, p, m, index) in [
            ("", "/kept*", "", 3),
            ("", "/both*", "", 4),
            ("", "/h*", "", 5),
            ("", "/get*", "GET", 6),
            ("", "/{p}/q/r", "", 7),
        ] {
            table
                .insert_with(&host(h), &path(p), &methods(m), Slashes::Kept, RouteIndex(index))
                .unwrap();
        }
        let rows = [
            ("h", "/merged/x", None, "GET", FOUND(0), "one form, merging"),
            ("h", "/kept/x", None, "GET", FOUND(3), "one form, keeping"),
            (
                "h",
                "/merged/x",
                Some("/merged//x"),
                "GET",
                FOUND(0),
                "the merged form",
            ),
            ("h", "/merged", Some("//merged"), "GET", FOUND(0), "at the start"),
            (
                "h",
                "/kept/x",
                Some("/kept//x"),
                "GET",
                FOUND(3),
                "the unmerged form",
            ),
            (
                "h",
                "/kept",
                Some("//kept"),
                "GET",
                Lookup::NotFound,
                "it has no such first segment",
            ),
            (
                "h",
                "/both/x",
                Some("/both//x"),
                "GET",
                FOUND(1),
                "the whole path over the prefix",
            ),
            (
                "h",
                "/both/x",
                Some("/both//x"),
                "PUT",
                FOUND(4),
                "unless its methods reject",
            ),
            (
                "a.example",
                "/h/x",
                Some("/h//x"),
                "GET",
                FOUND(2),
                "hosts come first",
            ),
            (
                "h",
                "/get/x",
                Some("/get//x"),
                "PUT",
                Lookup::MethodNotAllowed,
                "a method rejected",
            ),
            (
                "h",
                "/p/q/r",
                Some("/p//q/r"),
                "GET",
                Lookup::NotFound,
                "a parameter is never empty",
            ),
            ("h", "/p/q/r", None, "GET", FOUND(7), "but one segment"),
        ];
        for (h, merged, unmerged, m, expected, why) in rows {
            let method = m.parse().unwrap();
            let got = with_nothing(|facts| table.find_either(h, merged, unmerged, &method, facts));
            assert_eq!(got, expected, "{why}: {m} {h} {unmerged:?}");
        }
        let twice = table.insert(&host(""), &path("/kept*"), &[], RouteIndex(9));
        assert!(twice.is_err(), "for most paths the two are the same");
    }

    #[test]
    fn parameters_are_read_by_the_route_that_was_found() {
        let mut table = router(&[
            ("", "/users/{id}", "GET"),      // 0
            ("", "/users/{user}", "PUT"),    // 1
            ("", "/{a}/x/{b}/", ""),         // 2
            ("", "/files/{share}/raw*", ""), // 3
            ("", "/plain*", ""),             // 4
        ]);
        table
            .insert(&host("h"), &path("/u/{id}"), &[], RouteIndex(0))
            .unwrap();
        type Row = (
            &'static str,
            &'static str,
            &'static [(&'static str, &'static str)],
            &'static str,
        );
        let rows: &[Row] = &[
            ("GET", "/users/7", &[("id", "7")], "one"),
            (
                "PUT",
                "/users/7",
                &[("user", "7")],
                "each route has its own names",
            ),
            ("GET", "/u/8", &[("id", "8")], "another pattern of the same route"),
            (
                "GET",
                "/1/x/%2F/",
                &[("a", "1"), ("b", "%2F")],
                "two, as they stand",
            ),
            ("GET", "/files/a/raw/b/c", &[("share", "a")], "in a prefix"),
            ("GET", "/plain/x", &[], "none"),
        ];
        for (m, p, expected, why) in rows {
            let Lookup::Found(route) = table.find("h", p, &m.parse().unwrap()) else {
                panic!("{why}: {p} is not found");
            };
            let got: Vec<_> = table.parameters(route, p).collect();
            assert_eq!(got, *expected, "{why}: {p}");
        }
        assert_eq!(table.parameters(RouteIndex(0), "/elsewhere").count(), 0);
        assert_eq!(table.parameters(RouteIndex(99), "/users/7").count(), 0);
    }

    #[test]
    fn asterisk_is_for_the_root_prefix_alone() {
        let whole = router(&[("", "/{x}", ""), ("", "/*", "OPTIONS"), ("", "/a*", "")]);
        assert_eq!(whole.find("h", "*", &Method::OPTIONS), FOUND(1));
        assert_eq!(whole.find("h", "*", &Method::GET), Lookup::MethodNotAllowed);
        assert_eq!(allowed(&whole, "h", "*"), [Method::OPTIONS]);
        let part = router(&[("", "/{x}", ""), ("", "/", ""), ("", "/a*", "")]);
        assert_eq!(part.find("h", "*", &Method::OPTIONS), Lookup::NotFound);
    }

    #[test]
    fn ten_thousand_routes_are_told_apart() {
        let mut table = Router::default();
        for index in 0..10_000 {
            let (h, p) = (
                format!("h{}.example", index % 10),
                format!("/api/s{index}/{{id}}*"),
            );
            table
                .insert(&host(&h), &path(&p), &[], RouteIndex(index))
                .unwrap();
        }
        for index in 0..10_000 {
            let (h, p) = (format!("h{}.example", index % 10), format!("/api/s{index}/7/x"));
            assert_eq!(table.find(&h, &p, &Method::GET), FOUND(index));
        }
    }

    /// How well a pattern fits a path by the words of this file's head, segment by segment; the greater, the better.
    fn fit(p: &PathPattern, m: &[Method], path: &str, method: &Method) -> Option<impl Ord> {
        let text = match p {
            PathPattern::Exact(text) => text,
            PathPattern::Prefix(text) => text.strip_suffix('/').unwrap_or(text),
            PathPattern::Regex(_) => return None,
        };
        let (pattern, path): (Vec<_>, Vec<_>) = (text.split('/').collect(), path.split('/').collect());
        let is_exact = matches!(p, PathPattern::Exact(_));
        let is_literal: Vec<_> = pattern.iter().map(|segment| !segment.starts_with('{')).collect();
        let mut pairs = pattern.iter().zip(&path);
        let is_match = pairs.all(|(a, b)| a == b || (a.starts_with('{') && !b.is_empty()));
        let is_long_enough = path.len() >= pattern.len() && (!is_exact || path.len() == pattern.len());
        let takes = m.is_empty() || m.contains(method);
        let literals = is_literal.iter().filter(|literal| **literal).count();
        (is_match && is_long_enough && takes).then_some((
            is_exact,
            pattern.len(),
            literals,
            is_literal,
            !m.is_empty(),
        ))
    }

    #[test]
    fn the_tree_agrees_with_a_look_at_every_pattern() {
        let segments = ["a", "b", "{x}", "{y}", ""];
        let mut state = 1_u64;
        let mut below = move |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % bound
        };
        for _ in 0..300 {
            let mut table = Router::default();
            let mut patterns = Vec::new();
            for _ in 0..below(12) {
                let mut text: String = (0..=below(3))
                    .map(|_| format!("/{}", segments[below(5)]))
                    .collect();
                if below(2) == 0 {
                    text.push('*');
                }
                let (p, m) = (path(&text), methods(["", "GET", "POST"][below(3)]));
                // Refused: one that is there already, or names a parameter twice.
                if table
                    .insert(&HostPattern::Any, &p, &m, RouteIndex(patterns.len()))
                    .is_ok()
                {
                    patterns.push((p, m));
                }
            }
            for _ in 0..60 {
                let text: String = (0..=below(4))
                    .map(|_| format!("/{}", ["a", "b", "c", ""][below(4)]))
                    .collect();
                let best = patterns
                    .iter()
                    .enumerate()
                    .filter_map(|(index, (p, m))| Some((fit(p, m, &text, &Method::GET)?, index)))
                    .max()
                    .map(|(_, index)| FOUND(index));
                let got = table.find("h", &text, &Method::GET);
                let got = matches!(got, Lookup::Found(_)).then_some(got);
                assert_eq!(got, best, "{text} among {patterns:?}");
            }
        }
    }
}
