//! The request's way, top to bottom: [`serve`].
//!
//! Every request ends here: answered, refused or failed. Its [`Record`] goes out with the response's body and writes
//! the line when that ends. All decisions are made by one snapshot, which the record took hold of at its start.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request, response, uri,
};
use hyper::body::Incoming;
use tokio::time::timeout_at;

use super::attempt::{Failed, attempt};
use super::balance::Mode;
use super::body::{RequestBody, ResponseBody};
use super::connection::Connection;
use super::error::{ProxyError, Retry};
use super::headers;
use super::host::Host;
use super::path;
use super::pool::Lease;
use super::record::Record;
use super::resolved::{Action, ResolvedRoute};
use crate::config::snapshot::{Expect, Respond, UpstreamProtocol};

/// Endpoints asked for one request at most, whatever their number: with three that cannot be reached, a fourth
/// would only make the client wait.
const ENDPOINTS_TRIED_MAX: usize = 3;

/// What a request comes to, before it becomes a response.
enum Answer {
    Upstream(Response<Incoming>, Lease),
    Short(Short),
}

/// An answer that no upstream gave.
enum Short {
    Own(Respond),
    Refused {
        error: ProxyError,
        allow: Option<HeaderValue>,
    },
}

impl From<ProxyError> for Short {
    fn from(error: ProxyError) -> Self {
        Self::Refused { error, allow: None }
    }
}

impl From<ProxyError> for Answer {
    fn from(error: ProxyError) -> Self {
        Self::Short(error.into())
    }
}

/// Takes one request from its head to its response's head; the body follows on its own and ends the record.
pub(super) async fn serve(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let (method, version) = (request.method().clone(), request.version());
    let mut record = Record::begin(&connection, &request);
    // Not one async block with what follows: what lives across an await is copied whenever hyper moves this future.
    let answer = match admit(&connection, request, &mut record) {
        Ok((route, request)) => {
            let deadline = record.deadline(route.timeout());
            let answered = {
                let forwarded = pin!(forward(&connection, &route, request, &mut record));
                timeout_at(deadline, forwarded).await.ok()
            };
            answered.unwrap_or_else(|| {
                if record.is_body_owed() {
                    return ProxyError::RequestBodyTimeout.into();
                }
                record.endpoint_failed();
                ProxyError::Timeout.into()
            })
        }
        Err(short) => Answer::Short(short),
    };
    Ok(respond(&connection, answer, &method, version, record))
}

/// Reads, routes and rewrites a request that is to be forwarded.
///
/// # Errors
/// The short way out: a refusal, or an answer of our own.
fn admit(
    connection: &Rc<Connection>,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<(Rc<ResolvedRoute>, Request<RequestBody>), Short> {
    #[cfg(test)]
    super::tests::panic_if_asked(&request);
    let (mut head, body) = request.into_parts();

    // Admit: what can be read in two ways goes no further.
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(ProxyError::MethodRefused.into());
    }
    let host = Host::read(&head.uri, &head.headers, head.version)?;
    record.host = Some(host.value.clone());
    let path = path::normalise(head.uri.path()).map_err(ProxyError::from)?;
    if path.merged == "*" && head.method != Method::OPTIONS {
        return Err(ProxyError::PathBad.into());
    }
    if path.encoded_slash == path::Presence::Present {
        return Err(ProxyError::PathEncodedSlash.into());
    }
    if let Cow::Owned(resolved) = path.merged {
        head.uri = with_path(&head.uri, resolved)?;
        record.target(&head.uri);
    }

    // Route.
    let listener = Rc::clone(&record.listener);
    let route = listener
        .route(host.name(), head.uri.path(), &head.method)
        .map_err(|error| {
            let allow = (error == ProxyError::MethodNotAllowed)
                .then(|| listener.allowed(host.name(), head.uri.path()))
                .flatten();
            Short::Refused { error, allow }
        })?;
    record.routed(&route);
    let protocol = match route.action()? {
        Action::Respond(respond) => return Err(Short::Own(respond.clone())),
        Action::Forward(upstream) => upstream.protocol(),
    };

    // Rewrite.
    let hop = headers::Hop {
        client: &connection.forwarded_for,
        peer: headers::Peer::Untrusted,
        scheme: "http",
        host: &host.value,
        request_id: &record.request_id,
        via: if head.version == Version::HTTP_2 {
            "2 gateway"
        } else {
            "1.1 gateway"
        },
        expect: Expect::Answer,
        upgrade: None,
    };
    let seen = headers::Seen::scan(&head.headers);
    headers::to_upstream(&mut head.headers, seen, &hop)?;
    address(&mut head, host.value, protocol)?;
    head.extensions.clear();
    let (body, meter) = RequestBody::new(body);
    if protocol == UpstreamProtocol::Http1 {
        headers::frame(&mut head.headers, &body);
    }
    record.body(meter);
    Ok((route, Request::from_parts(head, body)))
}

