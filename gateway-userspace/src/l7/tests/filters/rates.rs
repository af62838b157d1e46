//! `rate_limit` with several workers, connections and protocols.

use std::num::NonZeroU32;
use std::time::Duration;

use super::filter;
use crate::config::snapshot::Networks;
use crate::filters::Settings as Kind;
use crate::filters::rate_limit::{Key, Mode, Settings};
use crate::l7::tests::harness::*;

/// So many at once, and one more after a day.
fn limit(burst: u32, key: Key) -> Settings {
    let number = |number| NonZeroU32::new(number).unwrap();
    Settings {
        requests: number(1),
        per: Duration::from_secs(86_400),
        burst: number(burst),
        key,
        keys_max: 1_000,
        mode: Mode::Enforced,
    }
}

/// Statuses of so many requests, each on a connection of its own.
async fn statuses(gateway: &Gateway, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(get(gateway.address(), "/up").await.status);
    }
    statuses
}

#[tokio::test]
async fn the_figure_is_the_nodes_whatever_the_workers_and_outlives_edits() {
    let server = Server::named("a").await;
    for workers in [1, 2, 4] {
        let mut setup = Setup::new(workers, &[server.address]);
        setup.filters = vec![filter("f", Kind::RateLimit(limit(5, Key::Client)))];
        let mut gateway = Gateway::start(&setup);
        let passed = statuses(&gateway, 8).await;
        assert_eq!(
            passed,
            [200, 200, 200, 200, 200, 429, 429, 429],
            "{workers} workers"
        );
        setup.timeout = Duration::from_secs(19);
        gateway.reload(&setup);
        assert_eq!(statuses(&gateway, 2).await, [429, 429], "{workers} workers");
        setup.filters[0].kind = Kind::RateLimit(limit(7, Key::Client));
        gateway.reload(&setup);
        assert_eq!(
            statuses(&gateway, 3).await,
            [200, 200, 429],
            "two more than before"
        );
        setup.filters[0].name = "g".to_owned();
        gateway.reload(&setup);
        assert_eq!(statuses(&gateway, 1).await, [200], "another filter");
    }
}

#[tokio::test]
async fn who_is_refused_learns_when_to_come_again_and_the_log_knows_why() {
    let server = Server::named("a").await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.filters = vec![filter("f", Kind::RateLimit(limit(1, Key::Route)))];
    let gateway = Gateway::start(&setup);
    let mut client = Client::http2(gateway.address()).await;
    let answer = client.get("/up").await.unwrap();
    let shown = |answer: &Answer| {
        let names = [
            "ratelimit-limit",
            "ratelimit-remaining",
            "ratelimit-reset",
            "retry-after",
        ];
        names.map(|name| answer.header(name).unwrap_or("-").to_owned())
    };
    assert_eq!(
        (answer.status, shown(&answer)),
        (200, ["1", "0", "86400", "-"].map(str::to_owned))
    );
    let answer = client.get("/up").await.unwrap();
    assert_eq!(
        (answer.status, answer.text()),
        (429, "rate-limited: too many requests\n")
    );
    let [limit, remaining, _, wait] = shown(&answer);
    assert_eq!((&*limit, &*remaining), ("1", "0"));
    let wait: u64 = wait.parse().unwrap();
    assert!((86_000..=86_400).contains(&wait), "{wait}");
    let line = &gateway.lines(2).await[1];
    assert!(line.contains("reason=rate-limited fault=downstream"), "{line}");
    assert!(line.contains("tries=0"), "{line}");
    let metrics = gateway.metrics();
    let refused = "gateway_filter_refused_total{in=\"route\",of=\"all\",filter=\"f\"} 1";
    assert!(metrics.contains(refused), "{metrics}");
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_told_apart_and_others_cannot_pretend() {
    let server = Server::named("a").await;
    let mut setup = Setup::new(2, &[server.address]);
    setup.filters = vec![filter("f", Kind::RateLimit(limit(1, Key::Client)))];
    let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.1"];
    for (trusted, expected) in [("127.0.0.0/8", [200, 200, 429]), ("10.0.0.0/8", [200, 429, 429])] {
        setup.trusted_proxies = Networks(vec![trusted.parse().unwrap()]);
        let gateway = Gateway::start(&setup);
        let mut client = Client::http1(gateway.address()).await;
        let mut statuses = Vec::new();
        for address in clients {
            let asked = client.request("GET", "/up").header("x-forwarded-for", address);
            statuses.push(client.ask(asked.body(full("")).unwrap()).await.unwrap().status);
        }
        assert_eq!(statuses, expected, "{trusted}");
    }
}

#[tokio::test]
async fn an_upload_that_is_refused_ends_well_and_its_connection_goes_on() {
    let server = Server::echo().await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.filters = vec![filter("f", Kind::RateLimit(limit(1, Key::Route)))];
    let gateway = Gateway::start(&setup);
    let mut client = Client::http2(gateway.address()).await;
    for status in [200, 429, 429] {
        let asked = client.request("POST", "/up").body(full(vec![b'x'; 100_000]));
        assert_eq!(client.ask(asked.unwrap()).await.unwrap().status, status);
    }
}

#[tokio::test]
async fn a_dry_run_counts_and_lets_pass() {
    let server = Server::named("a").await;
    let mut setup = Setup::new(1, &[server.address]);
    let mut limit = limit(1, Key::Route);
    limit.mode = Mode::DryRun;
    setup.listener_filters = vec![filter("f", Kind::RateLimit(limit))];
    let gateway = Gateway::start(&setup);
    assert_eq!(statuses(&gateway, 3).await, [200, 200, 200]);
    let metrics = gateway.metrics();
    let counted = "gateway_filter_would_refuse_total{in=\"listener\",of=\"web-0\",filter=\"f\"} 2";
    assert!(metrics.contains(counted), "{metrics}");
}
