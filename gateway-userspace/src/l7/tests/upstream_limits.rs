//! How much may be under way at an upstream and at an endpoint, and who waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::harness::*;
use crate::balance::{Balancer, Hashing};
use crate::config::snapshot::{HashBy, Outcomes, UpstreamProtocol};
use crate::resilience::limits::{Limit, Limits, Maxima};

/// Answers when it is let, in the order of who came, and knows how many it had at once.
struct Patient {
    server: Server,
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    /// Paths, in the order they came.
    seen: Arc<Mutex<Vec<String>>>,
    may_answer: Arc<Semaphore>,
}

impl Patient {
    async fn start() -> Self {
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (seen, may_answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let cells = (inside.clone(), most.clone(), seen.clone(), may_answer.clone());
        let server = Server::start(move |request: http::Request<hyper::body::Incoming>| {
            let (inside, most, seen, may_answer) = cells.clone();
            async move {
                let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                let left = Left(inside);
                most.fetch_max(now, Ordering::SeqCst);
                seen.lock().unwrap().push(request.uri().path().to_owned());
                may_answer.acquire().await.unwrap().forget();
                drop(left);
                Response::new(full("patient"))
            }
        });
        Self {
            server: server.await,
            inside,
            most,
            seen,
            may_answer,
        }
    }

    fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }
}

/// A request left the server, answered or dropped.
struct Left(Arc<AtomicUsize>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn whole(change: impl FnOnce(&mut Maxima)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits.whole);
    limits
}

fn each(change: impl FnOnce(&mut Maxima)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits.endpoint);
    limits
}

fn ask(gateway: &Gateway, path: &str) -> JoinHandle<Answer> {
    let (address, path) = (gateway.address(), path.to_owned());
    tokio::spawn(async move { get(address, &path).await })
}

async fn statuses(tasks: Vec<JoinHandle<Answer>>) -> Vec<u16> {
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap().status);
    }
    all.sort_unstable();
    all
}

fn is_calm(gateway: &Gateway, patient: &Patient) -> bool {
    let state = gateway.state(patient.server.address);
    let whole = state.upstream();
    state.active.load(Ordering::Relaxed) == 0
        && whole.requests.taken() == 0
        && [&state.usage, &whole.usage]
            .iter()
            .all(|usage| usage.pending.taken() == 0 && usage.retries.taken() == 0)
}

