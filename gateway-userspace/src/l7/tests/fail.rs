//! What fails: whose fault it is, what the client gets, and what is tried again.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::harness::*;
use crate::config::snapshot::UpstreamProtocol;

/// Takes one request on each connection, answers the first `answers` of them, and closes.
async fn closes_after(answers: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut count = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            for requests_on_it in 0.. {
                if stream.read(&mut head).await.unwrap() == 0 || requests_on_it >= 1 || count >= answers {
                    // Closed with the second request unanswered: the keep-alive race.
                    break;
                }
                count += 1;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await
                    .unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn refusals_have_a_status_and_a_reason_each() {
    let gateway = Gateway::start(&Setup::new(1, &[]));
    let rows = [
        ("GET /none HTTP/1.1\r\nhost: a\r\n\r\n", 404, "no-route"),
        ("GET /post HTTP/1.1\r\nhost: a\r\n\r\n", 405, "method-not-allowed"),
        ("TRACE /own HTTP/1.1\r\nhost: a\r\n\r\n", 405, "method-trace"),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 405, "method-refused"),
        ("GET /own HTTP/1.1\r\n\r\n", 400, "host-missing"),
        (
            "GET /own HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
            400,
            "host-repeated",
        ),
        ("GET /%zz HTTP/1.1\r\nhost: a\r\n\r\n", 400, "path-bad"),
        ("GET /../own HTTP/1.1\r\nhost: a\r\n\r\n", 400, "path-bad"),
        (
            "GET /up HTTP/1.1\r\nhost: a\r\nconnection: host\r\n\r\n",
            400,
            "connection-bad",
        ),
    ];
    for (index, (request, status, reason)) in rows.iter().enumerate() {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {answer}"
        );
        assert!(
            answer.contains(&format!("\r\n\r\n{reason}: ")),
            "{request:?}: {answer}"
        );
        assert_eq!(
            answer.contains("\r\nallow: POST\r\n"),
            *reason == "method-not-allowed",
            "{answer}"
        );
        let lines = gateway.lines(index + 1).await;
        let field = format!("status={status} reason={reason} fault=downstream");
        assert!(lines[index].contains(&field), "{field} in {}", lines[index]);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_502() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            stream.write_all(b"SSH-2.0-whatever\r\n\r\n").await.unwrap();
        }
    });
    let gateway = Gateway::start(&Setup::new(1, &[address]));
    let answer = get(gateway.address(), "/up").await;
    assert_eq!(answer.status, 502);
    assert!(gateway.lines(1).await[0].contains("reason=upstream-protocol"));
}

#[tokio::test]
async fn all_endpoints_down_is_502_with_the_reason() {
    let gateway = Gateway::start(&Setup::new(1, &[closed_port().await, closed_port().await]));
    let answer = get(gateway.address(), "/up").await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().starts_with("connect-failed: "), "{}", answer.text());
    assert!(answer.header("x-request-id").is_some());
    let lines = gateway.lines(1).await;
    for field in [
        "status=502",
        "reason=connect-failed",
        "fault=upstream",
        "tries=3",
        "upstream=users",
        "route=all",
    ] {
        assert!(lines[0].contains(field), "{field} in {}", lines[0]);
    }
}

#[tokio::test]
async fn no_endpoint_is_503_and_internal() {
    let gateway = Gateway::start(&Setup::new(1, &[]));
    let answer = get(gateway.address(), "/up").await;
    assert_eq!(answer.status, 503);
    let lines = gateway.lines(1).await;
    assert!(
        lines[0].contains("reason=no-endpoint fault=internal tries=0"),
        "{}",
        lines[0]
    );
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_504() {
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let server = Server::start(|_| std::future::pending()).await;
        let setup = Setup {
            timeout: Duration::from_millis(50),
            protocol,
            ..Setup::new(1, &[server.address])
        };
        let gateway = Gateway::start(&setup);
        let answer = get(gateway.address(), "/up").await;
        assert_eq!(answer.status, 504);
        assert!(gateway.lines(1).await[0].contains("reason=timeout fault=upstream tries=1"));
        let state = gateway.state(server.address);
        assert_eq!(state.failures.load(std::sync::atomic::Ordering::Relaxed), 1);
        wait_until("nothing under way", || {
            state.active.load(std::sync::atomic::Ordering::Relaxed) == 0
        })
        .await;
    }
}

