//! The PROXY protocol: who is believed, what counts for whom, and what endpoints are told.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::harness::*;
use crate::config::snapshot::Networks;
use crate::proxy_protocol::{Ends, Version, header};
use crate::tls::testing::Authority;
use crate::tls::{ClientAuth, MinVersion, ServerSettings};

const CLIENT: &str = "192.0.2.7:4711";
const SERVER: &str = "198.51.100.1:443";

fn ends() -> Option<Ends> {
    Some(Ends {
        client: CLIENT.parse().unwrap(),
        server: SERVER.parse().unwrap(),
    })
}

fn loopback() -> Networks {
    Networks(vec!["127.0.0.0/8".parse().unwrap()])
}

const ASKED: &[u8] =
    b"GET /up HTTP/1.1\r\nhost: a.example\r\nx-forwarded-for: 203.0.113.9\r\nconnection: close\r\n\r\n";

/// Sends pieces with a pause between, and reads to the end.
async fn exchange(address: SocketAddr, pieces: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stream.write_all(piece).await.unwrap();
    }
    let mut got = Vec::new();
    drop(stream.read_to_end(&mut got).await);
    String::from_utf8_lossy(&got).into_owned()
}

#[tokio::test]
async fn whom_a_trusted_proxy_names_is_the_client() {
    let server = Server::start(echo).await;
    let setup = Setup {
        proxies: loopback(),
        ..Setup::new(1, &[server.address])
    };
    let gateway = Gateway::start(&setup);
    let mut count = 0;
    for version in [Version::V1, Version::V2] {
        let header = header(version, ends());
        let whole = [&header[..], ASKED].concat();
        let (one, two) = whole.split_at(header.len() - 3);
        let (three, four) = whole.split_at(header.len());
        for pieces in [&[&whole[..]][..], &[one, two], &[three, four]] {
            let text = exchange(gateway.address(), pieces).await;
            assert!(
                text.contains("x-forwarded-for: 192.0.2.7\n"),
                "{version:?}: {text}"
            );
            count += 1;
            let line = gateway.lines(count).await.pop().unwrap();
            assert!(line.contains(" client=192.0.2.7:4711 peer=127.0.0.1:"), "{line}");
        }
    }
    for version in [Version::V1, Version::V2] {
        let own = [&header(version, None)[..], ASKED].concat();
        let text = exchange(gateway.address(), &[&own]).await;
        assert!(
            text.contains("x-forwarded-for: 127.0.0.1\n"),
            "{version:?}: {text}"
        );
        count += 1;
        let line = gateway.lines(count).await.pop().unwrap();
        assert!(
            line.contains(" client=127.0.0.1:") && !line.contains(" peer="),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_trusted_proxy_must_say_for_whom_and_others_are_taken_as_they_are() {
    let server = Server::start(echo).await;
    let trusting = Setup {
        proxies: loopback(),
        first_byte_timeout: Duration::from_millis(200),
        ..Setup::new(1, &[server.address])
    };
    let v2 = header(Version::V2, ends());
    let mut checked = v2.clone();
    checked[15] += 7;
    checked.extend([3, 0, 4, 1, 2, 3, 4]);
    let mut long = v2.clone();
    long[14] = 0xff;
    let rows: Vec<(Vec<u8>, bool, &str)> = vec![
        (ASKED.to_vec(), false, "proxy-header-missing"),
        (b"PROXY TCP4 1\r\n".to_vec(), false, "proxy-header-malformed"),
        (long, false, "proxy-header-too-long"),
        (checked, false, "proxy-header-checksum"),
        (v2[..20].to_vec(), true, "proxy-header-cut"),
        (v2[..20].to_vec(), false, "first-byte-timeout"),
        (v2.clone(), false, "first-byte-timeout"),
        (v2, true, "connection-empty"),
        (Vec::new(), true, "connection-empty"),
        (Vec::new(), false, "first-byte-timeout"),
    ];
    for (bytes, ends, reason) in rows {
        let gateway = Gateway::start(&trusting);
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        if ends {
            stream.shutdown().await.unwrap();
        }
        let mut got = Vec::new();
        drop(stream.read_to_end(&mut got).await);
        assert!(got.is_empty(), "{reason}: {}", String::from_utf8_lossy(&got));
        let line = gateway.lines(1).await.remove(0);
        assert!(line.contains(&format!(" reason={reason} ")), "{reason}: {line}");
    }
    let elsewhere = Setup {
        proxies: Networks(vec!["192.0.2.0/24".parse().unwrap()]),
        ..Setup::new(1, &[server.address])
    };
    let gateway = Gateway::start(&elsewhere);
    let text = exchange(gateway.address(), &[ASKED]).await;
    assert!(text.contains("x-forwarded-for: 127.0.0.1\n"), "{text}");
    let claimed = [&header(Version::V1, ends())[..], ASKED].concat();
    let text = exchange(gateway.address(), &[&claimed]).await;
    assert!(
        text.starts_with("HTTP/1.1 400 "),
        "a stranger is believed: {text}"
    );
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    use tokio_rustls::TlsConnector;
    let authority = Authority::new("root");
    let server = Server::start(echo).await;
    let setup = Setup {
        proxies: loopback(),
        tls: Some(ServerSettings {
            min_version: MinVersion::Tls12,
            client_auth: ClientAuth::None,
            client_roots: None,
            handshakes_max: 4,
            pairs: vec![authority.pair(&["a.example"]).into()],
            default: 0,
        }),
        ..Setup::new(1, &[server.address])
    };
    let gateway = Gateway::start(&setup);
    let mut roots = rustls::RootCertStore::empty();
    for root in authority.roots().certificates {
        roots.add(root).unwrap();
    }
    let config = rustls::ClientConfig::builder_with_provider(std::sync::Arc::clone(crate::tls::provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for version in [Version::V1, Version::V2] {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.write_all(&header(version, ends())).await.unwrap();
        let connector = TlsConnector::from(std::sync::Arc::new(config.clone()));
        let name = "a.example".try_into().unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        stream.write_all(ASKED).await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        let text = String::from_utf8_lossy(&got);
        assert!(
            text.contains("x-forwarded-for: 192.0.2.7\n"),
            "{version:?}: {text}"
        );
    }
}

#[tokio::test]
async fn a_clients_limit_counts_whom_the_proxy_names() {
    let server = Server::start(echo).await;
    let setup = Setup {
        proxies: loopback(),
        connections_per_client_max: Some(1),
        ..Setup::new(1, &[server.address])
    };
    let gateway = Gateway::start(&setup);
    let of = |client: &str| {
        let ends = Ends {
            client: client.parse().unwrap(),
            server: SERVER.parse().unwrap(),
        };
        header(Version::V2, Some(ends))
    };
    let mut first = TcpStream::connect(gateway.address()).await.unwrap();
    let kept = b"GET /own HTTP/1.1\r\nhost: a\r\n\r\n";
    first
        .write_all(&[&of("192.0.2.1:1")[..], kept].concat())
        .await
        .unwrap();
    assert!(first.read(&mut [0; 512]).await.unwrap() > 0);
    let again = [&of("192.0.2.1:2")[..], ASKED].concat();
    assert_eq!(exchange(gateway.address(), &[&again]).await, "");
    let line = gateway.lines(2).await.pop().unwrap();
    assert!(line.contains(" client=192.0.2.1:2 peer=127.0.0.1:"), "{line}");
    assert!(line.contains(" reason=client-connections-full "), "{line}");
    let other = [&of("192.0.2.2:1")[..], ASKED].concat();
    let text = exchange(gateway.address(), &[&other]).await;
    assert!(text.contains("x-forwarded-for: 192.0.2.2\n"), "{text}");
    drop(first);
    gateway.lines(3).await;
    wait_until("the first is gone", || {
        gateway.shared.metrics.connections_open() == 0
    })
    .await;
    let text = exchange(gateway.address(), &[&again]).await;
    assert!(text.contains("x-forwarded-for: 192.0.2.1\n"), "{text}");
}

/// What an endpoint of a `tcp` listener gets, to the end.
async fn got_by(listener: &TcpListener) -> Vec<u8> {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    got
}

#[tokio::test]
async fn endpoints_are_told_whose_connection_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap();
    for (name, version) in [("v1", Version::V1), ("v2", Version::V2)] {
        for trusts in [false, true] {
            let from = if trusts {
                "proxy_protocol={from=['127.0.0.1']}\n"
            } else {
                ""
            };
            let text = format!(
                "protocol='tcp'\n{from}[[route]]\nname='r'\nlisteners=['web']\nupstream='users'\n\
                 [[upstream]]\nname='users'\nproxy_protocol='{name}'\nendpoints=[{{address='{endpoint}'}}]\n"
            );
            let gateway = Gateway::configured(1, &text);
            let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
            let mut expected = Ends {
                client: stream.local_addr().unwrap(),
                server: gateway.address(),
            };
            if trusts {
                // The other version, with something behind the header at once.
                let other = match version {
                    Version::V1 => Version::V2,
                    Version::V2 => Version::V1,
                };
                stream.write_all(&header(other, ends())).await.unwrap();
                expected = ends().unwrap();
            }
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            let expected = [&header(version, Some(expected))[..], b"hello"].concat();
            assert_eq!(got_by(&listener).await, expected, "{name}, trusts: {trusts}");
            let line = gateway.lines(1).await.remove(0);
            assert!(
                line.contains(" reason=ok ") && line.contains(" bytes_in=5 "),
                "{line}"
            );
        }
    }
}
