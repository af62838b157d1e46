//! Clients that stay with an endpoint by a cookie.

use std::time::Duration;

use http::{Response, StatusCode};

use super::harness::*;
use crate::balance::{Balancer, Hashing};
use crate::config::snapshot::{
    ClusterKey, Failure, HashBy, Outcomes, Retries, StickySettings, UpstreamProtocol,
};
use crate::registry::{Gate, Readiness};
use crate::resilience::breaker;

fn sticky() -> StickySettings {
    StickySettings::plain([5; 32])
}

/// Answers with its name and the cookies that it got.
async fn named(name: &'static str) -> Server {
    Server::start(move |request: http::Request<_>| async move {
        let cookies = request.headers().get_all("cookie").into_iter();
        let cookies: Vec<_> = cookies.map(|value| value.to_str().unwrap()).collect();
        Response::new(full(format!("{name} {}", cookies.join("|"))))
    })
    .await
}

async fn three() -> Vec<Server> {
    vec![named("a").await, named("b").await, named("c").await]
}

fn setup(workers: usize, servers: &[Server]) -> Setup {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let mut setup = Setup::new(workers, &addresses);
    setup.sticky = Some(sticky());
    setup
}

/// Who answered, with the cookies that it got, and the cookie that the client gets.
async fn ask(client: &mut Client, cookies: &[&str]) -> (String, Option<String>) {
    let mut request = client.request("GET", "/up");
    for cookie in cookies {
        request = request.header("cookie", *cookie);
    }
    let answer = client.ask(request.body(full("")).unwrap()).await.unwrap();
    assert_eq!(answer.status, 200);
    let set = answer.header("set-cookie").map(|set| {
        assert_eq!(answer.header("cache-control"), Some("private"));
        assert!(set.ends_with("; Path=/; SameSite=Lax; HttpOnly"), "{set}");
        set.split(';').next().unwrap().to_owned()
    });
    assert_eq!(set.is_none(), answer.header("cache-control").is_none());
    (answer.text().trim_end().to_owned(), set)
}

#[tokio::test]
async fn a_client_stays_with_its_endpoint_whatever_the_worker_and_the_balancer() {
    let servers = three().await;
    let balancers = [
        Balancer::RoundRobin,
        Balancer::LeastRequests,
        Balancer::ConsistentHash(Hashing::Maglev),
    ];
    for (workers, balancer) in [1, 2, 4].into_iter().zip(balancers) {
        let mut setup = setup(workers, &servers);
        setup.balancer = balancer;
        if workers == 4 {
            setup.hash_by = HashBy::Cookie("user".to_owned());
        }
        let gateway = Gateway::start(&setup);
        let mut homes = Vec::new();
        // Whom a new client meets is by chance: of so many, none of three is left out (3 x (2/3)^60).
        for _ in 0..60 {
            let mut client = Client::http1(gateway.address()).await;
            let (home, set) = ask(&mut client, &[]).await;
            let set = set.expect("a cookie with the first answer");
            assert!(!set.contains("127.0.0.1"), "{set}");
            for _ in 0..2 {
                // Each on a connection, and so perhaps a worker, of its own.
                let mut client = Client::http1(gateway.address()).await;
                let again = ask(&mut client, &[&format!("user=7; {set}")]).await;
                assert_eq!(
                    again,
                    (format!("{home} user=7"), None),
                    "{workers} workers, {balancer:?}"
                );
            }
            homes.push(home);
        }
        homes.sort();
        homes.dedup();
        assert_eq!(homes.len(), 3, "{balancer:?}: clients are spread");
    }
}

#[tokio::test]
async fn a_cookie_that_names_nobody_is_replaced_and_goes_no_further() {
    let servers = three().await;
    let gateway = Gateway::start(&setup(1, &servers));
    let mut client = Client::http1(gateway.address()).await;
    let mut other = sticky();
    other.key = ClusterKey([6; 32]);
    let foreign = crate::config::snapshot::Sticky::new(&other, "users", [servers[0].address].into_iter());
    let foreign = foreign
        .set_cookie(0)
        .unwrap()
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let address = format!("srv={}", servers[0].address);
    for cookie in [&*foreign, &address, "srv=", "srv=AAAAAAAAAAAAAAAA"] {
        let mut homes = Vec::new();
        for _ in 0..3 {
            let (home, set) = ask(&mut client, &[&format!("a=1; {cookie}")]).await;
            assert!(set.is_some_and(|set| set != *cookie), "{cookie}");
            homes.push(home);
        }
        homes.sort();
        assert_eq!(homes, ["a a=1", "b a=1", "c a=1"], "{cookie} steers nowhere");
    }
}

#[tokio::test]
async fn http2_clients_and_upstreams_and_crumbs_are_no_different() {
    let servers = three().await;
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let mut setup = setup(2, &servers);
        setup.protocol = protocol;
        let gateway = Gateway::start(&setup);
        for _ in 0..4 {
            let mut client = Client::http2(gateway.address()).await;
            let (home, set) = ask(&mut client, &["x=1"]).await;
            let set = set.expect("a cookie");
            let home = home.split(' ').next().unwrap();
            for _ in 0..3 {
                let again = ask(&mut client, &["x=1", &set, "y=2"]).await;
                assert_eq!(again, (format!("{home} x=1; y=2"), None), "{protocol:?}");
            }
        }
    }
}

