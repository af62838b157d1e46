//! A cluster without a single IPv4 address, loopback included.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use gateway_tests::lab::addresses::{Family, NODES, Vip};
use gateway_tests::lab::exchange::exchange;
use gateway_tests::lab::settings::{Announce, Common, Families, INTERFACE, Links};
use gateway_tests::lab::wire;
use gateway_tests::lab::{Lab, Plan};
use http::{Method, Request, StatusCode};
use http_body_util::Full;

use crate::routed::{Hash, Scene, assert_none_broken};
use crate::support::{get, node_of, one_at_a_time};

const V6_ONLY: Common = Common {
    encapsulation: gateway_tests::lab::settings::Encapsulation::Gue,
    announce: Announce::Vip,
    families: Families::V6Only,
    links: Links::One,
    path_mtu: None,
};

#[test]
fn a_cluster_without_ipv4_serves_vips_that_its_nodes_announce() {
    const BODY_BYTES: usize = 1_000_000;
    let _turn = one_at_a_time();
    let plan = Plan {
        common: V6_ONLY,
        ..Plan::new().expect("the gateway's program")
    };
    let lab = Lab::raise(&plan).expect("a lab without IPv4");
    lab.start_nodes().expect("three nodes that know each other");
    for node in lab.nodes() {
        for interface in ["lo", INTERFACE] {
            let addresses = node
                .namespace()
                .run(move || wire::addresses(interface))
                .expect("a job");
            let addresses = addresses.expect("addresses");
            assert!(addresses.iter().all(|address| address.is_ipv6()), "{addresses:?}");
        }
    }
    for vip in [Vip::FlowHash, Vip::IpHash] {
        let target = vip.http(Family::V6);
        let mut nodes = BTreeSet::new();
        for _ in 0..40 {
            let answer = get(&lab, target, "/any").expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK);
            nodes.insert(node_of(&answer));
            let request = Request::builder()
                .method(Method::POST)
                .uri("/sink")
                .header("host", "lab");
            let body = Bytes::from(vec![7; BODY_BYTES]);
            let request = request.body(Full::new(body)).expect("a request");
            let uploaded = lab.client().run_async(move || exchange(target, None, request));
            assert_eq!(uploaded.expect("an answer to an upload").status(), StatusCode::OK);
        }
        let expected = if vip == Vip::FlowHash { NODES } else { 1 };
        assert_eq!(nodes.len(), expected, "{vip:?}: {nodes:?}");
    }
}

#[test]
fn a_drain_without_ipv4_breaks_no_connection() {
    let _turn = one_at_a_time();
    let scene = Scene::new(NODES, &[0, 1, 2], Hash::Changes, V6_ONLY);
    let started = Instant::now();
    scene.post(1, "/v1/drain");
    scene.rehash(&[0, 1, 2]);
    scene.rounds(3);
    scene.post(1, "/v1/undrain");
    scene.rehash(&[0, 1, 2]);
    scene.rounds(3);
    scene.wait_all_live();
    let broken = scene.end("drain without IPv4");
    assert_none_broken("drain without IPv4", Hash::Changes, &broken, started);
}
