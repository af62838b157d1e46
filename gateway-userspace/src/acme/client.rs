//! How the crate's requests reach the authority: each over a connection of its own, made as all of the control side's are.
//!
//! The crate's own client would ask the system's resolver and believe the system's roots; here the configured servers and
//! `acme.ca_file` hold.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::time::timeout;

use crate::fetch;
use crate::names::Asker;
use crate::retry_after::retry_after;
use crate::tls::ClientTls;

/// One request may take so long: authorities answer within a second, and some make a client wait.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// What the gateway says that it is (RFC 8555, section 6.1).
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("gateway/", env!("CARGO_PKG_VERSION"), " instant-acme"));
/// What failures are written in (RFC 9457).
const PROBLEM: &[u8] = b"application/problem+json";

/// Why there is no answer that the crate could read.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// RFC 8555, section 6.1, wants TLS; a directory that names other URLs is not followed.
    #[error("{0} is no https URL")]
    Plain(String),
    /// Nothing in time.
    #[error("no answer within {REQUEST_MAX:?}")]
    Late,
    /// A failure without a problem document: of a proxy in between, say.
    #[error("answered {0}")]
    Status(StatusCode),
}

/// A client of one authority; all clones are one.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    names: Asker,
    tls: Arc<ClientTls>,
    /// How long the authority asks to be left alone, if it does.
    retry_after: Mutex<Option<Duration>>,
}

impl Client {
    /// Asks nobody yet.
    pub fn new(names: Asker, tls: Arc<ClientTls>) -> Self {
        Self(Arc::new(Inner {
            names,
            tls,
            retry_after: Mutex::default(),
        }))
    }

    /// How long the authority asked to be left alone with its last refusal; it is told once.
    pub fn take_retry_after(&self) -> Option<Duration> {
        let mut asked = self.0.retry_after.lock().unwrap_or_else(PoisonError::into_inner);
        asked.take()
    }

    async fn send(&self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let other = |fault: Fault| Error::Other(Box::new(fault));
        if request.uri().scheme_str() != Some("https") {
            return Err(other(Fault::Plain(request.uri().to_string())));
        }
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        let answered = timeout(
            REQUEST_MAX,
            fetch::send(request, Some(&self.0.tls), &self.0.names),
        );
        let answered = answered.await.map_err(|_| other(Fault::Late))?;
        let response = answered.map_err(|fault| Error::Other(Box::new(fault)))?;
        let (status, headers) = (response.status(), response.headers());
        if status.is_client_error() || status.is_server_error() {
            let asked = retry_after(headers, SystemTime::now);
            *self.0.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = asked;
            let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
            if !kind.is_some_and(|kind| kind.starts_with(PROBLEM)) {
                return Err(other(Fault::Status(status)));
            }
        }
        Ok(BytesResponse::from(response.map(Full::new)))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move { client.send(request).await })
    }
}
