//! `route.filters` and `listener.filters` as given.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Network, Time, limits, time_text};

/// A step on a request's way, and on its answer's way back. Beside `name` it has exactly one key, which says what it does.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct Filter {
    /// Unique in its route or listener. What a filter remembers belongs to this name, and outlives edits of all else.
    #[schemars(extend("examples" = ["per-client"]))]
    pub name: Option<String>,
    /// Removes, sets and adds fields.
    pub headers: Option<HeadersFilter>,
    /// Refuses who asks too often.
    pub rate_limit: Option<RateLimit>,
    /// Networks or addresses of clients that may ask; all others get 403. The client is whom trusted proxies make out.
    #[schemars(length(min = 1, max = limits::FILTER_NETWORKS_MAX), extend("examples" = [["10.0.0.0/8", "2001:db8::1"]]))]
    pub ip_allow: Option<Vec<Network>>,
    /// Networks or addresses of clients that get 403; all others may ask.
    #[schemars(length(min = 1, max = limits::FILTER_NETWORKS_MAX), extend("examples" = [["192.0.2.0/24"]]))]
    pub ip_deny: Option<Vec<Network>>,
    /// Tells browsers which pages of other origins may ask, and answers their preflights.
    pub cors: Option<Cors>,
    /// Lets users pass that know their passwords.
    pub basic_auth: Option<BasicAuth>,
    /// Lets programs pass that have a key.
    pub api_key: Option<ApiKey>,
    /// Bounds requests' bodies.
    pub body_limit: Option<BodyLimit>,
    /// Lets pass who has a token that an issuer signed.
    pub jwt: Option<Jwt>,
    /// Compresses answers for clients that take it.
    pub compression: Option<Compression>,
    /// Asks a service of another upstream whether a request may go on.
    pub forward_auth: Option<ForwardAuth>,
}

/// Removes, sets and adds fields.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadersFilter {
    /// What is done to the fields that endpoints get.
    pub request: Option<HeaderEdit>,
    /// What is done to the fields that clients get, of our own answers, too.
    pub response: Option<HeaderEdit>,
}

/// What is done to the fields of one head, in the order `remove`, `set`, `add`. Names are in lower case; what frames a
/// message, speaks of one hop, or is the gateway's own word cannot be changed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderEdit {
    /// Fields that go, all of each name.
    #[schemars(length(min = 1, max = limits::FILTER_FIELDS_MAX), extend("examples" = [["x-debug"]]))]
    pub remove: Option<Vec<String>>,
    /// Fields with a value that takes the place of what is there.
    #[schemars(extend("examples" = [{ "x-tenant": "blue" }]))]
    pub set: Option<BTreeMap<String, String>>,
    /// Fields that are added to what is there.
    #[schemars(extend("examples" = [{ "cache-control": "no-store" }]))]
    pub add: Option<BTreeMap<String, String>>,
}