/// Balance and attempt: asks endpoints until one answers, as long as nothing of the request was sent.
async fn forward(
    connection: &Connection,
    route: &ResolvedRoute,
    mut request: Request<RequestBody>,
    record: &mut Record,
) -> Answer {
    let worker = &connection.worker;
    let upstream = match route.action() {
        Ok(Action::Forward(upstream)) => upstream,
        Ok(Action::Respond(respond)) => return Answer::Short(Short::Own(respond.clone())),
        Err(error) => return error.into(),
    };
    let connect_timeout = upstream.upstream.connect_timeout;
    let mut tried = [usize::MAX; ENDPOINTS_TRIED_MAX];
    let mut last = ProxyError::NoEndpoint;
    for count in 0..ENDPOINTS_TRIED_MAX {
        let before = tried.get(..count).unwrap_or_default();
        let Some((index, mode)) = upstream.turn.pick(&upstream.endpoints, before) else {
            break;
        };
        if mode == Mode::Panic {
            worker.counters.panic_picks.add(1);
        }
        let (Some(endpoint), Some(slot)) = (upstream.endpoints.get(index), tried.get_mut(count)) else {
            break;
        };
        *slot = index;
        match attempt(worker, &endpoint.pool, connect_timeout, request, record).await {
            Ok((response, lease)) => return Answer::Upstream(response, lease),
            Err(failed) => {
                let Failed {
                    error,
                    request: unsent,
                } = *failed;
                last = error;
                match unsent {
                    Some(unsent) if error.retry() == Retry::Safe => request = unsent,
                    _ => break,
                }
            }
        }
    }
    last.into()
}

/// Turns the target into what the upstream's protocol wants: path alone with Host, or the whole with an authority.
fn address(
    head: &mut request::Parts,
    host: HeaderValue,
    protocol: UpstreamProtocol,
) -> Result<(), ProxyError> {
    match protocol {
        UpstreamProtocol::Http1 => {
            if head.uri.authority().is_some() || head.version == Version::HTTP_2 {
                head.uri = Uri::from(path_and_query(&head.uri)?);
                head.headers.insert(header::HOST, host);
            }
            head.version = Version::HTTP_11;
        }
        UpstreamProtocol::Http2 => {
            let mut parts = uri::Parts::default();
            parts.scheme = Some(Scheme::HTTP);
            parts.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| ProxyError::HostBad)?);
            parts.path_and_query = Some(path_and_query(&head.uri)?);
            head.uri = Uri::from_parts(parts).map_err(|_| ProxyError::PathBad)?;
            head.headers.remove(header::HOST);
            head.version = Version::HTTP_2;
        }
    }
    Ok(())
}

/// With its slash: `http://a.example?x` has none.
fn path_and_query(uri: &Uri) -> Result<PathAndQuery, ProxyError> {
    match uri.path_and_query() {
        Some(whole) if uri.authority().is_none() || whole.as_str() == "*" => Ok(whole.clone()),
        Some(whole) if whole.as_str().starts_with('/') && whole.as_str().len() > 1 => Ok(whole.clone()),
        Some(whole) => {
            let text = whole.as_str();
            let text = if text.starts_with('/') {
                text.to_owned()
            } else {
                format!("/{text}")
            };
            PathAndQuery::try_from(text).map_err(|_| ProxyError::PathBad)
        }
        None => Ok(PathAndQuery::from_static("/")),
    }
}

fn with_path(uri: &Uri, mut path: String) -> Result<Uri, ProxyError> {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| ProxyError::PathBad)?);
    Uri::from_parts(parts).map_err(|_| ProxyError::PathBad)
}

/// Makes the response of an answer: the one place where errors become statuses.
fn respond(
    connection: &Connection,
    answer: Answer,
    method: &Method,
    version: Version,
    mut record: Box<Record>,
) -> Response<ResponseBody> {
    let node = record.listener.node_header.clone();
    let mut response = match answer {
        Answer::Upstream(response, lease) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
            let (mut head, body) = response.into_parts();
            match headers::to_downstream(&mut head.headers) {
                Ok(()) => {
                    head.version = Version::HTTP_11;
                    record.status(head.status);
                    Response::from_parts(head, ResponseBody::upstream(body, lease, record))
                }
                Err(error) => {
                    record.endpoint_failed();
                    // With the lease goes the connection: what follows on it cannot be told apart either.
                    drop((body, lease));
                    refusal(error, None, method, record)
                }
            }
        }
        // Nobody asked for another protocol: Upgrade is not forwarded.
        Answer::Upstream(..) => refusal(ProxyError::UpstreamProtocol, None, method, record),
        Answer::Short(Short::Own(respond)) => own(respond.status, respond.body, method, record),
        Answer::Short(Short::Refused { error, allow }) => refusal(error, allow, method, record),
    };
    if let Some(node) = node {
        response.headers_mut().insert(headers::NODE, node);
    }
    if version != Version::HTTP_2 && connection.is_leaving() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn refusal(
    error: ProxyError,
    allow: Option<HeaderValue>,
    method: &Method,
    mut record: Box<Record>,
) -> Response<ResponseBody> {
    record.fail(error);
    let request_id = record.request_id.clone();
    let text = Bytes::from(format!("{}: {error}\n", error.reason()));
    let mut response = own(error.status(), text, method, record);
    let headers = response.headers_mut();
    headers.insert(headers::REQUEST_ID, request_id);
    if let Some(allow) = allow {
        headers.insert(header::ALLOW, allow);
    }
    response
}

/// A text of our own. To HEAD goes its length alone.
fn own(status: StatusCode, text: Bytes, method: &Method, mut record: Box<Record>) -> Response<ResponseBody> {
    record.status(status);
    let is_bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = HeaderValue::from(text.len());
    let text = if is_bodiless || method == Method::HEAD {
        Bytes::new()
    } else {
        text
    };
    let mut head = response::Response::new(()).into_parts().0;
    head.status = status;
    if !is_bodiless {
        head.headers.insert(header::CONTENT_LENGTH, length);
        head.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
    }
    Response::from_parts(head, ResponseBody::own(text, record))
}
