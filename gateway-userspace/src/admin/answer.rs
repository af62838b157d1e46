//! One request of the admin API and its answer.

mod denied;
mod streams;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::breakers;
use super::deny;
use super::endpoints::{self, Asked, Refused};
use super::follow::{self, Body};
use super::routes;
use super::status::{Changed, ErrorAnswer, ErrorBody, Nodes, Ready, Reloaded, Upstreams};
use super::{Api, ApiError, Token};

/// An answer; its body is whole but for two: events that are followed, and packets that are traced.
pub type Reply = Response<Body>;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Livez,
    Readyz,
    Metrics,
    Status,
    Nodes,
    Events,
    Upstreams,
    Drain,
    Undrain,
    Reload,
    ExplainRequest,
    ExplainPacket,
    Trace,
}

impl Endpoint {
    fn takes_body(self) -> bool {
        matches!(self, Self::ExplainRequest | Self::ExplainPacket)
    }
}

/// Every endpoint with its method and path.
const ENDPOINTS: [(Endpoint, Method, &str); 13] = [
    (Endpoint::Livez, Method::GET, "/livez"),
    (Endpoint::Readyz, Method::GET, "/readyz"),
    (Endpoint::Metrics, Method::GET, "/metrics"),
    (Endpoint::Status, Method::GET, "/v1/status"),
    (Endpoint::Nodes, Method::GET, "/v1/nodes"),
    (Endpoint::Events, Method::GET, "/v1/events"),
    (Endpoint::Upstreams, Method::GET, "/v1/upstreams"),
    (Endpoint::Drain, Method::POST, "/v1/drain"),
    (Endpoint::Undrain, Method::POST, "/v1/undrain"),
    (Endpoint::Reload, Method::POST, "/v1/reload"),
    (Endpoint::ExplainRequest, Method::POST, "/v1/explain/request"),
    (Endpoint::ExplainPacket, Method::POST, "/v1/explain/packet"),
    (Endpoint::Trace, Method::GET, "/v1/trace"),
];

/// A request that must not go on, with its answer.
pub struct Stopped(Box<Reply>);

impl Stopped {
    /// Refused with an error.
    pub fn new(status: StatusCode, code: &str, message: &str) -> Self {
        Self(Box::new(error(status, code, message)))
    }
}

/// Who asks, and for what; before any of the body is read.
///
/// # Errors
/// The answer, where there is nothing of that name or the client may not ask for it.
fn admitted(head: &Parts, token: &Token) -> Result<Endpoint, Stopped> {
    let path = head.uri.path();
    let Some((endpoint, method, _)) = ENDPOINTS.iter().find(|(_, _, known)| *known == path) else {
        let known: Vec<String> = ENDPOINTS
            .iter()
            .map(|(_, method, path)| format!("{method} {path}"))
            .collect();
        let message = format!("There is no {path}. There is: {}.", known.join(", "));
        return Err(Stopped::new(StatusCode::NOT_FOUND, "not_found", &message));
    };
    if head.method != *method {
        let message = format!("{path} takes {method}, not {}.", head.method);
        let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message);
        if let Ok(method) = HeaderValue::from_str(method.as_str()) {
            reply.headers_mut().insert(ALLOW, method);
        }
        return Err(Stopped(Box::new(reply)));
    }
    if !matches!(endpoint, Endpoint::Livez | Endpoint::Readyz) {
        may_ask(head, token)?;
    }
    Ok(*endpoint)
}

/// Whether the client sent the token.
fn may_ask(head: &Parts, token: &Token) -> Result<(), Stopped> {
    if sent_token(head).is_some_and(|sent| token.is(sent)) {
        return Ok(());
    }
    let message =
        "Send the admin token: 'Authorization: Bearer TOKEN', with the content of admin.token_file.";
    let mut reply = error(StatusCode::UNAUTHORIZED, "unauthorized", message);
    reply
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Err(Stopped(Box::new(reply)))
}

