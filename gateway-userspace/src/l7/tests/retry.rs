//! What is sent again, what is not, and what a client gets where an upstream fails for good.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::harness::*;
use crate::config::snapshot::{Failure, Outcomes, Retries};
use crate::resilience::backoff::Backoff;
use crate::resilience::budget::Budget;

/// Answers with that status, and counts.
async fn answers(status: u16, retry_after: Option<&'static str>) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = Server::start(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            let mut builder = Response::builder().status(status);
            if let Some(value) = retry_after {
                builder = builder.header("retry-after", value);
            }
            builder.body(full("failed")).unwrap()
        }
    });
    (server.await, asked)
}

/// Takes a request on each connection, and closes it.
async fn resets() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                assert!(stream.read(&mut head).await.unwrap() > 0);
            });
        }
    });
    address
}

fn listed(words: &[&str]) -> Outcomes {
    let mut outcomes = Outcomes::default();
    words.iter().for_each(|word| outcomes.add(word).unwrap());
    outcomes
}

fn retries(words: &[&str]) -> Retries {
    Retries {
        on: listed(words),
        backoff: Backoff {
            base: Duration::from_millis(1),
            max: Duration::from_millis(2),
            retry_after_max: Duration::from_secs(1),
        },
        ..Retries::default()
    }
}

async fn ask(gateway: &Gateway, method: &str, body: &'static str) -> Answer {
    let mut client = Client::http1(gateway.address()).await;
    let request = client.request(method, "/up").body(full(body)).unwrap();
    client.ask(request).await.unwrap()
}

#[tokio::test]
async fn what_was_sent_is_sent_again_only_if_listed_and_idempotent() {
    let good = Server::named("good").await;
    let (failing, _) = answers(503, None).await;
    type Row<'r> = (&'r str, &'r [&'r str], &'r str, &'static str, u16, &'r str);
    let rows: &[Row<'_>] = &[
        ("503 that is listed", &["503"], "GET", "", 200, "tries=2"),
        (
            "503 with a body that is kept",
            &["500-599"],
            "PUT",
            "hello",
            200,
            "tries=2",
        ),
        (
            "503 that is not listed",
            &["502", "504"],
            "GET",
            "",
            503,
            "tries=1",
        ),
        (
            "503 to a method that changes something",
            &["503"],
            "POST",
            "hello",
            503,
            "tries=1",
        ),
    ];
    for (why, words, method, body, status, tries) in rows {
        let mut setup = Setup::new(1, &[failing.address, good.address]);
        setup.retry = retries(words);
        let gateway = Gateway::start(&setup);
        let answer = ask(&gateway, method, body).await;
        assert_eq!(answer.status, *status, "{why}");
        let lines = gateway.lines(1).await;
        assert!(lines[0].contains(tries), "{why}: {}", lines[0]);
    }
}

#[tokio::test]
async fn a_reset_is_tried_again_at_another_endpoint_if_listed() {
    let good = Server::named("good").await;
    let bad = resets().await;
    for (words, status) in [(&["reset"][..], 200), (&["connect-failure"][..], 502)] {
        let mut setup = Setup::new(1, &[bad, good.address]);
        setup.retry = retries(words);
        let gateway = Gateway::start(&setup);
        assert_eq!(ask(&gateway, "GET", "").await.status, status, "{words:?}");
    }
}

#[tokio::test]
async fn tries_are_as_many_as_the_route_says_and_the_last_answer_is_the_clients() {
    let (failing, asked) = answers(503, None).await;
    for (attempts, expected) in [(0, 1), (1, 2), (4, 5)] {
        let mut setup = Setup::new(1, &[failing.address]);
        setup.retry = Retries {
            attempts,
            ..retries(&["503"])
        };
        let gateway = Gateway::start(&setup);
        asked.store(0, Ordering::Relaxed);
        let answer = ask(&gateway, "GET", "").await;
        assert_eq!((answer.status, answer.text()), (503, "failed"));
        assert_eq!(asked.load(Ordering::Relaxed), expected);
    }
    assert!(
        failing.connections() <= 6,
        "discarded answers leave their connection in use"
    );
}

