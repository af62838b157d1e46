//! `upstream.sticky` as given: the cookie by which a client stays with an endpoint.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Time, limits, time_text};
use crate::config::snapshot::SameSite;

/// The cookie by which a client stays with the endpoint that answered it first, as long as that may be used. It is set
/// where a client has none that names such an endpoint, and not passed on to endpoints.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["cookie"]))]
pub struct Sticky {
    /// Its name: one of its own for each upstream that the same client meets at the same host.
    #[schemars(length(min = 1, max = limits::NAME_CHARS_MAX), extend("examples" = ["srv"]))]
    pub cookie: Option<String>,
    /// How long clients keep it from when it was set, in whole seconds. Default: until their session ends.
    #[schemars(extend(
        "x-range" = [time_text(limits::STICKY_TTL_MIN), time_text(limits::STICKY_TTL_MAX)],
        "examples" = ["8h"]
    ))]
    pub ttl: Option<Time>,
    /// Its `Path`: clients send it with requests below it.
    #[schemars(extend("default" = limits::STICKY_PATH))]
    pub path: Option<String>,
    /// Its `SameSite`: which requests from other sites carry it: none (`strict`), followed links (`lax`), or all (`none`, which
    /// wants `secure`).
    #[schemars(extend("default" = SameSite::Lax))]
    pub same_site: Option<SameSite>,
    /// Whether clients send it by TLS alone.
    #[schemars(extend("default" = false))]
    pub secure: Option<bool>,
    /// Whether it is hidden from scripts.
    #[schemars(extend("default" = true))]
    pub http_only: Option<bool>,
    /// File with the key that its values are made with: 32 bytes as hexadecimal digits or base64, which other users may not
    /// read. The same on all nodes. Default: that of `[cluster]`; without a cluster it is required.
    #[schemars(extend("examples" = ["/etc/gateway/sticky.key"]))]
    pub key_file: Option<PathBuf>,
}
