//! Bounds of what routes ask for, and of what they do.

use std::time::Duration;

/// Hosts or methods of one route at most.
pub const MATCHES_MAX: usize = 256;
/// Header fields, query parameters or cookies that one route asks for, at most: each is looked for in every request that gets
/// so far.
pub const CONDITIONS_MAX: usize = 16;
/// Bytes of a value that is asked for: more than fields have that tell requests apart.
pub const CONDITION_BYTES_MAX: usize = 4096;
/// Routes of a listener with `path_regex` and the same host, at most: they are tried one after the other.
pub const EXPRESSIONS_MAX: usize = 256;
/// Bytes of a path pattern: longer than any request target that is taken.
pub const PATH_BYTES_MAX: usize = 4096;
/// Bytes of a route's own answer: longer ones belong on a web server.
pub const RESPOND_BODY_BYTES_MAX: usize = 64 << 10;

/// Upstreams that may share one route's requests: more versions of a service are not about at once.
pub const SHARES_MAX: usize = 16;
/// Copies of requests under way at an upstream, where nothing is given: with bodies of the usual bound, 6 MB.
pub const MIRRORED_MAX: u32 = 100;
/// Most of them.
pub const MIRRORED_MAX_MAX: u32 = 10_000;
/// Of how many requests in a hundred copies are made, where nothing is given.
pub const MIRRORED_PERCENT: f64 = 100.0;
/// The status of a redirect, where none is given: as the Gateway API has it.
pub const REDIRECT_STATUS: u16 = 302;

/// Routes that the admin API may have set at a time: each is looked for among all others. A file has room for more.
pub const ROUTES_SET_MAX: usize = 1_000;

/// What a route's own answer is, where it does not say.
pub const RESPOND_CONTENT_TYPE: &str = "text/plain; charset=utf-8";
/// Characters of a content type at most: longer ones are a mistake.
pub const CONTENT_TYPE_CHARS_MAX: usize = 255;
/// Shortest `Retry-After`: it has whole seconds.
pub const RESPOND_RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// Longest `Retry-After`: beyond a day nobody waits.
pub const RESPOND_RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
