//! The load generator against plain servers: does it tell what became of everything it sent?

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gateway_tests::demo::tally::tally;
use gateway_tests::lab::upstream::Mood;
use gateway_tests::lab::wait::wait_until;
use gateway_tests::lab::{Lab, Switch, addresses};
use gateway_tests::load::journal::{Failure, Step};
use gateway_tests::load::{Load, Pattern};

use crate::support::{one_at_a_time, plan_without_nodes};

/// Long enough for a hundred requests, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn pattern(target: SocketAddr) -> Pattern {
    Pattern {
        target,
        kept: 10,
        requests_per_second: 200,
        fresh_per_second: 50,
    }
}

fn wait_for_records(load: &Load, count: usize) {
    let enough = wait_until(Instant::now() + PATIENCE, || {
        (load.journal().len() >= count).then_some(())
    });
    assert!(
        enough.is_some(),
        "only {} records after {PATIENCE:?}",
        load.journal().len()
    );
}

#[test]
fn every_request_to_a_living_server_is_answered() {
    let _turn = one_at_a_time();
    let lab = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("a lab");
    let load = Load::start(&lab, pattern(lab.upstreams()[0].address())).expect("a load");
    wait_for_records(&load, 300);
    let counted = tally(&load.stop().expect("a journal").since(0), &[]);
    assert_eq!(counted.failures, Default::default());
    assert_eq!(counted.sent, counted.answered);
    assert_eq!(counted.answered, lab.upstreams()[0].requests());
    assert!(counted.attempts > 10, "new connections beside the kept ones");
}

#[test]
fn failures_are_told_by_what_was_tried_and_why() {
    let _turn = one_at_a_time();
    let lab = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("a lab");
    let upstream = &lab.upstreams()[0];
    upstream.set_mood(Mood::Failing);
    let nobody = SocketAddr::from((addresses::upstream(1).v4, 9));
    let rows = [
        (
            "a failing server",
            upstream.address(),
            Step::Request,
            Failure::Status(500),
        ),
        ("a closed port", nobody, Step::Connect, Failure::Refused),
    ];
    for (what, target, step, failure) in rows {
        let load = Load::start(&lab, pattern(target)).expect("a load");
        wait_for_records(&load, 100);
        let records = load.stop().expect("a journal").since(0);
        let found = records
            .iter()
            .filter(|record| record.step == step)
            .collect::<Vec<_>>();
        assert!(!found.is_empty(), "{what}");
        for record in found {
            assert_eq!(record.outcome, Err(failure.clone()), "{what}");
        }
    }
}

#[test]
fn a_short_cut_of_the_link_delays_requests_and_fails_none() {
    let _turn = one_at_a_time();
    let lab = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("a lab");
    let load = Load::start(&lab, pattern(lab.upstreams()[0].address())).expect("a load");
    wait_for_records(&load, 100);
    lab.cut_link("upstream1").expect("a cut");
    let before = load.journal().len();
    // Whatever was on the wire has arrived; nothing more does.
    wait_until(Instant::now() + Duration::from_millis(300), || None::<()>);
    lab.heal_link("upstream1").expect("a mended link");
    wait_for_records(&load, before + 100);
    let counted = tally(&load.stop().expect("a journal").since(0), &[]);
    assert_eq!(counted.failures, Default::default());
}
