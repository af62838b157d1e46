//! One fault at a time: what the client sees of it alone, and where a well server stands beside it.

use std::time::Duration;

use http::Response;
use tokio::task::JoinSet;

use crate::http::gateway::{Gateway, Setup, Speaks, route};
use crate::http::peers::{Client, empty};
use crate::http::recorder::{Conn, Recorder};
use crate::http::within::{run, within};

use super::load::{Asks, CLIENTS, Load, assert_all_well};
use super::scene::{BUDGET, CHECKS, Findings, OUTLIER, RETRIES, pool, setup, three, tries, until};
use gateway_tests::servers::sick::{Health, Sick, WELL};

/// What the client gets: a status with the beginning of its text, or nothing whole.
type Gets = Option<(u16, &'static str)>;

/// Requests to the pair: each server has half of the first tries.
const PAIR_REQUESTS: usize = 6;

/// A fault by the address it stands at, with what comes of it alone and with another, and how often it was tried.
struct Row {
    what: &'static str,
    address: std::net::SocketAddr,
    alone: Gets,
    tries: &'static str,
    reason: &'static str,
    /// Whether a client that meets it beside a well server sees nothing of it.
    hidden: bool,
}

async fn get(gateway: &Gateway, path: &str) -> (Client, Result<Response<bytes::Bytes>, String>) {
    let mut client = Client::connect(gateway.address(), Speaks::Http1).await;
    let request = client.request("GET", path).body(empty()).expect("a request");
    let answer = within(path, client.ask(request)).await;
    (client, answer.map_err(|error| error.to_string()))
}

async fn check(row: Row) {
    let what = row.what;
    let well = Sick::start(Health::Well).await.expect("a server");
    let gateway = Gateway::start(&Setup {
        workers: 1,
        listener: String::new(),
        defaults: String::new(),
        tables: route("alone", "path_prefix = \"/alone\"", "alone", RETRIES)
            + &route("pair", "path_prefix = \"/pair\"", "pair", RETRIES)
            + &pool("alone", &[row.address], BUDGET)
            + &pool("pair", &[row.address, well.address()], BUDGET),
    });
    let (client, answer) = get(&gateway, "/alone").await;
    let is_as_promised = match (&answer, row.alone) {
        (Ok(answer), Some((status, text))) => {
            answer.status() == status && answer.body().starts_with(text.as_bytes())
        }
        (answer, promised) => answer.is_err() && promised.is_none(),
    };
    assert!(is_as_promised, "{what}: {answer:?}, not {:?}", row.alone);
    let entries = tokio::task::block_in_place(|| gateway.log.of(client.local(), 1));
    let found: Vec<_> = entries
        .iter()
        .map(|entry| (entry.reason(), entry.get("tries")))
        .collect();
    assert_eq!(found, [(row.reason, Some(row.tries))], "{what}");
    let mut broken = 0;
    for _ in 0..PAIR_REQUESTS {
        match get(&gateway, "/pair").await.1 {
            Ok(answer) => assert_eq!(answer.status(), 200, "{what}, beside a well server: {answer:?}"),
            Err(_) => broken += 1,
        }
    }
    let expected = if row.hidden { 0 } else { PAIR_REQUESTS / 2 };
    assert_eq!(broken, expected, "{what}, beside a well server: broken answers");
    tokio::task::block_in_place(|| gateway.check_idle());
}

#[test]
fn a_client_sees_what_is_promised_of_each_fault() {
    run(async {
        let mut dead = Sick::start(Health::Well).await.expect("a server");
        dead.die();
        let hung = Sick::start(Health::Hangs).await.expect("a server");
        let failing = Sick::start(Health::Fails).await.expect("a server");
        let slow = Sick::start(Health::Slow(Duration::from_millis(50)))
            .await
            .expect("a server");
        let too_slow = Sick::start(Health::Slow(Duration::from_secs(5)))
            .await
            .expect("a server");
        let resets = Recorder::start(|mut conn: Conn| async move {
            conn.request().await;
            conn.reset();
        })
        .await;
        let resets_in_body = Sick::start(Health::Resets).await.expect("a server");
        let longer = Recorder::start(|mut conn: Conn| async move {
            conn.request().await;
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
                .await;
        })
        .await;
        let shorter = Recorder::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more").await;
        let row = |what, address, alone, tries, reason| Row {
            what,
            address,
            alone,
            tries,
            reason,
            hidden: alone.is_some(),
        };
        let rows = [
            row(
                "refuses",
                dead.address(),
                Some((502, "connect-failed")),
                "3",
                "connect-failed",
            ),
            row(
                "accepts and hangs",
                hung.address(),
                Some((504, "try-timeout")),
                "3",
                "try-timeout",
            ),
            row(
                "resets before it answers",
                resets.address(),
                Some((502, "upstream-closed")),
                "3",
                "upstream-closed",
            ),
            row("answers 500", failing.address(), Some((500, WELL)), "3", "ok"),
            row("is slow", slow.address(), Some((200, WELL)), "1", "ok"),
            row(
                "is slower than the time-out",
                too_slow.address(),
                Some((504, "try-timeout")),
                "3",
                "try-timeout",
            ),
            row(
                "resets in mid-body",
                resets_in_body.address(),
                None,
                "1",
                "response-body-broken",
            ),
            row(
                "says a longer length",
                longer.address(),
                None,
                "1",
                "response-body-broken",
            ),
            row(
                "says a shorter length",
                shorter.address(),
                Some((200, "ok")),
                "1",
                "ok",
            ),
        ];
        let mut cases: JoinSet<()> = rows.into_iter().map(check).collect();
        while let Some(ended) = cases.join_next().await {
            ended.expect("a case that holds");
        }
        let connections = shorter.connections();
        let requests = shorter.requests().len();
        assert_eq!(
            connections, requests,
            "a connection with more bytes than were announced is used again"
        );
    });
}

/// A try that failed fails once, though the route's time is over while the next one is waited for.
#[test]
fn a_time_out_in_the_back_off_blames_nobody_again() {
    run(async {
        let failing = Recorder::answering(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
        let well = Sick::start(Health::Well).await.expect("a server");
        let lines = "timeout = \"500ms\"\n\
             retry = { attempts = 1, on = [\"503\"], retry_after_max = \"30s\" }\n";
        let guards = format!("{BUDGET}outlier = {{ consecutive_failures = 2 }}\n");
        let addresses = [failing.address(), well.address()];
        let gateway = Gateway::start(&setup(&addresses, lines, &guards));
        for (failures, ejected) in [(1, 0), (2, 1)] {
            while failing.requests().len() < failures {
                let (_, answer) = get(&gateway, "/x").await;
                assert!(answer.is_ok_and(|answer| matches!(answer.status().as_u16(), 200 | 504)));
            }
            assert_eq!(
                Findings::of(&gateway).ejected,
                ejected,
                "after {failures} failures"
            );
        }
    });
}

/// The clients see nothing, and who fails three of ten is found out and ejected.
async fn check_often(
    what: &'static str,
    health: Health,
    asks: Asks,
    route_lines: &'static str,
    protocol: &'static str,
) {
    let servers = three().await;
    let [first, second, third] = &servers;
    first.set(health);
    for well in [second, third] {
        well.set(match asks {
            Asks::Get => Health::Well,
            Asks::Call => Health::CallsWell,
        });
    }
    let addresses = servers.each_ref().map(Sick::address);
    let guard = "outlier = { consecutive_failures = 0, min_calls = 30 }\n";
    let gateway = Gateway::start(&setup(
        &addresses,
        route_lines,
        &format!("{BUDGET}{guard}{protocol}"),
    ));
    let load = Load::start_with(gateway.address(), asks);
    until(what, || Findings::of(&gateway).ejected == 1).await;
    let before = first.requests();
    load.pass(100).await;
    // One that is on its way while it is ejected, for each client at most.
    assert!(first.requests() <= before + CLIENTS as u64, "{what}: asked on");
    let seen = load.end().await;
    if health == Health::CallsFailOftenAtTheEnd {
        // Trailers come too late to try again; what the client gets is whole.
        assert!(seen.iter().all(|one| one.status() == Some(200)), "{what}");
    } else {
        assert_all_well(what, &seen);
        assert!(seen.iter().all(|one| one.code() != Some("14")), "{what}: code 14");
    }
}

#[test]
fn who_fails_three_of_ten_is_ejected_and_clients_do_not_notice() {
    run(async {
        let calls = "retry = { attempts = 2, on = [\"grpc-unavailable\"] }\n";
        let http2 = "protocol = \"http2\"\n";
        let rows = [
            ("500", Health::FailsOften, Asks::Get, RETRIES, ""),
            ("code 14", Health::CallsFailOften, Asks::Call, calls, http2),
            (
                "code 14 in trailers",
                Health::CallsFailOftenAtTheEnd,
                Asks::Call,
                calls,
                http2,
            ),
        ];
        let mut cases = JoinSet::new();
        for (what, health, asks, route_lines, protocol) in rows {
            cases.spawn(check_often(what, health, asks, route_lines, protocol));
        }
        while let Some(ended) = cases.join_next().await {
            ended.expect("a case that holds");
        }
    });
}

#[test]
fn who_dies_is_left_alone_and_who_comes_back_is_asked_again() {
    run(async {
        let [mut first, second, third] = three().await;
        let addresses = [first.address(), second.address(), third.address()];
        let lines = format!("{BUDGET}{CHECKS}{OUTLIER}");
        let lines = lines.replace("failures = 5", "failures = 5, base_ejection = \"500ms\"");
        let gateway = Gateway::start(&setup(&addresses, RETRIES, &lines));
        let load = Load::start(gateway.address());
        until("all are ready", || Findings::of(&gateway).ready == 3).await;
        for _ in 0..2 {
            load.pass(30).await;
            first.die();
            until("its death is found out", || Findings::of(&gateway).ready == 2).await;
            load.pass(30).await;
            first.revive().await.expect("a server");
            until("it is back", || {
                let findings = Findings::of(&gateway);
                findings.ready == 3 && findings.ejected == 0
            })
            .await;
            // More than its checks make of it.
            let before = tries(&gateway, addresses[0]);
            until("it is asked again", || {
                tries(&gateway, addresses[0]) >= before + 10
            })
            .await;
        }
        assert_all_well("dies and comes back", &load.end().await);
    });
}
