//! Bodies: streamed both ways, held back by the slower side, ended in order or cut.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};

use super::harness::*;
use crate::config::snapshot::UpstreamProtocol;

/// A body fed by hand; it ends when the feeder is dropped.
struct Fed(mpsc::Receiver<Bytes>);

fn fed() -> (mpsc::Sender<Bytes>, Body) {
    let (feed, chunks) = mpsc::channel(1);
    (feed, Body::new(Fed(chunks)))
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.0
            .poll_recv(context)
            .map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// So many bytes in chunks, with trailers at the end.
struct Big {
    left: usize,
    made: Arc<AtomicUsize>,
}

const CHUNK: usize = 16 * 1024;
const TEN_MEGABYTES: usize = 10 * 1024 * 1024;

impl Big {
    fn body(left: usize) -> (Body, Arc<AtomicUsize>) {
        let made = Arc::new(AtomicUsize::new(0));
        (
            Body::new(Self {
                left,
                made: Arc::clone(&made),
            }),
            made,
        )
    }
}

impl http_body::Body for Big {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let size = self.left.min(CHUNK);
        self.left -= size;
        self.made.fetch_add(size, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; size])))))
    }
}

fn protocols() -> [UpstreamProtocol; 2] {
    [UpstreamProtocol::Http1, UpstreamProtocol::Http2]
}

async fn clients(gateway: &Gateway) -> [Client; 2] {
    [
        Client::http1(gateway.address()).await,
        Client::http2(gateway.address()).await,
    ]
}

#[tokio::test]
async fn first_bytes_arrive_before_the_body_ended_both_ways() {
    // Sends each chunk back as it comes.
    let mirror = Server::start(|request: Request<Incoming>| async move {
        let (feed, body) = fed();
        tokio::spawn(async move {
            let mut incoming = request.into_body();
            while let Some(Ok(frame)) = incoming.frame().await {
                if let Ok(data) = frame.into_data() {
                    feed.send(data).await.unwrap();
                }
            }
        });
        Response::new(body)
    })
    .await;
    for protocol in protocols() {
        let gateway = Gateway::start(&Setup {
            protocol,
            ..Setup::new(1, &[mirror.address])
        });
        for mut client in clients(&gateway).await {
            let (feed, body) = fed();
            let request = client.request("POST", "/up").body(body).unwrap();
            let sending = tokio::spawn(async move { client.send(request).await.unwrap().into_body() });
            feed.send(Bytes::from_static(b"one")).await.unwrap();
            let mut answer = sending.await.unwrap();
            for (sent, next) in [("one", Some("two")), ("two", Some("three")), ("three", None)] {
                let mut got = Vec::new();
                while got.len() < sent.len() {
                    let frame = tokio::time::timeout(SOON, answer.frame())
                        .await
                        .unwrap()
                        .unwrap()
                        .unwrap();
                    got.extend_from_slice(&frame.into_data().unwrap());
                }
                assert_eq!(got, sent.as_bytes(), "before the next was sent");
                if let Some(next) = next {
                    feed.send(Bytes::from_static(next.as_bytes())).await.unwrap();
                }
            }
            drop(feed);
            let rest = answer.collect().await.unwrap().to_bytes();
            assert!(rest.is_empty(), "{rest:?}");
        }
        let lines = gateway.lines(2).await;
        assert!(
            lines
                .iter()
                .all(|line| line.contains("reason=ok") && line.contains("bytes_in=11 bytes_out=11")),
            "{lines:#?}"
        );
    }
}

