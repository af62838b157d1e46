//! Nodes with two interfaces: clients are on the segment of the one, the other nodes on that of the other.

use std::collections::BTreeSet;
use std::time::Instant;

use aya::programs::links::{FdLink, PinnedLink};
use gateway_tests::lab::addresses::{Family, NODES, Vip};
use gateway_tests::lab::node::Node;
use gateway_tests::lab::settings::{Common, Encapsulation, INTERFACE, Links};
use gateway_tests::lab::tap::Tap;
use gateway_tests::lab::wait::wait_until;
use gateway_tests::lab::wire::XdpMode;
use gateway_tests::lab::{Lab, Plan};
use http::Method;
use serde_json::Value;

use crate::routed::{Hash, PATIENCE, Scene, assert_none_broken, packets_for, routed_lab};
use crate::support::{get, node_of, one_at_a_time};

/// Answers in a row after which a node is taken not to give any.
const ANSWERS: usize = 60;

fn two_links() -> Common {
    Common {
        links: Links::Two,
        ..Common::default()
    }
}

/// What a node tells of its interfaces.
fn interfaces(node: &Node) -> Vec<Value> {
    let status = node.admin_json(Method::GET, "/v1/status").expect("a status");
    let interfaces = status["dataplane"]["interfaces"].as_array();
    interfaces.expect("interfaces").clone()
}

/// Waits until a node says that its first interface is in that state.
fn wait_for_state(node: &Node, state: &str) {
    let seen = wait_until(Instant::now() + PATIENCE, || {
        (interfaces(node)[0]["state"] == state).then_some(())
    });
    assert!(
        seen.is_some(),
        "not {state}: {:?}\n{}",
        interfaces(node),
        node.quote()
    );
}

/// What its first interface was, one after another, by the events that a node tells.
fn states_told(node: &Node) -> Vec<String> {
    let told = node.admin(Method::GET, "/v1/events").expect("events");
    let told = String::from_utf8_lossy(told.body()).into_owned();
    let events = told
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("an event"));
    events
        .filter(|event| event["kind"] == "interface" && event["interface"] == INTERFACE)
        .map(|event| event["to"].as_str().expect("a state").to_owned())
        .collect()
}

/// The kernel's numbers of the links of a node, and of the programs in them.
fn links(node: &Node) -> Vec<(u32, u32)> {
    let link = |interface: &&str| {
        let pin = node.files().pins.join(format!("link_{interface}"));
        let link = FdLink::from(PinnedLink::from_pin(pin).expect("a pinned link"));
        let info = link.info().expect("what it is");
        (info.id(), info.program_id())
    };
    Links::Two.list().iter().map(link).collect()
}

#[test]
fn packets_leave_by_the_interface_that_leads_to_their_node_and_a_drain_breaks_no_connection() {
    let _turn = one_at_a_time();
    let scene = Scene::new(3, &[0, 1, 2], Hash::Changes, two_links());
    let started = Instant::now();
    for node in scene.lab.nodes() {
        for interface in Links::Two.list() {
            let mode = node.xdp_mode_of(interface).expect("a mode");
            assert_eq!(mode, XdpMode::Native, "{} {interface}", node.name());
        }
        // On the clients' segment no node is found by the address that others send to.
        assert!(
            packets_for(node, "to-owner") > 0,
            "{} sends nothing on",
            node.name()
        );
        assert!(
            packets_for(node, "listener-from-node") > 0,
            "{} gets nothing",
            node.name()
        );
        let told = node.admin(Method::GET, "/metrics").expect("metrics");
        let told = String::from_utf8_lossy(told.body()).into_owned();
        for interface in Links::Two.list() {
            let up = format!("gateway_interface_up{{interface=\"{interface}\",mode=\"native\"}} 1");
            assert!(told.contains(&up), "no {up}");
        }
    }
    scene.rounds(1);
    scene.drain_and_undrain(1, &[0, 1, 2]);
    scene.wait_for_connections_on(1);
    scene.wait_all_live();
    let broken = scene.end("drain with two interfaces");
    assert_none_broken("drain with two interfaces", Hash::Changes, &broken, started);
}

#[test]
fn an_upgrade_replaces_the_program_in_the_links_of_both_interfaces() {
    let _turn = one_at_a_time();
    let scene = Scene::new(3, &[0], Hash::Still, two_links());
    let node = scene.node(0);
    scene.post(0, "/v1/drain");
    let moved = wait_until(Instant::now() + PATIENCE, || {
        (!scene.by_node().contains_key(node.name())).then_some(())
    });
    assert!(moved.is_some(), "{:?}", scene.by_node());
    scene.rounds(1);
    let started = Instant::now();
    let before = links(node);
    node.kill().expect("a kill");
    node.start().expect("a start");
    node.wait_ready().expect("a ready node");
    scene.lab.wait_formed(NODES).expect("three nodes");
    scene.rounds(3);
    scene.wait_all_live();
    let after = links(node);
    for ((link, program), (link_after, program_after)) in before.iter().zip(&after) {
        assert_eq!(link, link_after, "a link was made anew");
        assert_ne!(program, program_after, "a link has the old program");
    }
    let broken = scene.end("upgrade with two interfaces");
    assert_none_broken("upgrade with two interfaces", Hash::Still, &broken, started);
}

