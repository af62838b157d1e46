//! Large uploads through a director that is not the owner, where no link takes more than 1,500 bytes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_tests::lab::Lab;
use gateway_tests::lab::addresses::{Family, NODES, Vip};
use gateway_tests::lab::exchange::exchange;
use gateway_tests::lab::settings::{Common, Encapsulation};
use gateway_tests::lab::wait::wait_until;
use http::{Method, Request, StatusCode};
use http_body_util::Full;

use crate::routed::{packets_for, routed_lab};
use crate::support::{node_of, one_at_a_time};

const BODY_BYTES: usize = 1_000_000;

/// For uploads to two nodes that are not the director.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kernel program's word for a packet that its sender was told to shorten.
const TOO_BIG: &str = "too-big-answered";

/// Uploads until both nodes that are not the director have answered.
fn upload_to_other_owners(lab: &Lab, family: Family) {
    let target = Vip::FlowHash.http(family);
    let director = lab.nodes()[0].name();
    let mut owners = BTreeSet::new();
    let enough = wait_until(Instant::now() + PATIENCE, || {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/sink")
            .header("host", "lab");
        let request = request
            .body(Full::new(Bytes::from(vec![7; BODY_BYTES])))
            .expect("a request");
        let uploaded = lab.client().run_async(move || exchange(target, None, request));
        let uploaded = uploaded.expect("an answer to an upload");
        assert_eq!(uploaded.status(), StatusCode::OK);
        let told: serde_json::Value = serde_json::from_slice(uploaded.body()).expect("JSON");
        assert_eq!(told["bytes"], BODY_BYTES);
        owners.insert(node_of(&uploaded));
        (owners.iter().filter(|name| *name != director).count() == NODES - 1).then_some(())
    });
    assert!(enough.is_some(), "{family:?}: only {owners:?} answered");
}

#[test]
fn uploads_pass_by_the_segment_size_alone_where_icmp_is_blocked() {
    let _turn = one_at_a_time();
    for encapsulation in [Encapsulation::Gue, Encapsulation::Ipip] {
        let common = Common {
            encapsulation,
            ..Common::default()
        };
        let lab = routed_lab(NODES, &[0], common);
        lab.router().expect("a router").block_icmp().expect("no ICMP");
        for family in [Family::V4, Family::V6] {
            upload_to_other_owners(&lab, family);
        }
        let told = packets_for(&lab.nodes()[0], TOO_BIG);
        assert_eq!(told, 0, "{encapsulation:?}: no packet is too big");
    }
}

#[test]
fn uploads_pass_by_icmp_alone_where_listeners_ask_for_large_segments() {
    let _turn = one_at_a_time();
    let common = Common {
        path_mtu: Some(9_000),
        ..Common::default()
    };
    let lab = routed_lab(NODES, &[0], common);
    for family in [Family::V4, Family::V6] {
        let before = packets_for(&lab.nodes()[0], TOO_BIG);
        upload_to_other_owners(&lab, family);
        let told = packets_for(&lab.nodes()[0], TOO_BIG) - before;
        assert!(told > 0, "{family:?}: the client was told nothing");
    }
}