/// Refuses who asks too often, with 429. The figure is the node's, all workers together: exact. Requests flow out of a
/// bucket that refills evenly (the generic cell rate algorithm); clients are told how they stand by `RateLimit-Limit`,
/// `RateLimit-Remaining` and `RateLimit-Reset`, and by `Retry-After` where they are refused.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["requests"]))]
pub struct RateLimit {
    /// Requests of one key in `per`, in the long run.
    #[schemars(range(min = 1, max = limits::RATE_REQUESTS_MAX), extend("examples" = [100]))]
    pub requests: Option<u32>,
    /// The time that they are meant for.
    #[schemars(extend(
        "default" = time_text(limits::RATE_PER),
        "x-range" = [time_text(limits::RATE_PER_MIN), time_text(limits::RATE_PER_MAX)]
    ))]
    pub per: Option<Time>,
    /// Requests that may come at once after a pause. Default: `requests`.
    #[schemars(range(min = 1, max = limits::RATE_REQUESTS_MAX), extend("examples" = [200]))]
    pub burst: Option<u32>,
    /// What has a bucket of its own: `client-ip` (the client's address, as trusted proxies make it out; of IPv6 its /64),
    /// `header:NAME` (all fields of that name; requests without one share a bucket), `path:PARAM` (what stands in the place of
    /// `{PARAM}` in the route's path), `route` (one bucket for all).
    #[schemars(extend("default" = limits::RATE_KEY, "examples" = ["header:x-tenant"]))]
    pub key: Option<String>,
    /// Keys that are remembered, 33 bytes for each, taken at once. If more ask at the same time, the key that has recovered
    /// most begins anew, which is counted.
    #[schemars(
        range(min = limits::RATE_KEYS_MAX_MIN, max = limits::RATE_KEYS_MAX_MAX),
        extend("default" = limits::RATE_KEYS_MAX)
    )]
    pub keys_max: Option<usize>,
    /// Refuses nobody and says nothing to clients, but counts who would be refused.
    #[schemars(extend("default" = false))]
    pub dry_run: Option<bool>,
}

/// Tells browsers which pages of other origins may ask, and answers their preflights. A preflight goes to the route of the
/// method that it asks for. Origins that are not listed get no such fields: the browser keeps the page from the answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["origins"]))]
pub struct Cors {
    /// Origins in lower case; `*.` stands for one label at the beginning of the host. `"*"` alone: each, without credentials.
    #[schemars(
        length(min = 1, max = limits::CORS_MAX),
        extend("examples" = [["https://app.example.com", "https://*.example.org"]])
    )]
    pub origins: Option<Vec<String>>,
    /// Methods that pages may use.
    #[schemars(
        length(min = 1, max = limits::CORS_MAX),
        extend("default" = limits::CORS_METHODS, "examples" = [["GET", "PUT"]])
    )]
    pub methods: Option<Vec<String>>,
    /// Request fields that pages may set, in lower case.
    #[schemars(
        length(max = limits::CORS_MAX),
        extend("default" = [] as [&str; 0], "examples" = [["content-type", "authorization"]])
    )]
    pub headers: Option<Vec<String>>,
    /// Response fields that pages may read, in lower case, beside those that they may always.
    #[schemars(length(max = limits::CORS_MAX), extend("default" = [] as [&str; 0], "examples" = [["x-total"]]))]
    pub expose: Option<Vec<String>>,
    /// Whether pages may send cookies, client certificates and `Authorization`.
    #[schemars(extend("default" = false))]
    pub credentials: Option<bool>,
    /// How long browsers keep the answer to a preflight, in whole seconds. Default: theirs, some seconds.
    #[schemars(extend(
        "x-range" = [time_text(limits::CORS_MAX_AGE_MIN), time_text(limits::CORS_MAX_AGE_MAX)],
        "examples" = ["10m"]
    ))]
    pub max_age: Option<Time>,
}

/// Lets users pass that know their passwords; others get 401. Endpoints get the user's name in `x-consumer` and no
/// `Authorization`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["file"]))]
pub struct BasicAuth {
    /// File with a line `NAME:HASH` for each user, as `htpasswd -B` makes them: bcrypt or argon2; others may not read it. It
    /// is watched.
    #[schemars(extend("examples" = ["/etc/gateway/users.htpasswd"]))]
    pub file: Option<PathBuf>,
    /// What browsers show when they ask for the password.
    #[schemars(extend("default" = limits::REALM))]
    pub realm: Option<String>,
}

/// Lets programs pass that have a key; others get 401. Endpoints get the name that belongs to it in `x-consumer`, and not
/// the key. Exactly one of `header` and `query`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["file"]))]
pub struct ApiKey {
    /// File with a line `NAME:DIGEST` for each key: the SHA-256 of it as 64 hexadecimal digits; others may not read it. A name
    /// may have several. It is watched.
    #[schemars(extend("examples" = ["/etc/gateway/api.keys"]))]
    pub file: Option<PathBuf>,
    /// The field that has the key, in lower case.
    #[schemars(extend("examples" = ["x-api-key"]))]
    pub header: Option<String>,
    /// The parameter of the query that has it, as it stands there.
    #[schemars(extend("examples" = ["key"]))]
    pub query: Option<String>,
}

