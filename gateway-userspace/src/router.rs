//! Which route a request takes: hosts, then paths, then methods, by one lookup structure.

use http::Method;

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

/// A path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// The whole path; segments in braces match any one segment that is not empty.
    Exact(String),
    /// Whole segments from the start.
    Prefix(String),
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
pub struct Router {}

impl Router {
    /// Adds one pattern of a route; no methods: every method.
    ///
    /// # Errors
    /// A pattern that says the same as an earlier one, or one that cannot be read; the text says which and why.
    pub fn insert(
        &mut self,
        _host: &HostPattern,
        _path: &PathPattern,
        _methods: &[Method],
        _route: RouteIndex,
    ) -> Result<(), String> {
        Ok(())
    }

    /// The route of a request. `host` is lower case without a port; `path` is normalised.
    pub fn find(&self, _host: &str, _path: &str, _method: &Method) -> Lookup {
        Lookup::NotFound
    }
}
