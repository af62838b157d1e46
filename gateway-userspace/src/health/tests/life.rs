//! What becomes of endpoints by their checks: states, edits, startup, pushed heartbeats, metrics.

use std::sync::atomic::{AtomicU16, Ordering};

use tokio::net::TcpListener;

use super::servers::{Speaks, serve, status};
use super::*;

/// A server whose answers can be changed, one for each path: `/readyz`, `/livez` and `/startz`.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    answers: Arc<[AtomicU16; 3]>,
}

const READY: usize = 0;
const LIVE: usize = 1;
const START: usize = 2;

impl Server {
    async fn start() -> Self {
        let answers: Arc<[AtomicU16; 3]> = Arc::new([200, 200, 200].map(AtomicU16::new));
        let held = Arc::clone(&answers);
        let address = serve(Speaks::Http1, move |head, _| {
            let index = match head.uri.path() {
                "/readyz" => READY,
                "/livez" => LIVE,
                _ => START,
            };
            status(held[index].load(Ordering::Relaxed))
        })
        .await;
        Self { address, answers }
    }

    fn answer(&self, index: usize, status: u16) {
        self.answers[index].store(status, Ordering::Relaxed);
    }
}

fn at(path: &str) -> Check {
    check(Way::Http(HttpCheck {
        path: path.into(),
        ..http()
    }))
}

/// Under a paused clock: whatever can go on has gone on.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn metrics(checks: &Checks) -> String {
    let mut metrics = prometheus_client::registry::Registry::default();
    register_metrics(&mut metrics, checks);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics).unwrap();
    text
}

#[tokio::test]
async fn endpoints_follow_their_checks_and_keep_their_state_across_snapshots() {
    let registry = Registry::default();
    let server = Server::start().await;
    let (up, down) = (server.address, nowhere().await);
    let first = snapshot(&registry, &[up, down], readiness(at("/readyz")));
    let checks = Checks::start(Handle::current(), Events::default());
    checks.apply(&first);
    assert_eq!(checks.first_round_done().await, FirstRound::Done);
    let state = |address| registry.endpoint("users", address).readiness();
    wait_until("ready", || state(up) == Readiness::Ready).await;
    wait_until("failing", || state(down) == Readiness::Failing).await;

    server.answer(READY, 503);
    wait_until("failing", || state(up) == Readiness::Failing).await;
    server.answer(READY, 302);
    wait_until("ready again", || state(up) == Readiness::Ready).await;

    let changed = Check {
        rise: 3,
        ..at("/readyz")
    };
    let again = snapshot(&registry, &[up], readiness(changed));
    checks.apply(&again);
    assert_eq!(state(up), Readiness::Ready, "a changed check does not forget");
    assert_eq!(
        checks.running().len(),
        1,
        "the check of the removed endpoint stopped"
    );

    let more = Health {
        heartbeat: Some(Heartbeat::Asked(check(Way::Tcp))),
        startup: Some(Startup {
            check: at("/startz"),
            grace: Duration::from_secs(60),
        }),
        ..readiness(at("/readyz"))
    };
    let more = snapshot(&registry, &[up], more);
    checks.apply(&more);
    assert_eq!(state(up), Readiness::Ready, "more checks do not forget");

    let without = snapshot(&registry, &[down], Health::default());
    checks.apply(&without);
    assert_eq!(state(down), Readiness::Ready, "without a check all are ready");
    assert!(checks.running().is_empty());
    wait_until("stopped checks wait for no first probe", || {
        checks.unchecked() == 0
    })
    .await;
}

#[tokio::test]
async fn an_edit_keeps_a_failing_endpoint_failing() {
    let registry = Registry::default();
    let server = Server::start().await;
    server.answer(READY, 503);
    let checks = Checks::start(Handle::current(), Events::default());
    let first = snapshot(&registry, &[server.address], readiness(at("/readyz")));
    checks.apply(&first);
    let state = || registry.endpoint("users", server.address).readiness();
    wait_until("failing", || state() == Readiness::Failing).await;
    let edited = Health {
        heartbeat: Some(Heartbeat::Asked(check(Way::Tcp))),
        ..readiness(Check {
            fall: 50,
            ..at("/readyz")
        })
    };
    let edited = snapshot(&registry, &[server.address], edited);
    checks.apply(&edited);
    let text = || metrics(&checks);
    wait_until("the heartbeat passes", || {
        text().contains("to=\"ready\",why=\"passed\"}") && state() == Readiness::Failing
    })
    .await;
}

