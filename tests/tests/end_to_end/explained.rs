//! What `gateway explain packet` says of a flow, by the maps of a running kernel program, is where its packets go.

use std::net::SocketAddr;

use bytes::Bytes;
use gateway_tests::lab::Lab;
use gateway_tests::lab::addresses::{Family, Vip, client_source};
use gateway_tests::lab::exchange::{connect, exchange};
use gateway_tests::lab::node::Node;
use http::{Method, Request};
use http_body_util::Full;

use crate::support::{node_of, one_at_a_time, running_lab};

/// Flows of each VIP and family: enough that each of three nodes has some, but for one chance in a million.
const FLOWS: u16 = 40;
/// Their ports, below those that the kernel chooses by itself.
const PORT: u16 = 20_000;

/// Who gets a packet that comes in at `director`, as that says; and the reason.
fn explained(director: &Node, from: SocketAddr, to: SocketAddr, flags: &str) -> (String, String) {
    let (from, to) = (from.to_string(), to.to_string());
    let arguments = [
        "explain", "packet", "--from", &from, "--to", &to, "--flags", flags,
    ];
    let told = director.told(&arguments).expect("an explanation");
    assert_eq!(told["node"], director.name(), "{told:#}");
    let verdict = &told["verdict"];
    let reason = verdict["reason"].as_str().expect("a reason").to_owned();
    match verdict["action"].as_str() {
        Some("pass") => (director.name().to_owned(), reason),
        Some("send") => (verdict["node"].as_str().expect("a node").to_owned(), reason),
        // Nobody's name, so that whoever compares says what was told.
        _ => (format!("{told:#}"), reason),
    }
}

/// The node that answers a request of that client's port.
fn answers(lab: &Lab, from: SocketAddr, to: SocketAddr) -> String {
    let request = Request::get("/hello").header("host", "lab");
    let request = request.body(Full::<Bytes>::default()).expect("a request");
    let answer = lab.client().run_async(move || exchange(to, Some(from), request));
    node_of(&answer.expect("an answer"))
}

#[test]
fn a_flows_packets_go_where_every_node_says_that_they_go() {
    let _turn = one_at_a_time();
    let lab = running_lab([2, 1, 1]);
    let kinds = [
        (Vip::FlowHash, Family::V4),
        (Vip::FlowHash, Family::V6),
        (Vip::IpHash, Family::V4),
    ];
    for ((vip, family), first) in kinds.into_iter().zip((PORT..).step_by(usize::from(FLOWS))) {
        let to = vip.http(family);
        let mut owners = std::collections::BTreeSet::new();
        for number in 0..FLOWS {
            // No port twice: the client keeps those of ended connections for a minute.
            let from = SocketAddr::new(client_source(family, number), first + number);
            // Whoever is director: tables are the same on all nodes.
            let told: Vec<_> = lab
                .nodes()
                .iter()
                .map(|node| explained(node, from, to, "syn").0)
                .collect();
            let owner = answers(&lab, from, to);
            assert!(
                told.iter().all(|node| *node == owner),
                "{from} to {to}: {owner}, not {told:?}"
            );
            owners.insert(owner);
        }
        assert_eq!(owners.len(), 3, "{to}: {owners:?}");
    }
}

#[test]
fn an_open_connection_is_told_by_the_flow_table_and_the_socket() {
    let _turn = one_at_a_time();
    let lab = running_lab([1, 1, 1]);
    let to = Vip::FlowHash.http(Family::V4);
    for number in 0..6 {
        let from = SocketAddr::new(client_source(Family::V4, number), PORT + number);
        let owner = explained(&lab.nodes()[0], from, to, "syn").0;
        // The connection must stay open while it is asked about.
        let held = lab
            .client()
            .run_async(move || async move {
                let stream = connect(to, Some(from)).await?;
                Ok(stream.into_std()?)
            })
            .expect("a connection");
        for node in lab.nodes() {
            let (told, reason) = explained(node, from, to, "ack");
            assert_eq!(told, owner, "{} says so of {from} ({reason})", node.name());
        }
        let status = lab.nodes()[0]
            .admin_json(Method::GET, "/v1/status")
            .expect("a status");
        assert!(status.is_object(), "the control loop answers: {status}");
        drop(held);
    }
}
