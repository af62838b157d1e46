//! One endpoint asked once, in one way, within a time: did it pass, and if not, why?
//!
//! Always by a new connection: a check that reuses one does not notice that an endpoint takes no new ones.

mod command;
mod grpc;
mod http;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::reason::Reason;
use crate::config::snapshot::{Check, CheckMethod, HttpCheck, Kind, Statuses, UpstreamProtocol, Way};
use crate::proxy_protocol;
use crate::registry::Channel;
use crate::tls::{ClientStream, ClientTls, Security};

/// Who is asked, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) upstream: String,
    pub(super) endpoint: SocketAddr,
    /// The host name that the endpoint came from.
    pub(super) host: Option<String>,
    /// What is spoken to it over the first way.
    pub(super) protocol: UpstreamProtocol,
    /// How TLS is spoken over those ways that have it.
    pub(super) tls: Option<Arc<ClientTls>>,
    /// Whether the first has it; of a question over another way, whether that has.
    pub(super) security: Security,
    /// The header that connections to it begin with.
    pub(super) proxy_header: Option<proxy_protocol::Version>,
    /// Other ways to it.
    pub(super) channels: Arc<[Channel]>,
    pub(super) kind: Kind,
    pub(super) check: Check,
}

impl Question {
    /// The way in that place: 0 is the first.
    pub(super) fn channel(&self, position: usize) -> Channel {
        let other = position.checked_sub(1).and_then(|index| self.channels.get(index));
        other.copied().unwrap_or(Channel {
            address: self.endpoint,
            protocol: self.protocol,
            security: self.security,
        })
    }

    /// The same, asked over another way than the first; `None`: over the first, or not over the endpoint's ways at all.
    fn over(&self, channel: Channel) -> Option<Self> {
        let is_first = channel == self.channel(0);
        if is_first || matches!(self.check.way, Way::Command { .. }) {
            return None;
        }
        let mut question = self.clone();
        question.endpoint = channel.address;
        question.security = channel.security;
        if let Way::Http(check) = &mut question.check.way
            && check.protocol == self.protocol
        {
            check.protocol = channel.protocol;
        }
        Some(question)
    }
}

