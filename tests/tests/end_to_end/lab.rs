//! The lab itself, without the gateway: is there a network, and is it gone afterwards?

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gateway_tests::lab::addresses::{self, Family, UPSTREAM_PORT, Vip, client_source};
use gateway_tests::lab::echo::Echo;
use gateway_tests::lab::settings::{Announce, Common};
use gateway_tests::lab::upstream::Mood;
use gateway_tests::lab::wait::wait_until;
use gateway_tests::lab::wire::XdpMode;
use gateway_tests::lab::{Lab, Plan, Switch, netns, remains, wire};
use http::StatusCode;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{get, one_at_a_time, plan_without_nodes};

#[test]
fn client_reaches_upstreams_over_both_families() {
    let _turn = one_at_a_time();
    let lab = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("a lab");
    for index in 0..3 {
        let host = addresses::upstream(index);
        for target in [
            SocketAddr::from((host.v4, UPSTREAM_PORT)),
            SocketAddr::from((host.v6, UPSTREAM_PORT)),
        ] {
            let answer = get(&lab, target, "/where?x=1").expect("an answer");
            let told: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
            assert_eq!(told["upstream"], format!("upstream{}", index + 1));
            assert_eq!(told["path"], "/where?x=1");
        }
    }
    let upstream = &lab.upstreams()[0];
    let sized = get(&lab, upstream.address(), "/bytes/100000").expect("an answer");
    assert_eq!(sized.body().len(), 100_000);
    upstream.set_mood(Mood::Unready);
    let unready = get(&lab, upstream.address(), "/readyz").expect("an answer");
    assert_eq!(unready.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn nodes_answer_any_address_of_the_client() {
    let _turn = one_at_a_time();
    let lab = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("a lab");
    let node = &lab.nodes()[0];
    let (v4, v6) = (node.host().v4, node.host().v6);
    let server = node
        .namespace()
        .run(|| std::net::TcpListener::bind("[::]:4000").expect("a listener"))
        .expect("a job");
    let sources = [
        (v4.into(), client_source(Family::V4, 4_095)),
        (v6.into(), client_source(Family::V6, 4_095)),
    ];
    for (address, source) in sources {
        let target = SocketAddr::new(address, 4_000);
        let connected = lab.client().run_async(move || async move {
            Ok(gateway_tests::lab::exchange::connect(target, Some(SocketAddr::new(source, 0))).await?)
        });
        connected.expect("a connection");
        let (_, peer) = server.accept().expect("a connection");
        assert_eq!(peer.ip().to_canonical(), source);
    }
}

#[test]
fn a_rehash_of_the_router_gives_most_flows_another_next_hop() {
    const FLOWS: usize = 300;
    let _turn = one_at_a_time();
    let plan = Plan {
        common: Common {
            announce: Announce::None,
            ..Common::default()
        },
        ..plan_without_nodes()
    };
    let lab = Lab::raise_with(&plan, Switch::Plain).expect("a lab with a router");
    let router = lab.router().expect("a router");
    for family in [Family::V4, Family::V6] {
        let target = Vip::Udp.udp(family);
        let bits = if target.is_ipv4() { 32 } else { 128 };
        for node in lab.nodes() {
            let added = node
                .namespace()
                .run(move || wire::add_address("lo", target.ip(), bits));
            added.expect("a job").expect("a VIP");
        }
        // The kernel lets nobody bind to an IPv6 address before it has looked for others that have it.
        let start = |node| {
            let deadline = Instant::now() + Duration::from_secs(10);
            wait_until(deadline, || Echo::start(node, target).ok()).expect("a server on each node")
        };
        let _echoes: Vec<_> = lab.nodes().iter().map(start).collect();
        let sockets = lab.client().run(move || -> std::io::Result<Vec<UdpSocket>> {
            let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let open = (0..FLOWS).map(|_| {
                let socket = UdpSocket::bind(any)?;
                socket.set_read_timeout(Some(Duration::from_secs(1)))?;
                socket.connect(target)?;
                Ok(socket)
            });
            open.collect()
        });
        let sockets = sockets.expect("a job").expect("sockets");
        let ask = || -> Vec<Vec<u8>> {
            let one = |socket: &UdpSocket| {
                // A datagram may be lost while its next hop is looked for.
                let mut answer = [0; 64];
                let length = (0..10).find_map(|_| {
                    socket.send(b"who?").expect("a datagram");
                    socket.recv(&mut answer).ok()
                });
                answer[..length.expect("an answer")].to_vec()
            };
            sockets.iter().map(one).collect()
        };
        router.set_next_hops(&[0, 1, 2]).expect("next hops");
        let before = ask();
        assert_eq!(before, ask(), "{family:?}: a flow's next hop stays");
        let nodes: BTreeSet<_> = before.iter().collect();
        assert_eq!(nodes.len(), 3, "{family:?}: {nodes:?}");
        router.rehash(&[0, 1, 2], 1).expect("another hash");
        let after = ask();
        let moved = before.iter().zip(&after).filter(|(was, is)| was != is).count();
        assert!(moved > FLOWS / 2, "{family:?}: only {moved} of {FLOWS} moved");
    }
}

#[test]
fn ports_to_nodes_pass_frames_natively() {
    let _turn = one_at_a_time();
    let lab = Lab::raise(&plan_without_nodes()).expect("a lab");
    for node in lab.nodes() {
        let port = node.name().to_owned();
        let mode = lab
            .switch()
            .run(move || wire::xdp_mode(&port))
            .expect("a job")
            .expect("a mode");
        assert_eq!(mode, XdpMode::Native);
        assert_eq!(node.xdp_mode().expect("a mode"), XdpMode::Absent);
    }
}

#[test]
fn labs_stand_side_by_side_and_leave_nothing() {
    let _turn = one_at_a_time();
    let first = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("a lab");
    let second = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("another lab");
    assert_ne!(first.id(), second.id());
    for lab in [&first, &second] {
        get(lab, lab.upstreams()[2].address(), "/").expect("an answer");
    }
    let ids = [first.id(), second.id()];
    drop(first);
    get(&second, second.upstreams()[2].address(), "/").expect("an answer after the other lab went");
    drop(second);
    for id in ids {
        assert!(!remains::any(id).expect("a look"), "lab {id} left something");
    }
}

#[test]
fn panics_remove_the_lab() {
    let _turn = one_at_a_time();
    let mut id = 0;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("a lab");
        id = lab.id();
        panic!("as a failing test does");
    }));
    assert!(panicked.is_err());
    assert!(!remains::any(id).expect("a look"), "lab {id} left something");
}

