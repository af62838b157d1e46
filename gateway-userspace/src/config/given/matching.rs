//! `route.match` as given: which requests a route takes.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Network, limits};

/// Which requests a route takes: all that is given must match.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Host names without a port; `*.example.com` stands for one label or more before it. Default: every host.
    #[schemars(length(min = 1, max = limits::MATCHES_MAX), extend("examples" = [["api.example.com", "*.example.org"]]))]
    pub hosts: Option<Vec<String>>,
    /// The whole path; a segment in braces stands for any one segment. Exactly one of `path`, `path_prefix` and
    /// `path_regex`.
    #[schemars(extend("examples" = ["/api/users/{id}"]))]
    pub path: Option<String>,
    /// Whole segments from the path's start: `/api` takes `/api` and `/api/users`, not `/apis`.
    #[schemars(extend("examples" = ["/api"]))]
    pub path_prefix: Option<String>,
    /// A regular expression for the whole path, as the crate `regex` reads it, without Unicode classes. It is tried after
    /// every `path` and `path_prefix` of the same host.
    #[schemars(extend("examples" = ["/img/[a-z0-9]+"]))]
    pub path_regex: Option<String>,
    /// Methods in upper case. Default: every method.
    #[schemars(length(min = 1, max = limits::MATCHES_MAX), extend("examples" = [["GET", "HEAD"]]))]
    pub methods: Option<Vec<String>>,
    /// Header fields, all of which must be so. What clients say in `X-Forwarded-*`, `Forwarded` and `X-Real-IP` counts only
    /// where `trusted_proxies` has them.
    #[schemars(length(min = 1, max = limits::CONDITIONS_MAX))]
    pub headers: Option<Vec<FieldMatch>>,
    /// Parameters of the query, all of which must be so. Names and values are compared without their escapes; `+` is a
    /// space.
    #[schemars(length(min = 1, max = limits::CONDITIONS_MAX))]
    pub query: Option<Vec<FieldMatch>>,
    /// Cookies, all of which must be so.
    #[schemars(length(min = 1, max = limits::CONDITIONS_MAX))]
    pub cookies: Option<Vec<FieldMatch>>,
    /// Networks or addresses of which one must have the client, as `trusted_proxies` make it out. Default: every client.
    #[schemars(length(min = 1, max = limits::MATCHES_MAX), extend("examples" = [["10.0.0.0/8", "2001:db8::1"]]))]
    pub client: Option<Vec<Network>>,
    /// What must hold of the client's certificate, at listeners whose `tls.client_auth` asks for one.
    pub client_certificate: Option<CertificateMatch>,
}

/// What must hold of the client's certificate: all that is given. Only one that was verified counts; a client without one has
/// neither subject nor names.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateMatch {
    /// The subject, as RFC 4514 writes it and the access log has it: the last part first, commas without blanks between.
    #[schemars(extend("examples" = [{ "exact": "CN=robot,O=Example" }]))]
    pub subject: Option<SubjectMatch>,
    /// Its subjectAltName, of which one must be so: one entry that holds is enough.
    #[schemars(
        length(min = 1, max = limits::CONDITIONS_MAX),
        extend("examples" = [[{ "type": "uri", "prefix": "spiffe://example.org/ns/jobs/" }]])
    )]
    pub san: Option<Vec<SanMatch>>,
}

/// What a subject must be: exactly one of `exact`, `prefix`, `regex` and `present`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectMatch {
    /// The whole of it.
    #[schemars(extend("examples" = ["CN=robot,O=Example"]))]
    pub exact: Option<String>,
    /// What it begins with.
    #[schemars(extend("examples" = ["CN=robot-"]))]
    pub prefix: Option<String>,
    /// A regular expression for the whole of it, as in `path_regex`.
    #[schemars(extend("examples" = ["CN=[a-z]+,O=Example"]))]
    pub regex: Option<String>,
    /// `true`: the client has shown a certificate, with whatever subject. `false`: it has not.
    pub present: Option<bool>,
}

/// What an alternative name must be: its `type`, and exactly one of `exact`, `prefix`, `regex` and `present`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["type"]))]
pub struct SanMatch {
    /// Its kind; names of another kind are not looked at.
    #[serde(rename = "type")]
    pub kind: Option<SanType>,
    /// The whole name. DNS names are compared in lower case.
    #[schemars(extend("examples" = ["robot.example.com"]))]
    pub exact: Option<String>,
    /// What it begins with.
    #[schemars(extend("examples" = ["spiffe://example.org/"]))]
    pub prefix: Option<String>,
    /// A regular expression for the whole name, as in `path_regex`.
    #[schemars(extend("examples" = [".+@example\\.org"]))]
    pub regex: Option<String>,
    /// `true`: there is one of that type. `false`: there is none.
    pub present: Option<bool>,
}

/// A kind of alternative name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SanType {
    /// A DNS name.
    Dns,
    /// A URI, as SPIFFE's.
    Uri,
    /// A mail address.
    Email,
}

/// What must hold of one field: exactly one of `exact`, `prefix`, `regex` and `present`. Where the request has several of the
/// name, one that fits is enough.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct FieldMatch {
    /// Its name; that of a header field in lower case. Each once.
    #[schemars(extend("examples" = ["x-tenant"]))]
    pub name: Option<String>,
    /// The value.
    #[schemars(extend("examples" = ["blue"]))]
    pub exact: Option<String>,
    /// What the value begins with.
    #[schemars(extend("examples" = ["v2-"]))]
    pub prefix: Option<String>,
    /// A regular expression for the whole value, as in `path_regex`.
    #[schemars(extend("examples" = ["[0-9]+"]))]
    pub regex: Option<String>,
    /// `true`: it is there, with whatever value. `false`: it is not.
    pub present: Option<bool>,
}
