//! All three are bad: the ladder answers every request within its time-out, whatever guards there are.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::http::gateway::Gateway;
use crate::http::within::run;

use super::load::{CLIENTS, Load};
use super::scene::{BREAKER, BUDGET, CHECKS, Fault, OUTLIER, setup, three};
use gateway_tests::servers::sick::Sick;

/// `timeout` of the routes.
const TIMEOUT: Duration = Duration::from_millis(500);

/// How long an answer that is late by no fault of the gateway may take on its way: clients, servers and the gateway
/// share two cores, perhaps with others.
const GRACE: Duration = Duration::from_secs(1);

const LADDER: &str = "timeout = \"500ms\"\n\
    fallback = [{ respond = { status = 503, body = \"degraded\", retry_after = \"2s\" } }]\n\
    fallback_on = [\"connect-failure\", \"reset\", \"timeout\", \"unavailable\", \"500-599\"]\n";

async fn check(fault: Fault, guards: &str, tries: &str) {
    let what = format!("{fault:?}, {guards:?}, {tries:?}");
    let mut servers = three().await;
    for server in &mut servers {
        fault.strike(server);
    }
    let addresses = servers.each_ref().map(Sick::address);
    let gateway = Gateway::start(&setup(
        &addresses,
        &format!("{LADDER}{tries}"),
        &format!("{BUDGET}{guards}"),
    ));
    let load = Load::start(gateway.address());
    load.pass(2 * CLIENTS).await;
    for one in load.end().await {
        let answer = one.answer.as_ref();
        assert!(
            answer.is_ok_and(|answer| answer.status() == 503
                && answer.body() == "degraded"
                && answer
                    .headers()
                    .get("retry-after")
                    .is_some_and(|value| value == "2")),
            "{what}: {one:?}"
        );
        assert!(one.took <= TIMEOUT + GRACE, "{what}: {one:?}");
    }
    tokio::task::block_in_place(|| gateway.check_idle());
}

#[test]
fn the_ladder_answers_every_request_in_time_when_all_three_are_bad() {
    run(async {
        // A try that only the route's own time ends, and tries that are shorter.
        let tries = [
            "retry = { attempts = 0 }\n",
            "try_timeout = \"100ms\"\nretry = { attempts = 2, on = [\"connect-failure\", \"reset\", \"timeout\", \"500-599\"] }\n",
        ];
        let others = format!("{OUTLIER}{CHECKS}");
        for guards in ["", BREAKER, &others] {
            let mut cases = JoinSet::new();
            for fault in Fault::ALL {
                for lines in tries {
                    let guards = guards.to_owned();
                    cases.spawn(async move { check(fault, &guards, lines).await });
                }
            }
            while let Some(ended) = cases.join_next().await {
                ended.expect("a case that holds");
            }
        }
    });
}