/// Bounds requests' bodies, where `body_bytes_max` is larger; beyond it the client gets 413. Not for gRPC and tunnels.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["bytes"]))]
pub struct BodyLimit {
    /// Bytes at most.
    #[schemars(range(min = 0, max = limits::BODY_BYTES_MAX_MAX), extend("examples" = [65536]))]
    pub bytes: Option<u64>,
}

/// Lets pass who has a JSON Web Token that one of the issuers signed for one of the audiences, and whose time it is; others
/// get 401. `exp`, `iss` and `aud` must be there. Endpoints get its `sub` in `x-consumer`, and the token itself. Exactly one
/// of `jwks_file` and `jwks_url`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["issuers", "audiences"]))]
pub struct Jwt {
    /// Who may have signed it (`iss`).
    #[schemars(length(min = 1, max = limits::JWT_NAMES_MAX), extend("examples" = [["https://id.example.com"]]))]
    pub issuers: Option<Vec<String>>,
    /// For whom it is, one of them (`aud`).
    #[schemars(length(min = 1, max = limits::JWT_NAMES_MAX), extend("examples" = [["api"]]))]
    pub audiences: Option<Vec<String>>,
    /// How it may be signed. Which of these a token may use is up to the key, never to the token.
    #[schemars(
        length(min = 1, max = limits::JWT_ALGORITHMS_MAX),
        extend("default" = limits::JWT_ALGORITHMS)
    )]
    pub algorithms: Option<Vec<JwtAlgorithm>>,
    /// File with the issuers' public keys (a JSON Web Key Set). It is watched.
    #[schemars(extend("examples" = ["/etc/gateway/issuer.jwks.json"]))]
    pub jwks_file: Option<PathBuf>,
    /// Where the issuers publish that set (http or https). It is fetched again and again; the last good one holds.
    #[schemars(extend("examples" = ["https://id.example.com/.well-known/jwks.json"]))]
    pub jwks_url: Option<String>,
    /// How often it is fetched; also when a token names a key that is not in it, at most once in ten seconds.
    #[schemars(extend(
        "default" = time_text(limits::JWKS_REFRESH),
        "x-range" = [time_text(limits::JWKS_REFRESH_MIN), time_text(limits::JWKS_REFRESH_MAX)]
    ))]
    pub jwks_refresh: Option<Time>,
    /// File with the certificates, as PEM, of the authorities that may have issued that of `jwks_url`. It is watched. Default:
    /// those that the system trusts.
    #[schemars(extend("examples" = ["/etc/gateway/services-ca.pem"]))]
    pub jwks_ca_file: Option<PathBuf>,
    /// Where requests have it: `bearer` (`Authorization: Bearer`), `header:NAME`, `cookie:NAME`, `query:NAME`.
    #[schemars(extend("default" = limits::JWT_FROM, "examples" = ["cookie:session"]))]
    pub from: Option<String>,
    /// Claims, and the fields in which endpoints get them, in lower case. Text, numbers, truth and lists of these; what clients
    /// write into these fields is removed.
    #[schemars(extend("examples" = [{ "email": "x-email" }]))]
    pub claims_to_headers: Option<BTreeMap<String, String>>,
}

/// `jwt.algorithms`: all by public keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum JwtAlgorithm {
    /// RSA (PKCS #1) with SHA-256.
    RS256,
    /// RSA (PKCS #1) with SHA-384.
    RS384,
    /// RSA (PKCS #1) with SHA-512.
    RS512,
    /// RSA (PSS) with SHA-256.
    PS256,
    /// RSA (PSS) with SHA-384.
    PS384,
    /// RSA (PSS) with SHA-512.
    PS512,
    /// ECDSA on P-256.
    ES256,
    /// ECDSA on P-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

