//! A check over HTTP: one request, the status of its answer.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioExecutor;

use super::{Fault, Question, authority, connect, until_answered};
use crate::config::snapshot::{CheckMethod, HttpCheck, UpstreamProtocol};
use crate::tls::Security;

/// What checks say that they are.
pub(super) const USER_AGENT: HeaderValue = HeaderValue::from_static("gateway-health/1");

/// Passes where the status is one of those wanted.
pub(super) async fn ask(question: &Question, check: &HttpCheck) -> Result<(), Fault> {
    let authority = authority(question, check.host.as_deref());
    let method = match check.method {
        CheckMethod::Get => Method::GET,
        CheckMethod::Head => Method::HEAD,
        CheckMethod::Options => Method::OPTIONS,
    };
    let request = Request::builder()
        .method(method)
        .header(header::USER_AGENT, USER_AGENT);
    let status = match check.protocol {
        UpstreamProtocol::Http1 => {
            let request = request
                .uri(&check.path)
                .header(header::HOST, authority)
                .header(header::CONNECTION, HeaderValue::from_static("close"))
                .body(Empty::<Bytes>::new())
                .map_err(Fault::Request)?;
            let io = connect(question, UpstreamProtocol::Http1).await?;
            let (mut sender, connection) = http1::handshake(io).await.map_err(Fault::Http)?;
            let answered = async { sender.send_request(request).await.map_err(Fault::Http) };
            until_answered(connection, answered).await?.status()
        }
        UpstreamProtocol::Http2 => {
            let uri = Uri::builder()
                .scheme(match question.security {
                    Security::Plain => "http",
                    Security::Tls => "https",
                })
                .authority(authority)
                .path_and_query(&check.path)
                .build()
                .map_err(Fault::Request)?;
            let request = request
                .uri(uri)
                .body(Empty::<Bytes>::new())
                .map_err(Fault::Request)?;
            let io = connect(question, UpstreamProtocol::Http2).await?;
            let handshake = http2::handshake(TokioExecutor::new(), io).await;
            let (mut sender, connection) = handshake.map_err(Fault::Http)?;
            let answered = async { sender.send_request(request).await.map_err(Fault::Http) };
            until_answered(connection, answered).await?.status()
        }
    };
    if check.statuses.contains(status) {
        Ok(())
    } else {
        Err(Fault::Status(status))
    }
}
