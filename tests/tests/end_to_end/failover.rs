//! Nodes that die, lose their link or drain while requests run: who notices?

use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_tests::demo::owners::name_nodes;
use gateway_tests::demo::tally::{DETECTION_MAX, Death, Tally, tally};
use gateway_tests::lab::Lab;
use gateway_tests::lab::addresses::{Family, NODES, Vip};
use gateway_tests::lab::node::Node;
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

/// Ends the load and the nodes, whose access logs are whole then, and counts.
fn end(lab: &Lab, load: Load, deaths: &[Death]) -> Tally {
    let journal = load.stop().expect("a journal");
    assert_eq!(journal.left_out(), 0);
    for node in lab.nodes().iter().filter(|node| node.pid().is_some()) {
        assert!(node.stop().expect("an end").success(), "{}", node.quote());
    }
    let mut records = journal.since(0);
    name_nodes(lab, &mut records).expect("access logs");
    let counted = tally(&records, deaths);
    if !counted.quoted.is_empty() {
        // When they happened is told against this moment, which the nodes' own words are next to.
        eprintln!(
            "{:#?}, told at {:?}",
            counted.quoted,
            std::time::SystemTime::now()
        );
        for death in deaths {
            eprintln!(
                "{} died {:.3} s ago",
                death.node,
                death.at.elapsed().as_secs_f64()
            );
        }
        lab.nodes().iter().for_each(|node| eprintln!("{}", node.quote()));
    }
    counted
}

/// Which node something happens to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    /// The one that the client's packets for the VIP arrive at.
    Director,
    /// Another.
    OwnerOnly,
}

/// A node of that role, and its number.
fn node_as<'lab>(lab: &'lab Lab, tap: &Tap, role: Role) -> (usize, &'lab Node) {
    let director = wait_until(Instant::now() + PATIENCE, || tap.director()).expect("a director");
    let index = match role {
        Role::Director => director,
        Role::OwnerOnly => (director + 1) % NODES,
    };
    (index, &lab.nodes()[index])
}

/// Checks that a dead node was sent no frame for a VIP once others must have noticed.
fn assert_quiet(role: Role, tap: &Tap, index: usize, death: Instant) {
    let quiet = tap.quiet_after(index, death).expect("a tap that watches");
    let quiet = quiet.expect("frames to the node before its death, and to others after it");
    assert!(
        quiet < DETECTION_MAX,
        "{role:?}: node {index} got frames for {quiet:?}"
    );
}

/// Waits until a connection that was opened after `from` was answered by that node.
fn wait_for_connections_on(load: &Load, node: &Node, from: Instant) {
    let found = wait_until(Instant::now() + PATIENCE, || {
        let records = load.journal().since(0);
        let on_node = |name: &Arc<str>| name.as_ref() == node.name();
        records
            .iter()
            .any(|record| record.opened > from && record.node.as_ref().is_some_and(on_node))
            .then_some(())
    });
    assert!(
        found.is_some(),
        "{} gets no connections after its return",
        node.name()
    );
}

#[test]
fn a_killed_node_is_steered_around_and_comes_back() {
    let _turn = one_at_a_time();
    for role in [Role::Director, Role::OwnerOnly] {
        let lab = running_lab([1, 1, 1]);
        let tap = Tap::start(&lab).expect("a tap");
        let load = start_load(&lab);
        let (index, node) = node_as(&lab, &tap, role);
        let at = node.kill().expect("a kill");
        let deaths = [Death {
            node: node.name().to_owned(),
            at,
        }];
        wait_for_records(&load, 800);
        assert_quiet(role, &tap, index, at);
        tap.end().expect("a tap that watched to its end");

        node.start().expect("a start");
        node.wait_ready().expect("a ready node");
        lab.wait_formed(NODES).expect("three nodes");
        wait_for_connections_on(&load, node, Instant::now());
        let counted = end(&lab, load, &deaths);
        assert!(
            counted.lost_with.contains_key(node.name()),
            "{role:?}: no connection lived on it"
        );
        assert_no_unexcused(role, &counted);
    }
}

#[test]
fn a_node_whose_link_is_cut_is_steered_around_and_comes_back() {
    let _turn = one_at_a_time();
    for role in [Role::Director, Role::OwnerOnly] {
        let lab = running_lab([1, 1, 1]);
        let tap = Tap::start(&lab).expect("a tap");
        let load = start_load(&lab);
        let (index, node) = node_as(&lab, &tap, role);
        let at = lab.cut_link(node.name()).expect("a cut");
        let deaths = [Death {
            node: node.name().to_owned(),
            at,
        }];
        wait_for_records(&load, 800);
        assert_quiet(role, &tap, index, at);
        tap.end().expect("a tap that watched to its end");

        lab.heal_link(node.name()).expect("a mended link");
        lab.wait_formed(NODES).expect("three nodes");
        wait_for_connections_on(&load, node, Instant::now());
        wait_for_records(&load, 400);
        assert_no_unexcused(role, &end(&lab, load, &deaths));
    }
}

#[test]
fn a_drain_fails_nothing_and_takes_no_new_connections() {
    let _turn = one_at_a_time();
    for role in [Role::Director, Role::OwnerOnly] {
        let lab = running_lab([1, 1, 1]);
        let tap = Tap::start(&lab).expect("a tap");
        let load = start_load(&lab);
        let (_, node) = node_as(&lab, &tap, role);
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
        assert_eq!(
            opened_on_drained, 0,
            "{role:?}: new connections on a node that drains"
        );
        node.admin_json(Method::POST, "/v1/undrain").expect("an undrain");
        wait_for_connections_on(&load, node, Instant::now());
        assert_nothing_failed(role, &end(&lab, load, &[]));
    }
}

#[test]
fn a_node_that_stops_in_order_fails_nothing() {
    let _turn = one_at_a_time();
    for role in [Role::Director, Role::OwnerOnly] {
        let lab = running_lab([1, 1, 1]);
        let tap = Tap::start(&lab).expect("a tap");
        let load = start_load(&lab);
        let (_, node) = node_as(&lab, &tap, role);
        let status = node.stop().expect("an end");
        assert!(status.success(), "{status}\n{}", node.quote());
        wait_for_records(&load, 400);
        assert_nothing_failed(role, &end(&lab, load, &[]));
        assert_eq!(node.leftovers().expect("a look"), Vec::<String>::new());
    }
}

fn assert_nothing_failed(role: Role, counted: &Tally) {
    assert_eq!(counted.failures, Default::default(), "{role:?}");
    assert!(
        counted.answered > 500,
        "{role:?}: only {} answers",
        counted.answered
    );
}

fn assert_no_unexcused(role: Role, counted: &Tally) {
    assert_eq!(
        counted.unexcused_requests, 0,
        "{role:?}, requests: {:#?}",
        counted.failures
    );
    assert_eq!(
        counted.unexcused_attempts, 0,
        "{role:?}, attempts: {:#?}",
        counted.failures
    );
    assert!(
        counted.answered > 500,
        "{role:?}: only {} answers",
        counted.answered
    );
}
