//! Clients and servers of both versions, made of hyper, for what passes whole; bytes are chosen in `raw`, `recorder`.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, request};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use gateway_tests::servers::http as servers;

use super::gateway::Speaks;

pub use gateway_tests::servers::http::{Body, Fault, empty, full};

/// The longest pattern.
pub const PATTERN_BYTES_MAX: usize = 10 << 20;

/// Frames of a fed body that may wait.
const FED_FRAMES: usize = 1;

/// What a pattern is cut into; odd, so that it never falls in with a buffer's size.
const PIECE_BYTES: usize = 16_381;

/// Whether a body tells its length beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// By Content-Length.
    Told,
    /// Not at all: chunked in HTTP/1.
    Untold,
}

/// Bytes that differ from place to place, so that one lost or doubled shows.
pub fn pattern(size: usize) -> Bytes {
    static ALL: OnceLock<Bytes> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let mut state = 1_u32;
        let words = (0..PATTERN_BYTES_MAX / 4).flat_map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 4).to_le_bytes()
        });
        words.collect()
    });
    all.slice(..size)
}

/// The beginning of the pattern as a body in pieces.
pub fn patterned(size: usize, length: Length) -> Body {
    let left = pattern(size);
    Patterned { left, length }.boxed_unsync()
}

struct Patterned {
    left: Bytes,
    length: Length,
}

impl HttpBody for Patterned {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.left.len().min(PIECE_BYTES);
        let piece = self.left.split_to(size);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.length == Length::Told && self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Length::Told => SizeHint::with_exact(self.left.len() as u64),
            Length::Untold => SizeHint::default(),
        }
    }
}

/// What feeds a body: each frame when the test wants it; an error breaks it off, and dropping this ends it.
pub type Feed = mpsc::Sender<Result<Frame<Bytes>, Fault>>;

/// A body of unknown length, and what feeds it. [`Feed::closed`] tells that nobody wants it any more.
pub fn fed() -> (Feed, Body) {
    let (feed, frames) = mpsc::channel(FED_FRAMES);
    (feed, Fed(frames).boxed_unsync())
}

/// A frame of data for a [`Feed`].
pub fn data(bytes: impl Into<Bytes>) -> Result<Frame<Bytes>, Fault> {
    Ok(Frame::data(bytes.into()))
}

/// What breaks a body off.
pub fn broken() -> Result<Frame<Bytes>, Fault> {
    Err(Box::new(Broken))
}

#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken off by the test")
    }
}

impl Error for Broken {}

struct Fed(mpsc::Receiver<Result<Frame<Bytes>, Fault>>);

impl HttpBody for Fed {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.0.poll_recv(context)
    }
}

/// A client with one connection.
pub struct Client {
    sender: Sender,
    local: SocketAddr,
}

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

impl Client {
    /// Connects and speaks that version.
    pub async fn connect(address: SocketAddr, speaks: Speaks) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let local = stream.local_addr().expect("its address");
        let stream = TokioIo::new(stream);
        let sender = match speaks {
            Speaks::Http1 => {
                let (sender, connection) = http1::handshake(stream).await.expect("a handshake");
                tokio::spawn(async move { drop(connection.with_upgrades().await) });
                Sender::One(sender)
            }
            Speaks::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
                    .await
                    .expect("a handshake");
                tokio::spawn(async move { drop(connection.await) });
                Sender::Two(sender)
            }
        };
        Self { sender, local }
    }

    /// This side's address, by which the access log knows it.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// A request of that path, as this client's version wants it.
    pub fn request(&self, method: &str, path: &str) -> request::Builder {
        let builder = Request::builder().method(method);
        match self.sender {
            Sender::One(_) => builder.uri(path).header("host", "a.example"),
            Sender::Two(_) => builder.uri(format!("http://a.example{path}")),
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&mut self, request: Request<Body>) -> hyper::Result<Response<Bytes>> {
        let (head, body) = self.send(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

/// A server of both versions. Its connections end with it.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    _server: servers::Server,
}

impl Server {
    /// Answers each request by `answer`.
    pub async fn start<A, F>(answer: A) -> Self
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let server = servers::Server::start((Ipv4Addr::LOCALHOST, 0).into(), answer).await;
        let server = server.expect("a socket");
        Self {
            address: server.address,
            _server: server,
        }
    }
}

/// A server whose answers are event streams that go on until their feeds are dropped, and the feeds.
pub async fn feeding() -> (Server, mpsc::UnboundedReceiver<Feed>) {
    let (tell, feeds) = mpsc::unbounded_channel::<Feed>();
    let server = Server::start(move |_: Request<Incoming>| {
        let tell = tell.clone();
        async move {
            let (feed, body) = fed();
            drop(tell.send(feed));
            let mut response = Response::new(body);
            let kind = http::HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert("content-type", kind);
            response
        }
    })
    .await;
    (server, feeds)
}
