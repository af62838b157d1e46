//! Time limits of connections, panics, and pools.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::*;

#[tokio::test]
async fn idle_connections_to_an_endpoint_are_bounded_per_node() {
    let server = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        http::Response::new(full("a"))
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
