//! What takes endpoints out, and a whole upstream, and brings them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::*;
use crate::config::snapshot::Outcomes;
use crate::registry::{Gate, Readiness};
use crate::resilience::{breaker, outliers};

/// Answers with a status that can be changed, and counts.
struct Moody {
    server: Server,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicU32>,
}

impl Moody {
    async fn start(status: u16) -> Self {
        let (status, asked) = (Arc::new(AtomicU16::new(status)), Arc::new(AtomicU32::new(0)));
        let (now, counted) = (Arc::clone(&status), Arc::clone(&asked));
        let server = Server::start(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            let status = now.load(Ordering::Relaxed);
            async move { Response::builder().status(status).body(full("moody")).unwrap() }
        });
        Self {
            server: server.await,
            status,
            asked,
        }
    }

    fn take_asked(&self) -> u32 {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

fn breaker() -> breaker::Settings {
    breaker::Settings {
        min_calls: 10,
        open_for: Duration::from_millis(500),
        open_for_max: Duration::from_secs(1),
        window: Duration::from_secs(10),
        half_open_calls: 2,
        ramp: Duration::from_millis(300),
        ..breaker::Settings::default()
    }
}

#[tokio::test]
async fn failures_in_a_row_eject_an_endpoint_and_it_comes_back_by_itself() {
    let (good, bad) = (Moody::start(200).await, Moody::start(503).await);
    let mut setup = Setup::new(1, &[good.server.address, bad.server.address]);
    setup.guards.outliers = Some(outliers::Settings {
        base_ejection: Duration::from_millis(700),
        ..outliers::Settings::default()
    });
    let mut gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let state = gateway.state(bad.server.address);
    for _ in 0..30 {
        client.get("/up").await.unwrap();
    }
    assert!(state.is_ejected());
    assert_eq!(bad.take_asked(), 5, "five in a row, and nothing after that");
    setup.timeout = Duration::from_secs(19);
    gateway.reload(&setup);
    assert!(state.is_ejected(), "an edit resets nothing");
    bad.status.store(200, Ordering::Relaxed);
    wait_until("back", || !state.is_ejected()).await;
    for _ in 0..10 {
        assert_eq!(client.get("/up").await.unwrap().status, 200);
    }
    assert!(bad.take_asked() > 0);
}

#[tokio::test]
async fn a_breaker_leaves_a_failing_upstream_alone_tries_it_and_closes() {
    let moody = Moody::start(500).await;
    let mut setup = Setup::new(1, &[moody.server.address]);
    setup.guards.breaker = Some(breaker());
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let mut open = None;
    for _ in 0..12 {
        open = Some(client.get("/up").await.unwrap());
    }
    let open = open.unwrap();
    assert_eq!(open.status, 503);
    assert!(open.text().starts_with("breaker-open: "), "{}", open.text());
    assert_eq!(
        moody.take_asked(),
        10,
        "ten calls decide, and none goes after that"
    );
    moody.status.store(200, Ordering::Relaxed);
    let deadline = tokio::time::Instant::now() + SOON;
    let mut passed = 0;
    while passed < 50 {
        assert!(tokio::time::Instant::now() < deadline, "does not close");
        passed += u32::from(client.get("/up").await.unwrap().status == 200);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let state = gateway.state(moody.server.address);
    wait_until("all go", || {
        state.gate() == Gate::Share(1_000) && state.upstream().gate() == Gate::Share(1_000)
    })
    .await;
}

#[tokio::test]
async fn the_breaker_of_an_endpoint_spares_the_others_and_trials_do_not_flood_it() {
    let (good, bad) = (Moody::start(200).await, Moody::start(500).await);
    let mut setup = Setup::new(1, &[good.server.address, bad.server.address]);
    setup.guards.breaker = Some(breaker::Settings {
        failure_ratio: 0.8,
        open_for: Duration::from_secs(1),
        ..breaker()
    });
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    for _ in 0..40 {
        client.get("/up").await.unwrap();
    }
    assert_eq!(bad.take_asked(), 10);
    let state = gateway.state(bad.server.address);
    wait_until("half-open", || state.gate() == Gate::Trials).await;
    for _ in 0..40 {
        client.get("/up").await.unwrap();
    }
    assert_eq!(bad.take_asked(), 2, "two trials, and it is open again");
    assert_ne!(state.gate(), Gate::Share(1_000));
}

#[tokio::test]
async fn an_open_breaker_leads_to_the_fallback() {
    let (moody, backup) = (Moody::start(500).await, Server::named("backup").await);
    let mut setup = Setup::new(1, &[moody.server.address]);
    setup.guards.breaker = Some(breaker());
    setup.backup = vec![backup.address];
    setup.fallback_on = {
        let mut on = Outcomes::default();
        on.add("unavailable").unwrap();
        on
    };
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    for _ in 0..10 {
        assert_eq!(client.get("/up").await.unwrap().status, 500);
    }
    assert_eq!(client.get("/up").await.unwrap().text(), "backup");
}

#[tokio::test]
async fn slow_answers_open_a_breaker_where_it_says_so() {
    let slow = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        Response::new(full("slow"))
    });
    let slow = slow.await;
    for (slow_call, status) in [(Duration::from_millis(5), 503), (Duration::from_secs(5), 200)] {
        let mut setup = Setup::new(1, &[slow.address]);
        setup.slow_call = Some(slow_call);
        setup.guards.breaker = Some(breaker::Settings {
            slow_ratio: Some(0.5),
            open_for: Duration::from_secs(20),
            open_for_max: Duration::from_secs(20),
            ..breaker()
        });
        let gateway = Gateway::start(&setup);
        let mut client = Client::http1(gateway.address()).await;
        for _ in 0..10 {
            assert_eq!(client.get("/up").await.unwrap().status, 200);
        }
        // The tick sees what no failure has told.
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(client.get("/up").await.unwrap().status, status, "{slow_call:?}");
    }
}

