//! Listeners with TLS, against rustls as the client.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{StatusCode, Version};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rcgen::DnType;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::harness::*;
use crate::config::snapshot::UpstreamProtocol;
use crate::l7::resolved::{Owner, Resolved};
use crate::registry::{Channel, Registry};
use crate::tls::testing::{Authority, Folder};
use crate::tls::{ClientAuth, ClientSettings, MinVersion, Security, ServerSettings, provider};

fn settings(authority: &Authority) -> ServerSettings {
    ServerSettings {
        min_version: MinVersion::Tls12,
        client_auth: ClientAuth::None,
        client_roots: None,
        handshakes_max: 4,
        pairs: vec![
            authority.pair(&["a.example", "www.a.example"]).into(),
            authority.pair(&["b.example"]).into(),
        ],
        default: 0,
    }
}

/// A client of that authority, with a certificate of its own or without.
pub(super) fn client(authority: &Authority, own: Option<(String, String)>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for root in authority.roots().certificates {
        roots.add(root).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap);
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain.collect(), key).unwrap()
        }
    }
}

pub(super) async fn connect(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

/// One HTTP/1.1 request on a connection of its own; the whole answer, and how the handshake went.
pub(super) async fn ask(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
    head: &str,
) -> (String, HandshakeKind) {
    let mut stream = connect(config, address, name).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // An end without an alert would be an error here.
    stream.read_to_string(&mut answer).await.unwrap();
    (answer, stream.get_ref().1.handshake_kind().unwrap())
}

pub(super) fn head(host: &str) -> String {
    format!("GET /up HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

async fn started(tls: ServerSettings) -> (Gateway, Server) {
    let server = Server::echo().await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.tls = Some(tls);
    (Gateway::start(&setup), server)
}

#[tokio::test]
async fn http1_and_http2_by_alpn_and_the_upstream_is_told_of_it() {
    let authority = Authority::new("root");
    let (gateway, _server) = started(settings(&authority)).await;
    let mut config = client(&authority, None);
    let (answer, kind) = ask(
        &Arc::new(config.clone()),
        gateway.address(),
        "a.example",
        &head("a.example"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("x-forwarded-proto: https\n"), "{answer}");
    assert_eq!(kind, HandshakeKind::Full);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = connect(&Arc::new(config), gateway.address(), "b.example")
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://b.example/up").body(full("")).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(
        (response.status(), response.version()),
        (StatusCode::OK, Version::HTTP_2)
    );
    response.into_body().collect().await.unwrap();
    let lines = gateway.lines(2).await;
    assert!(lines.iter().all(|line| line.contains(" tls=1.3 ")), "{lines:#?}");
}

#[tokio::test]
async fn a_host_of_another_certificate_is_misdirected() {
    let authority = Authority::new("root");
    let (gateway, _server) = started(settings(&authority)).await;
    let config = Arc::new(client(&authority, None));
    let rows = [
        ("a.example", "a.example", "200"),
        ("a.example", "www.a.example:443", "200"),
        ("a.example", "b.example", "421"),
        ("b.example", "a.example", "421"),
        // Of the default certificate.
        ("a.example", "c.example", "200"),
        ("a.example", "192.0.2.1", "200"),
    ];
    for (name, host, status) in rows {
        let (answer, _) = ask(&config, gateway.address(), name, &head(host)).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{name}, {host}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_client_that_comes_back_resumes_and_so_it_does_after_a_reload_that_changes_nothing_of_it() {
    let authority = Authority::new("root");
    let server = Server::named("up").await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.tls = Some(settings(&authority));
    let mut gateway = Gateway::start(&setup);
    let config = Arc::new(client(&authority, None));
    let address = gateway.address();
    let asked = head("a.example");
    let once = || ask(&config, address, "a.example", &asked);
    assert_eq!(once().await.1, HandshakeKind::Full);
    assert_eq!(once().await.1, HandshakeKind::Resumed);
    gateway.reload(&setup);
    assert_eq!(once().await.1, HandshakeKind::Resumed);
    // From now on clients show a certificate: what was issued before opens nothing.
    setup.tls = Some(ServerSettings {
        client_auth: ClientAuth::Optional,
        client_roots: Some(authority.roots()),
        ..settings(&authority)
    });
    gateway.reload(&setup);
    assert_eq!(once().await.1, HandshakeKind::Full);
    assert!(
        gateway
            .metrics()
            .contains("gateway_tls_handshakes_total{kind=\"resumed\"} 2")
    );
}

#[tokio::test]
async fn clients_show_a_certificate_where_they_must_and_the_log_names_them() {
    let (authority, stranger) = (Authority::new("root"), Authority::new("stranger"));
    for (wanted, without) in [(ClientAuth::Required, false), (ClientAuth::Optional, true)] {
        let mut tls = settings(&authority);
        tls.client_auth = wanted;
        tls.client_roots = Some(authority.roots());
        let (gateway, _server) = started(tls).await;
        let known = Arc::new(client(&authority, Some(authority.issue(&["robot.example"]))));
        let (answer, _) = ask(&known, gateway.address(), "a.example", &head("a.example")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let lines = gateway.lines(1).await;
        assert!(
            lines[0].contains(" client_certificate=\"CN=robot.example\""),
            "{}",
            lines[0]
        );
        let unknown = Arc::new(client(&authority, Some(stranger.issue(&["robot.example"]))));
        assert!(is_turned_away(&unknown, &gateway).await, "{wanted:?}");
        let nobody = Arc::new(client(&authority, None));
        assert_eq!(is_turned_away(&nobody, &gateway).await, !without, "{wanted:?}");
        let lines = gateway.lines(3).await;
        assert!(
            lines[1].contains("reason=tls-bad-client-certificate"),
            "{lines:#?}"
        );
        let last = if without {
            "reason=ok"
        } else {
            "reason=tls-no-client-certificate"
        };
        assert!(lines[2].contains(last), "{lines:#?}");
    }
}

#[tokio::test]
async fn routes_tell_clients_apart_by_their_certificates_however_the_handshake_went() {
    let (authority, folder) = (Authority::new("root"), Folder::new());
    folder.pair("web", &authority.issue(&["a.example"]));
    let ca = folder.file("ca.pem", &authority.pem(), 0o644);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut text = format!(
        "protocol='https'\ncertificates=[{{cert_file='{}',key_file='{}'}}]\n\
         tls={{client_auth='optional',client_ca_file='{}'}}\n",
        file("web.pem"),
        file("web.key"),
        ca.display()
    );
    for (name, wanted) in [
        ("robots", "subject={prefix='CN=robot'}"),
        ("robot-1", "subject={exact='CN=robot-1,O=Example'}"),
        (
            "jobs",
            "san=[{type='uri',prefix='spiffe://example.org/jobs/'},{type='email',exact='jobs@example.org'}]",
        ),
        ("nobody", "subject={present=false}"),
    ] {
        text.push_str(&format!(
            "[[route]]\nname='{name}'\nlisteners=['web']\nrespond={{status=200,body='{name}'}}\n\
             match={{path_prefix='/',client_certificate={{{wanted}}}}}\n"
        ));
    }
    text.push_str(
        "[[route]]\nname='rest'\nlisteners=['web']\nrespond={status=200,body='rest'}\nmatch={path_prefix='/'}\n",
    );
    let gateway = Gateway::configured(1, &text);
    let of = |parts: &[(DnType, &str)], names: &[&str]| Some(authority.issue_client(parts, names));
    let (cn, o) = (DnType::CommonName, DnType::OrganizationName);
    let rows = [
        (None, "nobody"),
        (
            of(&[(o.clone(), "Example"), (cn.clone(), "robot-1")], &[]),
            "robots",
        ),
        (of(&[(cn.clone(), "robot-2")], &[]), "robots"),
        // Not of Example, whatever its name says.
        (of(&[(cn.clone(), "x,O=Example")], &[]), "rest"),
        (of(&[(cn.clone(), "x")], &["spiffe://example.org/jobs/1"]), "jobs"),
        (
            of(&[(cn.clone(), "x")], &["b.example", "jobs@example.org"]),
            "jobs",
        ),
        (of(&[(cn, "x")], &["spiffe://example.org/jobs"]), "rest"),
        (of(&[], &["c.example"]), "rest"),
    ];
    for (own, route) in rows {
        let config = Arc::new(client(&authority, own));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (answer, seen) = ask(&config, gateway.address(), "a.example", &head("a.example")).await;
            assert!(
                answer.ends_with(&format!("\r\n\r\n{route}")),
                "{route}, {kind:?}: {answer}"
            );
            assert_eq!(seen, kind);
        }
    }
}

/// TLS 1.3 lets a client believe that it is in before the server has judged its certificate.
async fn is_turned_away(config: &Arc<ClientConfig>, gateway: &Gateway) -> bool {
    let Ok(mut stream) = connect(config, gateway.address(), "a.example").await else {
        return true;
    };
    let mut answer = String::new();
    stream.write_all(head("a.example").as_bytes()).await.is_err()
        || stream.read_to_string(&mut answer).await.is_err()
        || answer.is_empty()
}

#[tokio::test]
async fn what_is_no_tls_and_who_goes_away_have_a_line_with_their_reason() {
    let authority = Authority::new("root");
    let (gateway, _server) = started(settings(&authority)).await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let lines = gateway.lines(1).await;
    assert!(
        lines[0].contains("reason=tls-unreadable fault=downstream"),
        "{}",
        lines[0]
    );
    drop(TcpStream::connect(gateway.address()).await.unwrap());
    let lines = gateway.lines(2).await;
    assert!(lines[1].contains("reason=tls-cut"), "{}", lines[1]);
    let other = Arc::new(client(&Authority::new("other"), None));
    assert!(connect(&other, gateway.address(), "a.example").await.is_err());
    let lines = gateway.lines(3).await;
    assert!(lines[2].contains("reason=tls-refused-by-client"), "{}", lines[2]);
}

#[tokio::test]
async fn of_many_handshakes_at_once_each_comes_to_its_turn() {
    let authority = Authority::new("root");
    let (gateway, _server) = started(settings(&authority)).await;
    let config = Arc::new(client(&authority, None));
    // Some that say nothing hold a turn each; one fewer than there are.
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(gateway.address()).await.unwrap());
    }
    let address = gateway.address();
    let all = (0..20).map(|_| {
        let config = Arc::clone(&config);
        tokio::spawn(async move { ask(&config, address, "a.example", &head("a.example")).await.0 })
    });
    for answer in futures_util::future::join_all(all).await {
        assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_large_answer_arrives_whole_and_with_its_end() {
    let authority = Authority::new("root");
    let large = || async { http::Response::new(full(vec![b'x'; 3_000_000])) };
    let server = Server::start(move |_| large()).await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.tls = Some(settings(&authority));
    let gateway = Gateway::start(&setup);
    let config = Arc::new(client(&authority, None));
    let (answer, _) = ask(&config, gateway.address(), "a.example", &head("a.example")).await;
    assert!(answer.len() > 3_000_000, "{}", answer.len());
}

fn upstream_tls(authority: &Authority) -> ClientSettings {
    ClientSettings {
        roots: authority.roots(),
        name: Some(ServerName::try_from("users.internal").unwrap()),
        pair: None,
    }
}

async fn get_up(gateway: &Gateway) -> Answer {
    let mut client = Client::http1(gateway.address()).await;
    let request = client.request("GET", "/up").body(full("")).unwrap();
    client.ask(request).await.unwrap()
}

#[tokio::test]
async fn endpoints_are_asked_by_tls_over_http1_and_http2() {
    let authority = Authority::new("services");
    for (protocol, version) in [
        (UpstreamProtocol::Http1, "HTTP/1.1"),
        (UpstreamProtocol::Http2, "HTTP/2.0"),
    ] {
        let server = Server::start_tls(authority.pair(&["users.internal"]), None, echo).await;
        let mut setup = Setup::new(1, &[server.address]);
        setup.protocol = protocol;
        setup.upstream_tls = Some(upstream_tls(&authority));
        let gateway = Gateway::start(&setup);
        for _ in 0..3 {
            let answer = get_up(&gateway).await;
            assert_eq!(answer.status, 200, "{version}: {}", answer.text());
            assert!(answer.text().contains(version), "{}", answer.text());
            if protocol == UpstreamProtocol::Http2 {
                assert!(answer.text().contains("GET https://"), "{}", answer.text());
            }
        }
        assert_eq!(server.connections(), 1, "it is used again");
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_show_who_it_is_is_not_asked() {
    let (authority, stranger) = (Authority::new("services"), Authority::new("stranger"));
    let plain = Server::named("plain").await;
    let rows = [
        (
            Server::start_tls(stranger.pair(&["users.internal"]), None, echo).await,
            "another authority",
        ),
        (
            Server::start_tls(authority.pair(&["orders.internal"]), None, echo).await,
            "another name",
        ),
        (plain, "no TLS"),
    ];
    for (server, why) in rows {
        let mut setup = Setup::new(1, &[server.address]);
        setup.upstream_tls = Some(upstream_tls(&authority));
        let gateway = Gateway::start(&setup);
        assert_eq!(get_up(&gateway).await.status, 502, "{why}");
        let lines = gateway.lines(1).await;
        assert!(
            lines[0].contains("reason=upstream-tls-failed fault=upstream"),
            "{why}: {}",
            lines[0]
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_asks_for_a_certificate_gets_ours() {
    let authority = Authority::new("services");
    let server = Server::start_tls(authority.pair(&["users.internal"]), Some(authority.roots()), echo).await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.upstream_tls = Some(upstream_tls(&authority));
    let mut gateway = Gateway::start(&setup);
    assert_ne!(get_up(&gateway).await.status, 200, "without one");
    setup.upstream_tls = Some(ClientSettings {
        pair: Some(authority.pair(&["gateway.internal"])),
        ..upstream_tls(&authority)
    });
    gateway.reload(&setup);
    let answer = get_up(&gateway).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn where_tls_fails_the_plain_channel_is_taken() {
    let authority = Authority::new("services");
    let works = Server::named("plain").await;
    let fails = Server::start_tls(authority.pair(&["orders.internal"]), None, echo).await;
    let mut setup = Setup::new(1, &[fails.address]);
    setup.upstream_tls = Some(upstream_tls(&authority));
    setup.channels = vec![Channel {
        address: works.address,
        protocol: UpstreamProtocol::Http1,
        security: Security::Plain,
    }];
    let gateway = Gateway::start(&setup);
    let answer = get_up(&gateway).await;
    assert_eq!((answer.status, answer.text()), (200, "plain"));
}

/// A server that asks for a certificate, and a gateway that shows one.
async fn asked_for_a_certificate(authority: &Authority) -> (Server, Setup, Gateway) {
    let own = authority.pair(&["users.internal"]);
    let server = Server::start_tls(own, Some(authority.roots()), echo).await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.upstream_tls = Some(ClientSettings {
        pair: Some(authority.pair(&["gateway.internal"])),
        ..upstream_tls(authority)
    });
    let gateway = Gateway::start(&setup);
    (server, setup, gateway)
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_on_new_connections_and_idle_ones_of_the_old_close() {
    let authority = Authority::new("services");
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let (server, mut setup, mut gateway) = asked_for_a_certificate(&authority).await;
        setup.protocol = protocol;
        gateway.reload(&setup);
        for _ in 0..2 {
            assert_eq!(get_up(&gateway).await.status, 200);
        }
        let before = server.connections();
        assert_eq!(server.open(), 1, "{protocol:?}: one is kept");
        gateway.reload(&setup);
        assert_eq!(get_up(&gateway).await.status, 200);
        assert_eq!(server.connections(), before, "{protocol:?}: nothing has changed");
        setup.upstream_tls = Some(ClientSettings {
            pair: Some(authority.pair(&["gateway.internal"])),
            ..upstream_tls(&authority)
        });
        gateway.reload(&setup);
        wait_until("the idle one closes", || server.open() == 0).await;
        assert_eq!(get_up(&gateway).await.status, 200);
        assert_eq!(server.connections(), before + 1, "{protocol:?}");
    }
}

#[test]
fn what_runs_at_an_endpoint_goes_on_over_a_renewed_certificate_and_not_where_less_is_trusted() {
    let (authority, other) = (Authority::new("services"), Authority::new("other"));
    let registry = Registry::default();
    let resolve = |tls: Option<ClientSettings>, before: Option<&Resolved>| {
        let mut setup = Setup::new(1, &["192.0.2.1:443".parse().unwrap()]);
        setup.upstream_tls = tls;
        let snapshot = Arc::new(setup.snapshot(1, &registry));
        Resolved::new(snapshot, Arc::default(), before, &Owner::alone())
    };
    let with = |roots: &[&Authority], own: Option<&Authority>| {
        let mut tls = upstream_tls(&authority);
        tls.roots.certificates = roots.iter().flat_map(|from| from.roots().certificates).collect();
        tls.pair = own.map(|from| from.pair(&["gateway.internal"]));
        Some(tls)
    };
    let rows = [
        ("our certificate", with(&[&authority], Some(&authority)), true),
        ("one more authority", with(&[&authority, &other], None), true),
        ("another authority", with(&[&other], None), false),
        ("no TLS", None, false),
    ];
    for (what, next, goes_on) in rows {
        let before = resolve(with(&[&authority], None), None);
        let pool = Rc::clone(&before.upstreams["users"].endpoints[0].pool);
        let next = resolve(next, Some(&before));
        assert!(
            !Rc::ptr_eq(&pool, &next.upstreams["users"].endpoints[0].pool),
            "{what}"
        );
        let now = tokio::time::Instant::now();
        before.replaced_by(&next, now);
        let some_day = now + std::time::Duration::from_secs(86_400);
        assert_eq!(pool.ends.is_due(some_day), !goes_on, "{what}");
    }
}

#[tokio::test]
async fn when_our_certificate_ends_is_told() {
    let authority = Authority::new("services");
    let (_server, setup, gateway) = asked_for_a_certificate(&authority).await;
    let pair = setup.upstream_tls.as_ref().and_then(|tls| tls.pair.as_ref());
    let until = pair.unwrap().facts.not_after;
    let until = until.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let line = format!(
        "gateway_upstream_certificate_expiry_seconds{{upstream=\"users\",name=\"gateway.internal\"}} {until}"
    );
    let metrics = gateway.metrics();
    assert!(metrics.contains(&line), "{line} is not in:\n{metrics}");
}

/// Who learns first of new settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// The worker, as it is told.
    Worker,
    /// A request, which finds them.
    Request,
}

/// Whether a connection that is idle when a listener's settings change has to end, or stays.
async fn ends_after(change: impl Fn(&Authority, &mut ServerSettings), first: First) -> bool {
    let authority = Authority::new("root");
    let server = Server::named("up").await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.tls = Some(settings(&authority));
    let mut gateway = Gateway::start(&setup);
    let config = Arc::new(client(&authority, None));
    let mut held = Vec::new();
    let asked = "GET /up HTTP/1.1\r\nhost: a.example\r\n\r\n";
    for _ in 0..2 {
        let mut stream = connect(&config, gateway.address(), "a.example").await.unwrap();
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        assert!(stream.read(&mut answer).await.unwrap() > 0);
        held.push(stream);
    }
    change(&authority, setup.tls.as_mut().unwrap());
    let mut other = held.pop().unwrap();
    if first == First::Request {
        gateway.show(&setup);
        other.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        assert!(other.read(&mut answer).await.unwrap() > 0);
        gateway.tell_shown();
    } else {
        gateway.reload(&setup);
    }
    let mut rest = [0; 16];
    let read = tokio::time::timeout(std::time::Duration::from_secs(2), held[0].read(&mut rest));
    match read.await {
        Ok(end) => {
            assert_eq!(end.unwrap(), 0, "it ends in order");
            true
        }
        Err(_) => {
            // It still serves.
            held[0].write_all(asked.as_bytes()).await.unwrap();
            assert!(held[0].read(&mut rest).await.unwrap() > 0);
            false
        }
    }
}

#[tokio::test]
async fn connections_that_other_settings_let_in_end_and_those_of_a_renewed_certificate_stay() {
    type Change = fn(&Authority, &mut ServerSettings);
    let rows: [(&str, bool, Change); 5] = [
        ("nothing", false, |_, _| {}),
        ("a renewed certificate", false, |authority, tls| {
            tls.pairs[0] = authority.pair(&["a.example", "www.a.example"]).into();
        }),
        ("the oldest version", true, |_, tls| {
            tls.min_version = MinVersion::Tls13
        }),
        ("client certificates", true, |authority, tls| {
            tls.client_auth = ClientAuth::Optional;
            tls.client_roots = Some(authority.roots());
        }),
        ("how many handshakes at once", false, |_, tls| {
            tls.handshakes_max = 9
        }),
    ];
    for (what, ends, change) in rows {
        for first in [First::Worker, First::Request] {
            assert_eq!(ends_after(change, first).await, ends, "{what}, {first:?}");
        }
    }
}
