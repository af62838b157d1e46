//! Requests through the VIPs of three nodes: are they answered, by whom, and whole?

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_tests::lab::addresses::{Family, Vip, client_source};
use gateway_tests::lab::echo::Echo;
use gateway_tests::lab::exchange::exchange;
use gateway_tests::lab::wait::wait_until;
use gateway_tests::lab::wire::XdpMode;
use gateway_tests::load::spread::{self, Spread};
use http::{Method, Request, StatusCode};
use http_body_util::Full;

use crate::support::{get, node_of, one_at_a_time, running_lab};

/// Connections by which the shares of `flow-hash` are measured: chance alone puts a half off by 0.56 points.
const FLOWS: usize = 8_000;

/// Client addresses by which those of `ip-hash` are measured, nearly all that the lab has: 0.79 points.
const CLIENTS: u16 = 4_000;

/// Largest difference between a share and its weight: 3.8 standard deviations at least.
const POINTS_MAX: f64 = 3.0;

#[test]
fn vips_of_both_families_are_served_by_all_nodes_and_upstreams() {
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 1]);
    for node in lab.nodes() {
        assert_eq!(
            node.xdp_mode().expect("a mode"),
            XdpMode::Native,
            "{}",
            node.name()
        );
    }
    for (vip, family) in [
        (Vip::FlowHash, Family::V4),
        (Vip::FlowHash, Family::V6),
        (Vip::IpHash, Family::V4),
        (Vip::IpHash, Family::V6),
    ] {
        let target = vip.http(family);
        let (mut nodes, mut upstreams) = (BTreeSet::new(), BTreeSet::new());
        for number in 0..40 {
            let answer = get(&lab, target, &format!("/some/{number}?x=1")).expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK, "{target}");
            let told: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
            assert_eq!(told["path"], format!("/some/{number}?x=1"));
            nodes.insert(node_of(&answer));
            upstreams.insert(told["upstream"].to_string());
        }
        // One client's connections: spread by flow-hash, all on one node by ip-hash.
        let expected = if vip == Vip::FlowHash { 3 } else { 1 };
        assert_eq!(nodes.len(), expected, "{target}: {nodes:?}");
        assert_eq!(upstreams.len(), 3, "{target}: {upstreams:?}");
        let direct = get(&lab, target, "/hello").expect("an answer");
        assert_eq!(direct.body().as_ref(), b"hello");
    }
}

#[test]
fn large_bodies_pass_whole_both_ways_through_a_director_that_is_not_the_owner() {
    const BODY_BYTES: usize = 1_000_000;
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 1]);
    for family in [Family::V4, Family::V6] {
        let target = Vip::FlowHash.http(family);
        let mut nodes = BTreeSet::new();
        // One node is director for the VIP at any time: where two nodes answer, one of them is not the director.
        let deadline = Instant::now() + Duration::from_secs(30);
        let enough = wait_until(deadline, || {
            let body = Bytes::from(vec![7; BODY_BYTES]);
            let request = Request::builder()
                .method(Method::POST)
                .uri("/sink")
                .header("host", "lab");
            let request = request.body(Full::new(body)).expect("a request");
            let uploaded = lab.client().run_async(move || exchange(target, None, request));
            let uploaded = uploaded.expect("an answer to an upload");
            assert_eq!(uploaded.status(), StatusCode::OK);
            let told: serde_json::Value = serde_json::from_slice(uploaded.body()).expect("JSON");
            assert_eq!(told["bytes"], BODY_BYTES);
            let downloaded =
                get(&lab, target, &format!("/bytes/{BODY_BYTES}")).expect("an answer to a download");
            assert_eq!(downloaded.body().len(), BODY_BYTES);
            nodes.insert(node_of(&uploaded));
            (nodes.len() == 3).then_some(())
        });
        assert!(enough.is_some(), "{family:?}: only {nodes:?} answered");
    }
}

#[test]
fn shares_follow_the_weights_and_ip_hash_keeps_a_client_on_one_node() {
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 2]);
    let own = vec![None; FLOWS];
    for family in [Family::V4, Family::V6] {
        let target = Vip::FlowHash.http(family);
        let by_flow = spread::measure(lab.client(), target, own.clone()).expect("a spread");
        check_shares(&format!("flow-hash {family:?}"), &by_flow);

        let once = (0..CLIENTS).map(|number| Some(client_source(family, number)));
        let twice = once.clone().chain(once).collect();
        let by_address = spread::measure(lab.client(), Vip::IpHash.http(family), twice).expect("a spread");
        check_shares(&format!("ip-hash {family:?}"), &by_address);
        assert_eq!(by_address.nodes_of.len(), usize::from(CLIENTS));
        assert_eq!(by_address.split_sources(), 0, "ip-hash {family:?}");
    }
}

#[test]
fn datagrams_are_answered_by_the_node_that_owns_their_flow() {
    /// Client ports: with three nodes of equal weight, one in a billion labs would leave a node out.
    const PORTS: usize = 50;
    const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 1]);
    for family in [Family::V4, Family::V6] {
        let target = Vip::Udp.udp(family);
        let echoes = lab.nodes().iter().map(|node| Echo::start(node, target));
        let _echoes: Vec<_> = echoes.collect::<Result<_, _>>().expect("a server on each node");
        let asked = lab.client().run(move || -> std::io::Result<BTreeSet<Vec<u8>>> {
            let mut nodes = BTreeSet::new();
            for _ in 0..PORTS {
                let any = match target {
                    SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                    SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
                };
                let socket = UdpSocket::bind(any)?;
                socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                // A connected socket takes no answer but the VIP's own.
                socket.connect(target)?;
                let mut owner = None;
                for _ in 0..3 {
                    socket.send(b"who?")?;
                    let mut answer = [0; 64];
                    let length = socket.recv(&mut answer)?;
                    let node = answer[..length].to_vec();
                    assert_eq!(owner.get_or_insert(node.clone()), &node, "a flow moved");
                    nodes.insert(node);
                }
            }
            Ok(nodes)
        });
        let nodes = asked.expect("a job").expect("an answer to each datagram");
        let expected: BTreeSet<_> = lab
            .nodes()
            .iter()
            .map(|node| node.name().as_bytes().to_vec())
            .collect();
        assert_eq!(nodes, expected, "{target}");
    }
}

fn check_shares(what: &str, spread: &Spread) {
    assert!(
        spread.failures.is_empty(),
        "{what}: {:?}",
        spread.failures.first()
    );
    for (node, due) in [("node1", 0.25), ("node2", 0.25), ("node3", 0.5)] {
        let points = 100.0 * (spread.share(node) - due);
        assert!(
            points.abs() <= POINTS_MAX,
            "{what}: {node} is {points:.2} points off its weight"
        );
    }
}
