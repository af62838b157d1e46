//! Where a message ends: what is sent on is framed anew, and what cannot be told apart is refused.

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::*;
use crate::config::snapshot::UpstreamProtocol;

/// A body whose length nobody knows before its end: trailers follow it.
fn unknown_length(text: &'static str) -> Body {
    full(Bytes::from_static(text.as_bytes()))
        .with_trailers(async { Some(Ok(HeaderMap::new())) })
        .boxed()
}

/// What an HTTP/1 client gets that sends these bytes and then reads to the end.
async fn raw(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_of_unknown_length_arrives_whole_with_any_method() {
    let echo = Server::echo().await;
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let gateway = Gateway::start(&Setup {
            protocol,
            ..Setup::new(1, &[echo.address])
        });
        for method in ["GET", "DELETE", "OPTIONS", "POST", "PUT"] {
            let request = format!(
                "{method} /up HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
            );
            let answer = raw(gateway.address(), &request).await;
            assert!(answer.contains("body 6\n"), "{method} by HTTP/1: {answer}");
            let mut client = Client::http2(gateway.address()).await;
            let request = client
                .request(method, "/up")
                .body(unknown_length("hello!"))
                .unwrap();
            let answer = client.ask(request).await.unwrap();
            assert!(
                answer.text().ends_with("body 6\n"),
                "{method} by HTTP/2: {}",
                answer.text()
            );
        }
    }
}

#[tokio::test]
async fn a_known_length_stays_and_no_body_gets_no_framing() {
    let echo = Server::echo().await;
    let gateway = Gateway::start(&Setup::new(1, &[echo.address]));
    for mut client in [
        Client::http1(gateway.address()).await,
        Client::http2(gateway.address()).await,
    ] {
        for method in ["GET", "DELETE"] {
            let request = client.request(method, "/up").body(full("hello")).unwrap();
            let answer = client.ask(request).await.unwrap();
            let text = answer.text();
            assert!(text.contains("content-length: 5\n"), "{method}: {text}");
            assert!(!text.contains("transfer-encoding"), "{method}: {text}");
            assert!(text.ends_with("body 5\n"), "{method}: {text}");
        }
        let answer = client.get("/up").await.unwrap();
        let text = answer.text();
        for framing in ["content-length", "transfer-encoding"] {
            assert!(!text.contains(framing), "{framing} in {text}");
        }
    }
}
