//! Planned changes under 2,000 live connections: none breaks, also where the router's hash changes in the middle.

use std::thread;
use std::time::Instant;

use gateway_tests::lab::addresses::NODES;
use gateway_tests::lab::settings::Common;
use gateway_tests::lab::wait::wait_until;
use http::Method;

use crate::routed::{Hash, PATIENCE, Scene, assert_none_broken};
use crate::support::one_at_a_time;

/// Makes the change with the router's hash at rest and changing; no connection may break.
fn check(what: &str, running: usize, hops: &[usize], change: fn(&Scene)) {
    let _turn = one_at_a_time();
    for hash in [Hash::Still, Hash::Changes] {
        let scene = Scene::new(running, hops, hash, Common::default());
        let started = Instant::now();
        scene.rounds(1);
        change(&scene);
        scene.rounds(3);
        scene.wait_all_live();
        let broken = scene.end(what);
        assert_none_broken(what, hash, &broken, started);
    }
}

#[test]
fn a_third_node_that_joins_breaks_no_connection() {
    check("join", 2, &[0, 1], |scene| {
        let node = scene.node(2);
        node.start().expect("a start");
        scene.rehash(&[0, 1]);
        node.wait_ready().expect("a ready node");
        scene.rehash(&[0, 1, 2]);
        scene.lab.wait_formed(NODES).expect("three nodes");
        scene.wait_for_connections_on(2);
        scene.rehash(&[0, 1, 2]);
    });
}

#[test]
fn a_node_that_leaves_breaks_no_connection() {
    check("leave", 3, &[0, 1], |scene| {
        let leaving = scene.node(2);
        let before = scene.by_node().get(leaving.name()).copied();
        assert!(before.is_some_and(|count| count > 0), "it has connections");
        thread::scope(|scope| {
            let stopping = scope.spawn(|| leaving.stop().expect("an end"));
            scene.rehash(&[0, 1]);
            scene.rounds(1);
            scene.rehash(&[0, 1]);
            assert!(stopping.join().expect("a stop").success());
        });
        let after = scene.by_node().get(leaving.name()).copied();
        assert_eq!(after, None, "connections of a node that left");
    });
}

#[test]
fn a_drain_breaks_no_connection() {
    check("drain", 3, &[0, 1, 2], |scene| {
        scene.drain_and_undrain(1, &[0, 1, 2]);
        scene.wait_for_connections_on(1);
    });
}

#[test]
fn a_changed_weight_breaks_no_connection() {
    const WEIGHT: u32 = 4;
    check("weight", 3, &[0, 1, 2], |scene| {
        let node = scene.node(1);
        node.write_config(&node.config_with_weight(WEIGHT))
            .expect("a file");
        scene.post(1, "/v1/reload");
        scene.rehash(&[0, 1, 2]);
        let known = wait_until(Instant::now() + PATIENCE, || {
            let told = scene.node(0).admin_json(Method::GET, "/v1/nodes").expect("nodes");
            let nodes = told
                .get("nodes")
                .unwrap_or(&told)
                .as_array()
                .expect("a list")
                .clone();
            let of_it = nodes.iter().find(|other| other["name"] == node.name());
            (of_it.is_some_and(|other| other["weight"] == WEIGHT)).then_some(())
        });
        assert!(known.is_some(), "another node does not learn the weight");
        scene.rounds(1);
        scene.rehash(&[0, 1, 2]);
    });
}

#[test]
fn two_drains_that_overlap_break_no_connection() {
    check("two drains", 3, &[0, 1, 2], |scene| {
        scene.post(0, "/v1/drain");
        scene.rehash(&[0, 1, 2]);
        scene.post(1, "/v1/drain");
        scene.rehash(&[0, 1, 2]);
        scene.rounds(3);
        scene.post(0, "/v1/undrain");
        scene.rehash(&[0, 1, 2]);
        scene.rounds(2);
        scene.post(1, "/v1/undrain");
        scene.rehash(&[0, 1, 2]);
        scene.wait_for_connections_on(0);
        scene.wait_for_connections_on(1);
    });
}