/// What a client sent as its token.
fn sent_token(head: &Parts) -> Option<&[u8]> {
    let mut values = head.headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

/// Answers a request; `body` reads its body, within bounds, where the request is let in, and an answer that goes on ends
/// when the sender of `stopped` is gone.
pub async fn answer<B>(
    head: &Parts,
    body: B,
    token: &Token,
    api: &dyn Api,
    stopped: watch::Receiver<()>,
) -> Reply
where
    B: Future<Output = Result<Bytes, Stopped>>,
{
    match answered(head, body, token, api, stopped).await {
        Ok(reply) => reply,
        Err(Stopped(reply)) => *reply,
    }
}

async fn answered<B>(
    head: &Parts,
    body: B,
    token: &Token,
    api: &dyn Api,
    stopped: watch::Receiver<()>,
) -> Result<Reply, Stopped>
where
    B: Future<Output = Result<Bytes, Stopped>>,
{
    if let Some(asked) = breakers::asked(&head.method, head.uri.path()) {
        let asked = asked.map_err(|refused| misplaced(head, "A circuit breaker", &refused))?;
        may_ask(head, token)?;
        return of_breaker(asked, &body.await?, api).await;
    }
    if let Some(asked) = endpoints::asked(&head.method, head.uri.path()) {
        let asked = asked.map_err(|refused| misplaced(head, "An endpoint", &refused))?;
        may_ask(head, token)?;
        return of_endpoint(asked, &body.await?, api).await;
    }
    if let Some(asked) = routes::asked(&head.method, head.uri.path()) {
        let asked = asked.map_err(|takes| not_so(head, "A route", takes))?;
        may_ask(head, token)?;
        return of_route(asked, head, &body.await?, api).await;
    }
    if let Some(asked) = deny::asked(&head.method, head.uri.path()) {
        let asked = asked.map_err(|takes| not_so(head, "The list of denied prefixes", takes))?;
        may_ask(head, token)?;
        return denied::answered(asked, head, &body.await?, api).await;
    }
    let endpoint = admitted(head, token)?;
    let body = body.await?;
    if !endpoint.takes_body() {
        empty(&body)?;
    }
    Ok(match endpoint {
        Endpoint::Livez => json(StatusCode::OK, &serde_json::json!({ "live": true })),
        Endpoint::Readyz => match api.ready() {
            Ok(()) => json(
                StatusCode::OK,
                &Ready {
                    ready: true,
                    reasons: Vec::new(),
                },
            ),
            Err(reasons) => json(
                StatusCode::SERVICE_UNAVAILABLE,
                &Ready {
                    ready: false,
                    reasons,
                },
            ),
        },
        Endpoint::Metrics => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            reply(
                StatusCode::OK,
                HeaderValue::from_static(kind),
                Bytes::from(api.metrics()),
            )
        }
        Endpoint::Status => outcome(api.status().await),
        Endpoint::Nodes => outcome(api.nodes().await.map(|nodes| Nodes { nodes })),
        Endpoint::Events => streams::events(head, api, stopped)?,
        Endpoint::Upstreams => outcome(api.status().await.map(|status| Upstreams {
            upstreams: status.upstreams,
        })),
        Endpoint::Drain => outcome(api.drain().await.map(|state| Changed { state })),
        Endpoint::Undrain => outcome(api.undrain().await.map(|state| Changed { state })),
        Endpoint::Reload => outcome(api.reload().await.map(|snapshot| Reloaded { snapshot })),
        Endpoint::ExplainRequest => outcome(api.explain_request(question(&body)?).await),
        Endpoint::ExplainPacket => outcome(api.explain_packet(question(&body)?).await),
        Endpoint::Trace => streams::trace(head, api, stopped).await?,
    })
}

/// What endpoints say of themselves.
async fn of_endpoint(asked: Asked, body: &[u8], api: &dyn Api) -> Result<Reply, Stopped> {
    match asked {
        Asked::Renew(place) => {
            let renewal = endpoints::renewal(body).map_err(bad)?;
            Ok(outcome(api.renew(place, renewal).await))
        }
        Asked::Withdraw(place) => {
            empty(body)?;
            Ok(outcome(api.withdraw(place).await))
        }
    }
}

/// What an operator wants of routes.
async fn of_route(asked: routes::Asked, head: &Parts, body: &[u8], api: &dyn Api) -> Result<Reply, Stopped> {
    let order = match asked {
        routes::Asked::All => {
            empty(body)?;
            return Ok(outcome(
                api.routes(None).await.map(|routes| routes::Routes { routes }),
            ));
        }
        routes::Asked::One(name) => {
            empty(body)?;
            let shown = api.routes(Some(name)).await.map(|shown| shown.into_iter().next());
            let Ok(Some(shown)) = shown else {
                let missing = || ApiError::NotFound("There is no such route.".to_owned());
                return Ok(outcome(shown.and_then(|shown| shown.ok_or_else(missing))));
            };
            let version = shown.version.clone();
            return Ok(versioned(outcome(Ok(shown)), Some(&version)));
        }
        routes::Asked::Set(name) => routes::set(name, head, body),
        routes::Asked::Delete(name) => {
            empty(body)?;
            routes::delete(name, head)
        }
    };
    let order = order.map_err(|(status, message)| {
        let code = match status {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            _ => "bad_request",
        };
        Stopped::new(status, code, &message)
    })?;
    let changed = api.change_route(order).await;
    let version = changed.as_ref().ok().and_then(|changed| changed.version.clone());
    Ok(versioned(outcome(changed), version.as_deref()))
}