#[tokio::test]
async fn retry_after_is_waited_for_within_its_bound_and_else_is_the_clients() {
    let rows = [
        ("a longer one", "60", 1),
        ("one that is none", "soon", 3),
        ("none to wait", "0", 3),
    ];
    for (why, value, expected) in rows {
        let (failing, asked) = answers(429, Some(value)).await;
        let mut setup = Setup::new(1, &[failing.address]);
        setup.retry = retries(&["429"]);
        let gateway = Gateway::start(&setup);
        let answer = ask(&gateway, "GET", "").await;
        assert_eq!(answer.header("retry-after"), Some(value), "{why}");
        assert_eq!(asked.load(Ordering::Relaxed), expected, "{why}");
    }
}

#[tokio::test]
async fn a_date_to_retry_after_counts_from_the_answers_own_date_and_else_from_now() {
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let soon = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(600));
    let rows: [(&str, Option<&str>, &str, usize); 6] = [
        ("its own date", Some(DATE), DATE, 3),
        (
            "a second after it",
            Some(DATE),
            "Sun, 06 Nov 1994 08:49:38 GMT",
            3,
        ),
        (
            "two seconds after it",
            Some(DATE),
            "Sun, 06 Nov 1994 08:49:39 GMT",
            1,
        ),
        ("before it", Some(DATE), "Sun, 06 Nov 1994 08:00:00 GMT", 3),
        ("long ago, without a date", None, DATE, 3),
        ("in ten minutes, without a date", None, &soon, 1),
    ];
    for (why, date, until, expected) in rows {
        let asked = Arc::new(AtomicUsize::new(0));
        let address = dated(date, until, &asked).await;
        let mut setup = Setup::new(1, &[address]);
        setup.retry = retries(&["429"]);
        let gateway = Gateway::start(&setup);
        let begin = tokio::time::Instant::now();
        assert_eq!(ask(&gateway, "GET", "").await.status, 429, "{why}");
        assert_eq!(asked.load(Ordering::Relaxed), expected, "{why}");
        if why == "a second after it" {
            assert!(begin.elapsed() >= Duration::from_secs(2), "twice");
        }
    }
}

