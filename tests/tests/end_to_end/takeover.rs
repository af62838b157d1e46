//! A program that takes the place of one that steers: the link is replaced in place, and what was remembered goes over.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, PerCpuArray};
use aya::programs::Xdp;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpMode;
use aya::{Ebpf, EbpfLoader};
use gateway::l4::flows::{Flows, FlowsOf};
use gateway::l4::maps::now_ns;
use gateway::l4::{loader, object};
use gateway_common::abi::{self, ABI_VERSION, Count};
use gateway_common::flow::{FlowKey, set};
use gateway_common::verdict::Reason;
use gateway_tests::lab::netns::Namespace;
use gateway_tests::lab::node::Node;
use gateway_tests::lab::settings::{Common, INTERFACE};
use gateway_tests::lab::wait::wait_until;
use gateway_tests::lab::wire::{self, Plug, Power};
use gateway_tests::lab::{remains, sysctl};
use http::Method;
use nix::sys::socket::{setsockopt, sockopt};

use crate::routed::{Hash, PATIENCE, Scene, assert_none_broken};
use crate::support::one_at_a_time;

/// What a node's earlier life remembers, and its link.
struct Remembered {
    flows: HashSet<FlowKey>,
    entries: u32,
    link: u32,
}

fn remembered(node: &Node) -> Remembered {
    let pinned = |name: &'static str| {
        let pin = node.files().pins.join(format!("v{ABI_VERSION}_{name}"));
        MapData::from_pin(pin).expect("a pinned flow table")
    };
    let entries = pinned(abi::FLOWS).info().expect("its size").max_entries();
    let table = Flows::open(FlowsOf::Tcp, |name| {
        Ok(Map::from_map_data(pinned(name)).expect("a map"))
    });
    let flows = table
        .and_then(|table| table.all(now_ns()?))
        .expect("a flow table");
    let flows = flows.into_iter().map(|(key, _)| key).collect();
    let link =
        PinnedLink::from_pin(node.files().pins.join(format!("link_{INTERFACE}"))).expect("a pinned link");
    let link = FdLink::from(link).info().expect("what it is").id();
    Remembered { flows, entries, link }
}

/// Has the only director of 2,000 connections of other nodes begin anew after a crash, with something changed meanwhile;
/// none may break. What it remembered before and after.
fn check(what: &str, change: fn(&Node)) -> (Remembered, Remembered, String) {
    let _turn = one_at_a_time();
    let scene = Scene::new(3, &[0], Hash::Still, Common::default());
    let node = scene.node(0);
    scene.post(0, "/v1/drain");
    let moved = wait_until(Instant::now() + PATIENCE, || {
        (!scene.by_node().contains_key(node.name())).then_some(())
    });
    assert!(moved.is_some(), "{what}: {:?}", scene.by_node());
    scene.rounds(1);
    let started = Instant::now();
    node.kill().expect("a kill");
    let before = remembered(node);
    assert!(before.flows.len() > 1_000, "{what}: {} flows", before.flows.len());
    change(node);
    node.start().expect("a start");
    node.wait_ready().expect("a ready node");
    scene.lab.wait_formed(3).expect("three nodes");
    scene.rounds(3);
    scene.wait_all_live();
    let after = remembered(node);
    assert_eq!(after.link, before.link, "{what}: the link was replaced in place");
    let told = node.quote();
    let status = node.admin_json(Method::GET, "/v1/status").expect("a status");
    assert_eq!(status["dataplane"]["interfaces"][0]["mode"], "native", "{what}");
    assert!(
        !node.files().pins.join(format!("v1_{}", abi::FLOWS)).exists(),
        "{what}: pins of another version are left"
    );
    let broken = scene.end(what);
    assert_none_broken(what, Hash::Still, &broken, started);
    (before, after, told)
}

#[test]
fn maps_of_other_sizes_take_over_what_was_remembered() {
    let (before, after, told) = check("other sizes", |node| {
        let config = node
            .config()
            .replacen("flow_table_entries = 65_536", "flow_table_entries = 131_072", 1)
            .replacen("tables = 4", "tables = 8", 1);
        node.write_config(&config).expect("a file");
    });
    let sets = (set::sets_v4(65_536), set::sets_v4(131_072));
    assert_eq!((before.entries, after.entries), sets);
    let lost = before.flows.difference(&after.flows).count();
    assert_eq!(lost, 0, "of {} flows; {told}", before.flows.len());
    assert!(told.contains("have taken the place of the pinned ones"), "{told}");
    assert!(!told.contains("is lost"), "{told}");
}

#[test]
fn maps_of_another_version_are_replaced_and_what_is_lost_is_said() {
    let (_, _, told) = check("another version", |node| {
        let own = format!("v{ABI_VERSION}_");
        for name in abi::PINNED_MAPS {
            let pin = node.files().pins.join(format!("{own}{name}"));
            std::fs::rename(&pin, node.files().pins.join(format!("v1_{name}"))).expect("another name");
        }
    });
    assert!(told.contains("what they hold is lost"), "{told}");
    assert!(
        told.contains(abi::FLOWS) && told.contains(abi::REASON_COUNTS),
        "{told}"
    );
}

