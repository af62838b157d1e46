//! Where a message ends: what is sent on is framed anew, and what cannot be told apart is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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

/// An endpoint that answers each request on a connection with the same bytes, and counts its connections.
async fn always(response: &'static str) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    if stream.write_all(response.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn a_response_whose_end_is_doubtful_is_502_and_ends_its_connection() {
    let rows = [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
    ];
    for response in rows {
        let (address, connections) = always(response).await;
        let gateway = Gateway::start(&Setup::new(1, &[address]));
        for count in 1..=2 {
            let answer = get(gateway.address(), "/up").await;
            assert_eq!(answer.status, 502, "{response:?}");
            assert!(answer.text().starts_with("upstream-protocol: "), "{response:?}");
            assert_eq!(connections.load(Ordering::Relaxed), count, "{response:?}");
        }
        let lines = gateway.lines(2).await;
        assert!(
            lines[0].contains("status=502 reason=upstream-protocol fault=upstream"),
            "{}",
            lines[0]
        );
        assert_eq!(gateway.state(address).failures.load(Ordering::Relaxed), 2);
    }
    let (address, connections) =
        always("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let gateway = Gateway::start(&Setup::new(1, &[address]));
    for _ in 0..2 {
        assert_eq!(get(gateway.address(), "/up").await.text(), "ok");
    }
    assert_eq!(
        connections.load(Ordering::Relaxed),
        1,
        "a plain one is used again"
    );
}

#[tokio::test]
async fn interim_answers_go_no_further_and_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        loop {
            let mut head = [0; 4096];
            if stream.read(&mut head).await.unwrap() == 0 {
                return;
            }
            let answer = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
                HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
        }
    });
    let gateway = Gateway::start(&Setup::new(1, &[address]));
    let mut client = Client::http1(gateway.address()).await;
    for count in [2, 4] {
        let answer = client.get("/up").await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "ok"));
        assert_eq!(gateway.shared.metrics.workers()[0].interim.get(), count);
    }
}