#[tokio::test]
async fn ten_megabytes_pass_both_ways_whole() {
    let length = Server::start(|request: Request<Incoming>| async move {
        let mut incoming = request.into_body();
        let mut count = 0;
        while let Some(frame) = incoming.frame().await {
            count += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(count, TEN_MEGABYTES);
        Response::new(Big::body(TEN_MEGABYTES).0)
    })
    .await;
    for workers in [1, 2] {
        for protocol in protocols() {
            let gateway = Gateway::start(&Setup {
                protocol,
                ..Setup::new(workers, &[length.address])
            });
            for mut client in clients(&gateway).await {
                let request = client
                    .request("POST", "/up")
                    .body(Big::body(TEN_MEGABYTES).0)
                    .unwrap();
                let answer = client.ask(request).await.unwrap();
                assert_eq!((answer.status, answer.body.len()), (200, TEN_MEGABYTES));
            }
            for line in gateway.lines(2).await {
                assert!(line.contains("bytes_in=10485760 bytes_out=10485760"), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_upstream_back() {
    const ENDLESS: usize = 1024 * 1024 * 1024;
    for protocol in protocols() {
        let made: Arc<Mutex<Option<Arc<AtomicUsize>>>> = Arc::default();
        let told = Arc::clone(&made);
        let server = Server::start(move |_| {
            let told = Arc::clone(&told);
            async move {
                let (body, made) = Big::body(ENDLESS);
                *told.lock().await = Some(made);
                Response::new(body)
            }
        })
        .await;
        let gateway = Gateway::start(&Setup {
            protocol,
            ..Setup::new(1, &[server.address])
        });
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream
            .write_all(b"GET /up HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 16];
        stream.read_exact(&mut first).await.unwrap();
        let made = made.lock().await.clone().unwrap();
        // Until it makes no more for a while: all buffers on the way are full.
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = made.load(Ordering::Relaxed);
            assert!(now < ENDLESS / 8, "{now} bytes are somewhere");
            if now == before {
                break;
            }
            before = now;
        }
        drop(stream);
        let line = gateway.lines(1).await.remove(0);
        assert!(
            line.contains("status=200 reason=client-closed fault=downstream"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_is_logged_once_and_cancels_the_request() {
    for protocol in protocols() {
        let server = Server::start(|_| std::future::pending()).await;
        let gateway = Gateway::start(&Setup {
            protocol,
            ..Setup::new(1, &[server.address])
        });
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream
            .write_all(b"GET /up HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let state = gateway.state(server.address);
        wait_until("under way", || state.active.load(Ordering::Relaxed) == 1).await;
        drop(stream);
        let line = gateway.lines(1).await.remove(0);
        assert!(
            line.contains("status=- reason=client-closed fault=downstream tries=1"),
            "{line}"
        );
        wait_until("given up", || state.active.load(Ordering::Relaxed) == 0).await;
        assert_eq!(
            state.failures.load(Ordering::Relaxed),
            0,
            "a client's cancellation is no failure of the endpoint"
        );
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_clients_fault_and_no_failure_of_the_endpoint() {
    for protocol in protocols() {
        let server = Server::start(|request: Request<Incoming>| async move {
            let body = request.into_body().collect().await;
            Response::new(full(if body.is_ok() { "whole" } else { "broken" }))
        })
        .await;
        let gateway = Gateway::start(&Setup {
            protocol,
            ..Setup::new(1, &[server.address])
        });
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream
            .write_all(b"POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
            .await
            .unwrap();
        let state = gateway.state(server.address);
        wait_until("under way", || state.active.load(Ordering::Relaxed) == 1).await;
        drop(stream);
        let line = gateway.lines(1).await.remove(0);
        assert!(line.contains("fault=downstream"), "{line}");
        assert_eq!(state.failures.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_off_in_its_body_ends_the_response_and_is_its_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
                .await
                .unwrap();
        }
    });
    let gateway = Gateway::start(&Setup::new(1, &[address]));
    for (index, mut client) in clients(&gateway).await.into_iter().enumerate() {
        assert!(
            client.get("/up").await.is_err(),
            "the client sees that it is not whole"
        );
        let lines = gateway.lines(index + 1).await;
        let line = &lines[index];
        assert!(
            line.contains("status=200 reason=response-body-broken fault=upstream"),
            "{line}"
        );
        assert!(line.contains("bytes_out=4 "), "{line}");
    }
}

#[tokio::test]
async fn trailers_pass_from_http2_to_http2() {
    let server = Server::start(|_| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Response::new(
            full("data")
                .with_trailers(async move { Some(Ok(trailers)) })
                .boxed(),
        )
    })
    .await;
    let setup = Setup {
        protocol: UpstreamProtocol::Http2,
        ..Setup::new(1, &[server.address])
    };
    let gateway = Gateway::start(&setup);
    let mut client = Client::http2(gateway.address()).await;
    let request = client
        .request("GET", "/up")
        .header("te", "trailers")
        .body(full(""))
        .unwrap();
    let collected = client
        .send(request)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(collected.trailers().unwrap().get("grpc-status").unwrap(), "0");
    assert!(gateway.lines(1).await[0].contains("reason=ok"));
}