#[tokio::test]
async fn a_connect_that_takes_too_long_is_504() {
    // A full accept queue answers no SYN.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let full = socket.local_addr().unwrap().as_socket().unwrap();
    let _held = std::net::TcpStream::connect(full).unwrap();
    let setup = Setup {
        connect_timeout: Duration::from_millis(50),
        ..Setup::new(1, &[full])
    };
    let gateway = Gateway::start(&setup);
    assert_eq!(get(gateway.address(), "/up").await.status, 504);
    assert!(gateway.lines(1).await[0].contains("reason=connect-timeout"));
}

#[tokio::test]
async fn a_reused_connection_that_died_is_replaced_once_for_requests_that_may_be_repeated() {
    let address = closes_after(3).await;
    let gateway = Gateway::start(&Setup::new(1, &[address]));
    assert_eq!(
        get(gateway.address(), "/up").await.status,
        200,
        "on a new connection"
    );
    assert_eq!(
        get(gateway.address(), "/up").await.status,
        200,
        "sent again on another"
    );
    let mut client = Client::http1(gateway.address()).await;
    let request = client.request("POST", "/up").body(full("pay")).unwrap();
    let answer = client.ask(request).await.unwrap();
    assert_eq!(answer.status, 502, "it may have been received");
    assert!(
        answer.text().starts_with("upstream-closed: "),
        "{}",
        answer.text()
    );
    let lines = gateway.lines(3).await;
    assert!(lines[1].contains("reason=ok fault=none tries=2"), "{}", lines[1]);
    assert!(
        lines[2].contains("reason=upstream-closed fault=upstream tries=1"),
        "{}",
        lines[2]
    );
}

#[tokio::test]
async fn an_endpoint_that_is_down_costs_no_request() {
    let (down, up) = (closed_port().await, Server::named("up").await);
    let gateway = Gateway::start(&Setup::new(2, &[down, up.address]));
    for _ in 0..10 {
        let answer = get(gateway.address(), "/up").await;
        assert_eq!((answer.status, answer.text()), (200, "up"));
    }
    let lines = gateway.lines(10).await;
    assert!(lines.iter().any(|line| line.contains("tries=2")), "{lines:#?}");
    assert!(
        lines
            .iter()
            .all(|line| line.contains("reason=ok") && line.contains(&format!("endpoint={}", up.address)))
    );
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_408_and_no_failure_of_the_endpoint() {
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let echo = Server::echo().await;
        let setup = Setup {
            timeout: Duration::from_millis(50),
            stalled_timeout: Duration::from_millis(200),
            protocol,
            ..Setup::new(1, &[echo.address])
        };
        let gateway = Gateway::start(&setup);
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream
            .write_all(b"POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
            .await
            .unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 408 "), "{protocol:?}");
        let line = gateway.lines(1).await.remove(0);
        assert!(
            line.contains("status=408 reason=request-body-timeout fault=downstream"),
            "{line}"
        );
        let failures = &gateway.state(echo.address).failures;
        assert_eq!(failures.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn an_endpoint_that_got_the_whole_body_or_takes_none_is_blamed_for_its_silence() {
    for length in [5, 32 * 1024 * 1024] {
        // Reads nothing of a request.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let setup = Setup {
            timeout: Duration::from_millis(500),
            ..Setup::new(1, &[address])
        };
        let gateway = Gateway::start(&setup);
        let mut client = Client::http2(gateway.address()).await;
        let request = client.request("POST", "/up").body(full(vec![b'x'; length]));
        let answer = client.ask(request.unwrap()).await.unwrap();
        assert_eq!(answer.status, 504, "{length}");
        let failures = &gateway.state(address).failures;
        assert_eq!(failures.load(std::sync::atomic::Ordering::Relaxed), 1, "{length}");
    }
}