/// Answers 429 with these dates, which a server of hyper would not let be.
async fn dated(date: Option<&str>, until: &str, asked: &Arc<AtomicUsize>) -> SocketAddr {
    let date = date.map(|date| format!("date: {date}\r\n")).unwrap_or_default();
    let answer = format!("HTTP/1.1 429 Later\r\n{date}retry-after: {until}\r\ncontent-length: 0\r\n\r\n");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::clone(asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (answer, asked) = (answer.clone(), Arc::clone(&asked));
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while stream.read(&mut head).await.unwrap() > 0 {
                    asked.fetch_add(1, Ordering::Relaxed);
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

/// Fails each request, and knows how many that it has seen before it has at once.
async fn fails_slowly() -> (Server, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (most, retries) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let again = Arc::new(AtomicUsize::new(0));
    let (most_seen, all) = (Arc::clone(&most), Arc::clone(&retries));
    let server = Server::start(move |request: http::Request<hyper::body::Incoming>| {
        let id = request.headers()["x-request-id"].clone();
        let is_again = !seen.lock().unwrap().insert(id);
        let again = Arc::clone(&again);
        if is_again {
            all.fetch_add(1, Ordering::SeqCst);
            let now = again.fetch_add(1, Ordering::SeqCst) + 1;
            most_seen.fetch_max(now, Ordering::SeqCst);
        }
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if is_again {
                again.fetch_sub(1, Ordering::SeqCst);
            }
            Response::builder()
                .status(503)
                .body(full("its own words"))
                .unwrap()
        }
    });
    (server.await, most, retries)
}

#[tokio::test]
async fn an_exhausted_budget_is_never_exceeded_and_clients_get_the_upstreams_own_answer() {
    for workers in [1, 2, 4] {
        let (server, most, again) = fails_slowly().await;
        let mut setup = Setup::new(workers, &[server.address]);
        setup.retry = retries(&["503"]);
        setup.retry_budget = Budget {
            share_per_mille: 0,
            retries_min: 3,
        };
        let gateway = Gateway::start(&setup);
        let clients = (0..40).map(|_| {
            let address = gateway.address();
            tokio::spawn(async move {
                let mut client = Client::http1(address).await;
                for _ in 0..5 {
                    let answer = client.get("/up").await.unwrap();
                    assert_eq!((answer.status, answer.text()), (503, "its own words"));
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        assert_eq!(
            most.load(Ordering::SeqCst),
            3,
            "{workers} workers: all of the budget, and no more"
        );
        let metrics = gateway.metrics();
        let counted = |name: &str| {
            let label = format!("{name}{{upstream=\"users\"}} ");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&label));
            line.unwrap().parse::<usize>().unwrap()
        };
        let again = again.load(Ordering::SeqCst);
        assert_eq!(counted("gateway_upstream_retries_total"), again);
        assert!(
            counted("gateway_upstream_retries_denied_total") >= 200 - again,
            "{metrics}"
        );
        let state = gateway.state(server.address);
        wait_until("given back", || state.upstream().usage.retries.taken() == 0).await;
    }
}

#[tokio::test]
async fn a_retry_does_not_stand_in_its_own_way() {
    let (failing, asked) = answers(503, None).await;
    let mut setup = Setup::new(1, &[failing.address]);
    setup.retry = retries(&["503"]);
    setup.limits.endpoint.requests = 1;
    setup.limits.endpoint.connections = 1;
    setup.limits.whole.requests = 1;
    let gateway = Gateway::start(&setup);
    for _ in 0..20 {
        let answer = ask(&gateway, "GET", "").await;
        assert_eq!((answer.status, answer.text()), (503, "failed"));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 60);
}

#[tokio::test]
async fn limits_of_retries_hold_beside_the_budget_for_the_whole_and_for_each_endpoint() {
    let (server, most, again) = fails_slowly().await;
    for (whole, endpoint, expected) in [(2, 9, 2), (9, 1, 1), (0, 9, 0)] {
        most.store(0, Ordering::SeqCst);
        again.store(0, Ordering::SeqCst);
        let mut setup = Setup::new(2, &[server.address]);
        setup.retry = retries(&["503"]);
        setup.retry_budget.retries_min = 100;
        setup.limits.whole.retries = whole;
        setup.limits.endpoint.retries = endpoint;
        let gateway = Gateway::start(&setup);
        let clients: Vec<_> = (0..20)
            .map(|_| {
                let address = gateway.address();
                tokio::spawn(async move { get(address, "/up").await })
            })
            .collect();
        for client in clients {
            assert_eq!(client.await.unwrap().status, 503);
        }
        assert_eq!(most.load(Ordering::SeqCst), expected, "{whole}, {endpoint}");
    }
}

#[tokio::test]
async fn the_budget_bounds_retries_of_what_was_sent_and_not_of_what_was_not() {
    let none = Budget {
        share_per_mille: 0,
        retries_min: 0,
    };
    let (failing, asked) = answers(503, None).await;
    let mut setup = Setup::new(1, &[failing.address]);
    setup.retry = retries(&["503", "connect-failure"]);
    setup.retry_budget = none;
    let gateway = Gateway::start(&setup);
    assert_eq!(ask(&gateway, "GET", "").await.status, 503);
    assert_eq!(asked.load(Ordering::Relaxed), 1);

    let good = Server::named("good").await;
    let mut setup = Setup::new(1, &[closed_port().await, good.address]);
    setup.retry_budget = none;
    let gateway = Gateway::start(&setup);
    for _ in 0..4 {
        assert_eq!(ask(&gateway, "POST", "hello").await.status, 200);
    }
}

#[tokio::test]
async fn calls_are_sent_again_by_their_code() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = Server::start(move |_| {
        let code = if counted.fetch_add(1, Ordering::Relaxed) == 0 {
            "14"
        } else {
            "0"
        };
        async move {
            let builder = Response::builder().header("content-type", "application/grpc");
            builder.header("grpc-status", code).body(full("")).unwrap()
        }
    });
    let server = server.await;
    for (words, expected) in [(&["grpc-unavailable"][..], "0"), (&["grpc-internal"][..], "14")] {
        asked.store(0, Ordering::Relaxed);
        let mut setup = Setup::new(1, &[server.address]);
        setup.protocol = crate::config::snapshot::UpstreamProtocol::Http2;
        setup.retry = retries(words);
        let gateway = Gateway::start(&setup);
        let mut client = Client::http2(gateway.address()).await;
        let request = client
            .request("POST", "/up")
            .header("content-type", "application/grpc");
        let request = request.header("te", "trailers").body(full("\0\0\0\0\u{1}x"));
        let answer = client.ask(request.unwrap()).await.unwrap();
        assert_eq!(answer.header("grpc-status"), Some(expected), "{words:?}");
    }
}

#[tokio::test]
async fn another_upstream_answers_where_the_first_fails() {
    let backup = Server::named("backup").await;
    let (failing, _) = answers(503, None).await;
    let rows: [(&str, SocketAddr, &[&str], &str, u16); 5] = [
        (
            "cannot be reached",
            closed_port().await,
            &["connect-failure"],
            "POST",
            200,
        ),
        ("resets", resets().await, &["reset"], "GET", 200),
        (
            "resets what may not be sent again",
            resets().await,
            &["reset"],
            "POST",
            502,
        ),
        ("answers a listed status", failing.address, &["503"], "GET", 200),
        ("answers another status", failing.address, &["reset"], "GET", 503),
    ];
    for (why, first, words, method, status) in rows {
        let mut setup = Setup::new(1, &[first]);
        setup.retry = retries(&[]);
        setup.backup = vec![backup.address];
        setup.fallback_on = listed(words);
        let gateway = Gateway::start(&setup);
        let answer = ask(&gateway, method, "hello").await;
        assert_eq!(answer.status, status, "{why}");
        let lines = gateway.lines(1).await;
        if status == 200 {
            assert_eq!(answer.text(), "backup", "{why}");
            assert!(lines[0].contains("upstream=backup"), "{why}: {}", lines[0]);
        }
    }
}

#[tokio::test]
async fn the_last_fallback_is_an_answer_with_the_reason_in_the_log() {
    let (failing, _) = answers(500, None).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().map(|address| (address, silent)).unwrap();
    let rows: [(&str, Vec<SocketAddr>, &str); 4] = [
        ("nobody there", vec![closed_port().await], "connect-failed"),
        ("no endpoint", vec![], "no-endpoint"),
        ("too slow", vec![silent.0], "timeout"),
        ("a listed status", vec![failing.address], "upstream-status"),
    ];
    for (why, endpoints, reason) in rows {
        let mut setup = Setup::new(1, &endpoints);
        setup.timeout = Duration::from_millis(200);
        setup.fallback_on = listed(&["connect-failure", "timeout", "unavailable", "500"]);
        let mut answer = respond(
            StatusCode::SERVICE_UNAVAILABLE,
            "{\"why\":\"{reason}\",\"id\":\"{request_id}\"}",
        );
        answer.content_type = http::HeaderValue::from_static("application/json");
        answer.retry_after = Some(http::HeaderValue::from(5_u64));
        setup.fallback_respond = Some(answer);
        let gateway = Gateway::start(&setup);
        let answer = ask(&gateway, "GET", "").await;
        assert_eq!(answer.status, 503, "{why}");
        assert_eq!(answer.header("retry-after"), Some("5"), "{why}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{why}");
        let expected = format!("{{\"why\":\"{reason}\",\"id\":\"");
        assert!(answer.text().starts_with(&expected), "{why}: {}", answer.text());
        let lines = gateway.lines(1).await;
        let field = format!("status=503 reason={reason} ");
        assert!(lines[0].contains(&field), "{why}: {}", lines[0]);
    }
    drop(silent);
}

#[tokio::test]
async fn a_reader_of_a_broken_stream_is_not_served_twice() {
    // The answer breaks off after its head: what the client has of it cannot be taken back.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
            stream.write_all(answer).await.unwrap();
        }
    });
    let mut setup = Setup::new(1, &[address]);
    setup.retry = retries(&["reset", "bad-answer", "500-599"]);
    setup.fallback_on = Outcomes::of(&[Failure::Reset, Failure::BadAnswer]);
    setup.fallback_respond = Some(respond(StatusCode::SERVICE_UNAVAILABLE, "later"));
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let request = client.request("GET", "/up").body(full("")).unwrap();
    client.ask(request).await.unwrap_err();
    let lines = gateway.lines(1).await;
    assert!(
        lines[0].contains("reason=response-body-broken fault=upstream tries=1"),
        "{}",
        lines[0]
    );
}