#[tokio::test]
async fn liveness_is_told_and_takes_no_traffic_away() {
    let registry = Registry::default();
    let server = Server::start().await;
    let health = Health {
        liveness: Some(at("/livez")),
        ..readiness(at("/readyz"))
    };
    let given = snapshot(&registry, &[server.address], health);
    let checks = Checks::start(Handle::current(), Events::default());
    checks.apply(&given);
    let known = || checks.known().endpoint("users", server.address).to_vec();
    let says = |kind, state| {
        known()
            .iter()
            .any(|known| known.kind == kind && known.state == state)
    };
    wait_until("alive", || says(Kind::Liveness, Readiness::Ready)).await;
    server.answer(LIVE, 500);
    wait_until("not alive", || says(Kind::Liveness, Readiness::Failing)).await;
    let cell = registry.endpoint("users", server.address);
    assert_eq!(cell.readiness(), Readiness::Ready);
    let failure = known().into_iter().find(|known| known.kind == Kind::Liveness);
    assert_eq!(
        failure.unwrap().last_failure.as_deref(),
        Some("answered 500 Internal Server Error")
    );
    let line = format!(
        "gateway_check_transitions_total{{upstream=\"users\",endpoint=\"{}\",kind=\"liveness\",from=\"ready\",\
         to=\"failing\",why=\"status\"}} 1",
        server.address
    );
    assert!(metrics(&checks).contains(&line), "{}", metrics(&checks));
}

#[tokio::test]
async fn failures_do_not_count_while_an_endpoint_starts() {
    let registry = Registry::default();
    let server = Server::start().await;
    server.answer(READY, 503);
    server.answer(START, 503);
    let health = |grace| Health {
        startup: Some(Startup {
            check: at("/startz"),
            grace,
        }),
        ..readiness(at("/readyz"))
    };
    let checks = Checks::start(Handle::current(), Events::default());
    let given = snapshot(&registry, &[server.address], health(Duration::from_secs(600)));
    checks.apply(&given);
    let state = || registry.endpoint("users", server.address).readiness();
    let failed = || {
        let record = checks.shared.records().values().next().cloned().unwrap();
        let counters = record.counters(Kind::Readiness).unwrap();
        counters.failed.load(Ordering::Relaxed)
    };
    wait_until("many failures", || failed() > 5).await;
    assert_eq!(state(), Readiness::Unknown, "it is still starting");
    server.answer(READY, 200);
    server.answer(START, 200);
    wait_until("ready", || state() == Readiness::Ready).await;
    server.answer(START, 503);
    server.answer(READY, 503);
    wait_until("failing", || state() == Readiness::Failing).await;
}

#[tokio::test]
async fn the_grace_ends() {
    let registry = Registry::default();
    let server = Server::start().await;
    server.answer(READY, 503);
    server.answer(START, 503);
    let health = Health {
        startup: Some(Startup {
            check: at("/startz"),
            grace: Duration::from_millis(50),
        }),
        ..readiness(at("/readyz"))
    };
    let checks = Checks::start(Handle::current(), Events::default());
    let given = snapshot(&registry, &[server.address], health);
    checks.apply(&given);
    let state = || registry.endpoint("users", server.address).readiness();
    wait_until("failing", || state() == Readiness::Failing).await;
    assert!(
        metrics(&checks).contains("kind=\"startup\",from=\"unknown\",to=\"failing\",why=\"grace-over\"} 1")
    );
}