#[test]
fn what_a_dead_run_left_is_removed_and_living_labs_are_not_touched() {
    let _turn = one_at_a_time();
    let living = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("a lab");
    // What a killed process leaves: a namespace and a directory whose lock nobody holds.
    let dead = gateway_tests::lab::claim::LABS_MAX;
    let name = remains::namespace(dead, "node1");
    let orphan = netns::Namespace::create(&name).expect("a namespace");
    let path = orphan.path();
    std::mem::forget(orphan);
    std::fs::create_dir(remains::directory(dead)).expect("a directory");

    let next = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("another lab");
    assert!(!Path::new(&path).exists(), "{} is still there", path.display());
    assert!(!remains::any(dead).expect("a look"));
    assert_ne!(next.id(), living.id());
    get(&living, living.upstreams()[0].address(), "/").expect("an answer of the living lab");
}

/// Not a test: what the next test runs as another process. Says its lab's number and waits to be ended.
#[test]
#[ignore = "run by signals_remove_the_lab_and_the_next_run_what_a_kill_left"]
fn holds_a_lab_until_it_is_ended() {
    let lab = Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("a lab");
    println!("\nlab={}", lab.id());
    loop {
        std::thread::park();
    }
}

#[test]
fn signals_remove_the_lab_and_the_next_run_what_a_kill_left() {
    let _turn = one_at_a_time();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut holder = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "lab::holds_a_lab_until_it_is_ended",
                "--ignored",
                "--nocapture",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process");
        let lines = BufReader::new(holder.stdout.take().expect("its output")).lines();
        let id: u32 = lines
            .map(|line| line.expect("a line"))
            .find_map(|line| line.strip_prefix("lab=").map(|id| id.parse().expect("a number")))
            .expect("a lab of the other process");
        assert!(remains::any(id).expect("a look"), "lab {id} stands");
        let pid = Pid::from_raw(holder.id().try_into().expect("a process id"));
        kill(pid, signal).expect("a signal");
        let ended = wait_until(Instant::now() + Duration::from_secs(10), || {
            holder.try_wait().expect("a look at the process")
        });
        assert!(ended.is_some(), "{signal} does not end it");
        if signal == Signal::SIGKILL {
            assert!(
                remains::any(id).expect("a look"),
                "nobody could remove lab {id} yet"
            );
            drop(Lab::raise_with(&plan_without_nodes(), Switch::Plain).expect("a lab"));
        }
        assert!(
            !remains::any(id).expect("a look"),
            "lab {id} left something after {signal}"
        );
    }
}