#[test]
fn an_interface_that_goes_and_comes_back_costs_no_connection_of_another_node() {
    let _turn = one_at_a_time();
    // The node is no director, so that the router need not know.
    let scene = Scene::new(3, &[0, 1], Hash::Still, two_links());
    let node = scene.node(2);
    scene.rounds(1);
    scene.lab.unplug(2).expect("an interface that goes");
    wait_for_state(node, "gone");
    let answers = || {
        (0..ANSWERS).all(|_| {
            let answer = get(&scene.lab, Vip::FlowHash.http(Family::V4), "/hello");
            answer.is_ok_and(|answer| node_of(&answer) != node.name())
        })
    };
    // A connection that went to it at the last moment is waited for.
    let left_out = wait_until(Instant::now() + 3 * PATIENCE, || answers().then_some(()));
    assert!(left_out.is_some(), "{} still gets new connections", node.name());
    // It is no less a node of the cluster, and its other interface no less attached.
    scene.lab.wait_formed(NODES).expect("three nodes");
    assert_eq!(interfaces(node)[1]["state"], "attached");

    let _passing = scene.lab.plug_in(2).expect("an interface that comes back");
    wait_for_state(node, "attached");
    assert_eq!(node.xdp_mode().expect("a mode"), XdpMode::Native);
    scene.wait_for_connections_on(2);
    scene.rounds(2);
    scene.wait_all_live();
    let states = states_told(node);
    assert_eq!(states.first().map(String::as_str), Some("gone"), "{states:?}");
    assert_eq!(states.last().map(String::as_str), Some("attached"), "{states:?}");

    // As long as a cable is out.
    scene.lab.cut_link(node.name()).expect("a cut");
    wait_for_state(node, "down");
    scene.lab.heal_link(node.name()).expect("a cable that is mended");
    wait_for_state(node, "attached");
    scene.rounds(1);
    let name = node.name().to_owned();
    let broken = scene.end("an interface that goes");
    let others: Vec<_> = broken
        .iter()
        .filter(|one| one.node.as_deref() != Some(name.as_str()))
        .collect();
    assert!(
        others.is_empty(),
        "{} of other nodes: {:#?}",
        others.len(),
        others.first()
    );
}

#[test]
fn with_ip_in_ip_nodes_believe_what_comes_by_the_other_interface() {
    let _turn = one_at_a_time();
    let common = Common {
        encapsulation: Encapsulation::Ipip,
        ..two_links()
    };
    let lab = routed_lab(NODES, &[0], common);
    for family in [Family::V4, Family::V6] {
        let mut seen = BTreeSet::new();
        for _ in 0..ANSWERS {
            let answer = get(&lab, Vip::FlowHash.http(family), "/hello").expect("an answer");
            seen.insert(node_of(&answer));
        }
        assert_eq!(seen.len(), NODES, "{family:?}: {seen:?}");
    }
}

#[test]
fn a_vip_moves_from_a_node_that_has_lost_the_interface_of_its_clients_and_no_other() {
    let _turn = one_at_a_time();
    let plan = Plan {
        common: two_links(),
        ..Plan::new().expect("the gateway's program")
    };
    let lab = Lab::raise(&plan).expect("a lab");
    lab.start_nodes().expect("three nodes that know each other");
    let target = Vip::FlowHash.http(Family::V4);
    let tap = Tap::start(&lab).expect("a tap");
    let director = wait_until(Instant::now() + PATIENCE, || {
        get(&lab, target, "/hello").expect("an answer");
        tap.director()
    });
    let node = &lab.nodes()[director.expect("a director")];
    lab.cut_link(node.name()).expect("a cut");
    wait_for_state(node, "down");
    let moved = wait_until(Instant::now() + 3 * PATIENCE, || {
        let others = (0..ANSWERS).all(|_| {
            let answer = get(&lab, target, "/hello");
            answer.is_ok_and(|answer| node_of(&answer) != node.name())
        });
        others.then_some(())
    });
    assert!(moved.is_some(), "nobody answers in the place of {}", node.name());
    lab.wait_formed(NODES)
        .expect("three nodes, for the others hear each other");
    lab.heal_link(node.name()).expect("a cable that is mended");
    wait_for_state(node, "attached");
    let back = wait_until(Instant::now() + 3 * PATIENCE, || {
        let answer = get(&lab, target, "/hello").expect("an answer");
        (node_of(&answer) == node.name()).then_some(())
    });
    assert!(back.is_some(), "{} serves nothing any more", node.name());
}