#[tokio::test]
async fn of_an_upstreams_requests_so_many_are_under_way_and_the_next_is_told_to_come_later() {
    for workers in [1, 2, 4] {
        let patient = Patient::start().await;
        let mut setup = Setup::new(workers, &[patient.server.address]);
        setup.limits = whole(|whole| whole.requests = 3);
        let gateway = Gateway::start(&setup);
        let tasks: Vec<_> = (0..20).map(|_| ask(&gateway, "/up")).collect();
        let state = gateway.state(patient.server.address);
        let refused = || state.upstream().times_limited(Limit::Requests) == 17;
        wait_until("17 refused", refused).await;
        wait_until("3 inside", || patient.inside() == 3).await;
        let answer = get(gateway.address(), "/up").await;
        assert!(answer.text().starts_with("upstream-overloaded: "), "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("1"));
        patient.may_answer.add_permits(100);
        let expected: Vec<u16> = [200; 3].into_iter().chain([503; 17]).collect();
        assert_eq!(statuses(tasks).await, expected, "{workers} workers");
        wait_until("all given back", || is_calm(&gateway, &patient)).await;
        assert_eq!(get(gateway.address(), "/up").await.status, 200);
        assert_eq!(patient.most.load(Ordering::SeqCst), 3);
        assert_eq!(
            state.failures.load(Ordering::Relaxed),
            0,
            "to be busy is no failure"
        );
    }
}

#[tokio::test]
async fn an_endpoint_at_its_limit_is_passed_over_while_another_has_room() {
    for workers in [1, 2, 4] {
        let (one, two) = (Patient::start().await, Patient::start().await);
        let mut setup = Setup::new(workers, &[one.server.address, two.server.address]);
        // All are due at the same endpoint.
        setup.balancer = Balancer::ConsistentHash(Hashing::Maglev);
        setup.hash_by = HashBy::Path;
        setup.limits = each(|endpoint| endpoint.requests = 2);
        let gateway = Gateway::start(&setup);
        let tasks: Vec<_> = (0..4).map(|_| ask(&gateway, "/up")).collect();
        wait_until("two each", || one.inside() == 2 && two.inside() == 2).await;
        assert_eq!(get(gateway.address(), "/up").await.status, 503);
        [&one, &two]
            .iter()
            .for_each(|patient| patient.may_answer.add_permits(10));
        assert_eq!(statuses(tasks).await, [200; 4]);
        wait_until("all given back", || {
            is_calm(&gateway, &one) && is_calm(&gateway, &two)
        })
        .await;
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_does_not_get_what_the_others_have_no_room_for() {
    let (one, two) = (Patient::start().await, Patient::start().await);
    let mut setup = Setup::new(1, &[one.server.address, two.server.address]);
    setup.limits = each(|endpoint| endpoint.requests = 1);
    let gateway = Gateway::start(&setup);
    let failing = gateway.state(two.server.address);
    failing.set_readiness(crate::registry::Readiness::Failing);
    let task = ask(&gateway, "/up");
    wait_until("inside", || one.inside() == 1).await;
    assert_eq!(get(gateway.address(), "/up").await.status, 503);
    assert_eq!(two.inside(), 0);
    one.may_answer.add_permits(1);
    assert_eq!(task.await.unwrap().status, 200);
}

#[tokio::test]
async fn an_upstream_that_has_too_much_to_do_leads_to_the_fallback() {
    let (patient, backup) = (Patient::start().await, Server::named("backup").await);
    let mut setup = Setup::new(1, &[patient.server.address]);
    setup.limits = whole(|whole| whole.requests = 1);
    setup.backup = vec![backup.address];
    setup.fallback_on = {
        let mut on = Outcomes::default();
        on.add("unavailable").unwrap();
        on
    };
    let gateway = Gateway::start(&setup);
    let task = ask(&gateway, "/up");
    wait_until("inside", || patient.inside() == 1).await;
    assert_eq!(get(gateway.address(), "/up").await.text(), "backup");
    patient.may_answer.add_permits(1);
    assert_eq!(task.await.unwrap().text(), "patient");
}

#[tokio::test]
async fn who_waits_for_a_connection_has_it_in_order_and_only_so_many_wait() {
    let patient = Patient::start().await;
    let mut setup = Setup::new(1, &[patient.server.address]);
    setup.connect_timeout = SOON;
    setup.limits = each(|endpoint| {
        endpoint.connections = 1;
        endpoint.pending = 3;
    });
    let gateway = Gateway::start(&setup);
    let state = gateway.state(patient.server.address);
    let mut tasks = vec![ask(&gateway, "/up/0")];
    wait_until("inside", || patient.inside() == 1).await;
    for waiting in 1..=3 {
        tasks.push(ask(&gateway, &format!("/up/{waiting}")));
        wait_until("waits", || state.usage.pending.taken() == waiting).await;
    }
    assert_eq!(get(gateway.address(), "/up/4").await.status, 503);
    assert_eq!(state.upstream().times_limited(Limit::Pending), 1);
    assert_eq!(
        state.failures.load(Ordering::Relaxed),
        0,
        "to be busy is no failure"
    );
    assert_eq!(state.upstream().times_limited(Limit::Connections), 3);
    patient.may_answer.add_permits(10);
    assert_eq!(statuses(tasks).await, [200; 4]);
    assert_eq!(
        *patient.seen.lock().unwrap(),
        ["/up/0", "/up/1", "/up/2", "/up/3"]
    );
    assert_eq!(patient.server.connections(), 1, "the same connection for all");
    wait_until("all given back", || is_calm(&gateway, &patient)).await;
}

#[tokio::test]
async fn nobody_waits_for_a_connection_for_longer_than_for_making_one() {
    let patient = Patient::start().await;
    let mut setup = Setup::new(1, &[patient.server.address]);
    setup.connect_timeout = Duration::from_millis(100);
    setup.limits = whole(|whole| whole.connections = 1);
    let gateway = Gateway::start(&setup);
    let task = ask(&gateway, "/up");
    wait_until("inside", || patient.inside() == 1).await;
    let answer = get(gateway.address(), "/up").await;
    assert!(answer.text().starts_with("upstream-overloaded: "), "{answer:?}");
    assert_eq!(patient.most.load(Ordering::SeqCst), 1);
    patient.may_answer.add_permits(10);
    assert_eq!(task.await.unwrap().status, 200);
    assert_eq!(get(gateway.address(), "/up").await.status, 200);
}

#[tokio::test]
async fn workers_pass_the_few_connections_on_to_one_another() {
    for (workers, protocol) in [
        (1, UpstreamProtocol::Http1),
        (2, UpstreamProtocol::Http1),
        (4, UpstreamProtocol::Http1),
        (1, UpstreamProtocol::Http2),
        (2, UpstreamProtocol::Http2),
        (4, UpstreamProtocol::Http2),
    ] {
        let patient = Patient::start().await;
        patient.may_answer.add_permits(10_000);
        let mut setup = Setup::new(workers, &[patient.server.address]);
        setup.protocol = protocol;
        setup.connect_timeout = SOON;
        setup.limits = each(|endpoint| endpoint.connections = 2);
        let gateway = Gateway::start(&setup);
        let state = gateway.state(patient.server.address);
        let clients = (0..12).map(|_| {
            let address = gateway.address();
            tokio::spawn(async move {
                let mut client = Client::http1(address).await;
                for _ in 0..20 {
                    assert_eq!(client.get("/up").await.unwrap().status, 200);
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            while !client.is_finished() {
                assert!(state.usage.connections.taken() <= 2);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            client.await.unwrap();
        }
        if protocol == UpstreamProtocol::Http1 {
            assert!(patient.most.load(Ordering::SeqCst) <= 2, "{workers} workers");
        }
        wait_until("all given back", || is_calm(&gateway, &patient)).await;
        assert!(state.usage.connections.taken() <= 2);
        drop(gateway);
        wait_until("closed", || state.usage.connections.taken() == 0).await;
        assert_eq!(state.upstream().usage.connections.taken(), 0);
    }
}

#[tokio::test]
async fn idle_connections_of_one_endpoint_make_room_for_another() {
    for workers in [1, 2, 4] {
        let (one, two) = (Patient::start().await, Patient::start().await);
        [&one, &two]
            .iter()
            .for_each(|patient| patient.may_answer.add_permits(1_000));
        let mut setup = Setup::new(workers, &[one.server.address, two.server.address]);
        setup.connect_timeout = SOON;
        setup.limits = whole(|whole| whole.connections = 1);
        let gateway = Gateway::start(&setup);
        // Each takes its turn at the other endpoint, for which the idle connection must go: at once, not with a sweep.
        let begin = tokio::time::Instant::now();
        for _ in 0..20 {
            assert_eq!(get(gateway.address(), "/up").await.status, 200);
        }
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        let whole = gateway.state(one.server.address);
        assert!(whole.upstream().usage.connections.taken() <= 1);
    }
}

#[tokio::test]
async fn an_edit_resets_nothing_and_counts_from_the_next_request_on() {
    let patient = Patient::start().await;
    let mut setup = Setup::new(2, &[patient.server.address]);
    setup.limits = whole(|whole| whole.requests = 3);
    let mut gateway = Gateway::start(&setup);
    let tasks: Vec<_> = (0..3).map(|_| ask(&gateway, "/up")).collect();
    wait_until("3 inside", || patient.inside() == 3).await;
    for (requests, released, status) in [(2, 0, 503), (2, 1, 503), (3, 1, 200)] {
        setup.limits = whole(|whole| whole.requests = requests);
        gateway.reload(&setup);
        patient.may_answer.add_permits(released);
        let state = gateway.state(patient.server.address);
        let expected = patient.inside().min(3);
        wait_until("counted", || {
            state.upstream().requests.taken() as usize <= expected
        })
        .await;
        if status == 503 {
            assert_eq!(get(gateway.address(), "/up").await.status, 503, "{requests}");
        }
    }
    patient.may_answer.add_permits(10);
    assert_eq!(statuses(tasks).await, [200; 3]);
    wait_until("all given back", || is_calm(&gateway, &patient)).await;
    assert_eq!(get(gateway.address(), "/up").await.status, 200);
}

#[tokio::test]
async fn places_come_back_after_clients_that_go_and_after_resets() {
    for (workers, protocol) in [
        (1, UpstreamProtocol::Http1),
        (2, UpstreamProtocol::Http2),
        (4, UpstreamProtocol::Http1),
    ] {
        let patient = Patient::start().await;
        let mut setup = Setup::new(workers, &[patient.server.address]);
        setup.protocol = protocol;
        setup.connect_timeout = SOON;
        setup.limits = Limits {
            whole: Maxima {
                connections: 1,
                requests: 8,
                ..Maxima::default()
            },
            endpoint: Maxima {
                requests: 8,
                ..Maxima::default()
            },
        };
        let gateway = Gateway::start(&setup);
        let state = gateway.state(patient.server.address);
        // A client of HTTP/1 that closes may still read, for 2 s.
        for is_second in [false, true] {
            let address = gateway.address();
            let one = |_| {
                tokio::spawn(async move {
                    let mut client = match is_second {
                        false => Client::http1(address).await,
                        true => Client::http2(address).await,
                    };
                    client.get("/up").await.unwrap()
                })
            };
            let tasks: Vec<_> = (0..8).map(one).collect();
            wait_until("under way", || state.active.load(Ordering::Relaxed) == 8).await;
            assert_eq!(state.upstream().requests.taken(), 8);
            // Some wait, one is at the endpoint: all go away.
            tasks.iter().for_each(JoinHandle::abort);
            wait_until("all given back", || is_calm(&gateway, &patient)).await;
        }
        patient.may_answer.add_permits(1_000);
        assert_eq!(get(gateway.address(), "/up").await.status, 200);
        wait_until("all given back", || is_calm(&gateway, &patient)).await;
    }
}

#[tokio::test]
async fn a_place_is_held_until_the_answers_body_ends() {
    let (more, rest) =
        tokio::sync::mpsc::channel::<Result<hyper::body::Frame<bytes::Bytes>, hyper::Error>>(4);
    let rest = Arc::new(Mutex::new(Some(rest)));
    let server = Server::start(move |_| {
        let rest = rest.lock().unwrap().take();
        async move {
            match rest {
                Some(mut rest) => {
                    let frames = futures_util::stream::poll_fn(move |context| rest.poll_recv(context));
                    Response::new(http_body_util::StreamBody::new(frames).boxed())
                }
                None => Response::new(full("second")),
            }
        }
    });
    let server = server.await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.limits = each(|endpoint| endpoint.requests = 1);
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let request = client.request("GET", "/up").body(full("")).unwrap();
    let streaming = client.send(request).await.unwrap();
    more.send(Ok(hyper::body::Frame::data("piece".into())))
        .await
        .unwrap();
    assert_eq!(
        get(gateway.address(), "/up").await.status,
        503,
        "the body goes on"
    );
    drop(more);
    assert_eq!(streaming.into_body().collect().await.unwrap().to_bytes(), "piece");
    let state = gateway.state(server.address);
    wait_until("given back", || state.active.load(Ordering::Relaxed) == 0).await;
    assert_eq!(get(gateway.address(), "/up").await.text(), "second");
}
