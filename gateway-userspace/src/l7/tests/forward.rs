//! What is sent on, what comes back, and what the log says of it.

use super::harness::*;
use crate::config::snapshot::{NodeHeader, UpstreamProtocol};

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
                assert!(text.contains("host: a.example\n"), "{text}");
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

#[tokio::test]
async fn metrics_add_up_over_workers() {
    let server = Server::named("a").await;
    let gateway = Gateway::start(&Setup::new(2, &[server.address]));
    for _ in 0..10 {
        get(gateway.address(), "/up").await;
    }
    get(gateway.address(), "/none").await;
    gateway.lines(11).await;
    let text = gateway.metrics();
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
