//! Connections that are passed on: joined with endpoints by the same balancers, limits and breakers as requests.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::harness::*;

/// Bytes of a large transfer: more than the sockets on its way hold.
const LARGE: usize = 10 << 20;

/// A file with one upstream of these endpoints, and further keys of the listener, the route and the upstream.
fn file(protocol: &str, endpoints: &[SocketAddr], listener: &str, route: &str, upstream: &str) -> String {
    let list: Vec<String> = endpoints
        .iter()
        .map(|address| format!("{{address='{address}'}}"))
        .collect();
    format!(
        "protocol='{protocol}'\n{listener}\n[[route]]\nname='r'\nlisteners=['web']\nupstream='users'\n{route}\n\
         [[upstream]]\nname='users'\nendpoints=[{}]\n{upstream}\n",
        list.join(",")
    )
}

fn tcp(endpoints: &[SocketAddr], route: &str, upstream: &str) -> String {
    file("tcp", endpoints, "", route, upstream)
}

/// A server that says its name first, then gives back what it gets, and ends when its client does.
async fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                stream.write_all(name.as_bytes()).await?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await?;
                to.shutdown().await
            });
        }
    });
    address
}

/// Connects, says something, ends, and reads to the end.
async fn say(address: SocketAddr, words: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(words).await?;
    stream.shutdown().await?;
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await?;
    Ok(got)
}

#[tokio::test]
async fn a_connection_is_joined_with_an_endpoint_until_both_sides_have_ended() {
    let endpoint = echo("one:").await;
    let gateway = Gateway::configured(1, &tcp(&[endpoint], "", ""));
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    // The server speaks first.
    let mut first = [0; 4];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"one:");
    stream.write_all(b"hello").await.unwrap();
    let mut same = [0; 5];
    stream.read_exact(&mut same).await.unwrap();
    assert_eq!(&same, b"hello");
    assert_eq!(
        gateway
            .state(endpoint)
            .active
            .load(std::sync::atomic::Ordering::Relaxed),
        1
    );
    // One side ends, the other is still heard.
    stream.write_all(b", and bye").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b", and bye");
    let line = gateway.lines(1).await.remove(0);
    for part in [
        " listener=web route=r upstream=users ",
        &format!(" endpoint={endpoint} method=- host=- path=- version=- status=- reason=ok fault=none "),
        " tries=1 bytes_in=14 bytes_out=18 connect_ms=",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    let metrics = gateway.metrics();
    for row in [
        "gateway_tcp_connections_total{listener=\"web\",route=\"r\",result=\"ok\"} 1",
        "gateway_tcp_bytes_total{listener=\"web\",route=\"r\",direction=\"in\"} 14",
        "gateway_tcp_bytes_total{listener=\"web\",route=\"r\",direction=\"out\"} 18",
        "gateway_upstream_tcp_connections_total{upstream=\"users\",result=\"ok\"} 1",
    ] {
        assert!(metrics.contains(row), "no {row:?}");
    }
    wait_until("its place is free", || {
        gateway
            .state(endpoint)
            .active
            .load(std::sync::atomic::Ordering::Relaxed)
            == 0
    })
    .await;
}

#[tokio::test]
async fn much_passes_both_ways_at_the_pace_of_a_slow_reader() {
    let endpoint = echo("").await;
    let gateway = Gateway::configured(1, &tcp(&[endpoint], "", ""));
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let bytes: Vec<u8> = (0..LARGE).map(|index| (index % 251) as u8).collect();
    let sent = bytes.clone();
    let writer = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut got = Vec::with_capacity(LARGE);
    let mut piece = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut piece).await.unwrap();
        if count == 0 {
            break;
        }
        got.extend_from_slice(&piece[..count]);
        // Slow enough for all buffers on the way to fill.
        if got.len() % 7 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    writer.await.unwrap();
    assert!(got == bytes, "{} of {LARGE} bytes", got.len());
    let line = gateway.lines(1).await.remove(0);
    assert!(
        line.contains(&format!(" bytes_in={LARGE} bytes_out={LARGE} ")),
        "{line}"
    );
}

#[tokio::test]
async fn an_endpoint_that_takes_no_connection_is_passed_over_and_counted() {
    let (dead, alive) = (closed_port().await, echo("alive").await);
    let gateway = Gateway::configured(1, &tcp(&[dead, alive], "", ""));
    for _ in 0..4 {
        assert_eq!(say(gateway.address(), b"").await.unwrap(), b"alive");
    }
    let lines = gateway.lines(4).await;
    let twice = lines.iter().filter(|line| line.contains(" tries=2 ")).count();
    assert!(twice >= 1, "{lines:#?}");
    assert!(
        lines.iter().all(|line| line.contains(" reason=ok ")),
        "{lines:#?}"
    );
    let failures = gateway
        .state(dead)
        .failures
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(failures, twice as u64);
}

