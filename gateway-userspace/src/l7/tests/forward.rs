//! What is sent on, what comes back, and what the log says of it.

use super::harness::*;
use crate::config::snapshot::{NodeHeader, UpstreamProtocol};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn http1_and_http2_meet_on_both_sides() {
    let echo = Server::echo().await;
    for workers in [1, 2] {
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let gateway = Gateway::start(&Setup {
                protocol,
                ..Setup::new(workers, &[echo.address])
            });
            for mut client in [
                Client::http1(gateway.address()).await,
                Client::http2(gateway.address()).await,
            ] {
                let request = client.request("POST", "/up/a?b=c").body(full("hello")).unwrap();
                let (client_version, scheme) = match client {
                    Client::One(_) => ("1.1", ""),
                    Client::Two(_) => ("2", ""),
                };
                let answer = client.ask(request).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                let expected = match protocol {
                    UpstreamProtocol::Http1 => "POST /up/a?b=c HTTP/1.1\n",
                    UpstreamProtocol::Http2 => "POST http://a.example/up/a?b=c HTTP/2.0\n",
                };
                let text = answer.text();
                assert!(text.starts_with(expected), "{scheme}{text}");
                assert!(text.ends_with("body 5\n"), "{text}");
                for line in [
                    "x-forwarded-for: 127.0.0.1\n".to_owned(),
                    "x-forwarded-proto: http\n".to_owned(),
                    "x-forwarded-host: a.example\n".to_owned(),
                    format!("via: {client_version} gateway\n"),
                ] {
                    assert!(text.contains(&line), "{line} is missing in {text}");
                }
                assert_eq!(text.contains("host: a.example\n"), true, "{text}");
            }
        }
    }
}

