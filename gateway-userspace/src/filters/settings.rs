//! Filters as they are configured.

use std::path::PathBuf;

use super::addresses::Addresses;
use super::body_limit::BodyLimit;
use super::compression::Compression;
use super::cors::Cors;
use super::forward_auth::ForwardAuth;
use super::headers::Headers;
use super::{api_key, basic_auth, jwt, rate_limit};

/// A filter as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterSettings {
    /// Unique in its route or listener.
    pub name: String,
    /// What it does.
    pub kind: Settings,
    /// The file that its secrets, keys or authorities came from; `None`: there is none.
    pub file: Option<PathBuf>,
}

impl FilterSettings {
    /// The name of the upstream that it asks.
    pub fn authority(&self) -> Option<&str> {
        match &self.kind {
            Settings::ForwardAuth(auth) => Some(&auth.upstream),
            _ => None,
        }
    }
}

/// What a filter is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// `headers`.
    Headers(Headers),
    /// `rate_limit`.
    RateLimit(rate_limit::Settings),
    /// `ip_allow`, `ip_deny`.
    Addresses(Addresses),
    /// `cors`.
    Cors(Cors),
    /// `basic_auth`.
    BasicAuth(basic_auth::Settings),
    /// `api_key`.
    ApiKey(api_key::Settings),
    /// `body_limit`.
    BodyLimit(BodyLimit),
    /// `jwt`.
    Jwt(jwt::Settings),
    /// `compression`.
    Compression(Compression),
    /// `forward_auth`.
    ForwardAuth(ForwardAuth),
}
