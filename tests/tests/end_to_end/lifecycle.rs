//! A node's life: what it leaves behind, what it takes up again, and what a bad configuration changes.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use gateway_tests::lab::addresses::{Family, NODES, Vip};
use gateway_tests::lab::node::Node;
use gateway_tests::lab::remains;
use gateway_tests::lab::settings::INTERFACE;
use gateway_tests::lab::wait::wait_until;
use gateway_tests::lab::wire::{self, XdpMode};
use gateway_tests::lab::{Lab, Plan};
use http::{Method, StatusCode};

use crate::support::{bpftool, get, one_at_a_time, running_lab};

/// Bound of every wait for a node to show a change.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn stopped_nodes_leave_nothing_behind() {
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 1]);
    for node in lab.nodes() {
        assert_eq!(node.xdp_mode().expect("a mode"), XdpMode::Native);
        assert_ne!(
            node.leftovers().expect("a look"),
            Vec::<String>::new(),
            "a running node holds something"
        );
        let shown = bpftool_net(node);
        assert!(shown.contains("driver"), "bpftool net: {shown}");
    }
    for node in lab.nodes() {
        let status = node.stop().expect("an end");
        assert!(status.success(), "{}: {status}\n{}", node.name(), node.quote());
        assert_eq!(
            node.leftovers().expect("a look"),
            Vec::<String>::new(),
            "{}",
            node.name()
        );
        let shown = bpftool_net(node);
        assert!(!shown.contains(INTERFACE), "bpftool net: {shown}");
    }
    // The last node to go takes their common directory along.
    let pins = remains::pin_directory(lab.id());
    assert!(!pins.exists(), "{} is still there", pins.display());
}

#[test]
fn a_restart_after_a_crash_takes_up_what_is_pinned() {
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 1]);
    let target = Vip::FlowHash.http(Family::V4);
    for _ in 0..50 {
        get(&lab, target, "/hello").expect("an answer");
    }
    // The director sees every packet: whichever node that is has counted most.
    let counts: Vec<_> = lab.nodes().iter().map(packets).collect();
    let busiest = (0..NODES)
        .max_by_key(|index| counts[*index])
        .expect("three nodes");
    let node = &lab.nodes()[busiest];

    node.kill().expect("a kill");
    assert_eq!(
        node.xdp_mode().expect("a mode"),
        XdpMode::Native,
        "the kernel steers on"
    );
    let pinned = node.leftovers().expect("a look");
    assert!(!pinned.is_empty(), "nothing stays pinned");
    for _ in 0..50 {
        get(&lab, target, "/hello").expect("an answer while the node is dead");
    }

    node.start().expect("a start");
    node.wait_ready().expect("a ready node");
    lab.wait_formed(NODES).expect("three nodes");
    assert_eq!(node.xdp_mode().expect("a mode"), XdpMode::Native);
    let after = packets(node);
    assert!(
        after >= counts[busiest],
        "counters began anew: {after} packets, {} before",
        counts[busiest]
    );
    for _ in 0..50 {
        get(&lab, target, "/hello").expect("an answer after the restart");
    }
    assert!(node.stop().expect("an end").success());
    assert_eq!(node.leftovers().expect("a look"), Vec::<String>::new());
}

#[test]
fn a_vip_taken_out_of_the_configuration_while_its_node_was_dead_is_not_left_behind() {
    let _turn = one_at_a_time();
    let lab = Lab::raise(&Plan::new().expect("the gateway's program")).expect("a lab");
    let node = &lab.nodes()[0];
    node.start().expect("a start");
    node.wait_ready().expect("a ready node");
    let holds = |expected: usize, what: &str| {
        let mut held = Vec::new();
        let settled = wait_until(Instant::now() + PATIENCE, || {
            let addresses = node.namespace().run(|| wire::addresses("lo")).expect("a job");
            held = addresses.expect("addresses");
            let is_sticky = |address: &&IpAddr| {
                [Family::V4, Family::V6]
                    .map(|family| Vip::IpHash.address(family))
                    .contains(*address)
            };
            (held.iter().filter(is_sticky).count() == expected).then_some(())
        });
        assert!(settled.is_some(), "{what}, lo has {held:?}\n{}", node.quote());
    };
    holds(2, "before the crash");
    // What steers is in the pinned maps.
    for family in [Family::V4, Family::V6] {
        let steered = wait_until(Instant::now() + PATIENCE, || {
            get(&lab, Vip::IpHash.http(family), "/hello").ok()
        });
        assert!(steered.is_some(), "{family:?}: no answer\n{}", node.quote());
    }
    node.kill().expect("a kill");
    let config = node.config();
    let (without, _) = config
        .split_once("\n[[vip]]\nname = \"sticky\"")
        .expect("a VIP that can go");
    node.write_config(without).expect("a file");
    node.start().expect("a start");
    node.wait_ready().expect("a ready node");
    holds(0, "after the restart without the VIP");
    assert!(node.stop().expect("an end").success(), "{}", node.quote());
    assert_eq!(node.leftovers().expect("a look"), Vec::<String>::new());
}

