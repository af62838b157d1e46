//! Other ways to an endpoint, taken while the communication over the first fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use http::Response;
use tokio::net::TcpListener;

use super::harness::*;
use crate::config::snapshot::UpstreamProtocol;
use crate::registry::Channel;
use crate::resilience::breaker;
use crate::resilience::channel::Settings;
use crate::tls::Security;

const HTTP1: UpstreamProtocol = UpstreamProtocol::Http1;
const HTTP2: UpstreamProtocol = UpstreamProtocol::Http2;

/// Settings by which the first way comes back within a test's time.
const QUICK: Settings = Settings {
    rise: 2,
    stay_min: Duration::from_millis(500),
    stay_max: Duration::from_secs(1),
    probe_interval: Duration::from_millis(200),
    probe_interval_max: Duration::from_millis(400),
    probe_timeout: Duration::from_secs(1),
};

fn setup(workers: usize, first: std::net::SocketAddr, others: &[Channel]) -> Setup {
    Setup {
        channels: others.to_vec(),
        failback: QUICK,
        ..Setup::new(workers, &[first])
    }
}

fn over(address: std::net::SocketAddr, protocol: UpstreamProtocol) -> Channel {
    Channel {
        address,
        protocol,
        security: Security::Plain,
    }
}

#[tokio::test]
async fn what_cannot_be_sent_over_the_first_way_goes_over_the_next_until_the_first_works_again() {
    for workers in [1, 2] {
        let first = closed_port().await;
        let second = Server::named("second").await;
        let mut setup = setup(workers, first, &[over(second.address, HTTP1)]);
        let mut gateway = Gateway::start(&setup);
        let mut client = Client::http1(gateway.address()).await;
        // POST: it was not sent, so it is no retry.
        let post = client.request("POST", "/up").body(full("x")).unwrap();
        let answer = client.ask(post).await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "second"));
        let state = gateway.state(first);
        assert_eq!(state.channel(), 1);
        assert_eq!(state.upstream().switches.load(Ordering::Relaxed), 1);
        setup.timeout = Duration::from_secs(19);
        gateway.reload(&setup);
        assert_eq!(state.channel(), 1, "an edit resets nothing");

        let listener = TcpListener::bind(first).await.unwrap();
        let _back = Server::start_on(listener, Speaks::Both, |_| async { Response::new(full("first")) });
        wait_until("the first way", || state.channel() == 0).await;
        assert_eq!(client.get("/up").await.unwrap().text(), "first");
        let lines = gateway.lines(2).await;
        assert!(lines[0].contains(&second.address.to_string()), "{}", lines[0]);
        assert!(lines[1].contains(&first.to_string()), "{}", lines[1]);
    }
}

#[tokio::test]
async fn requests_are_told_anew_in_the_words_of_the_way_that_is_taken() {
    let second = Server::echo().await;
    let rows = [(HTTP1, HTTP2, "HTTP/2.0"), (HTTP2, HTTP1, "HTTP/1.1")];
    for (from, to, version) in rows {
        let first = closed_port().await;
        let setup = Setup {
            protocol: from,
            ..setup(1, first, &[over(second.address, to)])
        };
        let gateway = Gateway::start(&setup);
        for mut client in [
            Client::http1(gateway.address()).await,
            Client::http2(gateway.address()).await,
        ] {
            let sized = client
                .request("POST", "/up/sized?q=1")
                .header("content-length", "5")
                .body(full("12345"))
                .unwrap();
            let chunked = client
                .request("PUT", "/up/open")
                .body(in_pieces(&["123", "4567"]))
                .unwrap();
            let (sized, chunked) = (
                client.ask(sized).await.unwrap(),
                client.ask(chunked).await.unwrap(),
            );
            for (answer, path, body) in [(&sized, "/up/sized?q=1", 5), (&chunked, "/up/open", 7)] {
                let text = answer.text();
                assert_eq!(answer.status, 200, "{text}");
                assert!(text.contains(path) && text.contains(version), "{text}");
                assert!(text.ends_with(&format!("body {body}\n")), "{text}");
                let host = match to {
                    HTTP1 => text.contains("\nhost: "),
                    HTTP2 => text.contains("http://") && !text.contains("transfer-encoding"),
                };
                assert!(host, "{text}");
            }
            // The next ones are made for the first way, too, and take the other at once.
            let get = client.get("/up/none").await.unwrap();
            assert!(get.text().contains(version), "{}", get.text());
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_know_http2_is_spoken_to_by_http1() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let old = Server::start_on(listener, Speaks::Http1, echo);
    let setup = Setup {
        protocol: HTTP2,
        ..setup(1, old.address, &[over(old.address, HTTP1)])
    };
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    for _ in 0..5 {
        let answer = client.get("/up").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("HTTP/1.1"), "{}", answer.text());
    }
    let state = gateway.state(old.address);
    assert_eq!(state.channel(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(state.channel(), 1, "the first way still does not work");
}

#[tokio::test]
async fn a_service_that_fails_or_is_gone_is_no_failure_of_its_ways() {
    let status = Arc::new(AtomicU16::new(503));
    let says = Arc::clone(&status);
    let moody = Server::start(move |_| {
        let status = says.load(Ordering::Relaxed);
        async move { Response::builder().status(status).body(full("moody")).unwrap() }
    })
    .await;
    let other = Server::named("other").await;
    let gateway = Gateway::start(&setup(1, moody.address, &[over(other.address, HTTP1)]));
    let mut client = Client::http1(gateway.address()).await;
    for _ in 0..5 {
        assert_eq!(client.get("/up").await.unwrap().status, 503);
    }
    assert_eq!(gateway.state(moody.address).channel(), 0);

    // Gone on both ways: the endpoint is what fails, and its breaker sees that.
    let (first, second) = (closed_port().await, closed_port().await);
    let mut setup = setup(1, first, &[over(second, HTTP1)]);
    setup.guards.breaker = Some(breaker::Settings {
        min_calls: 5,
        ..breaker::Settings::default()
    });
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let mut reasons = Vec::new();
    for _ in 0..12 {
        let answer = client.get("/up").await.unwrap();
        reasons.push(answer.text().split(':').next().unwrap().to_owned());
    }
    assert_eq!(reasons[0], "connect-failed");
    assert_eq!(reasons[11], "breaker-open", "{reasons:?}");
}

#[tokio::test]
async fn a_fallback_may_speak_another_protocol() {
    let backup = Server::echo().await;
    let rows = [(HTTP1, HTTP2, "HTTP/2.0"), (HTTP2, HTTP1, "HTTP/1.1")];
    for (from, to, version) in rows {
        let setup = Setup {
            protocol: from,
            backup: vec![backup.address],
            backup_protocol: to,
            ..Setup::new(1, &[closed_port().await])
        };
        let gateway = Gateway::start(&setup);
        let mut client = Client::http1(gateway.address()).await;
        let post = client
            .request("POST", "/up")
            .body(in_pieces(&["1", "2"]))
            .unwrap();
        let answer = client.ask(post).await.unwrap();
        assert!(answer.text().contains(version), "{}", answer.text());
        assert!(answer.text().ends_with("body 2\n"), "{}", answer.text());
        let upgrade = client
            .request("GET", "/up")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(full(""))
            .unwrap();
        let answer = client.ask(upgrade).await.unwrap();
        assert_eq!(answer.status, 502);
        assert!(
            answer.text().starts_with("switch-unsupported: "),
            "{}",
            answer.text()
        );
    }
}
