//! One request as a client makes it, by either kind of load, and whether the answer is good.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::servers::sick::{KILOBYTE_PATH, WELL};

/// The method that is called: its path in gRPC.
const METHOD_PATH: &str = "/shop.Orders/Get";

/// Longest wait of a client; a proxy gives up before.
const PATIENCE: Duration = Duration::from_secs(5);

/// What clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// `GET` of a kilobyte by HTTP/1.1.
    Get,
    /// A unary gRPC call.
    Call,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The good answer, whole.
    Good,
    /// A whole answer with another status.
    Status(u16),
    /// A gRPC code other than 0; none at all is 2 (unknown).
    Code(u16),
    /// A whole answer with another body.
    WrongBody,
    /// No answer, or one that broke off.
    Broken,
    /// No whole answer in time.
    TimedOut,
    /// No connection.
    NoConnection,
}

/// A connection to the proxy.
#[derive(Debug)]
pub enum Connection {
    /// One request at a time.
    One(http1::SendRequest<Full<Bytes>>),
    /// Many.
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    /// [`Outcome::NoConnection`].
    pub async fn open(proxy: SocketAddr, asks: Asks) -> Result<Self, Outcome> {
        let opened = async {
            let stream = TcpStream::connect(proxy).await.ok()?;
            stream.set_nodelay(true).ok()?;
            let stream = TokioIo::new(stream);
            Some(match asks {
                Asks::Get => {
                    let (sender, connection) = http1::handshake(stream).await.ok()?;
                    tokio::spawn(connection);
                    Self::One(sender)
                }
                Asks::Call => {
                    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.ok()?;
                    tokio::spawn(connection);
                    Self::Two(sender)
                }
            })
        };
        match timeout(PATIENCE, opened).await {
            Ok(Some(connection)) => Ok(connection),
            _ => Err(Outcome::NoConnection),
        }
    }

    /// Another handle of it, where it takes many requests.
    pub fn shared(&self) -> Option<Self> {
        match self {
            Self::One(_) => None,
            Self::Two(sender) => Some(Self::Two(sender.clone())),
        }
    }

    /// Whether it is known to take no more requests.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::Two(sender) => sender.is_closed(),
        }
    }

    /// Asks once.
    pub async fn ask(&mut self, proxy: SocketAddr) -> Outcome {
        timeout(PATIENCE, self.exchange(proxy))
            .await
            .map_or(Outcome::TimedOut, |outcome| outcome.unwrap_or(Outcome::Broken))
    }

    async fn exchange(&mut self, proxy: SocketAddr) -> Option<Outcome> {
        let (response, asks) = match self {
            Self::One(sender) => {
                let request = Request::get(KILOBYTE_PATH)
                    .header("host", proxy.to_string())
                    .body(Full::default())
                    .ok()?;
                sender.ready().await.ok()?;
                (sender.send_request(request).await.ok()?, Asks::Get)
            }
            Self::Two(sender) => {
                let request = Request::post(format!("http://{proxy}{METHOD_PATH}"))
                    .header(CONTENT_TYPE, "application/grpc")
                    .header(TE, "trailers")
                    // An empty message: no compression, no bytes.
                    .body(Full::new(Bytes::from_static(&[0; 5])))
                    .ok()?;
                sender.ready().await.ok()?;
                (sender.send_request(request).await.ok()?, Asks::Call)
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.ok()?;
        let code = code(&head.headers).or_else(|| body.trailers().and_then(code));
        Some(judge(asks, head.status.as_u16(), code, &body.to_bytes()))
    }
}

fn code(fields: &HeaderMap<HeaderValue>) -> Option<u16> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// What a whole answer is.
fn judge(asks: Asks, status: u16, code: Option<u16>, body: &[u8]) -> Outcome {
    if status != 200 {
        return Outcome::Status(status);
    }
    let is_right = match asks {
        Asks::Get => {
            body.len() == 256 * WELL.len() && body.chunks(WELL.len()).all(|part| part == WELL.as_bytes())
        }
        Asks::Call => match code.unwrap_or(2) {
            0 => body == [0; 5],
            code => return Outcome::Code(code),
        },
    };
    if is_right {
        Outcome::Good
    } else {
        Outcome::WrongBody
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_good_only_with_status_code_and_body() {
        let kilobyte = WELL.repeat(256).into_bytes();
        let rows = [
            (Asks::Get, 200, None, &kilobyte[..], Outcome::Good),
            (Asks::Get, 200, None, &kilobyte[4..], Outcome::WrongBody),
            (Asks::Get, 500, None, &kilobyte[..], Outcome::Status(500)),
            (Asks::Call, 200, Some(0), &[0; 5], Outcome::Good),
            (Asks::Call, 200, Some(0), &[], Outcome::WrongBody),
            (Asks::Call, 200, Some(14), &[], Outcome::Code(14)),
            (Asks::Call, 200, None, &[0; 5], Outcome::Code(2)),
        ];
        for (asks, status, code, body, expected) in rows {
            assert_eq!(judge(asks, status, code, body), expected);
        }
    }
}
