//! Ends: of the node, of a listener, of a client's patience; nothing that was taken is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::harness::*;
use crate::l7::{Drained, Keeping};

/// A server that answers when it is told to.
async fn held() -> (Server, Arc<Notify>, Arc<AtomicUsize>) {
    let (go, waiting) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (gate, count) = (Arc::clone(&go), Arc::clone(&waiting));
    let server = Server::start(move |_| {
        let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
        async move {
            let open = gate.notified();
            count.fetch_add(1, Ordering::Relaxed);
            open.await;
            Response::new(full("late"))
        }
    })
    .await;
    (server, go, waiting)
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_tells_their_connections_to_close() {
    for workers in [1, 2] {
        let (server, go, waiting) = held().await;
        let gateway = Gateway::start(&Setup::new(workers, &[server.address]));
        let address = gateway.address();
        let log = gateway.log();
        let mut one = Client::http1(address).await;
        let mut two = Client::http2(address).await;
        let one = tokio::spawn(async move { (one.get("/up").await, one) });
        let two = tokio::spawn(async move { (two.get("/up").await, two) });
        wait_until("both wait", || waiting.load(Ordering::Relaxed) == 2).await;
        let draining = tokio::spawn(gateway.workers.drain(SOON));
        wait_until("nobody listens", || {
            std::net::TcpStream::connect(address).is_err()
        })
        .await;
        go.notify_waiters();
        let (answer, one) = one.await.unwrap();
        let answer = answer.unwrap();
        assert_eq!(
            (answer.text(), answer.header("connection")),
            ("late", Some("close"))
        );
        let (answer, two) = two.await.unwrap();
        assert_eq!(answer.unwrap().text(), "late");
        assert_eq!(draining.await.unwrap(), Drained { finished: 2, cut: 0 });
        wait_until("closed", || one.is_closed() && two.is_closed()).await;
        let is_ok = |line: &&String| line.contains("reason=ok");
        wait_until("both lines", || log.now().iter().filter(is_ok).count() == 2).await;
    }
}

#[tokio::test]
async fn a_drain_cuts_at_its_limit_and_says_so() {
    let (server, _go, waiting) = held().await;
    let gateway = Gateway::start(&Setup::new(2, &[server.address]));
    let (address, log) = (gateway.address(), gateway.log());
    let asked = tokio::spawn(async move { Client::http1(address).await.get("/up").await });
    wait_until("it waits", || waiting.load(Ordering::Relaxed) == 1).await;
    let drained = gateway.workers.drain(Duration::from_millis(100)).await;
    assert_eq!(drained, Drained { finished: 0, cut: 1 });
    assert!(asked.await.unwrap().is_err());
    let line = log.lines(1).await.remove(0);
    assert!(
        line.contains("status=- reason=drain-limit fault=internal"),
        "{line}"
    );
}

#[tokio::test]
async fn a_drain_is_cut_short_by_order_and_counts_what_it_cut() {
    let (server, _go, waiting) = held().await;
    let gateway = Gateway::start(&Setup::new(2, &[server.address]));
    let (address, log) = (gateway.address(), gateway.log());
    let asked = tokio::spawn(async move { Client::http1(address).await.get("/up").await });
    wait_until("it waits", || waiting.load(Ordering::Relaxed) == 1).await;
    let cutter = gateway.workers.cutter();
    let draining = tokio::spawn(gateway.workers.drain(Duration::from_secs(3600)));
    cutter.cut();
    assert_eq!(draining.await.unwrap(), Drained { finished: 0, cut: 1 });
    assert!(asked.await.unwrap().is_err());
    assert!(log.lines(1).await.remove(0).contains("reason=drain-limit"));
}

#[tokio::test]
async fn a_drain_under_load_loses_nothing() {
    for workers in [1, 2] {
        let server = Server::named("a").await;
        let gateway = Gateway::start(&Setup::new(workers, &[server.address]));
        let address = gateway.address();
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let load: Vec<_> = (0..16)
            .map(|index| {
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                tokio::spawn(async move {
                    // Keep-alive connections that end only when they are told to, or one request each.
                    while !stop.load(Ordering::Relaxed) {
                        let Ok(stream) = TcpStream::connect(address).await else {
                            return;
                        };
                        drop(stream.set_nodelay(true));
                        let mut stream = stream;
                        let mut left = if index % 2 == 0 { usize::MAX } else { 1 };
                        while left > 0 {
                            left -= 1;
                            stream
                                .write_all(b"GET /up HTTP/1.1\r\nhost: a\r\n\r\n")
                                .await
                                .unwrap();
                            let mut answer = Vec::new();
                            while !answer.ends_with(b"\r\n\r\na") {
                                let mut part = [0; 1024];
                                let read = stream.read(&mut part).await.expect("an answer, not a reset");
                                assert!(read > 0, "closed without an answer after {answer:?}");
                                answer.extend_from_slice(&part[..read]);
                            }
                            answered.fetch_add(1, Ordering::Relaxed);
                            if String::from_utf8_lossy(&answer).contains("connection: close") {
                                break;
                            }
                        }
                    }
                })
            })
            .collect();
        wait_until("load", || answered.load(Ordering::Relaxed) > 200).await;
        let drained = gateway.workers.drain(SOON).await;
        assert_eq!(drained.cut, 0);
        stop.store(true, Ordering::Relaxed);
        for one in load {
            one.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_removed_listener_serves_its_queue_and_then_refuses() {
    for workers in [1, 2] {
        let server = Server::named("a").await;
        let two: Vec<_> = ["127.0.0.1:0", "127.0.0.2:0"]
            .iter()
            .map(|a| a.parse().unwrap())
            .collect();
        let mut gateway = Gateway::start(&Setup {
            listeners: two.clone(),
            ..Setup::new(workers, &[server.address])
        });
        let (stays, goes) = (
            gateway.address_of("127.0.0.1:0"),
            gateway.address_of("127.0.0.2:0"),
        );
        let mut kept = Client::http1(goes).await;
        assert_eq!(kept.get("/up").await.unwrap().text(), "a");
        // A queue: connections whose requests wait in it, made while the workers are told.
        let queued: Vec<_> = (0..64)
            .map(|_| {
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(goes).await.ok()?;
                    stream
                        .write_all(b"GET /up HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                        .await
                        .unwrap();
                    let mut answer = Vec::new();
                    stream
                        .read_to_end(&mut answer)
                        .await
                        .expect("an answer, not a reset");
                    Some(answer)
                })
            })
            .collect();
        tokio::task::yield_now().await;
        gateway.reload(&Setup {
            listeners: vec![two[0]],
            ..Setup::new(workers, &[server.address])
        });
        let mut answered = 0;
        for one in queued {
            if let Some(answer) = one.await.unwrap() {
                assert!(
                    answer.starts_with(b"HTTP/1.1 200 OK\r\n"),
                    "{}",
                    String::from_utf8_lossy(&answer)
                );
                answered += 1;
            }
        }
        assert!(answered > 0);
        if !kept.is_closed() {
            // Told by the next answer, or closed while idle.
            let answer = kept.get("/up").await;
            assert!(answer.map_or(true, |answer| answer.header("connection") == Some("close")));
        }
        wait_until("nobody listens", || std::net::TcpStream::connect(goes).is_err()).await;
        assert_eq!(get(stays, "/up").await.text(), "a");
    }
}

#[tokio::test]
async fn a_listener_that_comes_back_at_once_is_served() {
    let server = Server::named("a").await;
    let two: Vec<_> = ["127.0.0.1:0", "127.0.0.2:0"]
        .iter()
        .map(|a| a.parse().unwrap())
        .collect();
    let both = Setup {
        listeners: two.clone(),
        ..Setup::new(2, &[server.address])
    };
    let mut gateway = Gateway::start(&both);
    gateway.reload(&Setup {
        listeners: vec![two[0]],
        ..both.clone()
    });
    gateway.reload(&both);
    assert_eq!(get(gateway.address_of("127.0.0.2:0"), "/up").await.text(), "a");
}

#[tokio::test]
async fn keeping_ended_sends_clients_away_and_can_be_undone() {
    let server = Server::named("a").await;
    let gateway = Gateway::start(&Setup::new(2, &[server.address]));
    let mut old = Client::http1(gateway.address()).await;
    let mut multi = Client::http2(gateway.address()).await;
    assert_eq!(old.get("/up").await.unwrap().header("connection"), None);
    multi.get("/up").await.unwrap();
    gateway.workers.keep_connections(Keeping::Ended);
    let address = gateway.address();
    let deadline = tokio::time::Instant::now() + SOON;
    while get(address, "/up").await.header("connection").is_none() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "new connections are told, too"
        );
    }
    wait_until("idle ones are closed", || old.is_closed() && multi.is_closed()).await;
    gateway.workers.keep_connections(Keeping::Kept);
    while get(address, "/up").await.header("connection").is_some() {
        assert!(tokio::time::Instant::now() < deadline, "undone");
    }
}

#[tokio::test]
async fn a_listener_that_cannot_be_opened_changes_nothing() {
    let server = Server::named("a").await;
    let gateway = Gateway::start(&Setup::new(1, &[server.address]));
    let setup = Setup {
        listeners: vec![server.address],
        ..Setup::new(1, &[server.address])
    };
    let next = setup.snapshot(2, &crate::registry::Registry::default());
    let refused = gateway.workers.prepare(&next).unwrap_err().to_string();
    assert!(
        refused.contains(&server.address.to_string()) && refused.contains("another program"),
        "{refused}"
    );
    assert_eq!(get(gateway.address(), "/up").await.text(), "a");
    assert_eq!(gateway.workers.dead(), 0);
}

#[tokio::test]
async fn a_port_of_another_gateway_is_refused_and_our_own_can_come_back() {
    let mut first = Gateway::start(&Setup::new(2, &[]));
    let mut setup = Setup::new(2, &[]);
    setup.listeners = vec![first.address()];
    let second = Gateway::start(&Setup::new(2, &[]));
    let registry = crate::registry::Registry::default();
    let error = second
        .workers
        .prepare(&setup.snapshot(2, &registry))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("web-0") && error.contains("another program has this port"),
        "{error}"
    );
    // Removed and added again, while its old sockets may still be emptied.
    let fixed = second
        .workers
        .local_address("127.0.0.1:0".parse().unwrap())
        .unwrap();
    assert_eq!(second.workers.drain(SOON).await, Drained::default());
    setup.listeners = vec![fixed];
    first.reload(&setup);
    setup.listeners = vec!["127.0.0.1:0".parse().unwrap()];
    first.reload(&setup);
    setup.listeners = vec![fixed];
    first.reload(&setup);
    assert_eq!(get(fixed, "/own").await.text(), "own");
}