#[test]
fn a_bad_reload_keeps_the_last_good_configuration_and_a_good_one_takes_over() {
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 1]);
    let node = &lab.nodes()[0];
    let good = node.config();
    let status = |what: &str| -> serde_json::Value {
        node.admin_json(Method::GET, "/v1/status")
            .unwrap_or_else(|error| panic!("{what}: {error:#}"))
    };
    let before = status("before")["snapshot"].clone();

    let faults = [
        ("weight = 1\n", "wieght = 1\n", "wieght"),
        ("upstream = \"pool\"", "upstream = \"pond\"", "pond"),
        ("[node]\n", "[node\n", ""),
    ];
    for (right, wrong, named) in faults {
        assert!(good.contains(right), "{right:?} is in the configuration");
        node.write_config(&good.replacen(right, wrong, 1))
            .expect("a file");
        let refused = node.admin(Method::POST, "/v1/reload").expect("an answer");
        assert!(
            refused.status().is_client_error(),
            "{wrong:?} got {}",
            refused.status()
        );
        let text = String::from_utf8_lossy(refused.body()).into_owned();
        assert!(text.contains(named), "{wrong:?} got {text}");
        let now = status("after a refusal");
        assert_eq!(now["snapshot"], before, "{wrong:?} changed the configuration");
        assert!(!now["last_refused"].is_null(), "the refusal is visible");
        for _ in 0..20 {
            let answer = get(&lab, Vip::FlowHash.http(Family::V4), "/hello").expect("an answer");
            assert_eq!(answer.body().as_ref(), b"hello");
        }
    }

    for node in lab.nodes() {
        node.write_config(
            &node
                .config()
                .replacen("body = \"hello\"", "body = \"good day\"", 1),
        )
        .expect("a file");
        let accepted = node.admin(Method::POST, "/v1/reload").expect("an answer");
        assert_eq!(
            accepted.status(),
            StatusCode::OK,
            "{}",
            String::from_utf8_lossy(accepted.body())
        );
    }
    let changed = wait_until(Instant::now() + PATIENCE, || {
        let all_new = (0..30).all(|_| {
            let answer = get(&lab, Vip::FlowHash.http(Family::V4), "/hello").expect("an answer");
            answer.body().as_ref() == b"good day"
        });
        all_new.then_some(())
    });
    assert!(changed.is_some(), "the new body is not served");
    assert!(
        status("after a reload")["last_refused"].is_null(),
        "the refusal is history"
    );
}

#[test]
fn the_admin_api_wants_its_token_and_metrics_name_reasons() {
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 1]);
    get(&lab, Vip::FlowHash.http(Family::V4), "/hello").expect("an answer");
    let node = &lab.nodes()[0];
    let metrics = node.admin(Method::GET, "/metrics").expect("an answer");
    assert_eq!(metrics.status(), StatusCode::OK);
    let text = String::from_utf8_lossy(metrics.body()).into_owned();
    assert!(text.trim_end().ends_with("# EOF"), "OpenMetrics: {text}");

    let token = std::fs::read(&node.files().token).expect("a token");
    std::fs::write(&node.files().token, "wrong").expect("a file");
    for path in ["/v1/status", "/v1/nodes", "/metrics"] {
        let refused = node.admin(Method::GET, path).expect("an answer");
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in ["/livez", "/readyz"] {
        let open = node.admin(Method::GET, path).expect("an answer");
        assert_eq!(open.status(), StatusCode::OK, "{path}");
    }
    std::fs::write(&node.files().token, token).expect("a file");
}

/// Packets that a node's kernel program has judged so far.
fn packets(node: &Node) -> u64 {
    let status = node.admin_json(Method::GET, "/v1/status").expect("a status");
    let verdicts = status["dataplane"]["verdicts"]
        .as_array()
        .expect("verdicts")
        .clone();
    verdicts
        .iter()
        .filter_map(|verdict| verdict["packets"].as_u64())
        .sum()
}

/// What `bpftool net` shows in a node's namespace.
fn bpftool_net(node: &Node) -> String {
    let mut command = Command::new(bpftool());
    command.arg("net");
    let output = node.namespace().run(move || command.output()).expect("a job");
    let output = output.expect("a run of bpftool");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "bpftool net: {}: {faults}",
        output.status
    );
    assert!(
        told.contains("xdp:"),
        "bpftool net has no table of XDP programs: {told}"
    );
    told
}
