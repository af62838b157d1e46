//! Bounds: idle connections, connections in all, pipelines, streams that are reset.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use super::harness::*;

#[tokio::test]
async fn idle_connections_to_an_endpoint_are_bounded_per_node() {
    // Answers only when six wait, so that each has a connection of its own.
    let barrier = Arc::new(Barrier::new(6));
    let server = Server::start(move |_| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            http::Response::new(full("a"))
        }
    })
    .await;
    let setup = Setup {
        idle_per_endpoint: 2,
        ..Setup::new(1, &[server.address])
    };
    let gateway = Gateway::start(&setup);
    let address = gateway.address();
    for _ in 0..2 {
        let all: Vec<_> = (0..6)
            .map(|_| tokio::spawn(async move { get(address, "/up").await.status }))
            .collect();
        for one in all {
            assert_eq!(one.await.unwrap(), 200);
        }
    }
    // Six at first; two stayed idle, so four more the second time.
    assert_eq!(server.connections(), 10);
}

#[tokio::test]
async fn connections_beyond_the_most_wait_and_are_served_when_one_ends() {
    let gateway = Gateway::start_with(&Setup::new(1, &[]), 2);
    let address = gateway.address();
    let (mut one, mut two) = (Client::http1(address).await, Client::http1(address).await);
    assert_eq!(
        (
            one.get("/own").await.unwrap().status,
            two.get("/own").await.unwrap().status
        ),
        (200, 200)
    );
    let third = tokio::spawn(async move { get(address, "/own").await.status });
    let full = || gateway.shared.metrics.workers()[0].full.get();
    wait_until("the worker is full", || full() > 0).await;
    assert_eq!(gateway.shared.metrics.connections_open(), 2);
    drop(one);
    assert_eq!(third.await.unwrap(), 200);
}

#[tokio::test]
async fn a_panic_ends_its_connection_or_stream_alone_and_is_counted_and_logged() {
    let gateway = Gateway::start(&Setup::new(1, &[]));
    let mut other = Client::http1(gateway.address()).await;
    assert_eq!(other.get("/own").await.unwrap().status, 200);
    for mut client in [
        Client::http1(gateway.address()).await,
        Client::http2(gateway.address()).await,
    ] {
        let request = client.request("GET", "/own").header("x-test-panic", "1");
        assert!(client.ask(request.body(full("")).unwrap()).await.is_err());
        if let Client::Two(_) = client {
            assert_eq!(
                client.get("/own").await.unwrap().status,
                200,
                "a stream's panic ends that stream"
            );
        }
    }
    assert_eq!(other.get("/own").await.unwrap().status, 200);
    let lines = gateway.lines(5).await;
    let panics = lines
        .iter()
        .filter(|line| line.contains("status=- reason=panic fault=internal"));
    assert_eq!(panics.count(), 2, "{lines:#?}");
    assert_eq!(gateway.shared.metrics.panics(), 2);
    assert_eq!(gateway.workers.dead(), 0);
    wait_until("the panicked connection is gone", || {
        gateway.shared.metrics.connections_open() <= 2
    })
    .await;
}

#[tokio::test]
async fn bytes_that_are_no_http_have_a_line_and_are_counted() {
    let gateway = Gateway::start(&Setup::new(1, &[]));
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream
        .write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let line = gateway.lines(1).await.remove(0);
    assert!(
        line.contains("status=400 reason=control-character fault=downstream"),
        "{line}"
    );
    assert!(line.contains(r#"method=- host=- path="\x16\x03"#), "{line}");
    let counters = &gateway.shared.metrics.workers()[0];
    let counted = counters.refused.iter().map(|cell| cell.get()).sum::<u64>();
    assert_eq!((counted, counters.unreadable.get()), (1, 0));
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order() {
    let echo = Server::echo().await;
    let gateway = Gateway::start(&Setup::new(1, &[echo.address]));
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream
        .write_all(
            b"GET /up/1 HTTP/1.1\r\nhost: a\r\n\r\nGET /own HTTP/1.1\r\nhost: a\r\n\r\n\
              GET /up/2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let places: Vec<_> = ["GET /up/1", "\r\n\r\nown", "GET /up/2"]
        .iter()
        .map(|part| answers.find(part).unwrap())
        .collect();
    assert!(places.is_sorted(), "{answers}");
    gateway.lines(3).await;
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_alone() {
    let server = Server::start(|request: http::Request<hyper::body::Incoming>| async move {
        if request.uri().path() == "/up/never" {
            std::future::pending::<()>().await;
        }
        http::Response::new(full("a"))
    })
    .await;
    let gateway = Gateway::start(&Setup::new(1, &[server.address]));
    let mut client = Client::http2(gateway.address()).await;
    let request = client.request("GET", "/up/never").body(full("")).unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(100), client.send(request)).await;
    assert!(waited.is_err(), "given up, which resets the stream");
    assert_eq!(client.get("/up").await.unwrap().text(), "a");
    let lines = gateway.lines(2).await;
    assert!(
        lines.iter().any(|line| line.contains("reason=client-closed")),
        "{lines:#?}"
    );
    let state = gateway.state(server.address);
    wait_until("given up", || state.active.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test]
async fn the_authority_of_an_absolute_target_wins_over_host() {
    let echo = Server::echo().await;
    let gateway = Gateway::start(&Setup::new(1, &[echo.address]));
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream
        .write_all(b"GET http://b.example/up?x HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("GET /up?x HTTP/1.1\n"), "{answer}");
    assert!(answer.contains("\nhost: b.example\n"), "{answer}");
    assert!(gateway.lines(1).await[0].contains("host=b.example path=/up "));
}