#[tokio::test]
async fn who_takes_nothing_is_ejected_and_an_open_breaker_refuses() {
    let (dead, alive) = (closed_port().await, echo("alive").await);
    let outlier = "outlier={consecutive_failures=1,base_ejection='60s',max_ejected_share=1.0}";
    let gateway = Gateway::configured(1, &tcp(&[dead, alive], "", outlier));
    say(gateway.address(), b"").await.unwrap();
    say(gateway.address(), b"").await.unwrap();
    wait_until("it is ejected", || gateway.state(dead).is_ejected()).await;
    for _ in 0..3 {
        assert_eq!(say(gateway.address(), b"").await.unwrap(), b"alive");
    }
    let lines = gateway.lines(5).await;
    assert!(
        lines[2..].iter().all(|line| line.contains(" tries=1 ")),
        "{lines:#?}"
    );

    let breaker = "circuit_breaker={min_calls=2,open_for='60s',open_for_max='60s'}";
    let gateway = Gateway::configured(1, &tcp(&[dead], "retry={attempts=0}", breaker));
    let mut seen = Vec::new();
    while !seen
        .iter()
        .any(|line: &String| line.contains(" reason=breaker-open "))
    {
        assert!(seen.len() < 200, "it never opens: {:#?}", seen.last());
        drop(say(gateway.address(), b"").await);
        seen = gateway.lines(seen.len() + 1).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        seen[0].contains(" reason=connect-failed fault=upstream "),
        "{seen:#?}"
    );
    let line = seen.last().unwrap();
    assert!(
        line.contains(" tries=0 ") && line.contains(" endpoint=- "),
        "{line}"
    );
}

#[tokio::test]
async fn an_upstream_with_as_many_connections_as_it_may_have_takes_no_more() {
    let endpoint = echo("hi").await;
    let rows = [
        "limits={requests=1}",
        "limits={connections=1,pending=0}",
        "limits={endpoint={connections=1,pending=0}}",
    ];
    for limits in rows {
        let gateway = Gateway::configured(1, &tcp(&[endpoint], "", limits));
        let mut first = TcpStream::connect(gateway.address()).await.unwrap();
        first.read_exact(&mut [0; 2]).await.unwrap();
        assert_eq!(
            say(gateway.address(), b"").await.unwrap_or_default(),
            b"",
            "{limits}"
        );
        let line = gateway.lines(1).await.remove(0);
        assert!(line.contains(" reason=upstream-overloaded "), "{limits}: {line}");
        first.shutdown().await.unwrap();
        first.read_to_end(&mut Vec::new()).await.unwrap();
        gateway.lines(2).await;
        wait_until("there is room again", || {
            gateway
                .state(endpoint)
                .active
                .load(std::sync::atomic::Ordering::Relaxed)
                == 0
        })
        .await;
        assert_eq!(say(gateway.address(), b"").await.unwrap(), b"hi", "{limits}");
    }
}

#[tokio::test]
async fn what_hashes_clients_keeps_theirs_together() {
    let endpoints = [echo("a").await, echo("b").await, echo("c").await];
    for balancer in ["ip-hash", "consistent-hash"] {
        let hash = if balancer == "ip-hash" {
            ""
        } else {
            "\nhash={client=true}"
        };
        let upstream = format!("balancer='{balancer}'{hash}");
        let gateway = Gateway::configured(2, &tcp(&endpoints, "", &upstream));
        let first = say(gateway.address(), b"").await.unwrap();
        for _ in 0..8 {
            assert_eq!(say(gateway.address(), b"").await.unwrap(), first, "{balancer}");
        }
    }
}

#[tokio::test]
async fn clients_are_let_in_and_told_apart_by_their_addresses() {
    let (one, two) = (echo("one").await, echo("two").await);
    let denies = "filters=[{name='f',ip_deny=['127.0.0.0/8']}]";
    let gateway = Gateway::configured(1, &tcp(&[one], denies, ""));
    assert_eq!(say(gateway.address(), b"").await.unwrap_or_default(), b"");
    let line = gateway.lines(1).await.remove(0);
    assert!(line.contains(" reason=client-denied "), "{line}");

    let other = format!(
        "{}[[route]]\nname='mine'\nlisteners=['web']\nupstream='mine'\nmatch={{client=['127.0.0.1']}}\n\
         [[upstream]]\nname='mine'\nendpoints=[{{address='{two}'}}]\n",
        tcp(&[one], "", "")
    );
    let gateway = Gateway::configured(1, &other);
    assert_eq!(say(gateway.address(), b"").await.unwrap(), b"two");
    let only = tcp(&[one], "match={client=['192.0.2.1']}", "");
    let gateway = Gateway::configured(1, &only);
    assert_eq!(say(gateway.address(), b"").await.unwrap_or_default(), b"");
    let line = gateway.lines(1).await.remove(0);
    assert!(
        line.contains(" route=- ") && line.contains(" reason=no-route "),
        "{line}"
    );
}

