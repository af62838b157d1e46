//! Talks to the admin API of the running node: one request, one connection.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use gateway::admin::Token;
use gateway::admin::status::ErrorAnswer;
use gateway::admin::token::TokenError;
use gateway::config::snapshot::AdminListen;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// From the start of a request to the end of its answer: a reload of a large file takes some seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer at most: the status of some thousands of endpoints has a few MB.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of a line at most: an event has some hundred.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The running node, from outside.
#[derive(Debug)]
pub struct Client {
    admin: AdminListen,
    token_file: PathBuf,
}

/// Why there is no answer, or which error it was.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "cannot reach the admin API on {admin}: is `gateway run` running? If it listens elsewhere, say where with --admin"
    )]
    Connect {
        /// Where.
        admin: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no token to send.
    #[error("there is no admin token to send: name the file that admin.token_file names, with --token-file")]
    Token(#[source] TokenError),
    /// The token is another one's.
    #[error(
        "the node does not take the admin token in {0}: name the file that its admin.token_file names, with --token-file"
    )]
    Unauthorized(PathBuf),
    /// The new configuration was refused.
    #[error("{0}")]
    Refused(String),
    /// Another error of the node.
    #[error("the node answered {status}: {message}")]
    Answer {
        /// Its status.
        status: StatusCode,
        /// What it said.
        message: String,
    },
    /// What listens there does not speak as the admin API does.
    #[error("what listens on {admin} does not answer as an admin API: say where it is with --admin")]
    Protocol {
        /// Where.
        admin: String,
        /// What was odd.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer broke off.
    #[error("the node's answer broke off: look whether it still runs")]
    CutOff(#[source] hyper::Error),
    /// There was no answer in time.
    #[error("the node gave no answer within {} s: look at its log", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// This process cannot run a client.
    #[error("cannot start a client")]
    Runtime(#[source] io::Error),
}

impl Client {
    /// One for that node; the token is read with each request.
    pub fn new(admin: AdminListen, token_file: PathBuf) -> Self {
        Self { admin, token_file }
    }

    /// Sends a request without a body, and reads the answer's JSON.
    ///
    /// # Errors
    /// Whatever kept the node from doing it, or from being asked.
    pub fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<(T, Value), ClientError> {
        self.send(method, path, Bytes::new())
    }

    /// Sends a request with a body, and reads the answer's JSON.
    ///
    /// # Errors
    /// As of [`Client::ask`].
    pub fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(T, Value), ClientError> {
        self.send_with(method, path, body, &[])
    }

    /// The same with fields of the head.
    ///
    /// # Errors
    /// As of [`Client::ask`].
    pub fn send_with<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        fields: &[(HeaderName, String)],
    ) -> Result<(T, Value), ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let exchange = async { timeout(REQUEST_TIMEOUT, self.exchange(method, path, body, fields)).await };
        let answer = runtime.map_err(ClientError::Runtime)?.block_on(exchange);
        let (status, body) = answer.map_err(|_| ClientError::Timeout)??;
        if status != StatusCode::OK {
            return Err(self.refusal(status, &body));
        }
        let value: Value = serde_json::from_slice(&body).map_err(|source| self.odd(source))?;
        let read = serde_json::from_value(value.clone()).map_err(|source| self.odd(source))?;
        Ok((read, value))
    }

    /// Asks for lines, and gives each, as it comes, to `each`, until that breaks off or they end.
    ///
    /// # Errors
    /// As of [`Client::ask`], and where the lines break off.
    pub fn lines(
        &self,
        path: &str,
        each: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        self.lines_until(path, each, std::future::pending())
    }

    /// The same, and until `stop` is ready, which is looked at within the client's runtime.
    ///
    /// # Errors
    /// As of [`Client::lines`].
    pub fn lines_until(
        &self,
        path: &str,
        each: &mut dyn FnMut(&str) -> ControlFlow<()>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let read = async {
            // The head in time; lines come when something happens.
            let answer = timeout(
                REQUEST_TIMEOUT,
                self.request(Method::GET, path, Bytes::new(), &[]),
            );
            let (_sender, answer) = answer.await.map_err(|_| ClientError::Timeout)??;
            let (head, mut body) = answer.into_parts();
            if head.status != StatusCode::OK {
                let body = self.whole(body).await?;
                return Err(self.refusal(head.status, &body));
            }
            let mut held = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(ClientError::CutOff)?;
                held.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = held.drain(..=end).collect();
                    if each(String::from_utf8_lossy(&line).trim_end()).is_break() {
                        return Ok(());
                    }
                }
                if held.len() > LINE_BYTES_MAX {
                    return Err(self.odd("a line without an end"));
                }
            }
            Ok(())
        };
        runtime.map_err(ClientError::Runtime)?.block_on(async {
            tokio::select! {
                () = stop => Ok(()),
                read = read => read,
            }
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        fields: &[(HeaderName, String)],
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let (_sender, answer) = self.request(method, path, body, fields).await?;
        let status = answer.status();
        Ok((status, self.whole(answer.into_body()).await?))
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|source| ClientError::Protocol {
            admin: self.place(),
            source,
        })?;
        Ok(body.to_bytes())
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        fields: &[(HeaderName, String)],
    ) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>), ClientError> {
        let failed = |source| ClientError::Connect {
            admin: self.place(),
            source,
        };
        match &self.admin {
            AdminListen::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(failed)?;
                self.request_over(stream, method, path, body, fields).await
            }
            AdminListen::Unix(file) => {
                let stream = UnixStream::connect(file).await.map_err(failed)?;
                self.request_over(stream, method, path, body, fields).await
            }
        }
    }

    /// The answer's head; its body comes while the sender and the runtime live.
    async fn request_over<S>(
        &self,
        stream: S,
        method: Method,
        path: &str,
        body: Bytes,
        fields: &[(HeaderName, String)],
    ) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>), ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let token = Token::load(&self.token_file).map_err(ClientError::Token)?;
        let mut request = Request::builder();
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let request = request
            .method(method)
            .uri(path)
            .header(HOST, "gateway-admin")
            .header(AUTHORIZATION, format!("Bearer {}", token.secret()))
            .body(Full::new(body))
            .map_err(|source| self.odd(source))?;
        let (mut sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|source| self.odd(source))?;
        // What fails here fails the answer too, which says so.
        tokio::spawn(async move { drop(connection.await) });
        let answer = sender
            .send_request(request)
            .await
            .map_err(|source| self.odd(source))?;
        Ok((sender, answer))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ClientError {
        if status == StatusCode::UNAUTHORIZED {
            return ClientError::Unauthorized(self.token_file.clone());
        }
        match serde_json::from_slice::<ErrorAnswer>(body) {
            Ok(ErrorAnswer { error }) if error.code == "configuration_refused" => {
                ClientError::Refused(error.message)
            }
            Ok(ErrorAnswer { error }) => ClientError::Answer {
                status,
                message: error.message,
            },
            Err(source) => self.odd(source),
        }
    }

    fn odd<E: Into<Box<dyn std::error::Error + Send + Sync>>>(&self, source: E) -> ClientError {
        ClientError::Protocol {
            admin: self.place(),
            source: source.into(),
        }
    }

    fn place(&self) -> String {
        match &self.admin {
            AdminListen::Tcp(address) => address.to_string(),
            AdminListen::Unix(file) => format!("unix:{}", file.display()),
        }
    }
}
