//! The admin API: HTTP/1.1 with JSON on loopback or a unix socket, for the operator and for probes.
//!
//! | request | token | answer |
//! |---|---|---|
//! | `GET /livez` | no | 200 `{"live":true}` |
//! | `GET /readyz` | no | 200 or 503 [`Ready`](status::Ready) |
//! | `GET /metrics` | yes | 200 OpenMetrics text |
//! | `GET /v1/status` | yes | 200 [`Status`] |
//! | `GET /v1/nodes` | yes | 200 [`Nodes`](status::Nodes) |
//! | `GET /v1/events` | yes | 200 the last [events](crate::events::Event), one a line; with `?follow=true` goes on; 409 |
//! | `GET /v1/upstreams` | yes | 200 [`Upstreams`](status::Upstreams) |
//! | `PUT /v1/upstreams/{name}/endpoints/{address}` | yes | 200 [`Renewed`], 404, 409 where it takes none |
//! | `DELETE /v1/upstreams/{name}/endpoints/{address}` | yes | 200 [`Withdrawn`], 404, 409 |
//! | `PUT /v1/upstreams/{name}/breaker`, `…/endpoints/{address}/breaker` | yes | 200 [`Switched`], 404 |
//! | `DELETE` on the same | yes | 200 [`Switched`], 404 |
//! | `POST /v1/drain`, `POST /v1/undrain` | yes | 200 [`Changed`](status::Changed), 409 where it cannot be |
//! | `POST /v1/explain/request` | yes | 200 [`request::Explained`], 400; takes a [`request::Question`] |
//! | `POST /v1/explain/packet` | yes | 200 [`packet::Explained`], 400, 409 without `[dataplane]`; takes a [`packet::Question`] |
//! | `GET /v1/routes`, `GET /v1/routes/{name}` | yes | 200 [`Routes`](routes::Routes), [`Shown`] with `ETag`, 404 |
//! | `PUT /v1/routes/{name}` | yes | 200 [`Changed`](routes::Changed), 409 where the file sets it, 412, 415, 422; takes a route |
//! | `DELETE /v1/routes/{name}` | yes | 200 [`Changed`](routes::Changed), 404, 409, 412 |
//! | `GET /v1/deny` | yes | 200 [`Listed`](deny::Listed), 409 without `[dataplane]` |
//! | `POST /v1/deny` | yes | 200 [`Changed`](deny::Changed), 400, 409 where one can never be denied; takes a [`Body`](deny::Body) |
//! | `DELETE /v1/deny/{prefix}` | yes | 200 [`Changed`](deny::Changed), 400, 404, 409 where the file denies it |
//! | `GET /v1/trace` | yes | 200 [packets](crate::trace::Packet) as they pass, one a line; 400, 404, 409 without `[dataplane]` |
//! | `POST /v1/reload` | yes | 200 [`Reloaded`](status::Reloaded), 422 where the configuration is refused |
//!
//! Errors are `{"error":{"code":"…","message":"…"}}` ([`ErrorAnswer`](status::ErrorAnswer)): 401 `unauthorized`,
//! 404 `not_found`, 405 `method_not_allowed`, 400 `bad_request`, 408 `body_too_slow`, 413 `body_too_large`,
//! 409 `conflict`, 412 `precondition_failed`, 415 `unsupported_media_type`, 422 `configuration_refused`, 500 `failed`.
//!
//! `PUT` and `DELETE` of a route take `If-Match` with versions (`ETag`) and `If-None-Match: *`, so that nobody overwrites what
//! he has not seen; with `?dry_run=true` they say what would come of it, and change nothing. So do `POST` and `DELETE` of
//! `/v1/deny`, which take no conditions: prefixes have no versions, and two who deny the same one want the same.
//!
//! What the answers say is the business of whoever implements [`Api`]; this module only speaks for it.

pub mod answer;
pub mod breakers;
pub mod deny;
pub mod endpoints;
pub mod follow;
pub mod listen;
pub mod routes;
pub mod server;
pub mod status;
pub mod token;
pub mod trace;

use std::pin::Pin;

pub use listen::{Bound, bind};
pub use server::serve;
pub use token::Token;

use breakers::{Breaker, Switched};
use endpoints::{Place, Renewal, Renewed, Withdrawn};
use routes::{Order, Shown};
use status::{Node, NodeState, Status};

use crate::events::Events;
use crate::explain::{packet, request};
use crate::resilience::breaker::Force;
use crate::trace::Running;

/// An answer that may take a while.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the admin API asks of the running node.
pub trait Api: Send + Sync {
    /// Whether the node may get traffic, else every reason why not, each a short sentence.
    fn ready(&self) -> Result<(), Vec<String>>;
    /// All metrics as OpenMetrics text.
    fn metrics(&self) -> String;
    /// What changed on the node.
    fn events(&self) -> &Events;
    /// The node in one view; refused only while it stops.
    fn status(&self) -> Answer<'_, Result<Status, ApiError>>;
    /// The nodes of the cluster as this one knows them; a single node alone where there is no cluster.
    fn nodes(&self) -> Answer<'_, Result<Vec<Node>, ApiError>>;
    /// Takes no new connections, and gives this node's share to the others. Returns before the last connection ended.
    fn drain(&self) -> Answer<'_, Result<NodeState, ApiError>>;
    /// Undoes a drain.
    fn undrain(&self) -> Answer<'_, Result<NodeState, ApiError>>;
    /// Reads the configuration anew and publishes it; the number of the new snapshot.
    fn reload(&self) -> Answer<'_, Result<u64, ApiError>>;
    /// An endpoint renews its pushed heartbeat, or registers.
    fn renew(&self, place: Place, renewal: Renewal) -> Answer<'_, Result<Renewed, ApiError>>;
    /// An endpoint whose heartbeat is pushed goes.
    fn withdraw(&self, place: Place) -> Answer<'_, Result<Withdrawn, ApiError>>;
    /// An operator forces a circuit breaker, or (`None`) lets it decide again.
    fn force(&self, breaker: Breaker, force: Option<Force>) -> Answer<'_, Result<Switched, ApiError>>;
    /// All routes, or the one of that name.
    fn routes(&self, name: Option<String>) -> Answer<'_, Result<Vec<Shown>, ApiError>>;
    /// Sets or deletes a route.
    fn change_route(&self, order: Order) -> Answer<'_, Result<routes::Changed, ApiError>>;
    /// Whose packets are dropped.
    fn denied(&self) -> Answer<'_, Result<deny::Listed, ApiError>>;
    /// Denies prefixes, or does so no longer.
    fn change_denied(&self, order: deny::Order) -> Answer<'_, Result<deny::Changed, ApiError>>;
    /// What would become of a request, and why; nothing is sent or counted.
    fn explain_request(
        &self,
        question: request::Question,
    ) -> Answer<'_, Result<request::Explained, ApiError>>;
    /// What would become of a client's packet that comes in here, and why; nothing is remembered or counted.
    fn explain_packet(&self, question: packet::Question) -> Answer<'_, Result<packet::Explained, ApiError>>;
    /// Packets of the data plane as they pass.
    fn trace(&self, order: crate::trace::Order) -> Answer<'_, Result<Running, ApiError>>;
}

/// Why the node did not do what it was asked for. The texts go to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The new configuration has problems, all of which the text lists; the old one stays.
    #[error("{0}")]
    Refused(String),
    /// It cannot be done in this state, as in undraining a node that leaves.
    #[error("{0}")]
    Conflict(String),
    /// It is not what the client takes it for: somebody else has changed it.
    #[error("{0}")]
    Stale(String),
    /// There is nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// What was sent is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
}
