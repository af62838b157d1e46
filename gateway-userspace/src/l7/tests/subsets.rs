//! Subsets: who chooses one, that nothing leaves it, and what is done where nobody in it may be picked.

use std::collections::BTreeSet;
use std::time::Duration;

use super::harness::*;
use crate::balance::{Balancer, Hashing};
use crate::config::snapshot::{Failure, Outcomes, Retries, StickySettings, SubsetFallback};
use crate::registry::{Gate, Readiness};
use crate::resilience::breaker;

async fn four() -> Vec<Server> {
    let mut servers = Vec::new();
    for name in ["a", "b", "c", "d"] {
        servers.push(Server::named(name).await);
    }
    servers
}

/// Subset 0 has `a` and `b`, subset 1 has `c`; `d` is in none.
fn setup(workers: usize, servers: &[Server]) -> Setup {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let mut setup = Setup::new(workers, &addresses);
    setup.subsets = vec![vec![0, 1], vec![2]];
    setup
}

/// Who answered that many requests, and with which statuses but 200.
async fn seen(gateway: &Gateway, version: Option<&str>, count: usize) -> String {
    let mut seen = BTreeSet::new();
    for _ in 0..count {
        let mut client = Client::http1(gateway.address()).await;
        let mut request = client.request("GET", "/up");
        if let Some(version) = version {
            request = request.header("x-version", version);
        }
        let answer = client.ask(request.body(full("")).unwrap()).await.unwrap();
        seen.insert(match answer.status {
            200 => answer.text().to_owned(),
            status => status.to_string(),
        });
    }
    seen.into_iter().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn route_and_header_choose_the_subset_and_the_policy_does_for_what_is_not_there() {
    use SubsetFallback::{Any, None as Nobody, Subset};
    let servers = four().await;
    // The route's, the header, and who answers by policy: any, subset 0, nobody.
    type Row<'r> = (Option<usize>, Option<&'r str>, [&'r str; 3]);
    let rows: &[Row<'_>] = &[
        (None, None, ["a b c d", "a b", "a b c d"]),
        (None, Some("0"), ["a b"; 3]),
        (None, Some("1"), ["c"; 3]),
        (None, Some("7"), ["a b c d", "a b", "503"]),
        (Some(1), None, ["c"; 3]),
        (Some(1), Some("0"), ["c"; 3]),
    ];
    for (index, fallback) in [Any, Subset(0), Nobody].into_iter().enumerate() {
        let mut setup = setup(index + 1, &servers);
        setup.subset_fallback = fallback;
        let mut gateway = Gateway::start(&setup);
        for (route, version, expected) in rows {
            setup.subset = *route;
            gateway.reload(&setup);
            let seen = seen(&gateway, *version, 24).await;
            assert_eq!(seen, expected[index], "{route:?} {version:?} {fallback:?}");
        }
    }
}

#[tokio::test]
async fn where_nobody_in_a_subset_is_well_the_policy_says_who_is_asked() {
    use SubsetFallback::{Any, None as Nobody, Subset};
    let servers = four().await;
    let balancers = [
        Balancer::RoundRobin,
        Balancer::TwoChoices,
        Balancer::IpHash(Hashing::Maglev),
    ];
    // Without a good one the subset is asked all the same, as an upstream is: in panic.
    for (fallback, others) in [(Any, "a b d"), (Subset(0), "a b"), (Nobody, "c")] {
        for balancer in balancers {
            let mut setup = setup(1, &servers);
            setup.balancer = balancer;
            setup.subset_fallback = fallback;
            let gateway = Gateway::start(&setup);
            let states: Vec<_> = servers
                .iter()
                .map(|server| gateway.state(server.address))
                .collect();
            states
                .iter()
                .for_each(|state| state.set_readiness(Readiness::Ready));
            let is_in = |who: &str, all: &str| who.split(' ').all(|who| all.split(' ').any(|one| one == who));
            assert_eq!(seen(&gateway, Some("1"), 6).await, "c");
            states[2].set_readiness(Readiness::Failing);
            let who = seen(&gateway, Some("1"), 12).await;
            assert!(is_in(&who, others), "{fallback:?} {balancer:?}: {who}");
            states
                .iter()
                .for_each(|state| state.set_readiness(Readiness::Failing));
            let who = seen(&gateway, Some("1"), 6).await;
            assert_eq!(who, "c", "{fallback:?} {balancer:?}: nobody else is better");
            states[2].set_readiness(Readiness::Ready);
            assert_eq!(seen(&gateway, Some("1"), 6).await, "c", "it is back");
        }
    }
}

#[tokio::test]
async fn an_empty_subset_is_the_policys_too() {
    use SubsetFallback::{Any, None as Nobody, Subset};
    let servers = four().await;
    for (fallback, expected) in [(Any, "a b c d"), (Subset(0), "a b"), (Nobody, "503")] {
        let mut setup = setup(1, &servers);
        setup.subsets[1].clear();
        setup.subset_fallback = fallback;
        let gateway = Gateway::start(&setup);
        assert_eq!(seen(&gateway, Some("1"), 12).await, expected, "{fallback:?}");
    }
}

#[tokio::test]
async fn retries_stay_in_the_subset() {
    let good = Server::named("good").await;
    let mut setup = Setup::new(1, &[good.address, closed_port().await, closed_port().await]);
    setup.subsets = vec![vec![1, 2], vec![0, 1]];
    setup.subset_fallback = SubsetFallback::None;
    setup.retry = Retries {
        attempts: 3,
        on: Outcomes::of(&[Failure::Connect]),
        ..Retries::default()
    };
    let gateway = Gateway::start(&setup);
    assert_eq!(
        seen(&gateway, Some("0"), 4).await,
        "502",
        "the good one is of another"
    );
    assert_eq!(seen(&gateway, Some("1"), 4).await, "good");
}

#[tokio::test]
async fn a_cookie_leads_to_nobody_outside_the_subset() {
    let servers = four().await;
    let mut setup = setup(1, &servers);
    setup.sticky = Some(StickySettings::plain([5; 32]));
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let mut ask = async |version: &str, cookie: &str| {
        let request = client
            .request("GET", "/up")
            .header("x-version", version)
            .header("cookie", cookie);
        let answer = client.ask(request.body(full("")).unwrap()).await.unwrap();
        let set = answer
            .header("set-cookie")
            .map(|set| set.split(';').next().unwrap().to_owned());
        (answer.text().to_owned(), set)
    };
    let (home, set) = ask("0", "").await;
    let of_0 = set.unwrap();
    for _ in 0..4 {
        assert_eq!(ask("0", &of_0).await, (home.clone(), None));
        let (other, set) = ask("1", &of_0).await;
        assert_eq!(other, "c");
        assert!(set.is_some_and(|set| set != of_0));
    }
}

#[tokio::test]
async fn trial_calls_are_of_the_subset_and_bring_it_back() {
    let sick = Server::start(|request: http::Request<_>| async move {
        let status = if request.headers().contains_key("x-well") {
            200
        } else {
            500
        };
        http::Response::builder()
            .status(status)
            .body(full("sick"))
            .unwrap()
    });
    let servers = [Server::named("a").await, sick.await];
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let mut setup = Setup::new(1, &addresses);
    setup.subsets = vec![vec![0], vec![1]];
    setup.subset_fallback = SubsetFallback::Subset(0);
    setup.guards.breaker = Some(breaker::Settings {
        min_calls: 3,
        failure_ratio: 0.9,
        open_for: Duration::from_millis(1),
        open_for_max: Duration::from_millis(1),
        half_open_calls: 1,
        ramp: Duration::ZERO,
        ..breaker::Settings::default()
    });
    let gateway = Gateway::start(&setup);
    let state = gateway.state(servers[1].address);
    let mut client = Client::http1(gateway.address()).await;
    let mut ask = async |fields: &[(&str, &str)]| {
        let mut request = client.request("GET", "/up");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        client.ask(request.body(full("")).unwrap()).await.unwrap().status
    };
    // Of the whole not even half fails.
    for _ in 0..20 {
        assert_eq!(ask(&[("x-version", "0")]).await, 200);
    }
    while state.gate() == Gate::Share(1_000) {
        assert_eq!(ask(&[("x-version", "1")]).await, 500);
    }
    wait_until("trial calls", || state.gate() == Gate::Trials).await;
    for _ in 0..10 {
        assert_eq!(ask(&[("x-version", "0")]).await, 200);
    }
    assert_eq!(
        state.gate(),
        Gate::Trials,
        "the other subset's requests are no trials"
    );
    assert_eq!(ask(&[("x-version", "1"), ("x-well", "1")]).await, 200);
    wait_until("closed", || state.gate() == Gate::Share(1_000)).await;
}