#[tokio::test(start_paused = true)]
async fn pushed_heartbeats_renew_lapse_and_are_withdrawn() {
    let registry = Registry::default();
    let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let pushed = |ttl_max| Health {
        heartbeat: Some(Heartbeat::Pushed(Pushed { ttl_max })),
        ..Health::default()
    };
    let checks = Checks::start(Handle::current(), Events::default());
    let minute = Duration::from_secs(60);
    // What came before the snapshot that brings the endpoint counts as well.
    checks.renew("users", address, Duration::from_secs(10));
    let first = snapshot(&registry, &[address], pushed(minute));
    let cell = registry.endpoint("users", address);
    checks.apply(&first);
    assert_eq!(
        checks.first_round_done().await,
        FirstRound::Done,
        "nobody is waited for"
    );
    let is = |readiness| move |cell: &crate::registry::EndpointState| cell.readiness() == readiness;
    let (ready, failing) = (is(Readiness::Ready), is(Readiness::Failing));
    settled().await;
    assert!(ready(&cell), "renewed");
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(ready(&cell), "renewed in time");
        checks.renew("users", address, Duration::from_secs(10));
    }
    let edited = snapshot(&registry, &[address], pushed(2 * minute));
    checks.apply(&edited);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(ready(&cell), "an edit keeps what was said");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(failing(&cell), "a lapse");
    checks.renew("users", address, Duration::from_secs(10));
    settled().await;
    assert!(ready(&cell), "renewed");
    checks.withdraw("users", address);
    settled().await;
    assert!(failing(&cell), "withdrawn");
    let text = metrics(&checks);
    for line in [
        "kind=\"heartbeat\",from=\"unknown\",to=\"ready\",why=\"renewed\"} 1",
        "kind=\"heartbeat\",from=\"ready\",to=\"failing\",why=\"lapsed\"} 1",
        "kind=\"heartbeat\",from=\"ready\",to=\"failing\",why=\"withdrawn\"} 1",
        "kind=\"endpoint\",from=\"failing\",to=\"ready\",why=\"renewed\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_renews_itself_fails_when_the_longest_time_is_over() {
    let registry = Registry::default();
    let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let health = Health {
        heartbeat: Some(Heartbeat::Pushed(Pushed {
            ttl_max: Duration::from_secs(60),
        })),
        ..Health::default()
    };
    let given = snapshot(&registry, &[address], health);
    let checks = Checks::start(Handle::current(), Events::default());
    checks.apply(&given);
    let cell = registry.endpoint("users", address);
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(cell.readiness(), Readiness::Unknown);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cell.readiness(), Readiness::Failing);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_answers_fails_by_its_timeout_and_not_for_ever() {
    let registry = Registry::default();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let slow = Check {
        timeout: Duration::from_secs(60),
        ..at("/readyz")
    };
    let checks = Checks::start(Handle::current(), Events::default());
    let given = snapshot(&registry, &[address], readiness(slow));
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
async fn metrics_name_upstream_endpoint_and_kind() {
    let registry = Registry::default();
    let up = Server::start().await.address;
    let checks = Checks::start(Handle::current(), Events::default());
    let given = snapshot(&registry, &[up], readiness(at("/readyz")));
    checks.apply(&given);
    assert_eq!(checks.first_round_done().await, FirstRound::Done);
    let text = metrics(&checks);
    let labels = format!("upstream=\"users\",endpoint=\"{up}\",kind=\"readiness\"");
    for line in [
        format!("gateway_checks_passed_total{{{labels}}} "),
        format!("gateway_check_state{{{labels}}} 1"),
        format!("gateway_check_transitions_total{{{labels},from=\"unknown\",to=\"ready\",why=\"passed\"}} 1"),
    ] {
        assert!(text.contains(&line), "{line} is not in:\n{text}");
    }
}

#[tokio::test]
async fn a_check_goes_over_the_way_that_works() {
    let registry = Registry::default();
    let works = serve(Speaks::Http1, |_, _| status(200)).await;
    // Nobody listens there any more.
    let first = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = first.local_addr().unwrap();
    drop(first);
    let other = crate::registry::Channel {
        address: works,
        protocol: UpstreamProtocol::Http1,
        security: crate::tls::Security::Plain,
    };
    let health = Health {
        readiness: Some(check(Way::Http(http()))),
        ..Health::default()
    };
    let mut snapshot = snapshot(&registry, &[address], health);
    let upstream = Arc::get_mut(&mut snapshot.upstreams[0]).unwrap();
    upstream.endpoints[0].channels = Arc::new([other]);
    let driver = crate::guards::Driver::start(&Handle::current());
    driver.apply(&snapshot);
    let checks = Checks::start(Handle::current(), Events::default());
    checks.apply(&snapshot);
    let state = registry.endpoint("users", address);
    let deadline = Instant::now() + Duration::from_secs(20);
    while state.readiness() != Readiness::Ready {
        assert!(Instant::now() < deadline, "it is reached over the other way");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(state.channel(), 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        state.readiness(),
        Readiness::Ready,
        "the way failed, not the endpoint"
    );
}
