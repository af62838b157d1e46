//! Checks against real servers on loopback: what they find, and what becomes of it.

mod life;
mod servers;
mod ways;

use super::*;
use crate::balance::RosterTerms;
use crate::config::snapshot::{
    Admin, AdminListen, Balancing, Check, CheckMethod, HashBy, Heartbeat, HttpCheck, HttpMode, Missing, Node,
    NodeHeader, Startup, Statuses, UpstreamProtocol, Way,
};
use crate::registry::{GuardSettings, Registry};

/// A snapshot of one upstream, `users`, of those endpoints.
fn snapshot(registry: &Registry, addresses: &[SocketAddr], health: Health) -> Snapshot {
    let endpoints = addresses.iter().map(|&address| Endpoint {
        channels: Arc::default(),
        address,
        host: None,
        metadata: Arc::default(),
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
            routes_file: "none".into(),
            denied_file: "none".into(),
        },
        dataplane: None,
        protection: Arc::default(),
        trace: None,
        cluster: None,
        vips: Vec::new(),
        listeners: Vec::new(),
        upstreams: vec![Arc::new(Upstream {
            failback: crate::resilience::channel::Settings::default(),
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
            subsets: Default::default(),
            sticky: None,
            guards: GuardSettings::default(),
            limits: crate::resilience::limits::Limits::default(),
            slow_call: None,
            endpoints: endpoints.collect(),
            proxy_header: None,
            tls: None,
            protocol: UpstreamProtocol::Http1,
            connect_timeout: Duration::from_secs(1),
            idle_per_endpoint: 1,
            missing: Missing::Nothing,
            mode: HttpMode::Strict,
            idle_timeout: Duration::from_secs(60),
            connection_age: None,
            drain_timeout: Duration::from_secs(30),
            h2_connections_max: 8,
            h2_streams_max: 100,
            health,
            registered_max: 0,
            retry_budget: crate::resilience::budget::Budget::default(),
            state: registry.upstream("users"),
        })],
    }
}

fn check(way: Way) -> Check {
    Check {
        way,
        port: None,
        interval: Duration::from_millis(10),
        timeout: Duration::from_secs(10),
        rise: 2,
        fall: 2,
    }
}

fn http() -> HttpCheck {
    HttpCheck {
        path: "/readyz".into(),
        method: CheckMethod::Get,
        host: None,
        statuses: Statuses(vec![(200, 399)]),
        protocol: UpstreamProtocol::Http1,
    }
}

fn readiness(check: Check) -> Health {
    Health {
        readiness: Some(check),
        ..Health::default()
    }
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        tokio::task::yield_now().await;
    }
}

/// A place where nobody listens.
async fn nowhere() -> SocketAddr {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    closed.local_addr().unwrap()
}
