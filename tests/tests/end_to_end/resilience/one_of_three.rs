//! One of three goes bad under a steady load of `GET`: clients see nothing of it, whoever finds it out; and without
//! retries, at most what was in flight until then.

use std::time::Instant;

use tokio::task::JoinSet;

use crate::http::gateway::Gateway;
use crate::http::within::run;

use super::load::{CLIENTS, Load, Seen, assert_all_well};
use super::scene::{
    BREAKER, BUDGET, CHECKS, Fault, Findings, NO_RETRIES, OUTLIER, RETRIES, setup, three, until,
};
use gateway_tests::servers::sick::Sick;

/// Failures in a row after which an endpoint is ejected, as in [`OUTLIER`].
const IN_A_ROW: usize = 5;

/// Who finds it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Outlier,
    Breaker,
    Checks,
}

impl Guard {
    const ALL: [Self; 3] = [Self::Outlier, Self::Breaker, Self::Checks];

    fn lines(self) -> &'static str {
        match self {
            Self::Outlier => OUTLIER,
            Self::Breaker => BREAKER,
            Self::Checks => CHECKS,
        }
    }

    fn has_found_out(self, gateway: &Gateway) -> bool {
        let findings = Findings::of(gateway);
        match self {
            Self::Outlier => findings.ejected == 1,
            Self::Breaker => findings.breakers == 3,
            Self::Checks => findings.ready == 2,
        }
    }
}

/// Lets one of three go bad; what clients saw, and when it was found out.
async fn strike(guard: Guard, fault: Fault, route_lines: &str) -> (Vec<Seen>, Instant) {
    let [mut first, second, third] = three().await;
    let addresses = [&first, &second, &third].map(Sick::address);
    let lines = format!("{BUDGET}{}", guard.lines());
    let gateway = Gateway::start(&setup(&addresses, route_lines, &lines));
    let load = Load::start(gateway.address());
    load.pass(CLIENTS).await;
    if guard == Guard::Checks {
        until("checks", || Findings::of(&gateway).ready == 3).await;
    }
    fault.strike(&mut first);
    until("it is found out", || guard.has_found_out(&gateway)).await;
    let found = Instant::now();
    load.pass(4 * CLIENTS).await;
    assert!(guard.has_found_out(&gateway), "{guard:?}, {fault:?}: forgotten");
    (load.end().await, found)
}

/// Each guard with each fault, as many at a time as there are faults.
async fn in_each_case<F>(case: impl Fn(Guard, Fault) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    for guard in Guard::ALL {
        let mut cases: JoinSet<()> = Fault::ALL.map(|fault| case(guard, fault)).into_iter().collect();
        while let Some(ended) = cases.join_next().await {
            ended.expect("a case that holds");
        }
    }
}

#[test]
fn clients_that_are_tried_again_see_nothing_of_one_of_three() {
    run(in_each_case(|guard, fault| async move {
        let (seen, _) = strike(guard, fault, RETRIES).await;
        assert_all_well(&format!("{guard:?}, {fault:?}"), &seen);
    }));
}

#[test]
fn without_retries_clients_see_nothing_once_it_is_found_out() {
    run(in_each_case(|guard, fault| async move {
        let what = format!("{guard:?}, {fault:?}");
        let (seen, found) = strike(guard, fault, NO_RETRIES).await;
        let (late, early): (Vec<&Seen>, Vec<&Seen>) = seen
            .iter()
            .filter(|one| !one.is_well())
            .partition(|one| one.began > found);
        assert!(
            late.is_empty(),
            "{what}: {} after it was found out: {:?}",
            late.len(),
            late.first()
        );
        if guard == Guard::Outlier {
            // One for each that counts, and what was in flight then.
            assert!(
                early.len() <= IN_A_ROW + CLIENTS,
                "{what}: {} before",
                early.len()
            );
        }
        // It was a fault that shows.
        assert!(
            guard != Guard::Outlier || early.len() >= IN_A_ROW,
            "{what}: {} before",
            early.len()
        );
    }));
}