/// Compresses the bodies of answers for clients that take it (`Accept-Encoding`). Never: what has a `Content-Encoding` or says
/// `no-transform`, parts (206), event streams and gRPC.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compression {
    /// What may be used; where a client likes several as much, the first of them.
    #[schemars(
        length(min = 1, max = limits::COMPRESSION_ALGORITHMS_MAX),
        extend("default" = limits::COMPRESSION_ALGORITHMS)
    )]
    pub algorithms: Option<Vec<CompressionAlgorithm>>,
    /// Bytes of a body at least, where its length is known.
    #[schemars(
        range(min = limits::COMPRESSION_MIN_BYTES, max = limits::COMPRESSION_MIN_BYTES_MAX),
        extend("default" = limits::COMPRESSION_MIN_BYTES)
    )]
    pub min_bytes: Option<u64>,
    /// What is compressed, by `Content-Type`, in lower case; `text/*` stands for all of a kind.
    #[schemars(
        length(min = 1, max = limits::COMPRESSION_TYPES_MAX),
        extend("default" = limits::COMPRESSION_TYPES, "examples" = [["text/*", "application/json"]])
    )]
    pub types: Option<Vec<String>>,
    /// How hard it is tried: 1 takes the least time, 6 makes the least bytes.
    #[schemars(
        range(min = 1, max = limits::COMPRESSION_LEVEL_MAX),
        extend("default" = limits::COMPRESSION_LEVEL)
    )]
    pub level: Option<u8>,
}

/// `compression.algorithms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompressionAlgorithm {
    /// The one that every client knows.
    Gzip,
    /// Brotli: fewer bytes of text than gzip.
    Br,
    /// Zstandard: as few as gzip, in the least time.
    Zstd,
}

/// Asks a service of another upstream whether a request may go on: by a GET without a body, with the request's method, host and
/// target in `X-Forwarded-Method`, `X-Forwarded-Host` and `X-Forwarded-Uri`. By 2xx it may; any other answer goes to the client
/// as it is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["upstream"]))]
pub struct ForwardAuth {
    /// The upstream that is asked, by its balancer, breaker and limits.
    #[schemars(extend("examples" = ["auth"]))]
    pub upstream: Option<String>,
    /// What it is asked for.
    #[schemars(extend("default" = limits::FORWARD_AUTH_PATH, "examples" = ["/check"]))]
    pub path: Option<String>,
    /// How long it may take, all tries and the answer's body included.
    #[schemars(extend(
        "default" = time_text(limits::FORWARD_AUTH_TIMEOUT),
        "x-range" = [time_text(limits::TIME_MIN), time_text(limits::FORWARD_AUTH_TIMEOUT_MAX)]
    ))]
    pub timeout: Option<Time>,
    /// Fields of the request that the service is told, in lower case.
    #[schemars(
        length(max = limits::FILTER_FIELDS_MAX),
        extend("default" = limits::FORWARD_AUTH_REQUEST_HEADERS)
    )]
    pub request_headers: Option<Vec<String>>,
    /// Fields of its answer that the request goes on with, in lower case; what clients write into these is removed.
    #[schemars(
        length(max = limits::FILTER_FIELDS_MAX),
        extend("default" = [] as [&str; 0], "examples" = [["x-user", "x-roles"]])
    )]
    pub response_headers: Option<Vec<String>>,
    /// What becomes of requests while it does not answer.
    #[schemars(extend("default" = OnFailure::Deny))]
    pub on_failure: Option<OnFailure>,
}

/// `forward_auth.on_failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// They are refused, with 503.
    Deny,
    /// They go on, and are counted: who can keep the service from answering is not kept out.
    Allow,
}