/// The program that steers, with maps of its own.
fn loaded() -> Ebpf {
    let mut object = EbpfLoader::new()
        .load(object::bytes().expect("the kernel object"))
        .expect("an object that loads");
    loader::load_programs(&mut object).expect("programs that the verifier takes");
    loader::join_chain(&mut object).expect("a chain");
    object
}

fn steering(object: &mut Ebpf) -> &mut Xdp {
    let program = object.program_mut(abi::PROGRAM).expect("the program");
    program.try_into().expect("an XDP program")
}

/// IP packets that the program passed, as it has no settings.
fn passed(object: &Ebpf) -> u64 {
    let counts = object.map(abi::REASON_COUNTS).expect("the counters");
    let counts: PerCpuArray<_, Count> = counts.try_into().expect("the counters");
    let counts = counts.get(&(Reason::NotConfigured as u32), 0).expect("a counter");
    counts.iter().map(|count| count.packets).sum()
}

/// Sends datagrams until it is told to stop, some 20,000 a second; how many.
fn send_until(stopped: &AtomicBool, to: SocketAddr) -> std::io::Result<u64> {
    const BURST: u32 = 16;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut sent = 0;
    while !stopped.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            socket.send_to(b"live", to)?;
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(800));
    }
    Ok(sent)
}

/// Counts datagrams until none has come for a while.
fn count_received(socket: &UdpSocket) -> u64 {
    let mut received = 0;
    while socket.recv(&mut [0; 16]).is_ok() {
        received += 1;
    }
    received
}

#[test]
fn a_hundred_swaps_of_the_program_under_live_frames_lose_none() {
    const SWAPS: usize = 100;
    const PAUSE: Duration = Duration::from_millis(5);
    let _turn = one_at_a_time();
    remains::mount_bpffs().expect("a BPF file system");
    let from = Namespace::create_nameless("sender").expect("a namespace");
    let to = Namespace::create_nameless("receiver").expect("a namespace");
    let path = to.path();
    from.run(move || -> anyhow::Result<()> {
        sysctl::write(sysctl::SWITCH)?;
        wire::add_cable(Plug::Own, "wire", &path, INTERFACE)?;
        wire::add_address("wire", Ipv4Addr::new(10, 78, 0, 1).into(), 24)
    })
    .expect("a job")
    .expect("one end");
    let address = SocketAddr::from(([10, 78, 0, 2], 7_000));
    let socket = to
        .run(move || -> anyhow::Result<UdpSocket> {
            sysctl::write(sysctl::SWITCH)?;
            wire::set_power(INTERFACE, Power::Up)?;
            wire::add_address(INTERFACE, address.ip(), 24)?;
            let socket = UdpSocket::bind(address)?;
            setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20))?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            Ok(socket)
        })
        .expect("a job")
        .expect("the other end");

    let pin = PathBuf::from(remains::BPFFS).join(format!("swaps_{}", std::process::id()));
    let mut objects = [loaded(), loaded()];
    let index = to
        .run(|| gateway::l4::interfaces::index(INTERFACE))
        .expect("a job")
        .expect("an index");
    let (link, objects) = to
        .run(move || {
            let program = steering(&mut objects[0]);
            let id = program
                .attach_to_if_index(index, XdpMode::Driver)
                .expect("an attachment");
            (program.take_link(id).expect("a link"), objects)
        })
        .expect("a job");
    let mut objects = objects;
    let _pinned = FdLink::try_from(link).expect("a link").pin(&pin).expect("a pin");

    let stopped = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&stopped);
    let sender = from
        .spawn("sender", move || send_until(&until, address))
        .expect("a thread");
    let receiver = std::thread::spawn(move || count_received(&socket));
    std::thread::sleep(PAUSE);
    for turn in 0..SWAPS {
        let program = steering(&mut objects[(turn + 1) % 2]);
        assert!(loader::swap(program, &pin).expect("a link"), "swap {turn}");
        std::thread::sleep(PAUSE);
    }
    stopped.store(true, Ordering::Relaxed);
    let sent = sender.join().expect("a sender").expect("frames that were sent");
    let received = receiver.join().expect("a receiver");
    std::fs::remove_file(&pin).expect("a pin that can go");
    let by_each = objects.each_ref().map(passed);
    assert!(sent > 5_000, "{sent} frames alone");
    assert_eq!(
        (received, by_each.iter().sum()),
        (sent, sent),
        "by each program: {by_each:?}"
    );
    assert!(
        by_each.iter().all(|count| *count > sent / 4),
        "both had their turns: {by_each:?}"
    );
}
