//! Filters: what routes and listeners do to a request before an endpoint is chosen, and to the head of its answer.
//!
//! One file a kind, with its settings, its logic and its tests; a closed enum, so that a request's way is plain calls.
//! Filters see heads and the client's address and know nothing of connections: `l7/filter.rs` leads requests through
//! them. What must outlive edits of the configuration they hold in cells of the registry.

pub mod addresses;
pub mod api_key;
pub mod basic_auth;
pub mod body_limit;
pub mod compression;
pub mod cors;
pub mod credentials;
pub mod forward_auth;
pub mod headers;
pub mod jwt;
pub mod passwords;
pub mod rate_limit;
mod settings;
#[cfg(test)]
mod testing;
mod vary;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;

#[cfg(test)]
pub(crate) use testing::asked;

pub use settings::{FilterSettings, Settings};

use addresses::Addresses;
use api_key::ApiKey;
use basic_auth::BasicAuth;
use body_limit::BodyLimit;
use compression::coder::Coder;
use compression::{Compression, Wish};
use cors::Cors;
use forward_auth::ForwardAuth;
use headers::Headers;
use jwt::Jwt;
use passwords::Question;
use rate_limit::{RateLimit, Standing};

/// A filter that requests are led through, by all workers.
#[derive(Debug)]
pub struct NamedFilter {
    /// Which one it is.
    pub id: Identity,
    /// What it does.
    pub filter: Filter,
    /// What came of it; outlives edits.
    pub counts: Arc<Counts>,
}

/// Which filter of the configuration: what its state belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Where it stands.
    pub owner: Owner,
    /// Unique there.
    pub name: String,
}

/// Where a filter stands, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// In a listener.
    Listener(String),
    /// In a route; over all its listeners it is one.
    Route(String),
}

impl Owner {
    /// What it is and how it is called.
    pub fn texts(&self) -> (&'static str, &str) {
        match self {
            Self::Listener(name) => ("listener", name),
            Self::Route(name) => ("route", name),
        }
    }
}

/// Requests that a filter did not let pass.
#[derive(Debug, Default)]
pub struct Counts {
    refused: AtomicU64,
    would_refuse: AtomicU64,
}

impl Counts {
    /// Those refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Those that a dry run let pass.
    pub fn would_refuse(&self) -> u64 {
        self.would_refuse.load(Ordering::Relaxed)
    }
}

/// What a filter does.
#[derive(Debug)]
pub enum Filter {
    /// Changes fields.
    Headers(Headers),
    /// Refuses who asks too often.
    RateLimit(Box<RateLimit>),
    /// Refuses clients by their addresses.
    Addresses(Addresses),
    /// Tells browsers whose pages may ask.
    Cors(Box<Cors>),
    /// Wants a name and a password.
    BasicAuth(Box<BasicAuth>),
    /// Wants a key.
    ApiKey(Box<ApiKey>),
    /// Bounds the body.
    BodyLimit(BodyLimit),
    /// Wants a signed token.
    Jwt(Box<Jwt>),
    /// Compresses answers.
    Compression(Box<Compression>),
    /// Asks another service.
    ForwardAuth(Box<ForwardAuth>),
}

/// A request as filters see it: as the endpoint would get it.
#[derive(Debug)]
pub struct Asked<'r> {
    /// Rid of all that is of one hop, so that no `Connection` takes away what a filter sets.
    pub head: &'r mut Parts,
    /// As trusted proxies make it out.
    pub client: IpAddr,
    /// The [`network`] of that.
    pub network: IpAddr,
    /// Who it is, once a filter found out.
    pub consumer: Option<HeaderValue>,
    /// Bytes that its body may have, once a filter says so.
    pub body_bytes_max: Option<u64>,
}

/// Leading bits of an IPv6 address that tell clients apart: one subscriber has a /64 at least (RFC 6177).
const CLIENT_MASK_V6: u128 = !0 << 64;

/// What tells clients apart: their address, and of IPv6 its /64.
pub fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & CLIENT_MASK_V6)),
        v4 => v4,
    }
}

/// The head of an answer as filters see it.
#[derive(Debug)]
pub struct Reply<'r> {
    /// Its status.
    pub status: StatusCode,
    /// What clients get, but for what is of one hop.
    pub headers: &'r mut HeaderMap,
    /// Bytes of its body, where that is known by other means than Content-Length.
    pub length: Option<u64>,
    /// What its body is to go through, once a filter says so.
    pub coder: Option<Coder>,
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
    /// On, though it would be refused but for a dry run.
    WouldDeny(Denial),
    /// Nowhere yet: the mark has what is to be found out, and [`NamedFilter::answered`] goes on.
    Wait,
    /// Nowhere yet: the upstream of [`Filter::authority`] is to be asked, and [`NamedFilter::decided`] told.
    Ask,
}

/// What a filter would do with a request, as far as that is known without doing it.
#[derive(Debug, PartialEq, Eq)]
pub enum Foreseen {
    /// That, for certain.
    Step(Step),
    /// It would count the request, and refuse it where too many came before.
    Counts,
    /// It would verify a password.
    Verifies,
    /// Another service would be asked.
    Asks,
}

/// Why a filter refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The key asks too often.
    RateLimited,
    /// The client's address is not allowed, or is denied.
    ClientDenied,
    /// It has none.
    CredentialsMissing,
    /// They are not right.
    CredentialsRefused,
    /// They were right once.
    TokenExpired,
    /// Too many passwords are to be verified.
    VerifierBusy,
    /// The issuer's keys have not been fetched yet.
    KeysMissing,
    /// The service that is asked says no.
    AuthorityRefused,
    /// It says nothing.
    AuthorityUnavailable,
}

