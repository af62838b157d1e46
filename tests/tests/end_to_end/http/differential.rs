//! Odd requests through the gateway to two real servers, nginx and Python's `http.server`: how many requests there were
//! is a question on which gateway and server never disagree.
//!
//! Each row has paths of its own, so that a disagreement names its row. A request that breaks off in its body may or
//! may not have reached the server; every other one that the gateway forwarded is one at the server, and there is none
//! that the gateway knows nothing of.

#[path = "differential/odd.rs"]
mod odd;
#[path = "differential/servers.rs"]
mod servers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gateway_tests::lab::wait::wait_until;
use tokio::task::JoinSet;

use super::gateway::{Gateway, Setup, Speaks};
use super::log::Entry;
use super::message::shown;
use super::raw::Raw;
use super::within::{run, within};
use odd::Odd;
use servers::{Kind, RealServer};

/// How long a server's log may take to show what was asked.
const LOG_LIMIT: Duration = Duration::from_secs(5);

/// How long a client waits for answers before it ends its side, and after that for the end of the connection.
const ROW_LIMIT: Duration = Duration::from_millis(1500);

/// How often a path was asked for: at least and at most.
type Counts = BTreeMap<String, (usize, usize)>;

/// What the gateway forwarded: each of its entries that went to the upstream.
fn forwarded(entries: &[Entry]) -> Counts {
    let mut counts = Counts::new();
    for entry in entries {
        let path = entry.get("path").unwrap_or_default().to_owned();
        if entry.get("endpoint").is_none_or(|endpoint| endpoint == "-") {
            continue;
        }
        let count = counts.entry(path).or_default();
        // Only an answer shows that the server had the request: where it accepts few connections at once, as Python's
        // does, its kernel resets some that it never saw.
        let is_certain = entry.get("fault") != Some("downstream") && entry.get("status") != Some("502");
        count.0 += usize::from(is_certain);
        count.1 += 1;
    }
    counts
}

/// Paths on which both disagree.
fn disagreements(gateway: &Counts, server: &BTreeMap<String, usize>) -> Vec<String> {
    let mut all: Vec<_> = gateway.keys().chain(server.keys()).collect();
    all.sort();
    all.dedup();
    all.into_iter()
        .filter_map(|path| {
            let (least, most) = gateway.get(path).copied().unwrap_or_default();
            let served = server.get(path).copied().unwrap_or_default();
            (served < least || served > most)
                .then(|| format!("{path}: {least} to {most} were forwarded, {served} served"))
        })
        .collect()
}

async fn differ(kind: Kind) {
    let server = RealServer::start(kind).await;
    let gateway = Gateway::start(&Setup::to(server.address, Speaks::Http1));
    let rows: Vec<Odd> = odd::rows();
    assert!(rows.len() >= 30, "{} rows", rows.len());
    // All at once, for a gateway that waits for more of a row is no sooner done than the row's time is over.
    let mut clients = JoinSet::new();
    for row in rows.clone() {
        let address = gateway.address();
        clients.spawn(async move {
            let mut raw = Raw::connect(address).await;
            raw.send(&row.sent).await;
            raw.read_until(ROW_LIMIT, |_| false).await;
            raw.half_close().await;
            raw.read_until(ROW_LIMIT, |_| false).await;
        });
    }
    within("all rows", clients.join_all()).await;
    gateway.check_idle();
    // One good request for each row that was answered by the upstream at all, so that silence is no success.
    let passed = gateway
        .log
        .wait(odd::PASS_AT_LEAST, |entry| entry.reason() == "ok");
    assert!(
        passed.len() >= odd::PASS_AT_LEAST,
        "only {} requests passed: {:?}",
        passed.len(),
        gateway.log.all()
    );
    let agreed = wait_until(Instant::now() + LOG_LIMIT, || {
        disagreements(&forwarded(&gateway.log.all()), &server.requests())
            .is_empty()
            .then_some(())
    });
    if agreed.is_none() {
        let found = disagreements(&forwarded(&gateway.log.all()), &server.requests());
        for row in &rows {
            if found.iter().any(|line| line.contains(&row.path())) {
                eprintln!("{}:\n    {}", row.what, shown(&row.sent));
                let path = row.path();
                for entry in gateway
                    .log
                    .all()
                    .iter()
                    .filter(|entry| format!("{entry:?}").contains(&path))
                {
                    eprintln!("    {entry:?}");
                }
            }
        }
        assert!(
            found.is_empty(),
            "{kind:?} and the gateway disagree:\n{}\n{}",
            found.join("\n"),
            server.said()
        );
    }
    assert_eq!(
        server.malformed(),
        Vec::<String>::new(),
        "{kind:?} could not read what it got"
    );
}

#[test]
fn nginx_and_the_gateway_agree_on_how_many_requests_there_were() {
    run(differ(Kind::Nginx));
}

#[test]
fn pythons_server_and_the_gateway_agree_on_how_many_requests_there_were() {
    run(differ(Kind::Python));
}
