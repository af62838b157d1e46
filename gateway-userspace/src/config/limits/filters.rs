//! Defaults and bounds of filters.

use std::time::Duration;

use crate::config::given::{CompressionAlgorithm, JwtAlgorithm};

/// Filters of a route, or of a listener, at most: each is run for each request.
pub const FILTERS_MAX: usize = 16;
/// Fields that one `headers` filter removes, sets or adds at most, each.
pub const FILTER_FIELDS_MAX: usize = 32;
/// Characters of such a field's value: what goes into any server's head.
pub const FILTER_VALUE_CHARS_MAX: usize = 4_096;
/// Networks of `ip_allow` or `ip_deny` at most: they are looked through one by one, in about a microsecond.
pub const FILTER_NETWORKS_MAX: usize = 256;

/// Most requests of a rate limit, and of its burst: in a second that is one each microsecond.
pub const RATE_REQUESTS_MAX: u32 = 1_000_000;
/// `rate_limit.per` where none is given.
pub const RATE_PER: Duration = Duration::from_secs(1);
/// Shortest `rate_limit.per`: what is said of less holds for no single request.
pub const RATE_PER_MIN: Duration = Duration::from_secs(1);
/// Longest `rate_limit.per`: what a node remembers ends with its process.
pub const RATE_PER_MAX: Duration = Duration::from_secs(86_400);
/// Longest time that a whole burst takes to come back: nanoseconds of far more would not fit.
pub const RATE_REFILL_MAX: Duration = Duration::from_secs(366 * 86_400);
/// `rate_limit.key` where none is given.
pub const RATE_KEY: &str = "client-ip";
/// `rate_limit.keys_max` where none is given: 3 MB.
pub const RATE_KEYS_MAX: usize = 100_000;
/// Fewest keys: fewer are forgotten by chance.
pub const RATE_KEYS_MAX_MIN: usize = 1_000;
/// Most keys: 330 MB.
pub const RATE_KEYS_MAX_MAX: usize = 10_000_000;

/// Entries of each list of `cors` at most.
pub const CORS_MAX: usize = 64;
/// `cors.methods` where none are given: those that need no preflight.
pub const CORS_METHODS: [&str; 3] = ["GET", "HEAD", "POST"];
/// Shortest `cors.max_age`: browsers count in seconds.
pub const CORS_MAX_AGE_MIN: Duration = Duration::from_secs(1);
/// Longest `cors.max_age`: no browser keeps an answer longer (Firefox; Chromium two hours).
pub const CORS_MAX_AGE_MAX: Duration = Duration::from_secs(86_400);

/// `basic_auth.realm` where none is given.
pub const REALM: &str = "gateway";
/// Bytes of a file of users or keys at most.
pub const SECRETS_BYTES_MAX: u64 = 1 << 20;
/// Users or keys of such a file at most.
pub const SECRETS_MAX: usize = 10_000;

/// Issuers, audiences, and claims that become fields, at most, each.
pub const JWT_NAMES_MAX: usize = 16;
/// `jwt.algorithms` at most: all that there are.
pub const JWT_ALGORITHMS_MAX: usize = 9;
/// `jwt.algorithms` where none are given: what issuers use.
pub const JWT_ALGORITHMS: [JwtAlgorithm; 2] = [JwtAlgorithm::RS256, JwtAlgorithm::ES256];
/// `jwt.from` where nothing is given.
pub const JWT_FROM: &str = "bearer";
/// `jwt.jwks_refresh` where none is given: issuers publish new keys long before they use them.
pub const JWKS_REFRESH: Duration = Duration::from_secs(300);
/// Shortest `jwt.jwks_refresh`: sets are never asked for more often.
pub const JWKS_REFRESH_MIN: Duration = Duration::from_secs(10);
/// Longest `jwt.jwks_refresh`: so long a key that was taken back would be believed.
pub const JWKS_REFRESH_MAX: Duration = Duration::from_secs(86_400);

/// `compression.algorithms` at most: all that there are.
pub const COMPRESSION_ALGORITHMS_MAX: usize = 3;
/// `compression.algorithms` where none are given: what costs least for what it saves comes first.
pub const COMPRESSION_ALGORITHMS: [CompressionAlgorithm; 3] = [
    CompressionAlgorithm::Zstd,
    CompressionAlgorithm::Br,
    CompressionAlgorithm::Gzip,
];
/// `compression.min_bytes` where nothing is given, and at least: less fits into a packet as it is.
pub const COMPRESSION_MIN_BYTES: u64 = 1_024;
/// `compression.min_bytes` at most: what is longer is worth it in any case.
pub const COMPRESSION_MIN_BYTES_MAX: u64 = 1 << 20;
/// `compression.types` at most: they are looked through one by one.
pub const COMPRESSION_TYPES_MAX: usize = 64;
/// `compression.types` where none are given: text of all kinds; pictures, films and archives are compressed already.
pub const COMPRESSION_TYPES: [&str; 14] = [
    "text/html",
    "text/css",
    "text/plain",
    "text/javascript",
    "text/xml",
    "text/csv",
    "text/markdown",
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/problem+json",
    "application/xml",
    "application/wasm",
    "image/svg+xml",
];
/// `compression.level` where none is given.
pub const COMPRESSION_LEVEL: u8 = 4;
/// `compression.level` at most: with more a worker would be held up for longer than a millisecond.
pub const COMPRESSION_LEVEL_MAX: u8 = 6;

/// `forward_auth.path` where none is given.
pub const FORWARD_AUTH_PATH: &str = "/";
/// `forward_auth.timeout` where none is given: clients wait for it before they wait for the endpoint.
pub const FORWARD_AUTH_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest `forward_auth.timeout`: nobody waits longer for a page.
pub const FORWARD_AUTH_TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// `forward_auth.request_headers` where none are given: what credentials stand in.
pub const FORWARD_AUTH_REQUEST_HEADERS: [&str; 2] = ["authorization", "cookie"];
