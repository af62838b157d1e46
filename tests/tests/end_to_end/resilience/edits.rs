//! Edits of the configuration under each fault: what was found out stays found out, and clients see nothing.

use tokio::task::JoinSet;

use crate::http::gateway::{Gateway, Setup, route};
use crate::http::within::run;

use super::load::{CLIENTS, Load, assert_all_well};
use super::scene::{
    BREAKER, BUDGET, CHECKS, Fault, Findings, OUTLIER, RETRIES, pool, setup, three, tries, until,
};
use gateway_tests::servers::sick::{Health, Sick};

/// Edits of every kind: of what holds everywhere, of another upstream, of this one, of its guards, of its members.
fn edits(servers: &[Sick; 3], fourth: &Sick, guards: &str) -> Vec<(&'static str, Setup)> {
    let addresses = servers.each_ref().map(Sick::address);
    let plain = setup(&addresses, RETRIES, &format!("{BUDGET}{guards}"));
    let [first, second, third] = addresses;
    let four = [fourth.address(), third, first, second];
    let other = route("other", "path = \"/other\"", "other", "") + &pool("other", &[fourth.address()], "");
    let edited = guards
        .replace("failures = 5", "failures = 6")
        .replace("50s", "55s")
        .replace("interval = \"100ms\"", "interval = \"110ms\"");
    vec![
        ("a default", plain.clone().defaults("timeout = \"9s\"")),
        ("another upstream", plain.clone().tables(&other)),
        (
            "its balancer",
            setup(
                &addresses,
                RETRIES,
                &format!("balancer = \"random\"\n{BUDGET}{guards}"),
            ),
        ),
        (
            "its guards",
            setup(&addresses, RETRIES, &format!("{BUDGET}{edited}")),
        ),
        (
            "one more endpoint",
            setup(&four, RETRIES, &format!("{BUDGET}{guards}")),
        ),
        ("the same as at first", plain),
    ]
}

/// What an edit must not change.
fn kept(findings: Findings) -> (u64, u64, u64, u64) {
    (
        findings.ejected,
        findings.ejections,
        findings.breakers,
        findings.openings,
    )
}

async fn check_one(fault: Fault, guards: &'static str, found: fn(&Findings) -> bool) {
    let mut servers = three().await;
    let fourth = Sick::start(Health::Well).await.expect("a server");
    let addresses = servers.each_ref().map(Sick::address);
    let gateway = Gateway::start(&setup(&addresses, RETRIES, &format!("{BUDGET}{guards}")));
    let load = Load::start(gateway.address());
    // So many good calls that the breaker of the whole upstream does not open for the failures of one.
    load.pass(3 * CLIENTS).await;
    fault.strike(&mut servers[0]);
    until("it is found out", || found(&Findings::of(&gateway))).await;
    load.pass(CLIENTS).await;
    let before = Findings::of(&gateway);
    let bad = addresses[0];
    let asked = tries(&gateway, bad);
    for (edit, setup) in edits(&servers, &fourth, guards) {
        let what = format!("{fault:?}, {guards:?}: {edit}");
        tokio::task::block_in_place(|| gateway.reload(&setup));
        let after = Findings::of(&gateway);
        assert_eq!(kept(after), kept(before), "{what}");
        assert!(found(&after) || edit == "one more endpoint", "{what}: {after:?}");
        load.pass(CLIENTS).await;
        assert_eq!(tries(&gateway, bad), asked, "{what}: it is asked again");
    }
    assert_all_well(&format!("{fault:?}, {guards:?}"), &load.end().await);
}

#[test]
fn edits_under_each_fault_reset_nothing() {
    run(async {
        let mut cases = JoinSet::new();
        for fault in Fault::ALL {
            cases.spawn(check_one(fault, OUTLIER, |found| found.ejected == 1));
        }
        while let Some(ended) = cases.join_next().await {
            ended.expect("a case that holds");
        }
        for fault in Fault::ALL {
            cases.spawn(check_one(fault, BREAKER, |found| {
                found.breakers == 3 && found.whole == 0
            }));
        }
        while let Some(ended) = cases.join_next().await {
            ended.expect("a case that holds");
        }
        for fault in Fault::ALL {
            cases.spawn(check_one(fault, CHECKS, |found| found.ready == 2));
        }
        while let Some(ended) = cases.join_next().await {
            ended.expect("a case that holds");
        }
    });
}

#[test]
fn edits_leave_the_breaker_of_a_whole_upstream_open() {
    run(async {
        let mut servers = three().await;
        for server in &mut servers {
            Fault::Failing.strike(server);
        }
        let addresses = servers.each_ref().map(Sick::address);
        let guards = format!("{BREAKER}{OUTLIER}");
        let gateway = Gateway::start(&setup(&addresses, RETRIES, &format!("{BUDGET}{guards}")));
        let load = Load::start(gateway.address());
        until("it is open", || Findings::of(&gateway).whole == 3).await;
        load.pass(CLIENTS).await;
        let before = Findings::of(&gateway);
        let asked: u64 = servers.iter().map(Sick::requests).sum();
        let fourth = Sick::start(Health::Well).await.expect("a server");
        for (edit, setup) in edits(&servers, &fourth, &guards) {
            tokio::task::block_in_place(|| gateway.reload(&setup));
            let after = Findings::of(&gateway);
            assert_eq!((after.whole, kept(after)), (3, kept(before)), "{edit}");
            load.pass(CLIENTS).await;
        }
        let asked_since = servers.iter().map(Sick::requests).sum::<u64>() - asked;
        assert_eq!(asked_since, 0, "an open breaker lets requests through");
        for one in load.end().await {
            assert!(matches!(one.status(), Some(500 | 503)), "{one:?}");
        }
    });
}