#[tokio::test]
async fn an_operator_opens_and_closes_a_breaker() {
    let moody = Moody::start(200).await;
    let mut setup = Setup::new(1, &[moody.server.address]);
    setup.guards.breaker = Some(breaker());
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let state = gateway.state(moody.server.address);
    let upstream = state.upstream();
    upstream.force(None, Some(breaker::Force::Open)).unwrap();
    assert_eq!(client.get("/up").await.unwrap().status, 503);
    upstream.force(None, Some(breaker::Force::Closed)).unwrap();
    moody.status.store(500, Ordering::Relaxed);
    for _ in 0..30 {
        assert_eq!(client.get("/up").await.unwrap().status, 500);
    }
    let whole = upstream.breakers().into_iter().find(|one| one.endpoint.is_none());
    assert_eq!(whole.unwrap().state, breaker::State::ForcedClosed);
}

/// Answers so once on each connection, and closes it.
async fn answers(answer: &'static [u8]) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                assert!(stream.read(&mut head).await.unwrap() > 0);
                stream.write_all(answer).await.unwrap();
            });
        }
    });
    address
}

#[tokio::test]
async fn answers_of_another_length_than_they_say_are_failures_though_they_began_well() {
    let rows: [(&[u8], _); 2] = [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", 5..=12),
        // The client has its whole answer.
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokmore", 0..=0),
    ];
    for (answer, seen) in rows {
        let address = answers(answer).await;
        let good = Moody::start(200).await;
        let mut setup = Setup::new(1, &[good.server.address, address]);
        setup.guards.outliers = Some(outliers::Settings {
            success_rate: None,
            behind_others: None,
            ..outliers::Settings::default()
        });
        setup.guards.breaker = Some(breaker::Settings {
            min_calls: 1_000,
            ..breaker()
        });
        let gateway = Gateway::start(&setup);
        let mut broken = 0;
        for _ in 0..40 {
            let mut client = Client::http1(gateway.address()).await;
            broken += u32::from(client.get("/up").await.is_err());
        }
        assert!(gateway.state(address).is_ejected(), "{seen:?}");
        assert!(seen.contains(&broken), "{broken}");
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_its_checks_gets_no_trial_calls() {
    let (good, bad) = (Moody::start(200).await, Moody::start(500).await);
    let mut setup = Setup::new(1, &[good.server.address, bad.server.address]);
    setup.guards.breaker = Some(breaker::Settings {
        failure_ratio: 0.8,
        ..breaker()
    });
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    for _ in 0..40 {
        client.get("/up").await.unwrap();
    }
    let state = gateway.state(bad.server.address);
    state.set_readiness(Readiness::Failing);
    wait_until("half-open", || state.gate() == Gate::Trials).await;
    bad.take_asked();
    for _ in 0..20 {
        assert_eq!(client.get("/up").await.unwrap().status, 200);
    }
    assert_eq!(bad.take_asked(), 0);
    state.set_readiness(Readiness::Ready);
    client.get("/up").await.unwrap();
    assert_eq!(bad.take_asked(), 1);
}

#[tokio::test]
async fn calls_that_hung_before_a_breaker_opened_do_not_open_it_once_it_closed() {
    let (released, _) = tokio::sync::watch::channel(());
    let (asked, status) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU16::new(500)));
    let (hangs, hung, now) = (released.clone(), Arc::clone(&asked), Arc::clone(&status));
    let server = Server::start(move |request: http::Request<_>| {
        let mut hangs = hangs.subscribe();
        let status = now.load(Ordering::Relaxed);
        let hung = Arc::clone(&hung);
        async move {
            if request.uri().path() != "/up/hang" {
                return Response::builder().status(status).body(full("now")).unwrap();
            }
            hung.fetch_add(1, Ordering::Relaxed);
            hangs.changed().await.unwrap();
            Response::builder().status(500).body(full("late")).unwrap()
        }
    })
    .await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.guards.breaker = Some(breaker());
    let gateway = Gateway::start(&setup);
    let late: Vec<_> = (0..30)
        .map(|_| tokio::spawn(get(gateway.address(), "/up/hang")))
        .collect();
    wait_until("calls that hang", || asked.load(Ordering::Relaxed) == 30).await;
    let mut client = Client::http1(gateway.address()).await;
    let state = gateway.state(server.address);
    while state.gate() == Gate::Share(1_000) {
        client.get("/up").await.unwrap();
    }
    status.store(200, Ordering::Relaxed);
    let upstream = state.upstream();
    let openings = upstream.openings.load(Ordering::Relaxed);
    let deadline = tokio::time::Instant::now() + SOON;
    while (state.gate(), upstream.gate()) != (Gate::Share(1_000), Gate::Share(1_000)) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited for closed breakers"
        );
        client.get("/up").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    released.send(()).unwrap();
    for late in late {
        assert_eq!(late.await.unwrap().status, 500);
    }
    for _ in 0..5 {
        assert_eq!(client.get("/up").await.unwrap().status, 200);
    }
    assert_eq!(upstream.openings.load(Ordering::Relaxed), openings);
}