fn versioned(mut reply: Reply, version: Option<&str>) -> Reply {
    let value = version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok());
    if let Some(value) = value {
        reply.headers_mut().insert(ETAG, value);
    }
    reply
}

/// What an operator wants of a circuit breaker.
async fn of_breaker(asked: breakers::Asked, body: &[u8], api: &dyn Api) -> Result<Reply, Stopped> {
    let (breaker, force) = match asked {
        breakers::Asked::Force(breaker) => (breaker, Some(breakers::force(body).map_err(bad)?)),
        breakers::Asked::Release(breaker) => {
            empty(body)?;
            (breaker, None)
        }
    };
    Ok(outcome(api.force(breaker, force).await))
}

fn question<T: DeserializeOwned>(body: &[u8]) -> Result<T, Stopped> {
    serde_json::from_slice(body).map_err(|error| bad(format!("The body is no such question: {error}.")))
}

fn empty(body: &[u8]) -> Result<(), Stopped> {
    if matches!(body.trim_ascii(), b"" | b"{}") {
        return Ok(());
    }
    Err(bad(
        "This request takes no body, or an empty JSON object.".to_owned()
    ))
}

fn bad(message: String) -> Stopped {
    Stopped::new(StatusCode::BAD_REQUEST, "bad_request", &message)
}

fn misplaced(head: &Parts, what: &str, refused: &Refused) -> Stopped {
    match refused {
        Refused::Address(message) => Stopped::new(StatusCode::BAD_REQUEST, "bad_request", message),
        Refused::Method => not_so(head, what, endpoints::METHODS),
    }
}

/// Another method is wanted there.
fn not_so(head: &Parts, what: &str, takes: &'static str) -> Stopped {
    let message = format!("{what} takes {takes}, not {}.", head.method);
    let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message);
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(takes));
    Stopped(Box::new(reply))
}

fn outcome<T: Serialize>(result: Result<T, ApiError>) -> Reply {
    let (status, code, message) = match result {
        Ok(done) => return json(StatusCode::OK, &done),
        Err(ApiError::Refused(text)) => (StatusCode::UNPROCESSABLE_ENTITY, "configuration_refused", text),
        Err(ApiError::Conflict(text)) => (StatusCode::CONFLICT, "conflict", text),
        Err(ApiError::Stale(text)) => (StatusCode::PRECONDITION_FAILED, "precondition_failed", text),
        Err(ApiError::NotFound(text)) => (StatusCode::NOT_FOUND, "not_found", text),
        Err(ApiError::Invalid(text)) => (StatusCode::BAD_REQUEST, "bad_request", text),
        Err(ApiError::Failed(text)) => (StatusCode::INTERNAL_SERVER_ERROR, "failed", text),
    };
    error(status, code, &message)
}

/// An error's answer.
fn error(status: StatusCode, code: &str, message: &str) -> Reply {
    json(
        status,
        &ErrorAnswer {
            error: ErrorBody {
                code: code.to_owned(),
                message: message.to_owned(),
            },
        },
    )
}

fn json<T: Serialize>(status: StatusCode, body: &T) -> Reply {
    let kind = HeaderValue::from_static("application/json");
    match serde_json::to_vec(body) {
        Ok(mut text) => {
            text.push(b'\n');
            reply(status, kind, Bytes::from(text))
        }
        Err(error) => {
            tracing::error!(%error, "an answer of the admin API cannot be written as JSON");
            let text = r#"{"error":{"code":"failed","message":"The answer cannot be written as JSON."}}"#;
            reply(
                StatusCode::INTERNAL_SERVER_ERROR,
                kind,
                Bytes::from_static(text.as_bytes()),
            )
        }
    }
}

fn reply(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Reply {
    with_body(status, kind, follow::whole(body.into()))
}

fn with_body(status: StatusCode, kind: HeaderValue, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
