//! gRPC calls whose answer ends before it says how the call went.

use std::net::SocketAddr;

use http::Response;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::harness::*;
use crate::config::snapshot::UpstreamProtocol;
use crate::resilience::outliers;

/// An HTTP/2 server whose answers to gRPC calls are these frames after a head without an end: type, flags, payload.
async fn grpc_server(frames: &'static [(u8, u8, &'static [u8])]) -> SocketAddr {
    const PREFACE_BYTES: usize = 24;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    /// `:status: 200` by its index, `content-type: application/grpc` as a literal.
    const HEAD: &[u8] = b"\x88\x0f\x10\x10application/grpc";
    let frame = |kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]| {
        let mut bytes = vec![0, 0, payload.len() as u8, kind, flags];
        bytes.extend(stream);
        bytes.extend(payload);
        bytes
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut preface = [0; PREFACE_BYTES];
                stream.read_exact(&mut preface).await.unwrap();
                stream.write_all(&frame(SETTINGS, 0, [0; 4], &[])).await.unwrap();
                let mut head = [0; 9];
                while stream.read_exact(&mut head).await.is_ok() {
                    let [high, middle, low, kind, flags, id @ ..] = head;
                    let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
                    stream.read_exact(&mut payload).await.unwrap();
                    if kind == SETTINGS && flags == 0 {
                        stream.write_all(&frame(SETTINGS, 1, [0; 4], &[])).await.unwrap();
                    }
                    if kind == HEADERS {
                        stream.write_all(&frame(HEADERS, 4, id, HEAD)).await.unwrap();
                        for (kind, flags, payload) in frames {
                            stream
                                .write_all(&frame(*kind, *flags, id, payload))
                                .await
                                .unwrap();
                        }
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn calls_whose_answer_ends_without_trailers_are_failures_of_the_endpoint() {
    const MESSAGE: &[u8] = b"\0\0\0\0\x02ok";
    /// `grpc-status` with a code, as a literal with a literal name.
    const NOT_FOUND: &[u8] = b"\0\x0bgrpc-status\x015";
    const INTERNAL_ERROR: &[u8] = &[0, 0, 0, 2];
    type Frames = &'static [(u8, u8, &'static [u8])];
    let rows: [(&str, Frames, &str, &str, bool); 4] = [
        (
            "reset after a message",
            &[(0, 0, MESSAGE), (3, 0, INTERNAL_ERROR)],
            "14",
            "reason=response-body-broken",
            true,
        ),
        (
            "reset after the head",
            &[(3, 0, INTERNAL_ERROR)],
            "14",
            "reason=response-body-broken",
            true,
        ),
        (
            "an end without trailers",
            &[(0, 1, MESSAGE)],
            "",
            "reason=ok",
            true,
        ),
        (
            "trailers that say it was the caller",
            &[(0, 0, MESSAGE), (1, 5, NOT_FOUND)],
            "5",
            "reason=ok",
            false,
        ),
    ];
    for (why, frames, status, reason, fails) in rows {
        let good = Server::start(|_| async {
            let builder = Response::builder().header("content-type", "application/grpc");
            builder.header("grpc-status", "0").body(full("")).unwrap()
        });
        let addresses = [good.await.address, grpc_server(frames).await];
        let mut setup = Setup::new(1, &addresses);
        setup.protocol = UpstreamProtocol::Http2;
        setup.guards.outliers = Some(outliers::Settings {
            success_rate: None,
            behind_others: None,
            ..outliers::Settings::default()
        });
        let gateway = Gateway::start(&setup);
        let mut client = Client::http2(gateway.address()).await;
        let mut statuses = Vec::new();
        for _ in 0..10 {
            let request = client
                .request("POST", "/up")
                .header("content-type", "application/grpc");
            let answer = client.send(request.body(full("")).unwrap()).await.unwrap();
            if !answer.headers().contains_key("grpc-status") {
                let whole = answer.into_body().collect().await.unwrap();
                let status = whole
                    .trailers()
                    .and_then(|trailers| trailers.get("grpc-status").cloned());
                statuses.push(status.map_or_else(String::new, |status| status.to_str().unwrap().to_owned()));
            }
        }
        assert_eq!(statuses, [status; 5], "{why}");
        assert_eq!(gateway.state(addresses[1]).is_ejected(), fails, "{why}");
        let lines = gateway.lines(10).await;
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.contains(&addresses[1].to_string()))
                .count(),
            5
        );
        assert!(
            lines
                .iter()
                .all(|line| line.contains(reason) || line.contains("grpc_status=0")),
            "{why}: {lines:#?}"
        );
    }
}