#[tokio::test]
async fn an_end_that_is_no_orderly_one_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::configured(1, &tcp(&[listener.local_addr().unwrap()], "", ""));
    for (breaks, reason) in [("endpoint", "tunnel-broken"), ("client", "client-closed")] {
        let log = gateway.log();
        let before = log.now().len();
        let mut client = TcpStream::connect(gateway.address()).await.unwrap();
        let (mut endpoint, _) = listener.accept().await.unwrap();
        // A connection that is reset before anything passed may be made anew.
        endpoint.write_all(b"!").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        let (broken, mut other) = match breaks {
            "endpoint" => (endpoint, client),
            _ => (client, endpoint),
        };
        socket2::SockRef::from(&broken)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(broken);
        let ended = other.read(&mut [0; 1]).await;
        assert!(ended.is_err(), "{breaks}: {ended:?}");
        let line = log.lines(before + 1).await.pop().unwrap();
        assert!(line.contains(&format!(" reason={reason} ")), "{breaks}: {line}");
    }
}

#[tokio::test]
async fn who_closes_after_its_last_word_breaks_nothing_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::configured(1, &tcp(&[listener.local_addr().unwrap()], "", ""));
    for (round, closes) in ["endpoint", "client"].into_iter().enumerate() {
        let client = TcpStream::connect(gateway.address()).await.unwrap();
        let (endpoint, _) = listener.accept().await.unwrap();
        let (mut closing, mut other) = match closes {
            "endpoint" => (endpoint, client),
            _ => (client, endpoint),
        };
        closing.write_all(b"!").await.unwrap();
        closing.shutdown().await.unwrap();
        let mut got = Vec::new();
        other.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"!", "{closes}");
        drop(closing);
        // The first is answered by a reset, the next meets it.
        while gateway.log().now().len() == round && other.write_all(b"more").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let line = gateway.lines(round + 1).await.pop().unwrap();
        assert!(line.contains(" reason=ok "), "{closes}: {line}");
    }
}

#[tokio::test]
async fn a_connection_ends_where_nobody_speaks_and_where_its_endpoint_goes() {
    let endpoint = echo("hi").await;
    let idle = "tunnel_idle_timeout='50ms'";
    let gateway = Gateway::configured(1, &tcp(&[endpoint], idle, ""));
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    drop(stream.read_to_end(&mut Vec::new()).await);
    let line = gateway.lines(1).await.remove(0);
    assert!(line.contains(" reason=tunnel-idle "), "{line}");

    let drains = "drain_timeout='10ms'";
    let mut gateway = Gateway::configured(1, &tcp(&[endpoint], "", drains));
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.read_exact(&mut [0; 2]).await.unwrap();
    let other = echo("other").await;
    gateway.reconfigure(1, &tcp(&[other], "", drains));
    drop(stream.read_to_end(&mut Vec::new()).await);
    let line = gateway.lines(1).await.remove(0);
    assert!(line.contains(" reason=endpoint-removed "), "{line}");
    assert_eq!(say(gateway.address(), b"").await.unwrap(), b"other");
}

