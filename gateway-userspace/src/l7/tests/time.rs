//! Limits of time, and connections that never make a request: each with its reason.

use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::harness::*;

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_connection_without_a_request_has_one_line_with_its_reason() {
    let setup = Setup {
        first_byte_timeout: SHORT,
        head_timeout: SHORT,
        ..Setup::new(1, &[])
    };
    let rows: &[(&[u8], bool, &str)] = &[
        (b"", true, "connection-empty"),
        (b"GET /own HTTP/1.1\r\nhost", true, "head-truncated"),
        (b"", false, "first-byte-timeout"),
        (b"GET /own", false, "head-timeout"),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            true,
            "connection-unused",
        ),
    ];
    for (bytes, closes, reason) in rows {
        let gateway = Gateway::start(&setup);
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        if *closes {
            stream.shutdown().await.unwrap();
        }
        let mut rest = Vec::new();
        // What comes is the server's HTTP/2 preface at most; a reset is an end, too.
        drop(stream.read_to_end(&mut rest).await);
        let line = gateway.lines(1).await.remove(0);
        assert!(line.contains(&format!(" reason={reason} ")), "{reason}: {line}");
        assert!(
            line.contains(" status=- ") && line.contains(" method=- "),
            "{line}"
        );
        let endings = &gateway.shared.metrics.workers()[0].endings;
        assert_eq!(endings.iter().map(|cell| cell.get()).sum::<u64>(), 1, "{reason}");
    }
}

/// Answers a head that promises ten bytes, sends five, and then says no more.
async fn stalls() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst";
            stream.write_all(answer).await.unwrap();
            held.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn an_upstream_that_falls_silent_inside_its_answer_is_given_up() {
    let rows = [
        (SHORT, None, "response-stalled"),
        (SOON, Some(2 * SHORT), "deadline-exceeded"),
    ];
    for (response_idle_timeout, timeout_total, reason) in rows {
        let address = stalls().await;
        let setup = Setup {
            response_idle_timeout,
            timeout_total,
            ..Setup::new(1, &[address])
        };
        let gateway = Gateway::start(&setup);
        for version in ["1.1", "2"] {
            let mut client = match version {
                "2" => Client::http2(gateway.address()).await,
                _ => Client::http1(gateway.address()).await,
            };
            assert!(client.get("/up").await.is_err(), "{version}: it breaks off");
        }
        for line in gateway.lines(2).await {
            let field = format!("status=200 reason={reason} fault=upstream");
            assert!(line.contains(&field), "{field}: {line}");
        }
    }
}

#[tokio::test]
async fn a_try_that_takes_too_long_goes_to_another_endpoint_if_that_is_safe() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = Server::named("good").await;
    let setup = Setup {
        try_timeout: Some(SHORT),
        ..Setup::new(1, &[silent.local_addr().unwrap(), good.address])
    };
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    for _ in 0..2 {
        let answer = client.get("/up").await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "good"));
    }
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let request = client.request("POST", "/up").body(full("x")).unwrap();
        statuses.push(client.ask(request).await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 504], "a POST may have been received");
    let lines = gateway.lines(4).await;
    assert!(
        lines.iter().any(|line| line.contains("reason=try-timeout")),
        "{lines:#?}"
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_whether_it_says_so_or_not() {
    let echo = Server::echo().await;
    let setup = Setup {
        body_bytes_max: 10,
        ..Setup::new(1, &[echo.address])
    };
    let gateway = Gateway::start(&setup);
    let rows = [
        ("content-length: 11\r\n\r\nhello world", 413),
        (
            "transfer-encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
            413,
        ),
        ("content-length: 10\r\n\r\nhello worl", 200),
    ];
    for (rest, status) in rows {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let request = format!("POST /up HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{rest}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{rest}: {answer}"
        );
    }
    let lines = gateway.lines(3).await;
    let large = lines
        .iter()
        .filter(|line| line.contains("reason=body-too-large fault=downstream"));
    assert_eq!(large.count(), 2, "{lines:#?}");
}

#[tokio::test]
async fn an_answer_before_the_end_of_a_megabyte_is_read_by_who_writes_first() {
    let early = Server::start(|_: Request<Incoming>| async { Response::new(full("early")) }).await;
    let gateway = Gateway::start(&Setup::new(1, &[early.address]));
    // (request, what its answer has)
    let rows = [
        (
            "POST /up HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1048576\r\n\r\n",
            "early",
        ),
        (
            "POST /none HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1048576\r\n\r\n",
            "no-route: ",
        ),
        (
            "POST /own HTTP/1.1\r\nhost : a\r\nconnection: close\r\ncontent-length: 1048576\r\n\r\n",
            "space-before-colon: ",
        ),
    ];
    for (head, expected) in rows {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(expected), "{head}: {answer}");
    }
}

