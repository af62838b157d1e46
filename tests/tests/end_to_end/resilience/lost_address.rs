//! An upstream loses its address, in a lab: its connections go silent, no new one is answered, and nobody refuses.

use gateway_tests::lab::addresses::{self, SEGMENT_BITS_V4};
use gateway_tests::lab::settings::INTERFACE;
use gateway_tests::lab::wire::{add_address, remove_address};
use gateway_tests::lab::{Lab, Switch};

use crate::http::gateway::{Gateway, Setup};
use crate::support::{one_at_a_time, plan_without_nodes};

use super::load::{CLIENTS, Load, Seen, assert_all_well};
use super::scene::{BUDGET, CHECKS, Findings, OUTLIER, RETRIES, setup, setup_of, until};

/// The upstream that loses its address.
const FIRST: usize = 0;

/// Takes the address of the first upstream away, or gives it back.
fn change(lab: &Lab, change: fn(&str, std::net::IpAddr, u8) -> anyhow::Result<()>) {
    let host = addresses::upstream(FIRST);
    let upstream = lab.upstreams().get(FIRST).expect("an upstream");
    let changed = upstream
        .namespace()
        .run(move || change(INTERFACE, host.v4.into(), SEGMENT_BITS_V4));
    changed.expect("a namespace").expect("a changed address");
}

/// A load that meets the loss, and the return; what its clients saw. `found` says whether the loss was found out, `is_over`
/// whether all is as before.
fn lose(lab: &Lab, setup: &Setup, found: fn(&Findings) -> bool, is_over: fn(&Findings) -> bool) -> Vec<Seen> {
    let first = lab.upstreams().get(FIRST).expect("an upstream");
    let node = lab.nodes().first().expect("a node").namespace();
    let started = setup.clone();
    let gateway = node.run(move || Gateway::start(&started)).expect("a namespace");
    // Clients stand where the gateway does; what they tell comes by shared memory.
    let address = gateway.address();
    let (give, take) = std::sync::mpsc::sync_channel(1);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let clients = node
        .spawn("clients", move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let load = Load::start(address);
                drop(give.send(load.progress()));
                drop(stopped.await);
                load.end().await
            })
        })
        .expect("a thread");
    let load = take.recv().expect("a load");
    let waiting = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    waiting.block_on(async {
        load.pass(3 * CLIENTS).await;
        change(lab, remove_address);
        until("its loss is found out", || found(&Findings::of(&gateway))).await;
        load.pass(3 * CLIENTS).await;
        change(lab, add_address);
        until("it is back", || is_over(&Findings::of(&gateway))).await;
        let before = first.requests();
        until("it is asked again", || first.requests() >= before + 10).await;
    });
    stop.send(()).expect("clients that wait");
    clients.join().expect("clients")
}

#[test]
fn root_an_upstream_that_loses_its_address_is_left_alone_until_it_has_it_again() {
    let _turn = one_at_a_time();
    let lab = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("a lab");
    let addresses: Vec<_> = lab
        .upstreams()
        .iter()
        .map(|upstream| upstream.address())
        .collect();
    let all_in: fn(&Findings) -> bool = |found| found.ejected == 0 && found.ready == 3;
    let ejected = OUTLIER.replace("failures = 5", "failures = 5, base_ejection = \"1s\"");
    let common = format!("{BUDGET}connect_timeout = \"300ms\"\n");
    let seen = lose(
        &lab,
        &setup(&addresses, RETRIES, &format!("{common}{ejected}")),
        |found| found.ejected == 1,
        all_in,
    );
    assert_all_well("found out by its calls", &seen);
    let seen = lose(
        &lab,
        &setup(&addresses, RETRIES, &format!("{common}{CHECKS}")),
        |found| found.ready == 2,
        all_in,
    );
    assert_all_well("found out by checks", &seen);
}

#[test]
fn root_an_upstream_that_loses_one_of_two_addresses_is_asked_at_the_other() {
    let _turn = one_at_a_time();
    let lab = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("a lab");
    let endpoints: Vec<_> = lab
        .upstreams()
        .iter()
        .enumerate()
        .map(|(index, upstream)| {
            let first = upstream.address();
            let other = std::net::SocketAddr::new(addresses::upstream(index).v6.into(), first.port());
            format!("{{ address = \"{first}\", channels = [{{ address = \"{other}\" }}] }}")
        })
        .collect();
    let lines = format!(
        "{BUDGET}connect_timeout = \"300ms\"\n{OUTLIER}{CHECKS}\
         failback = {{ rise = 2, stay = \"1s\", interval = \"500ms\", timeout = \"300ms\" }}\n"
    );
    let seen = lose(
        &lab,
        &setup_of(&endpoints, RETRIES, &lines),
        // Nobody takes it out: it is asked at its other address.
        |found| found.switches == 1 && found.ejections == 0 && found.ready == 3,
        |found| found.switches == 2 && found.ejections == 0 && found.ready == 3,
    );
    assert_all_well("asked at its other address", &seen);
}
