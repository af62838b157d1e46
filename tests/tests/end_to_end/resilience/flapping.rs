//! One of three flaps twice a second: what guards the upstream changes its mind less and less, and clients see nothing.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::http::gateway::Gateway;
use crate::http::within::run;

use super::load::{Load, assert_all_well};
use super::scene::{BUDGET, Findings, RETRIES, setup, three, until};
use gateway_tests::servers::sick::{Health, Sick};

/// How long it is well, and how long it fails.
const HALF: Duration = Duration::from_millis(250);

/// Answers that are waited for: three seconds at the pace of a load, in which it fails six times.
const ANSWERS: usize = 480;

/// Ejections, each half a second longer than the one before: half, one, one and a half seconds.
const EJECTIONS_MAX: u64 = 4;

/// Openings, each twice as long as the one before: half, one, two seconds; and one of half-open that fails.
const OPENINGS_MAX: u64 = 4;

/// Changes of the one check that fails: three in a row never fall into one half, unless the machine holds them up.
const TRANSITIONS_MAX: u64 = 4;

/// What the guard may say after [`ANSWERS`], beyond what it said when all was well.
struct Bounds {
    ejections: u64,
    openings: u64,
    transitions: u64,
}

async fn check(what: &str, guard: &str, bounds: Bounds) {
    let servers = three().await;
    let [first, ..] = &servers;
    let addresses = servers.each_ref().map(Sick::address);
    let gateway = Gateway::start(&setup(&addresses, RETRIES, &format!("{BUDGET}{guard}")));
    until("all are ready", || Findings::of(&gateway).ready == 3).await;
    let load = Load::start(gateway.address());
    load.pass(50).await;
    let before = Findings::of(&gateway);
    first.set(Health::Flaps(HALF));
    load.pass(ANSWERS).await;
    let after = Findings::of(&gateway);
    let seen = load.end().await;
    assert_all_well(what, &seen);
    assert_eq!(
        after.whole, 0,
        "{what}: the whole upstream's breaker changed: {after:?}"
    );
    for (found, bound) in [
        (after.ejections - before.ejections, bounds.ejections),
        (after.openings - before.openings, bounds.openings),
        (after.transitions - before.transitions, bounds.transitions),
    ] {
        assert!(found <= bound, "{what}: {after:?} after {before:?}");
    }
    // It was noticed at all, where calls are what is looked at.
    let noticed = after.ejections + after.openings + bounds.transitions;
    assert!(noticed > 0, "{what}: {after:?}");
}

#[test]
fn one_that_flaps_twice_a_second_does_not_make_the_whole_oscillate() {
    run(async {
        let rows = [
            (
                "outlier",
                "outlier = { consecutive_failures = 3, base_ejection = \"500ms\" }\n",
                Bounds {
                    ejections: EJECTIONS_MAX,
                    openings: 0,
                    transitions: 0,
                },
            ),
            (
                "breaker",
                "circuit_breaker = { min_calls = 5, window = \"500ms\", open_for = \"500ms\", ramp = \"500ms\" }\n",
                Bounds {
                    ejections: 0,
                    openings: OPENINGS_MAX,
                    transitions: 0,
                },
            ),
            (
                "checks",
                "health = { readiness = { http = \"/readyz\", interval = \"200ms\", timeout = \"200ms\", \
                 rise = 3, fall = 3 } }\n",
                Bounds {
                    ejections: 0,
                    openings: 0,
                    transitions: TRANSITIONS_MAX,
                },
            ),
        ];
        let mut cases = JoinSet::new();
        for (what, guard, bounds) in rows {
            cases.spawn(check(what, guard, bounds));
        }
        while let Some(ended) = cases.join_next().await {
            ended.expect("a case that holds");
        }
    });
}