#[tokio::test]
async fn connections_to_an_endpoint_are_used_again() {
    let server = Server::named("a").await;
    let gateway = Gateway::start(&Setup::new(1, &[server.address]));
    for _ in 0..3 {
        let mut client = Client::http1(gateway.address()).await;
        for _ in 0..10 {
            assert_eq!(client.get("/up").await.unwrap().text(), "a");
        }
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_hundred_requests_at_once_share_one_http2_connection() {
    let server = Server::named("a").await;
    let setup = Setup {
        protocol: UpstreamProtocol::Http2,
        ..Setup::new(1, &[server.address])
    };
    let gateway = Gateway::start(&setup);
    let address = gateway.address();
    let all: Vec<_> = (0..90)
        .map(|_| tokio::spawn(async move { get(address, "/up").await.status }))
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn endpoints_take_turns_by_weight_on_each_worker() {
    let servers = [Server::named("a").await, Server::named("b").await];
    let gateway = Gateway::start(&Setup::new(2, &[servers[0].address, servers[1].address]));
    let mut counts = [0, 0];
    for _ in 0..40 {
        match get(gateway.address(), "/up").await.text() {
            "a" => counts[0] += 1,
            _ => counts[1] += 1,
        }
    }
    assert!(counts[0] >= 18 && counts[1] >= 18, "{counts:?}");
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
        "tries=2",
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
async fn refusals_have_a_status_and_a_reason_each() {
    let gateway = Gateway::start(&Setup::new(1, &[]));
    let rows = [
        ("GET /none HTTP/1.1\r\nhost: a\r\n\r\n", 404, "no-route"),
        ("GET /post HTTP/1.1\r\nhost: a\r\n\r\n", 405, "method-not-allowed"),
        ("TRACE /own HTTP/1.1\r\nhost: a\r\n\r\n", 405, "method-refused"),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 405, "method-refused"),
        ("GET /own HTTP/1.1\r\n\r\n", 400, "host-missing"),
        ("GET /own HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400, "host-bad"),
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
async fn what_is_matched_is_what_is_forwarded() {
    let echo = Server::echo().await;
    let gateway = Gateway::start(&Setup::new(1, &[echo.address]));
    let answer = get(gateway.address(), "/own/../up/./x?y=/../z").await;
    assert!(
        answer.text().starts_with("GET /up/x?y=/../z HTTP/1.1\n"),
        "{}",
        answer.text()
    );
    assert!(gateway.lines(1).await[0].contains("path=/up/x "));
}

#[tokio::test]
async fn the_node_names_itself_only_where_it_is_told_to() {
    let server = Server::named("a").await;
    for (node_header, expected) in [(NodeHeader::Sent, Some("gw-1")), (NodeHeader::Omitted, None)] {
        let setup = Setup {
            node_header,
            ..Setup::new(1, &[server.address])
        };
        let gateway = Gateway::start(&setup);
        for path in ["/up", "/own", "/none"] {
            assert_eq!(
                get(gateway.address(), path).await.header("x-gateway-node"),
                expected,
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn hop_by_hop_fields_end_here() {
    let echo = Server::echo().await;
    let gateway = Gateway::start(&Setup::new(1, &[echo.address]));
    let mut client = Client::http1(gateway.address()).await;
    let request = client
        .request("GET", "/up")
        .header("connection", "keep-alive, x-mine")
        .header("x-mine", "1")
        .header("keep-alive", "timeout=9")
        .header("upgrade", "websocket")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-request-id", "from-client-1")
        .body(full(""))
        .unwrap();
    let answer = client.ask(request).await.unwrap();
    let text = answer.text();
    for gone in ["x-mine", "keep-alive", "upgrade", "6.6.6.6", "connection"] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    assert!(text.contains("x-request-id: from-client-1\n"), "{text}");
    assert!(gateway.lines(1).await[0].ends_with("request_id=from-client-1"));
}

#[tokio::test]
async fn head_gets_the_length_and_nothing_more() {
    let server = Server::named("four").await;
    let gateway = Gateway::start(&Setup::new(1, &[server.address]));
    for mut client in [
        Client::http1(gateway.address()).await,
        Client::http2(gateway.address()).await,
    ] {
        for (path, length) in [("/up", "4"), ("/own", "3")] {
            let request = client.request("HEAD", path).body(full("")).unwrap();
            let answer = client.ask(request).await.unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
            assert_eq!(answer.header("content-length"), Some(length), "{path}");
        }
    }
    assert!(
        gateway
            .lines(4)
            .await
            .iter()
            .all(|line| line.contains("reason=ok"))
    );
    assert_eq!(server.connections(), 1, "a connection is used again after HEAD");
}

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
async fn metrics_add_up_over_workers() {
    let server = Server::named("a").await;
    let gateway = Gateway::start(&Setup::new(2, &[server.address]));
    for _ in 0..10 {
        get(gateway.address(), "/up").await;
    }
    get(gateway.address(), "/none").await;
    gateway.lines(11).await;
    let mut registry = prometheus_client::registry::Registry::default();
    crate::l7::register_metrics(&mut registry, &gateway.shared);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "gateway_requests_total{listener=\"web-0\",route=\"all\",status=\"2xx\"} 10".to_owned(),
        "gateway_requests_total{listener=\"web-0\",route=\"-\",status=\"4xx\"} 1".to_owned(),
        "gateway_request_failures_total{reason=\"no-route\",fault=\"downstream\"} 1".to_owned(),
        "gateway_request_duration_seconds_count{listener=\"web-0\",route=\"all\"} 10".to_owned(),
        "gateway_connections_accepted_total 11".to_owned(),
        "gateway_access_log_dropped_total 0".to_owned(),
        format!(
            "gateway_endpoint_requests_total{{upstream=\"users\",endpoint=\"{}\"}} 10",
            server.address
        ),
    ] {
        assert!(
            text.lines().any(|have| have == line),
            "{line} is missing in\n{text}"
        );
    }
}

#[tokio::test]
async fn a_reload_decides_the_next_request_and_keeps_connections() {
    let (old, new) = (Server::named("old").await, Server::named("new").await);
    let mut gateway = Gateway::start(&Setup::new(2, &[old.address]));
    let mut client = Client::http1(gateway.address()).await;
    assert_eq!(client.get("/up").await.unwrap().text(), "old");
    gateway.reload(&Setup::new(2, &[new.address]));
    assert_eq!(client.get("/up").await.unwrap().text(), "new");
    let lines = gateway.lines(2).await;
    assert!(
        lines[0].contains("snapshot=1 ") && lines[1].contains("snapshot=2 "),
        "{lines:#?}"
    );
}
