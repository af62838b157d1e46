//! Checks against real servers on loopback.

use super::*;
use crate::balance::RosterTerms;
use crate::config::snapshot::{
    Admin, AdminListen, Balancing, HashBy, HttpMode, Missing, Node, NodeHeader, Upstream,
};
use crate::registry::{GuardSettings, Registry};
use std::sync::atomic::AtomicU16;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers every request with a status that can be changed.
async fn server(status: Arc<AtomicU16>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let status = Arc::clone(&status);
            tokio::spawn(async move {
                let mut head = [0; 1024];
                let read = stream.read(&mut head).await.unwrap();
                assert!(head[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
                let status = status.load(Ordering::Relaxed);
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    address
}

fn snapshot(registry: &Registry, addresses: &[SocketAddr], readiness: Option<Settings>) -> Snapshot {
    let endpoints = addresses.iter().map(|&address| Endpoint {
        address,
        host: None,
        state: registry.endpoint("users", address),
    });
    Snapshot {
        number: 1,
        source: "test".into(),
        node: Node {
            name: "n".into(),
            address: None,
            address_v6: None,
            weight: 1,
            zone: None,
            workers: 1,
            node_header: NodeHeader::Omitted,
            connections_max: None,
            connections_per_client_max: None,
        },
        admin: Admin {
            listen: AdminListen::Tcp("127.0.0.1:0".parse().unwrap()),
            token_file: "none".into(),
        },
        dataplane: None,
        cluster: None,
        vips: Vec::new(),
        listeners: Vec::new(),
        upstreams: vec![Arc::new(Upstream {
            name: "users".into(),
            balancing: Balancing::new(
                crate::balance::Balancer::RoundRobin,
                addresses
                    .iter()
                    .map(|address| Balancing::member(*address, 1))
                    .collect(),
                RosterTerms::default(),
                HashBy::Nothing,
                Duration::ZERO,
            ),
            guards: GuardSettings::default(),
            slow_call: None,
            endpoints: endpoints.collect(),
            protocol: UpstreamProtocol::Http1,
            connect_timeout: Duration::from_secs(1),
            idle_per_endpoint: 1,
            missing: Missing::Nothing,
            mode: HttpMode::Strict,
            idle_timeout: Duration::from_secs(60),
            connection_age: None,
            drain_timeout: std::time::Duration::from_secs(30),
            h2_connections_max: 8,
            h2_streams_max: 100,
            readiness,
            retry_budget: crate::resilience::budget::Budget::default(),
            state: registry.upstream("users"),
        })],
    }
}

fn settings() -> Settings {
    Settings {
        http: "/readyz".into(),
        interval: Duration::from_millis(10),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 2,
    }
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn endpoints_follow_their_checks_and_keep_their_state_across_snapshots() {
    let registry = Registry::default();
    let status = Arc::new(AtomicU16::new(200));
    let up = server(Arc::clone(&status)).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = closed.local_addr().unwrap();
    drop(closed);

    let first = snapshot(&registry, &[up, down], Some(settings()));
    let checks = Checks::start(Handle::current());
    checks.apply(&first);
    assert_eq!(checks.first_round_done().await, FirstRound::Done);
    let state = |address| registry.endpoint("users", address).readiness();
    wait_until("ready", || state(up) == Readiness::Ready).await;
    wait_until("failing", || state(down) == Readiness::Failing).await;

    status.store(503, Ordering::Relaxed);
    wait_until("failing", || state(up) == Readiness::Failing).await;
    status.store(302, Ordering::Relaxed);
    wait_until("ready again", || state(up) == Readiness::Ready).await;

    let again = snapshot(
        &registry,
        &[up],
        Some(Settings {
            rise: 3,
            ..settings()
        }),
    );
    checks.apply(&again);
    assert_eq!(state(up), Readiness::Ready, "a changed check does not forget");
    assert_eq!(
        checks.running().len(),
        1,
        "the check of the removed endpoint stopped"
    );

    let without = snapshot(&registry, &[down], None);
    checks.apply(&without);
    assert_eq!(state(down), Readiness::Ready, "without a check all are ready");
    assert!(checks.running().is_empty());
    wait_until("stopped checks wait for no first probe", || {
        checks.unchecked() == 0
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_answers_fails_by_its_timeout_and_not_for_ever() {
    let registry = Registry::default();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let slow = Settings {
        timeout: Duration::from_secs(60),
        ..settings()
    };
    let checks = Checks::start(Handle::current());
    let given = snapshot(&registry, &[address], Some(slow));
    checks.apply(&given);
    assert_eq!(checks.first_round_done().await, FirstRound::Late(1));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(checks.first_round_done().await, FirstRound::Done);
    assert_eq!(
        registry.endpoint("users", address).readiness(),
        Readiness::Failing
    );
}

#[tokio::test]
async fn metrics_name_upstream_and_endpoint() {
    let registry = Registry::default();
    let up = server(Arc::new(AtomicU16::new(200))).await;
    let checks = Checks::start(Handle::current());
    let given = snapshot(&registry, &[up], Some(settings()));
    checks.apply(&given);
    assert_eq!(checks.first_round_done().await, FirstRound::Done);
    let mut metrics = prometheus_client::registry::Registry::default();
    register_metrics(&mut metrics, &checks);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics).unwrap();
    let line = format!("gateway_checks_passed_total{{upstream=\"users\",endpoint=\"{up}\"}} ");
    assert!(text.contains(&line), "{text}");
}
