//! Filters: what routes and listeners do to a request before an endpoint is chosen, and to the head of its answer.
//!
//! One file a kind, with its settings, its logic and its tests; a closed enum, so that a request's way is plain calls.
//! Filters see heads and the client's address and know nothing of connections: `l7/filter.rs` leads requests through
//! them. What must outlive edits of the configuration they hold in cells of the registry.

pub mod headers;

use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderMap, StatusCode};

use headers::Headers;

/// A filter as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterSettings {
    /// Unique in its route or listener.
    pub name: String,
    /// What it does.
    pub kind: Settings,
}

/// What a filter is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// `headers`.
    Headers(Headers),
}

/// A filter that requests are led through, by all workers.
#[derive(Debug)]
pub struct NamedFilter {
    /// Unique in its route or listener.
    pub name: String,
    /// What it does.
    pub filter: Filter,
}

/// What a filter does.
#[derive(Debug)]
pub enum Filter {
    /// Changes fields.
    Headers(Headers),
}

/// A request as filters see it: as the endpoint would get it.
#[derive(Debug)]
pub struct Asked<'r> {
    /// Rid of all that is of one hop, so that no `Connection` takes away what a filter sets.
    pub head: &'r mut Parts,
    /// As trusted proxies make it out.
    pub client: IpAddr,
}

/// Where a request goes from a filter.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// On.
    Next,
    /// Back, with an answer that has no body.
    Answer(StatusCode),
    /// Back: it is refused.
    Deny(Denial),
}

/// Why a filter refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {}

/// What a filter keeps of a request for the answer's head.
#[derive(Debug, Default)]
pub enum Mark {
    /// Nothing.
    #[default]
    Nothing,
}

impl Filter {
    /// Takes a request on its way to the upstream.
    pub fn request(&self, asked: &mut Asked<'_>, _mark: &mut Mark) -> Step {
        match self {
            Self::Headers(headers) => {
                headers.request.apply(&mut asked.head.headers);
                Step::Next
            }
        }
    }

    /// Takes the head of the answer to a request that it saw, whoever gave it.
    pub fn response(&self, _mark: Mark, headers: &mut HeaderMap) {
        match self {
            Self::Headers(settings) => settings.response.apply(headers),
        }
    }
}