#[tokio::test]
async fn connections_are_spread_over_workers() {
    let gateway = Gateway::start(&Setup::new(4, &[]));
    let mut clients = Vec::new();
    for _ in 0..400 {
        let mut client = Client::http1(gateway.address()).await;
        assert_eq!(client.get("/own").await.unwrap().status, 200);
        clients.push(client);
    }
    let open: Vec<u64> = gateway
        .shared
        .metrics
        .workers()
        .iter()
        .map(|w| w.open.get())
        .collect();
    assert_eq!(open.iter().sum::<u64>(), 400);
    // A quarter above the mean, 16, and what was counted late.
    assert!(open.iter().all(|&open| open <= 100 * 5 / 4 + 16 + 4), "{open:?}");
}

#[tokio::test]
async fn a_client_has_its_most_connections() {
    let setup = Setup {
        connections_per_client_max: Some(2),
        ..Setup::new(2, &[])
    };
    let gateway = Gateway::start(&setup);
    let mut one = Client::http1(gateway.address()).await;
    let mut two = Client::http1(gateway.address()).await;
    assert_eq!(one.get("/own").await.unwrap().status, 200);
    assert_eq!(two.get("/own").await.unwrap().status, 200);
    let mut three = TcpStream::connect(gateway.address()).await.unwrap();
    let mut nothing = Vec::new();
    drop(three.read_to_end(&mut nothing).await);
    assert!(nothing.is_empty(), "closed at once");
    drop(one);
    wait_until("one is gone", || gateway.shared.metrics.connections_open() == 1).await;
    let mut again = Client::http1(gateway.address()).await;
    assert_eq!(again.get("/own").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_connection_that_rested_goes_on_as_before() {
    let echo = Server::echo().await;
    let gateway = Gateway::start(&Setup::new(1, &[echo.address]));
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    // (what is sent after the rest, what comes back)
    let rows = [
        ("GET /up/1 HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200 "),
        (
            "POST /up/2 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
            "body 3",
        ),
        ("GET /none HTTP/1.1\r\nhost: a\r\n\r\n", "no-route: "),
        (
            "GET /up HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            "host-repeated: ",
        ),
    ];
    for (request, expected) in rows {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.contains(expected) {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "{request}: {answer}");
            answer.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        let rests = || gateway.shared.metrics.workers()[0].rests.get();
        let before = rests();
        if !expected.starts_with("host-repeated") {
            wait_until("it rests", || rests() > before).await;
        }
    }
    let lines = gateway.lines(4).await;
    assert!(lines[3].contains("reason=host-repeated"), "{lines:#?}");
}

/// What an endpoint was told of a deadline.
fn told<'a>(answer: &'a Answer, field: &str) -> Option<&'a str> {
    let lines = answer.text().lines();
    lines
        .filter_map(|line| line.strip_prefix(field)?.strip_prefix(": "))
        .next()
}

