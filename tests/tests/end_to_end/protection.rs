//! What the filter keeps from VIPs, on live traffic: a denied client stops and nobody else does; a flood of forged SYNs costs
//! no connection.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gateway_tests::lab::Lab;
use gateway_tests::lab::addresses::{Family, Vip, client_source};
use gateway_tests::lab::settings::Common;
use gateway_tests::lab::wait::wait_until;
use gateway_tests::load::flood::Flood;
use socket2::{Domain, Protocol, Socket, Type};

use crate::routed::{Hash, PATIENCE, Scene, assert_none_broken, packets_for};
use crate::support::{one_at_a_time, running_lab};

/// A client that asks, is answered, and asks again, on one connection.
struct Talk {
    answers: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Talk {
    fn start(lab: &Lab, from: IpAddr) -> Self {
        let (answers, stop) = (
            Arc::<Mutex<Vec<Instant>>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let (noted, stopped) = (Arc::clone(&answers), Arc::clone(&stop));
        let target = Vip::FlowHash.http(Family::V4);
        let thread = lab
            .client()
            .spawn("talk", move || talk(from, target, &noted, &stopped));
        Self {
            answers,
            stop,
            thread: Some(thread.expect("a thread")),
        }
    }

    fn answers_after(&self, moment: Instant) -> usize {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().filter(|at| **at > moment).count()
    }

    fn wait_for_answers_after(&self, moment: Instant) {
        let found = wait_until(moment + PATIENCE, || {
            (self.answers_after(moment) > 3).then_some(())
        });
        assert!(found.is_some(), "no answers any more");
    }

    /// Stops, and says how the connection ended.
    fn end(mut self) -> std::io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("a thread").join().expect("no panic")
    }
}

fn talk(
    from: IpAddr,
    target: SocketAddr,
    answers: &Mutex<Vec<Instant>>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect(&target.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(b"GET /hello HTTP/1.1\r\nhost: lab\r\n\r\n")?;
        let mut answer = Vec::new();
        // A short answer, which ends with its body.
        while !answer.ends_with(b"hello") {
            match stream.read(&mut buffer)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                read => answer.extend(buffer.get(..read).unwrap_or_default()),
            }
        }
        answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Instant::now());
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Does the same at all nodes, by the gateway's own client.
fn told_all(lab: &Lab, arguments: &[&str]) {
    for node in lab.nodes() {
        let said = node.told(arguments).expect("an answer");
        assert!(said["prefixes"].is_array(), "{said}");
    }
}

#[test]
fn a_denied_network_stops_at_once_and_nobody_else_does() {
    const STOPS_WITHIN: Duration = Duration::from_millis(100);
    let _turn = one_at_a_time();
    let lab = running_lab([1; 3]);
    let [denied, other] = [17, 18].map(|number| client_source(Family::V4, number));
    let (bad, good) = (Talk::start(&lab, denied), Talk::start(&lab, other));
    let began = Instant::now();
    bad.wait_for_answers_after(began);
    good.wait_for_answers_after(began);

    let dry = lab.nodes()[0]
        .told(&["deny", "add", &denied.to_string(), "--dry-run"])
        .expect("an answer");
    assert_eq!(dry["dry_run"], true);
    let after_dry = Instant::now();
    bad.wait_for_answers_after(after_dry);

    told_all(
        &lab,
        &[
            "deny",
            "add",
            &denied.to_string(),
            "--for",
            "10m",
            "--reason",
            "a test",
        ],
    );
    let told = Instant::now();
    thread::sleep(Duration::from_secs(1));
    let late = bad.answers_after(told + STOPS_WITHIN);
    assert_eq!(late, 0, "answers to a denied client later than {STOPS_WITHIN:?}");
    assert!(
        good.answers_after(told + STOPS_WITHIN) > 50,
        "the neighbour is hit, too"
    );
    let dropped: u64 = lab.nodes().iter().map(|node| packets_for(node, "denied")).sum();
    assert!(dropped > 0, "nobody counted a denied packet");
    let listed = lab.nodes()[1].told(&["deny", "list"]).expect("a list");
    assert_eq!(listed["denied"][0]["prefix"], format!("{denied}/32"));
    assert_eq!(listed["denied"][0]["reason"], "a test");
    assert_eq!(listed["in_kernel"], 1);

    // The connection was never reset: it goes on where it stopped.
    told_all(&lab, &["deny", "remove", &denied.to_string()]);
    bad.wait_for_answers_after(Instant::now());
    bad.end().expect("the denied client's connection");
    good.end().expect("its neighbour's connection");
}

#[test]
fn bans_outlive_the_process_and_end_in_their_time() {
    let _turn = one_at_a_time();
    let lab = running_lab([1; 3]);
    let [short, long] = [21, 22].map(|number| client_source(Family::V4, number).to_string());
    told_all(&lab, &["deny", "add", &short, "--for", "12s"]);
    told_all(&lab, &["deny", "add", &long]);
    let node = &lab.nodes()[0];
    node.kill().expect("a kill");
    node.start().expect("a start");
    node.wait_ready().expect("a ready node");
    let listed = node.told(&["deny", "list"]).expect("a list");
    let prefixes: Vec<&str> = listed["denied"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["prefix"].as_str())
        .collect();
    assert!(prefixes.contains(&format!("{long}/32").as_str()), "{listed}");
    // That the kernel itself compares times is a packet case's matter: here a sweep may have been earlier.
    for node in lab.nodes() {
        let target = Vip::FlowHash.http(Family::V4).to_string();
        let over = wait_until(Instant::now() + PATIENCE, || {
            let from = format!("{short}:40000");
            let told = node
                .told(&["explain", "packet", "--from", &from, "--to", &target])
                .expect("an explanation");
            (told["verdict"]["reason"] != "denied").then_some(())
        });
        assert!(over.is_some(), "the short ban does not end");
        let from = format!("{long}:40000");
        let told = node
            .told(&["explain", "packet", "--from", &from, "--to", &target])
            .expect("an explanation");
        assert_eq!(told["verdict"]["reason"], "denied", "{told}");
    }
}

/// SYNs that are a flood: more than the flow tables of the lab's nodes hold. How many a second is the machine's affair.
const SYNS_MIN: u64 = 200_000;

#[test]
fn a_flood_of_forged_syns_during_a_drain_and_a_rehash_breaks_no_connection() {
    let _turn = one_at_a_time();
    let scene = Scene::new(3, &[0, 1, 2], Hash::Changes, Common::default());
    let started = Instant::now();
    scene.rounds(1);
    let flood = Flood::start(&scene.lab, Vip::FlowHash.http(Family::V4)).expect("a flood");
    scene.drain_and_undrain(1, &[0, 1, 2]);
    scene.rounds(2);
    let grown = wait_until(Instant::now() + PATIENCE, || {
        (flood.frames() >= SYNS_MIN).then_some(())
    });
    let sent = flood.end().expect("a flood that went on");
    println!("flood: {sent}");
    assert!(grown.is_some(), "no flood: {sent}");
    scene.wait_all_live();
    let broken = scene.end("flood");
    assert_none_broken("flood", Hash::Changes, &broken, started);
}