/// What a filter keeps of a request for the answer's head.
#[derive(Debug, Default)]
pub enum Mark {
    /// Nothing.
    #[default]
    Nothing,
    /// How its key stands.
    Rate(Standing),
    /// What browsers are told.
    Cors(cors::Told),
    /// What is to be found out before it goes on: whether the password is that name's.
    Question {
        /// To be waited for.
        question: Question,
        /// As the client wrote it.
        name: Vec<u8>,
    },
    /// How to do better after a 401.
    Challenge(HeaderValue),
    /// In which coding the client would have the answer.
    Coding(Wish),
}

impl NamedFilter {
    /// Takes a request on its way to the upstream, and counts what does not pass.
    pub fn request(&self, asked: &mut Asked<'_>, mark: &mut Mark) -> Step {
        self.counted(self.filter.request(asked, mark))
    }

    /// Goes on with a request that had to wait: whether the password is that name's, if anybody found out.
    pub fn answered(
        &self,
        is_right: Option<bool>,
        name: &[u8],
        asked: &mut Asked<'_>,
        mark: &mut Mark,
    ) -> Step {
        match &self.filter {
            Filter::BasicAuth(auth) => self.counted(auth.answered(is_right, name, asked, mark)),
            // No other asks.
            _ => self.counted(Step::Deny(Denial::VerifierBusy)),
        }
    }

    /// What came of a question to another service.
    pub fn decided(&self, step: Step) -> Step {
        self.counted(step)
    }

    fn counted(&self, step: Step) -> Step {
        match step {
            Step::Deny(_) => self.counts.refused.fetch_add(1, Ordering::Relaxed),
            Step::WouldDeny(_) => self.counts.would_refuse.fetch_add(1, Ordering::Relaxed),
            Step::Next | Step::Answer(_) | Step::Wait | Step::Ask => 0,
        };
        step
    }
}

impl Filter {
    fn request(&self, asked: &mut Asked<'_>, mark: &mut Mark) -> Step {
        match self {
            Self::Headers(headers) => {
                headers.request.apply(&mut asked.head.headers);
                Step::Next
            }
            Self::RateLimit(limit) => limit.request(asked, mark),
            Self::Addresses(addresses) => addresses.request(asked),
            Self::Cors(cors) => cors.request(asked, mark),
            Self::BasicAuth(auth) => auth.request(asked, mark),
            Self::ApiKey(keys) => keys.request(asked, mark),
            Self::BodyLimit(limit) => limit.request(asked),
            Self::Jwt(jwt) => jwt.request(asked, mark),
            Self::Compression(compression) => compression.request(asked, mark),
            Self::ForwardAuth(_) => Step::Ask,
        }
    }

    /// The name of the upstream that it asks.
    pub fn authority(&self) -> Option<&str> {
        match self {
            Self::ForwardAuth(auth) => Some(&auth.upstream),
            _ => None,
        }
    }

    /// What it would do with a request, whose head and consumer it changes as if it had passed. Nothing is counted, no
    /// token of a rate limit is spent, and no password is verified.
    pub fn foresee(&self, asked: &mut Asked<'_>) -> Foreseen {
        match self {
            Self::RateLimit(_) => Foreseen::Counts,
            Self::BasicAuth(auth) => match auth.foresee(asked) {
                Ok(()) => Foreseen::Verifies,
                Err(denial) => Foreseen::Step(Step::Deny(denial)),
            },
            Self::ForwardAuth(_) => Foreseen::Asks,
            Self::Headers(_)
            | Self::Addresses(_)
            | Self::Cors(_)
            | Self::ApiKey(_)
            | Self::BodyLimit(_)
            | Self::Compression(_)
            | Self::Jwt(_) => Foreseen::Step(self.request(asked, &mut Mark::default())),
        }
    }

    /// The key of the file that says what it does.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Headers(_) => "headers",
            Self::RateLimit(_) => "rate_limit",
            Self::Addresses(addresses) => match addresses.rule {
                addresses::Rule::Allow => "ip_allow",
                addresses::Rule::Deny => "ip_deny",
            },
            Self::Cors(_) => "cors",
            Self::BasicAuth(_) => "basic_auth",
            Self::ApiKey(_) => "api_key",
            Self::BodyLimit(_) => "body_limit",
            Self::Jwt(_) => "jwt",
            Self::Compression(_) => "compression",
            Self::ForwardAuth(_) => "forward_auth",
        }
    }

    /// Takes the head of the answer to a request that it saw, whoever gave it.
    pub fn response(&self, mark: Mark, reply: &mut Reply<'_>) {
        let headers = &mut *reply.headers;
        match (self, mark) {
            (Self::Headers(settings), _) => settings.response.apply(headers),
            (Self::Cors(cors), Mark::Cors(told)) => cors.response(told, headers),
            (Self::Compression(compression), Mark::Coding(wish)) => compression.response(wish, reply),
            (_, Mark::Rate(standing)) => standing.tell(headers),
            (_, Mark::Challenge(challenge)) => drop(headers.insert(header::WWW_AUTHENTICATE, challenge)),
            (_, Mark::Nothing | Mark::Cors(_) | Mark::Coding(_) | Mark::Question { .. }) => {}
        }
    }
}
