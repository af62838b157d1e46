//! An upstream: a real HTTP server in a namespace of its own.
//!
//! | request | answer |
//! |---|---|
//! | `GET /readyz` | 200, or 503 while unready |
//! | `GET /bytes/N` | N bytes, streamed |
//! | `POST /sink` | `{ "bytes": N }`, how many were sent |
//! | anything else | the request as JSON: `upstream`, `method`, `path`, `headers` |

use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::addresses::{self, Host, UPSTREAM_PORT};
use super::netns::{Namespace, block_on};

/// What a streamed body is cut into: about what a kernel buffer takes at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// How an upstream answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    /// As the table above says.
    Serving,
    /// `/readyz` says 503; requests are answered all the same.
    Unready,
    /// Every request but `/readyz` gets 500.
    Failing,
}

/// A running server.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    host: Host,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
    namespace: Namespace,
}

#[derive(Debug)]
struct State {
    name: String,
    mood: AtomicU8,
    requests: AtomicU64,
}

impl Upstream {
    /// Starts the server; its socket listens when this returns.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub fn start(index: usize, namespace: Namespace) -> Result<Self> {
        let name = format!("upstream{}", index + 1);
        let state = Arc::new(State {
            name: name.clone(),
            mood: AtomicU8::new(Mood::Serving as u8),
            requests: AtomicU64::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&state);
        let listener = namespace.run(|| -> Result<_> {
            let socket = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, UPSTREAM_PORT))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })?;
        let listener = listener.with_context(|| format!("listen on port {UPSTREAM_PORT} for {name}"))?;
        let thread = namespace.spawn(&name, move || block_on(serve(listener, served, stopped)))?;
        Ok(Self {
            name,
            host: addresses::upstream(index),
            state,
            stop: Some(stop),
            thread: Some(thread),
            namespace,
        })
    }

    /// Its name, which its answers carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens over IPv4.
    pub fn address(&self) -> SocketAddr {
        (self.host.v4, UPSTREAM_PORT).into()
    }

    /// The namespace that it lives in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Changes how it answers from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.state.mood.store(mood as u8, Ordering::Relaxed);
    }

    /// Requests answered so far, without those for `/readyz`.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // The server ends when nobody can tell it to go on any more.
        drop(self.stop.take());
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("lab: {}: {error:#}", self.name);
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    state: Arc<State>,
    mut stopped: oneshot::Receiver<()>,
) -> Result<()> {
    let listener = TcpListener::from_std(listener).context("listen")?;
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.context("accept")?,
            _ = &mut stopped => return Ok(()),
        };
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&state), request));
            let served = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            // A client that goes away in the middle is none of the upstream's business.
            drop(served);
        });
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let mood = state.mood.load(Ordering::Relaxed);
    let path = request.uri().path();
    if path == "/readyz" {
        let unready = mood == Mood::Unready as u8;
        return Ok(status(if unready {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        }));
    }
    state.requests.fetch_add(1, Ordering::Relaxed);
    if mood == Mood::Failing as u8 {
        return Ok(status(StatusCode::INTERNAL_SERVER_ERROR));
    }
    if let Some(count) = path.strip_prefix("/bytes/") {
        return Ok(match count.parse() {
            Ok(left) => Response::new(Zeros { left }.boxed()),
            Err(_) => status(StatusCode::BAD_REQUEST),
        });
    }
    if request.method() == Method::POST && path == "/sink" {
        let mut bytes = 0;
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, Bytes::len);
        }
        return Ok(json(&serde_json::json!({ "bytes": bytes })));
    }
    let headers: serde_json::Map<_, _> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    Ok(json(&serde_json::json!({
        "upstream": state.name,
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map_or("", |path| path.as_str()),
        "headers": headers,
    })))
}

fn status(status: StatusCode) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::new(Full::default().boxed());
    *response.status_mut() = status;
    response
}

fn json(value: &serde_json::Value) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::new(Full::from(value.to_string()).boxed());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

/// A body of zeros that is never whole in memory.
struct Zeros {
    left: usize,
}

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static CHUNK: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];
        let take = self.left.min(CHUNK_BYTES);
        if take == 0 {
            return Poll::Ready(None);
        }
        self.left -= take;
        let (chunk, _) = CHUNK.split_at(take);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