async fn ask_with(gateway: &Gateway, fields: &[(&str, &str)]) -> Answer {
    let mut client = Client::http1(gateway.address()).await;
    let mut request = client.request("GET", "/up");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    client.ask(request.body(full("")).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_clients_deadline_goes_on_shortened_and_only_if_it_can_be_read() {
    let echo = Server::echo().await;
    let local = crate::config::snapshot::Networks(vec!["127.0.0.0/8".parse().unwrap()]);
    const FIELD: &str = "x-left-ms";
    for is_trusted in [false, true] {
        let mut setup = Setup::new(1, &[echo.address]);
        setup.deadline_header = Some(FIELD);
        if is_trusted {
            setup.trusted_proxies = local.clone();
        }
        let gateway = Gateway::start(&setup);
        let answer = ask_with(&gateway, &[(FIELD, "5000")]).await;
        let left: u64 = told(&answer, FIELD).unwrap().parse().unwrap();
        assert!((3_000..5_000).contains(&left), "{left}");
        let none = ask_with(&gateway, &[]).await;
        assert_eq!((none.status, told(&none, FIELD)), (200, None));
        for fields in [&[(FIELD, "soon")][..], &[(FIELD, "5"), (FIELD, "5000")]] {
            let answer = ask_with(&gateway, fields).await;
            if is_trusted {
                assert_eq!(answer.status, 400, "{fields:?}");
                assert!(answer.text().starts_with("deadline-bad: "), "{answer:?}");
            } else {
                assert_eq!((answer.status, told(&answer, FIELD)), (200, None), "{fields:?}");
            }
        }
        assert_eq!(ask_with(&gateway, &[(FIELD, "0")]).await.status, 504);
    }
    // Where nothing reads it, it is a field as any other.
    let gateway = Gateway::start(&Setup::new(1, &[echo.address]));
    let answer = ask_with(&gateway, &[(FIELD, "soon")]).await;
    assert_eq!(told(&answer, FIELD), Some("soon"));
}

#[tokio::test]
async fn a_clients_deadline_only_shortens_and_a_strangers_blames_no_endpoint() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let local = crate::config::snapshot::Networks(vec!["127.0.0.0/8".parse().unwrap()]);
    let none = crate::config::snapshot::Networks::default();
    let rows = [
        ("a stranger's", none.clone(), None, "100", "deadline-exceeded", 0),
        (
            "a trusted one's",
            local.clone(),
            None,
            "100",
            "deadline-exceeded",
            1,
        ),
        (
            "longer than the whole may take",
            none.clone(),
            Some(SHORT),
            "60000",
            "deadline-exceeded",
            1,
        ),
        ("longer than the route's", none, None, "60000", "timeout", 1),
    ];
    for (why, trusted_proxies, timeout_total, left, reason, failures) in rows {
        let setup = Setup {
            deadline_header: Some("x-left-ms"),
            trusted_proxies,
            timeout_total,
            timeout: Duration::from_millis(400),
            ..Setup::new(1, &[address])
        };
        let gateway = Gateway::start(&setup);
        let begin = tokio::time::Instant::now();
        let answer = ask_with(&gateway, &[("x-left-ms", left)]).await;
        assert_eq!(answer.status, 504, "{why}");
        assert!(
            answer.text().starts_with(&format!("{reason}: ")),
            "{why}: {answer:?}"
        );
        assert!(begin.elapsed() < SOON / 2, "{why}");
        let state = gateway.state(address);
        let counted = state.failures.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(counted, failures, "{why}");
    }
}

#[tokio::test]
async fn each_try_is_told_what_is_left() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = seen.clone();
    let server = Server::start(move |request: Request<Incoming>| {
        let field = |name: &str| {
            request
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        told.lock()
            .unwrap()
            .push((field("x-left-ms"), field("grpc-timeout")));
        async move {
            tokio::time::sleep(SHORT).await;
            let builder = Response::builder().header("content-type", "application/grpc");
            builder.header("grpc-status", "14").body(full("")).unwrap()
        }
    });
    let server = server.await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.protocol = crate::config::snapshot::UpstreamProtocol::Http2;
    setup.deadline_header = Some("x-left-ms");
    setup.retry.attempts = 1;
    setup.retry.on = crate::config::snapshot::Outcomes::default();
    setup.retry.on.add("grpc-unavailable").unwrap();
    let gateway = Gateway::start(&setup);
    let mut client = Client::http2(gateway.address()).await;
    let request = client
        .request("POST", "/up")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "5S")
        .header("x-left-ms", "9000");
    let answer = client.ask(request.body(full("\0\0\0\0\u{1}x")).unwrap()).await;
    assert_eq!(answer.unwrap().header("grpc-status"), Some("14"));
    let seen = seen.lock().unwrap();
    let left: Vec<u64> = seen
        .iter()
        .map(|(left, _)| left.as_ref().unwrap().parse().unwrap())
        .collect();
    assert_eq!(left.len(), 2);
    assert!(left[0] < 5_000 && left[1] <= left[0] - 100, "{left:?}");
    let called: Vec<u64> = seen
        .iter()
        .map(|(_, called)| {
            called
                .as_ref()
                .unwrap()
                .strip_suffix('u')
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    assert!(called[1] + 100_000 <= called[0], "{called:?}");
}