#[tokio::test]
async fn a_drain_leaves_connections_their_time_and_then_cuts_them() {
    let endpoint = echo("hi").await;
    for (limit, reason) in [(SOON, "ok"), (Duration::from_millis(300), "drain-limit")] {
        let gateway = Gateway::configured(1, &tcp(&[endpoint], "", ""));
        let log = gateway.log();
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.read_exact(&mut [0; 2]).await.unwrap();
        let draining = tokio::spawn(gateway.workers.drain(limit));
        if reason == "ok" {
            tokio::time::sleep(Duration::from_millis(600)).await;
            stream.write_all(b"still").await.unwrap();
            stream.read_exact(&mut [0; 5]).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        drop(stream.read_to_end(&mut Vec::new()).await);
        draining.await.unwrap();
        let line = log.lines(1).await.remove(0);
        assert!(line.contains(&format!(" reason={reason} ")), "{line}");
    }
}

#[tokio::test]
async fn a_listener_that_carries_something_else_from_now_on_serves_new_connections_by_it() {
    let endpoint = echo("hi").await;
    let http =
        "[[route]]\nname='r'\nlisteners=['web']\nmatch={path='/own'}\nrespond={status=200,body='own'}\n";
    let mut gateway = Gateway::configured(1, http);
    let mut before = Client::http1(gateway.address()).await;
    assert_eq!(before.get("/own").await.unwrap().text(), "own");
    gateway.reconfigure(1, &tcp(&[endpoint], "", ""));
    // Who was there before goes on by what held then, and is told to come again.
    let answer = before.get("/own").await.unwrap();
    assert_eq!(
        (answer.text(), answer.header("connection")),
        ("own", Some("close"))
    );
    assert_eq!(say(gateway.address(), b"").await.unwrap(), b"hi");
}

mod hellos {
    use super::*;
    use rustls::pki_types::ServerName;
    use std::sync::Arc;

    const SHORT: &str = "first_byte_timeout='100ms'";

    /// The first message of a client that asks for that name; for an address it asks for none.
    fn hello(name: &str) -> Vec<u8> {
        let config = rustls::ClientConfig::builder_with_provider(Arc::clone(crate::tls::provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn names(servers: &[(&str, SocketAddr)], listener: &str) -> String {
        let mut text = format!("protocol='tls_passthrough'\n{listener}\n");
        for (index, (host, address)) in servers.iter().enumerate() {
            let matching = if host.is_empty() {
                String::new()
            } else {
                format!("match={{hosts=['{host}']}}\n")
            };
            text.push_str(&format!(
                "[[route]]\nname='r{index}'\nlisteners=['web']\nupstream='u{index}'\n{matching}\
                 [[upstream]]\nname='u{index}'\nendpoints=[{{address='{address}'}}]\n"
            ));
        }
        text
    }

    #[tokio::test]
    async fn names_lead_to_their_upstreams_with_every_byte() {
        let servers = [
            ("a.example", echo("exact:").await),
            ("*.example", echo("wildcard:").await),
            ("", echo("rest:").await),
        ];
        let gateway = Gateway::configured(1, &names(&servers, ""));
        let rows = [
            ("a.example", "exact:", "a.example"),
            ("A.EXAMPLE", "exact:", "a.example"),
            ("b.example", "wildcard:", "b.example"),
            ("c.b.example", "wildcard:", "c.b.example"),
            ("other.test", "rest:", "other.test"),
            ("192.0.2.1", "rest:", "-"),
        ];
        for (index, (name, server, logged)) in rows.into_iter().enumerate() {
            let hello = hello(name);
            let got = say(gateway.address(), &hello).await.unwrap();
            let text = String::from_utf8_lossy(&got[..server.len().min(got.len())]).into_owned();
            assert_eq!(text, server, "{name}");
            assert!(got[server.len()..] == hello, "{name}: not every byte");
            let line = gateway.lines(index + 1).await.pop().unwrap();
            assert!(line.contains(&format!(" host={logged} ")), "{name}: {line}");
        }
    }

    #[tokio::test]
    async fn a_hello_in_pieces_and_what_comes_behind_it_reach_the_endpoint() {
        let gateway = Gateway::configured(1, &names(&[("a.example", echo("").await)], ""));
        let mut sent = hello("a.example");
        sent.extend(b"early data");
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in sent.chunks(50) {
            stream.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stream.shutdown().await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, sent);
    }

    #[tokio::test]
    async fn what_leads_nowhere_is_alerted_or_closed_with_its_reason() {
        let dead = closed_port().await;
        let servers = [("a.example", dead)];
        let alert = |description| vec![21, 3, 3, 0, 2, 2, description];
        let whole = hello("a.example");
        let rows: Vec<(Vec<u8>, bool, Vec<u8>, &str)> = vec![
            (hello("b.example"), false, alert(112), "no-route"),
            (hello("192.0.2.1"), false, alert(112), "no-route"),
            (whole.clone(), false, alert(80), "connect-failed"),
            (
                b"GET / HTTP/1.1\r\n\r\n".to_vec(),
                false,
                Vec::new(),
                "tls-unreadable",
            ),
            (whole[..100].to_vec(), true, Vec::new(), "tls-cut"),
            (whole[..100].to_vec(), false, Vec::new(), "first-byte-timeout"),
            (
                vec![22, 3, 1, 0, 4, 1, 1, 0, 0],
                false,
                Vec::new(),
                "tls-hello-too-long",
            ),
            (Vec::new(), true, Vec::new(), "connection-empty"),
            (Vec::new(), false, Vec::new(), "first-byte-timeout"),
        ];
        for (bytes, ends, expected, reason) in rows {
            let gateway = Gateway::configured(1, &names(&servers, SHORT));
            let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            if ends {
                stream.shutdown().await.unwrap();
            }
            let mut got = Vec::new();
            // A reset is an end, too.
            drop(stream.read_to_end(&mut got).await);
            assert_eq!(got, expected, "{reason}");
            let line = gateway.lines(1).await.remove(0);
            assert!(line.contains(&format!(" reason={reason} ")), "{line}");
        }
    }
}