/// Why an endpoint did not pass.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// No connection.
    #[error("connecting failed: {0}")]
    Connect(#[source] std::io::Error),
    /// No TLS on it.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] std::io::Error),
    /// No answer that can be read.
    #[error("no answer: {0}")]
    Http(#[source] hyper::Error),
    /// An answer that says no.
    #[error("answered {0}")]
    Status(StatusCode),
    /// Nothing in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// What the configuration asks for cannot be asked.
    #[error("the request cannot be made: {0}")]
    Request(#[source] ::http::Error),
    /// An answer that is no gRPC.
    #[error("answered no gRPC: {0}")]
    NoGrpc(String),
    /// A gRPC error.
    #[error("answered grpc-status {status} ({name}){message}", name = grpc::status_name(*.status))]
    Grpc {
        /// Its code.
        status: u32,
        /// What it said, after a colon, or nothing.
        message: String,
    },
    /// A gRPC health that is not serving.
    #[error("is {0}")]
    NotServing(&'static str),
    /// The command cannot be run.
    #[error("the command cannot be run: {0}")]
    Spawn(#[source] std::io::Error),
    /// The command said no.
    #[error("the command ended with {status}{output}")]
    Command {
        /// As the system says it.
        status: std::process::ExitStatus,
        /// Its first line, after a colon, or nothing.
        output: String,
    },
}

impl Fault {
    /// Whether the way to the endpoint may be at fault: there was no answer at all.
    pub(super) fn is_of_communication(&self) -> bool {
        matches!(
            self,
            Self::Connect(_) | Self::Tls(_) | Self::Http(_) | Self::Timeout(_)
        )
    }

    /// For people and for counters.
    pub(super) fn reason(&self) -> Reason {
        let code = match self {
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Http(_) => "http",
            Self::Status(_) => "status",
            Self::Timeout(_) => "timeout",
            Self::Request(_) => "request",
            Self::NoGrpc(_) => "no-grpc",
            Self::Grpc { .. } => "grpc-status",
            Self::NotServing(_) => "not-serving",
            Self::Spawn(_) => "command-not-run",
            Self::Command { .. } => "command-failed",
        };
        Reason::new(code, self.to_string())
    }
}

/// Whether an endpoint can be reached over that way: any answer to `OPTIONS *` will do, for it is the communication that is
/// asked about, not the service.
///
/// # Errors
/// Why not.
///
/// # Cancel safety
/// May be dropped: the connection closes.
pub async fn reaches(
    channel: Channel,
    host: Option<&str>,
    tls: Option<Arc<ClientTls>>,
    limit: Duration,
) -> Result<(), String> {
    let check = HttpCheck {
        path: "*".to_owned(),
        method: CheckMethod::Options,
        host: None,
        statuses: Statuses(vec![(0, u16::MAX)]),
        protocol: channel.protocol,
    };
    let question = Question {
        upstream: String::new(),
        endpoint: channel.address,
        host: host.map(str::to_owned),
        protocol: channel.protocol,
        tls,
        security: channel.security,
        proxy_header: None,
        channels: Arc::default(),
        kind: Kind::Heartbeat,
        check: Check {
            way: Way::Http(check),
            port: None,
            interval: limit,
            timeout: limit,
            rise: 1,
            fall: 1,
        },
    };
    probe(&question).await.map_err(|fault| fault.to_string())
}

/// Asks that endpoint once, over that way.
///
/// # Cancel safety
/// May be dropped: connections close, and a command is killed.
pub(super) async fn probe_over(question: &Question, channel: Channel) -> Result<(), Fault> {
    match question.over(channel) {
        Some(other) => probe(&other).await,
        None => probe(question).await,
    }
}

async fn probe(question: &Question) -> Result<(), Fault> {
    let limit = question.check.timeout;
    let asked = async {
        match &question.check.way {
            Way::Http(check) => http::ask(question, check).await,
            Way::Tcp => reach(question).await.map(drop),
            Way::Grpc { service, host } => grpc::ask(question, service, host.as_deref()).await,
            Way::Command { program, arguments } => command::run(question, program, arguments).await,
        }
    };
    timeout(limit, asked).await.map_err(|_| Fault::Timeout(limit))?
}

/// A connection to what is asked. Where the endpoint's own begin with a header of the PROXY protocol, this one does, too, and
/// says that it is for nobody; another port of it is another service.
async fn reach(question: &Question) -> Result<TcpStream, Fault> {
    let target = question.check.target(question.endpoint);
    let mut stream = TcpStream::connect(target).await.map_err(Fault::Connect)?;
    if let Some(version) = question.proxy_header
        && target == question.endpoint
    {
        let header = proxy_protocol::header(version, None);
        stream.write_all(&header).await.map_err(Fault::Connect)?;
    }
    Ok(stream)
}

/// A connection on which that is spoken; with TLS where the way has it.
async fn connect(question: &Question, protocol: UpstreamProtocol) -> Result<TokioIo<ClientStream>, Fault> {
    let stream = reach(question).await?;
    let stream = match (question.security, &question.tls) {
        (Security::Plain, _) => ClientStream::Plain(stream),
        (Security::Tls, Some(tls)) => {
            let host = question.host.as_deref();
            let secured = tls.connect(stream, host, question.endpoint.ip(), protocol).await;
            secured.map_err(Fault::Tls)?
        }
        (Security::Tls, None) => return Err(Fault::Tls(std::io::ErrorKind::Unsupported.into())),
    };
    Ok(TokioIo::new(stream))
}

/// What is sent as `Host`: what the check says, else the name that the endpoint came from, else its address.
fn authority(question: &Question, given: Option<&str>) -> String {
    let target = question.check.target(question.endpoint);
    match (given, &question.host) {
        (Some(given), _) => given.to_owned(),
        (None, Some(host)) => format!("{host}:{}", target.port()),
        (None, None) => target.to_string(),
    }
}

/// Drives a connection until the exchange over it is done; both end with it.
async fn until_answered<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    exchange: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answered = &mut exchange => answered,
        ended = connection => {
            ended.map_err(Fault::Http)?;
            // It closed in order: what it read is with the answer.
            exchange.await
        }
    }
}
