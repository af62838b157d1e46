//! One HTTP/1.1 connection of the client, with a record for all that happens to it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::journal::{ConnectionId, Failure, Journal, Record, Step};
use super::{CONNECT_TIMEOUT, REQUEST_TIMEOUT};
use crate::lab::exchange::connect;

/// The header in which a node names itself.
pub const NODE_HEADER: &str = "x-gateway-node";

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    journal: Arc<Journal>,
    id: ConnectionId,
    opened: Instant,
    host: String,
    sender: SendRequest<Empty<Bytes>>,
    pump: JoinHandle<hyper::Result<()>>,
    node: Option<Arc<str>>,
}

/// Whether a connection can take another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It was answered.
    Open,
    /// It is of no use any more.
    Ended,
}

impl Connection {
    /// Opens a connection, from the address `source` where given, and records the attempt.
    pub async fn open(journal: &Arc<Journal>, target: SocketAddr, source: Option<IpAddr>) -> Option<Self> {
        let id = journal.new_connection();
        let opened = Instant::now();
        let source = source.map(|address| SocketAddr::new(address, 0));
        let attempt = async {
            let stream = connect(target, source).await.map_err(|error| of_io(&error))?;
            handshake(TokioIo::new(stream))
                .await
                .map_err(|error| of_hyper(&error))
        };
        let outcome = timeout(CONNECT_TIMEOUT, attempt)
            .await
            .unwrap_or(Err(Failure::TimedOut));
        let (halves, outcome) = match outcome {
            Ok(halves) => (Some(halves), Ok(())),
            Err(failure) => (None, Err(failure)),
        };
        journal.add(Record {
            connection: id,
            opened,
            step: Step::Connect,
            node: None,
            started: opened,
            ended: Instant::now(),
            outcome,
        });
        let (sender, connection) = halves?;
        Some(Self {
            journal: Arc::clone(journal),
            id,
            opened,
            host: target.to_string(),
            sender,
            pump: tokio::spawn(connection),
            node: None,
        })
    }

    /// Sends a GET, waits for the whole answer and records what came of it.
    pub async fn get(&mut self, path: &str) -> After {
        let started = Instant::now();
        let exchanged = timeout(REQUEST_TIMEOUT, self.exchange(path)).await;
        match exchanged.unwrap_or(Err(Broken::Failed(Failure::TimedOut))) {
            Ok(node) => {
                let outcome = match (&self.node, &node) {
                    (Some(before), Some(now)) if before != now => Err(Failure::Moved),
                    _ => Ok(()),
                };
                self.node = node.or(self.node.take());
                self.record(Step::Request, started, outcome);
                After::Open
            }
            Err(Broken::Answered(status, node)) => {
                self.node = node.or(self.node.take());
                self.record(Step::Request, started, Err(Failure::Status(status)));
                After::Open
            }
            Err(Broken::Failed(failure)) => {
                self.record(Step::Request, started, Err(failure));
                After::Ended
            }
            Err(Broken::NotSent) => {
                // The other side closed before we asked, as it may; how, its own task knows.
                let failure = match (&mut self.pump).await {
                    Ok(Err(error)) => of_hyper(&error),
                    _ => Failure::Closed,
                };
                self.record(Step::Idle, started, Err(failure));
                After::Ended
            }
        }
    }

    /// The node that it ended on, once an answer has told.
    pub fn node(&self) -> Option<&Arc<str>> {
        self.node.as_ref()
    }

    async fn exchange(&mut self, path: &str) -> Result<Option<Arc<str>>, Broken> {
        self.sender.ready().await.map_err(|_| Broken::NotSent)?;
        let request = Request::get(path)
            .header("host", &self.host)
            .header("x-request-id", self.id.request_id())
            .body(Empty::new())
            .map_err(|error| Broken::Failed(Failure::Other(error.to_string())))?;
        let response = self.sender.try_send_request(request).await.map_err(|error| {
            if error.message().is_some() {
                Broken::NotSent
            } else {
                Broken::Failed(of_hyper(error.error()))
            }
        })?;
        let (status, node) = (response.status(), node_of(&response));
        response
            .into_body()
            .collect()
            .await
            .map_err(|error| Broken::Failed(of_hyper(&error)))?;
        if status.is_success() {
            Ok(node)
        } else {
            Err(Broken::Answered(status.as_u16(), node))
        }
    }

    fn record(&self, step: Step, started: Instant, outcome: Result<(), Failure>) {
        self.journal.add(Record {
            connection: self.id,
            opened: self.opened,
            step,
            node: self.node.clone(),
            started,
            ended: Instant::now(),
            outcome,
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Why a request got no good answer.
enum Broken {
    /// The connection was closed before the request left.
    NotSent,
    /// An answer came, other than 2xx.
    Answered(u16, Option<Arc<str>>),
    /// No answer came.
    Failed(Failure),
}

fn node_of(response: &Response<Incoming>) -> Option<Arc<str>> {
    response.headers().get(NODE_HEADER)?.to_str().ok().map(Arc::from)
}

/// How an error of a socket looks to the client.
pub(super) fn of_io(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            Failure::Reset
        }
        io::ErrorKind::TimedOut => Failure::TimedOut,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Failure::Unreachable,
        io::ErrorKind::UnexpectedEof => Failure::Closed,
        _ => Failure::Other(error.to_string()),
    }
}

fn of_hyper(error: &hyper::Error) -> Failure {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return of_io(io);
        }
        source = inner.source();
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return Failure::Closed;
    }
    Failure::Other(error.to_string())
}
