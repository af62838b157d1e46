//! Which endpoint takes a request, by what the request says.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;

use super::harness::*;
use crate::balance::{Balancer, Hashing};
use crate::config::snapshot::HashBy;
use crate::registry::Readiness;

async fn three() -> Vec<Server> {
    vec![
        Server::named("a").await,
        Server::named("b").await,
        Server::named("c").await,
    ]
}

async fn answer(client: &mut Client, path: &str, fields: &[(&str, &str)]) -> String {
    let mut request = client.request("GET", path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let answer = client.ask(request.body(full("")).unwrap()).await.unwrap();
    assert_eq!(answer.status, 200);
    answer.text().to_owned()
}

#[tokio::test]
async fn a_key_always_finds_its_endpoint_whatever_the_worker_and_keys_are_spread() {
    let servers = three().await;
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let header = HashBy::Header(HeaderName::from_static("x-tenant"));
    type Ask = fn(u32) -> (String, [(&'static str, String); 1]);
    let rows: [(&str, HashBy, Ask); 4] = [
        ("header", header, |key| {
            ("/up".into(), [("x-tenant", key.to_string())])
        }),
        ("cookie", HashBy::Cookie("sid".into()), |key| {
            ("/up".into(), [("cookie", format!("x=1; sid={key}"))])
        }),
        ("query", HashBy::Query("user".into()), |key| {
            (format!("/up?user={key}"), [("x-none", String::new())])
        }),
        ("path", HashBy::Path, |key| {
            (format!("/up/{key}"), [("x-none", String::new())])
        }),
    ];
    let rings = [
        Hashing::Maglev,
        Hashing::Ring {
            load_max_per_cent: 125,
        },
    ];
    for (hashing, (why, by, ask)) in rings
        .into_iter()
        .flat_map(|ring| rows.clone().map(|row| (ring, row)))
    {
        let mut setup = Setup::new(2, &addresses);
        setup.balancer = Balancer::ConsistentHash(hashing);
        setup.hash_by = by;
        let gateway = Gateway::start(&setup);
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for key in 0..60 {
            let (path, [(name, value)]) = ask(key);
            let mut found = Vec::new();
            for _ in 0..3 {
                let mut client = Client::http1(gateway.address()).await;
                found.push(answer(&mut client, &path, &[(name, &value)]).await);
            }
            assert!(found.iter().all(|one| *one == found[0]), "{why} {key}: {found:?}");
            *seen.entry(found[0].clone()).or_default() += 1;
        }
        assert!(
            seen.len() == 3 && seen.values().all(|count| *count > 5),
            "{why}: {seen:?}"
        );
    }
}

#[tokio::test]
async fn the_key_of_a_dead_endpoint_goes_elsewhere_and_others_stay() {
    let servers = three().await;
    let mut addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    addresses.push(closed_port().await);
    let mut setup = Setup::new(1, &addresses);
    setup.balancer = Balancer::ConsistentHash(Hashing::Maglev);
    setup.hash_by = HashBy::Path;
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let mut before = Vec::new();
    for key in 0..40 {
        before.push(answer(&mut client, &format!("/up/{key}"), &[]).await);
    }
    for (key, before) in before.iter().enumerate() {
        let again = answer(&mut client, &format!("/up/{key}"), &[]).await;
        assert_eq!(again, *before, "{key}");
    }
}

#[tokio::test]
async fn every_balancer_uses_every_endpoint_and_answers_each_request() {
    let servers = three().await;
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    for balancer in [
        Balancer::RoundRobin,
        Balancer::Random,
        Balancer::LeastRequests,
        Balancer::TwoChoices,
        Balancer::PeakEwma,
    ] {
        let mut setup = Setup::new(1, &addresses);
        setup.balancer = balancer;
        let gateway = Gateway::start(&setup);
        let mut client = Client::http1(gateway.address()).await;
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..120 {
            *seen.entry(answer(&mut client, "/up", &[]).await).or_default() += 1;
        }
        assert_eq!(seen.len(), 3, "{balancer:?}: {seen:?}");
    }
}

#[tokio::test]
async fn who_fails_fast_attracts_nothing_by_latency() {
    let good = Server::named("good").await;
    let failing =
        Server::start(|_| async { http::Response::builder().status(500).body(full("bad")).unwrap() });
    let failing = failing.await;
    let mut setup = Setup::new(1, &[good.address, failing.address]);
    setup.balancer = Balancer::PeakEwma;
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let mut failed = 0;
    for _ in 0..200 {
        failed += u32::from(client.get("/up").await.unwrap().status == 500);
    }
    assert!((1..=5).contains(&failed), "{failed} of 200");
}

#[tokio::test]
async fn a_lower_priority_waits_until_the_higher_fails_and_leaves_when_it_is_back() {
    let (first, second) = (Server::named("first").await, Server::named("second").await);
    let mut setup = Setup::new(1, &[first.address, second.address]);
    setup.priorities = vec![0, 1];
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let state = gateway.state(first.address);
    gateway.state(second.address).set_readiness(Readiness::Ready);
    for (readiness, expected) in [
        (Readiness::Ready, "first"),
        (Readiness::Failing, "second"),
        (Readiness::Ready, "first"),
    ] {
        state.set_readiness(readiness);
        for _ in 0..5 {
            assert_eq!(answer(&mut client, "/up", &[]).await, expected, "{readiness:?}");
        }
    }
}

#[tokio::test]
async fn who_comes_back_starts_slowly() {
    let (stays, returns) = (Server::named("stays").await, Server::named("returns").await);
    let slow_start = Duration::from_secs(3);
    let mut counts = Vec::new();
    for time in [Duration::ZERO, slow_start] {
        let mut setup = Setup::new(1, &[stays.address, returns.address]);
        setup.slow_start = time;
        let gateway = Gateway::start(&setup);
        let [old, new] = [&stays, &returns].map(|server| gateway.state(server.address));
        old.set_readiness(Readiness::Ready);
        wait_until("one that has its whole share", || old.since() >= time).await;
        new.set_readiness(Readiness::Ready);
        let mut client = Client::http1(gateway.address()).await;
        let mut count = 0;
        for _ in 0..60 {
            count += u32::from(answer(&mut client, "/up", &[]).await == "returns");
        }
        counts.push(count);
    }
    // A tenth of its weight, or a little more on a slow machine.
    assert!(counts[0] == 30 && (3..20).contains(&counts[1]), "{counts:?}");
}
