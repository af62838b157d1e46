//! Nodes that die, lose their link or drain while requests run: who notices?

use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_tests::demo::tally::{DETECTION_MAX, Death, Tally, tally};
use gateway_tests::lab::Lab;
use gateway_tests::lab::addresses::{Family, NODES, Vip};
use gateway_tests::lab::tap::Tap;
use gateway_tests::lab::wait::wait_until;
use gateway_tests::load::{Load, Pattern};
use http::Method;

use crate::support::{one_at_a_time, running_lab};

/// Bound of every wait for traffic to show what it should.
const PATIENCE: Duration = Duration::from_secs(20);

fn start_load(lab: &Lab) -> Load {
    let pattern = Pattern {
        target: Vip::FlowHash.http(Family::V4),
        kept: 30,
        requests_per_second: 200,
        fresh_per_second: 40,
    };
    let load = Load::start(lab, pattern).expect("a load");
    wait_for_records(&load, 400);
    load
}

/// Waits for that many further records: time passes by what happened, not by the clock.
fn wait_for_records(load: &Load, count: usize) {
    let until = load.journal().len() + count;
    let enough = wait_until(Instant::now() + PATIENCE, || {
        (load.journal().len() >= until).then_some(())
    });
    assert!(
        enough.is_some(),
        "traffic stopped: {} records, not {until}",
        load.journal().len()
    );
}

fn end(load: Load, deaths: &[Death]) -> Tally {
    let journal = load.stop().expect("a journal");
    assert_eq!(journal.left_out(), 0);
    tally(&journal.since(0), deaths)
}

#[test]
fn a_killed_node_is_steered_around_and_comes_back() {
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 1]);
    let load = start_load(&lab);
    let tap = Tap::start(&lab).expect("a tap");
    let node = &lab.nodes()[1];
    wait_for_records(&load, 200);
    assert!(tap.frames(1) > 0, "the node got nothing before it died");

    let at = node.kill().expect("a kill");
    let deaths = [Death {
        node: node.name().to_owned(),
        at,
    }];
    wait_for_records(&load, 800);
    let quiet = tap
        .last(1)
        .map_or(Duration::ZERO, |last| last.saturating_duration_since(at));
    assert!(quiet < DETECTION_MAX, "{} got frames for {quiet:?}", node.name());

    node.start().expect("a start");
    node.wait_ready().expect("a ready node");
    lab.wait_formed(NODES).expect("three nodes");
    let back = Instant::now();
    let answers = wait_until(Instant::now() + PATIENCE, || {
        let records = load.journal().since(0);
        let answered = records
            .iter()
            .filter(|record| record.opened > back && record.outcome.is_ok());
        answered
            .filter_map(|record| record.node.as_deref())
            .any(|name| name == node.name())
            .then_some(())
    });
    assert!(
        answers.is_some(),
        "{} gets no connections after its return",
        node.name()
    );

    let counted = end(load, &deaths);
    assert!(
        counted.lost_with.contains_key(node.name()),
        "no connection lived on the node"
    );
    assert_no_unexcused(&counted);
}

#[test]
fn a_node_whose_link_is_cut_is_steered_around_and_comes_back() {
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 1]);
    let load = start_load(&lab);
    let tap = Tap::start(&lab).expect("a tap");
    let node = &lab.nodes()[2];
    let at = lab.cut_link(node.name()).expect("a cut");
    let deaths = [Death {
        node: node.name().to_owned(),
        at,
    }];
    wait_for_records(&load, 800);
    let quiet = tap
        .last(2)
        .map_or(Duration::ZERO, |last| last.saturating_duration_since(at));
    assert!(
        quiet < DETECTION_MAX,
        "{} was sent frames for {quiet:?}",
        node.name()
    );
    lab.heal_link(node.name()).expect("a mended link");
    lab.wait_formed(NODES).expect("three nodes");
    wait_for_records(&load, 800);
    assert_no_unexcused(&end(load, &deaths));
}

#[test]
fn a_drain_fails_nothing_and_takes_no_new_connections() {
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 1]);
    let load = start_load(&lab);
    let node = &lab.nodes()[0];
    node.admin_json(Method::POST, "/v1/drain").expect("a drain");
    // Every node has to hear of it first: a matter of heartbeats.
    let settled = Instant::now() + DETECTION_MAX;
    wait_until(settled, || None::<()>);
    wait_for_records(&load, 600);
    let opened_on_drained = load
        .journal()
        .since(0)
        .into_iter()
        .filter(|record| record.opened > settled && record.node.as_deref() == Some(node.name()))
        .count();
    assert_eq!(opened_on_drained, 0, "new connections on a node that drains");
    node.admin_json(Method::POST, "/v1/undrain").expect("an undrain");
    let back = Instant::now();
    let answers = wait_until(Instant::now() + PATIENCE, || {
        let records = load.journal().since(0);
        let on_node = |name: &Arc<str>| name.as_ref() == node.name();
        records
            .iter()
            .any(|r| r.opened > back && r.node.as_ref().is_some_and(on_node))
            .then_some(())
    });
    assert!(
        answers.is_some(),
        "{} gets no connections after the undrain",
        node.name()
    );
    let counted = end(load, &[]);
    assert_eq!(counted.failures, Default::default(), "a drain fails nothing");
}

#[test]
fn a_node_that_stops_in_order_fails_nothing() {
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 1]);
    let load = start_load(&lab);
    let node = &lab.nodes()[1];
    let status = node.stop().expect("an end");
    assert!(status.success(), "{status}\n{}", node.quote());
    wait_for_records(&load, 400);
    let counted = end(load, &[]);
    assert_eq!(
        counted.failures,
        Default::default(),
        "an orderly stop fails nothing"
    );
    assert_eq!(node.leftovers().expect("a look"), Vec::<String>::new());
}

fn assert_no_unexcused(counted: &Tally) {
    assert_eq!(counted.unexcused_requests, 0, "requests: {:#?}", counted.failures);
    assert_eq!(counted.unexcused_attempts, 0, "attempts: {:#?}", counted.failures);
    assert!(counted.answered > 500, "only {} answers", counted.answered);
}