#[tokio::test]
async fn who_fails_loses_its_clients_and_they_stay_with_the_next() {
    let servers = three().await;
    let gateway = Gateway::start(&setup(2, &servers));
    let states: Vec<_> = servers
        .iter()
        .map(|server| gateway.state(server.address))
        .collect();
    states
        .iter()
        .for_each(|state| state.set_readiness(Readiness::Ready));
    let mut client = Client::http1(gateway.address()).await;
    let (home, set) = ask(&mut client, &[]).await;
    let old = set.unwrap();
    let index = ["a", "b", "c"].iter().position(|name| home == *name).unwrap();
    states[index].set_readiness(Readiness::Failing);
    let (next, set) = ask(&mut client, &[&old]).await;
    let new = set.expect("another cookie");
    assert!(next != home && new != old);
    states[index].set_readiness(Readiness::Ready);
    for _ in 0..3 {
        assert_eq!(
            ask(&mut client, &[&new]).await,
            (next.clone(), None),
            "it stays there"
        );
    }
}

#[tokio::test]
async fn a_retry_elsewhere_replaces_the_cookie() {
    let failing = Server::start(|_| async {
        Response::builder()
            .status(StatusCode::SERVICE_UNAVAILABLE)
            .body(full("full"))
            .unwrap()
    });
    let servers = [failing.await, named("b").await];
    let mut setup = setup(1, &servers);
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let mut old = None;
    while old.is_none() {
        let answer = client.get("/up").await.unwrap();
        if answer.status == 503 {
            let set = answer.header("set-cookie").unwrap();
            old = Some(set.split(';').next().unwrap().to_owned());
        }
    }
    let old = old.unwrap();
    let mut on = Outcomes::of(&[Failure::Connect]);
    on.add("503").unwrap();
    setup.retry = Retries {
        attempts: 1,
        on,
        ..Retries::default()
    };
    let mut gateway = gateway;
    gateway.reload(&setup);
    let (home, set) = ask(&mut client, &[&old]).await;
    let set = set.expect("a cookie of who answered");
    assert!(home == "b" && set != old);
    assert_eq!(ask(&mut client, &[&set]).await, ("b".to_owned(), None));
}

#[tokio::test]
async fn a_dead_endpoint_is_left_without_the_client_seeing_it() {
    let (lives, dead) = (named("a").await, closed_port().await);
    let mut setup = setup(1, &[lives]);
    let lives = setup.endpoints[0];
    setup.endpoints = vec![lives, dead];
    let cookies = crate::config::snapshot::Sticky::new(&sticky(), "users", [dead].into_iter());
    let set = cookies.set_cookie(0).unwrap().to_str().unwrap();
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let (home, new) = ask(&mut client, &[set.split(';').next().unwrap()]).await;
    assert_eq!(home, "a");
    assert!(new.is_some());
    let line = &gateway.lines(1).await[0];
    assert!(line.contains("tries=2"), "{line}");
}

#[tokio::test]
async fn an_endpoint_of_weight_0_keeps_its_clients_and_gets_no_others() {
    let servers = three().await;
    let mut setup = setup(2, &servers);
    let mut gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let mut kept = None;
    for _ in 0..3 {
        let (home, set) = ask(&mut client, &[]).await;
        if home == "a" {
            kept = set;
        }
    }
    let kept = kept.expect("a client of a");
    setup.weights = vec![0, 1, 1];
    gateway.reload(&setup);
    for _ in 0..8 {
        let mut client = Client::http1(gateway.address()).await;
        assert_eq!(ask(&mut client, &[&kept]).await, ("a".to_owned(), None));
        assert_ne!(ask(&mut client, &[]).await.0, "a");
    }
    // Out of the configuration: gone for its clients, too.
    setup.endpoints.remove(0);
    setup.weights.remove(0);
    gateway.reload(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let (home, set) = ask(&mut client, &[&kept]).await;
    assert!(home != "a" && set.is_some());
}

#[tokio::test]
async fn a_client_that_stays_is_no_trial_call_for_another_endpoint() {
    let sick = Server::start(|_| async { Response::builder().status(500).body(full("sick")).unwrap() });
    let servers = [named("a").await, sick.await];
    let mut setup = setup(1, &servers);
    setup.guards.breaker = Some(breaker::Settings {
        min_calls: 3,
        // The whole, of which half fails, stays closed.
        failure_ratio: 0.9,
        open_for: Duration::from_millis(1),
        open_for_max: Duration::from_millis(1),
        ..breaker::Settings::default()
    });
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let state = gateway.state(servers[1].address);
    let mut stays = None;
    while state.gate() == Gate::Share(1_000) {
        let answer = client.get("/up").await.unwrap();
        if answer.status == 200 {
            let set = answer.header("set-cookie").unwrap();
            stays = Some(set.split(';').next().unwrap().to_owned());
        }
    }
    let stays = stays.unwrap();
    wait_until("trial calls", || state.gate() == Gate::Trials).await;
    for _ in 0..20 {
        assert_eq!(ask(&mut client, &[&stays]).await, ("a".to_owned(), None));
    }
    assert_eq!(state.gate(), Gate::Trials, "nobody tried");
    assert_eq!(
        client.get("/up").await.unwrap().status,
        500,
        "who stays nowhere tries"
    );
}

#[tokio::test]
async fn answers_of_our_own_make_nobody_stay() {
    let mut setup = Setup::new(1, &[closed_port().await]);
    setup.sticky = Some(sticky());
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    for (path, status) in [("/up", 502), ("/own", 200)] {
        let answer = client.get(path).await.unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("set-cookie"), None, "{path}");
    }
}
