//! `gateway trace` on live traffic: it tells the packets that were asked for and no others, on the director and on the owner,
//! no more of them than its rate allows, and leaves nothing on when its reader goes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_tests::lab::Lab;
use gateway_tests::lab::addresses::{Family, Vip, client_source};
use gateway_tests::lab::exchange::exchange;
use gateway_tests::lab::node::Node;
use gateway_tests::lab::wait::wait_until;
use gateway_tests::load::flood::Flood;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;

use crate::routed::PATIENCE;
use crate::support::{one_at_a_time, running_lab};

/// Client ports below those that the kernel chooses by itself.
const PORT: u16 = 21_000;

/// Connections: enough that some are another node's than the director's.
const CONNECTIONS: u16 = 12;

/// Waits until that many traces run on a node.
fn wait_for_traces(node: &Node, wanted: usize) {
    let line = format!("gateway_traces {wanted}\n");
    let found = wait_until(Instant::now() + PATIENCE, || {
        let metrics = node.admin(Method::GET, "/metrics").expect("metrics");
        let text = String::from_utf8_lossy(metrics.body()).into_owned();
        text.contains(&line).then_some(())
    });
    assert!(found.is_some(), "{}: not {wanted} traces", node.name());
}

/// Requests of one client, each on a connection of its own, from `first` on.
fn requests(lab: &Lab, from: IpAddr, to: SocketAddr, first: u16) {
    for port in first..first + CONNECTIONS {
        let request = Request::get("/hello").header("host", "lab");
        let request = request.body(Full::<Bytes>::default()).expect("a request");
        let source = SocketAddr::new(from, port);
        let answer = lab
            .client()
            .run_async(move || exchange(to, Some(source), request));
        assert!(answer.expect("an answer").status().is_success());
    }
}

/// What a trace has written, line by line: packets, and how it ended.
fn written(child: Child) -> (Vec<Value>, Value) {
    let output = child.wait_with_output().expect("an end");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let last = lines.last().cloned().unwrap_or_default();
    assert!(
        last["end"].is_string(),
        "{last}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let packets = lines.into_iter().filter(|line| line["verdict"].is_string());
    (packets.collect(), last)
}

fn ip(value: &Value) -> IpAddr {
    let text = value.as_str().expect("an address");
    let with_port = text.parse::<SocketAddr>().map(|address| address.ip());
    with_port.unwrap_or_else(|_| text.parse().expect("an address"))
}

#[test]
fn a_trace_tells_the_packets_of_an_address_and_no_others_on_the_director_and_on_the_owner() {
    let _turn = one_at_a_time();
    let lab = running_lab([1; 3]);
    let [wanted, other] = [31, 32].map(|number| client_source(Family::V4, number));
    let to = Vip::FlowHash.http(Family::V4);
    let trace = |node: &Node| {
        let address = format!("{wanted}/32");
        let arguments = ["trace", "--address", &address, "--seconds", "8", "--json"];
        node.ask(&arguments).expect("a trace")
    };
    let traces: Vec<Child> = lab.nodes().iter().map(trace).collect();
    for node in lab.nodes() {
        wait_for_traces(node, 1);
    }
    requests(&lab, wanted, to, PORT);
    requests(&lab, other, to, PORT);
    let told: Vec<Vec<Value>> = traces.into_iter().map(|trace| written(trace).0).collect();
    for packet in told.iter().flatten() {
        assert!(
            ip(&packet["source"]) == wanted || ip(&packet["destination"]) == wanted,
            "{packet}"
        );
    }
    let on = |name: &str| {
        let index = lab.nodes().iter().position(|node| node.name() == name);
        &told[index.expect("a node")]
    };
    let mut sent = 0;
    for port in PORT..PORT + CONNECTIONS {
        let source = SocketAddr::new(wanted, port).to_string();
        let is_first = |packet: &&Value| packet["source"] == *source && packet["flags"] == "S";
        let first = told.iter().flatten().filter(is_first);
        let directed: Vec<&Value> = first.filter(|packet| packet["from"].is_null()).collect();
        let [directed] = directed.as_slice() else {
            panic!("the SYN of {source} is told by no director, or by several: {directed:?}");
        };
        assert_eq!(directed["vip"], "public", "{directed}");
        assert_eq!(directed["destination"], to.to_string(), "{directed}");
        if directed["verdict"] == "pass" {
            assert_eq!(directed["reason"], "listener-here", "{directed}");
            continue;
        }
        assert_eq!(
            (&directed["verdict"], &directed["reason"]),
            (&"send".into(), &"to-owner".into())
        );
        sent += 1;
        let owner = on(directed["to"].as_str().expect("an owner"));
        let arrived = owner.iter().find(is_first).expect("the SYN at its owner");
        assert_eq!(arrived["from"], directed["node"], "{arrived}");
        assert_eq!(arrived["hops"], 1, "{arrived}");
        assert_eq!(
            (&arrived["verdict"], &arrived["reason"]),
            (&"decapsulate".into(), &"listener-from-node".into())
        );
    }
    assert!(sent > 0, "no connection is another node's than the director's");

    // What was told was counted, too: by VIP and reason, and by the node that it was sent to.
    let directors = lab.nodes().iter().filter(|node| {
        let status = node.admin_json(Method::GET, "/v1/status").expect("a status");
        let dataplane = &status["dataplane"];
        let vips = dataplane["vips"].as_array().expect("VIPs");
        let public = vips.iter().find(|vip| vip["name"] == "public").expect("the VIP");
        let verdicts = public["verdicts"].as_array().expect("verdicts");
        let packets = |count: &Value| count["packets"].as_u64().expect("packets");
        assert_eq!(
            packets(public),
            verdicts.iter().map(packets).sum::<u64>(),
            "{public}"
        );
        let sent = verdicts
            .iter()
            .any(|count| count["reason"] == "to-owner" && packets(count) > 0);
        let steered = dataplane["steered"].as_array().expect("nodes");
        let is_counted = |count: &Value| packets(count) > 0 && count["bytes"].as_u64() > Some(60);
        assert!(!sent || steered.iter().any(is_counted), "{dataplane}");
        sent
    });
    assert!(
        directors.count() > 0,
        "no director counts what it sent to an owner"
    );
}

#[test]
fn readers_get_what_each_asked_for_and_leave_nothing_on_when_they_go() {
    let _turn = one_at_a_time();
    let lab = running_lab([1; 3]);
    let client = client_source(Family::V4, 33);
    let (public, sticky) = (Vip::FlowHash.http(Family::V4), Vip::IpHash.http(Family::V4));
    let on_all = |arguments: &[&str]| -> Vec<Child> {
        let ask = |node: &Node| node.ask(arguments).expect("a trace");
        lab.nodes().iter().map(ask).collect()
    };
    let of_public = on_all(&["trace", "--vip", "public", "--seconds", "8", "--json"]);
    let of_sticky = on_all(&["trace", "--vip", "sticky", "--seconds", "8", "--json"]);
    for node in lab.nodes() {
        wait_for_traces(node, 2);
    }
    requests(&lab, client, public, PORT);
    requests(&lab, client, sticky, PORT + CONNECTIONS);
    for (name, traces) in [("public", of_public), ("sticky", of_sticky)] {
        let told: Vec<Value> = traces.into_iter().flat_map(|trace| written(trace).0).collect();
        let names: BTreeSet<&str> = told.iter().filter_map(|packet| packet["vip"].as_str()).collect();
        assert_eq!(names, BTreeSet::from([name]));
        assert!(told.iter().all(|packet| packet["vip"].is_string()));
        let opened = told
            .iter()
            .filter(|packet| packet["flags"] == "S" && packet["from"].is_null());
        assert_eq!(opened.count(), usize::from(CONNECTIONS), "{name}");
    }

    // Killed, a reader leaves nothing; four at once are all that there can be, and an unknown VIP is told as such.
    let node = &lab.nodes()[0];
    wait_for_traces(node, 0);
    let mut readers: Vec<Child> = (0..4)
        .map(|_| node.ask(&["trace", "--json"]).expect("a trace"))
        .collect();
    wait_for_traces(node, 4);
    let refused = node.ask(&["trace", "--json"]).expect("a trace");
    let refused = refused.wait_with_output().expect("an end");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("4 traces run already"),
        "{text}"
    );
    for reader in &mut readers {
        reader.kill().expect("a kill");
        reader.wait().expect("an end");
    }
    wait_for_traces(node, 0);
    let unknown = node.ask(&["trace", "--vip", "publik"]).expect("a trace");
    let unknown = unknown.wait_with_output().expect("an end");
    let text = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(
        !unknown.status.success() && text.contains("no VIP `publik`"),
        "{text}"
    );
}

#[test]
fn a_file_of_packets_is_read_by_tcpdump() {
    let _turn = one_at_a_time();
    let lab = running_lab([1; 3]);
    let client = client_source(Family::V4, 34);
    let to = Vip::FlowHash.http(Family::V4);
    let files: Vec<_> = lab
        .nodes()
        .iter()
        .map(|node| node.files().config.with_extension("pcapng"))
        .collect();
    let address = client.to_string();
    let trace = |(node, file): (&Node, &std::path::PathBuf)| {
        let file = file.to_str().expect("a name");
        let arguments = ["trace", "--address", &address, "--seconds", "8", "--pcap", file];
        node.ask(&arguments).expect("a trace")
    };
    let traces: Vec<Child> = lab.nodes().iter().zip(&files).map(trace).collect();
    for node in lab.nodes() {
        wait_for_traces(node, 1);
    }
    requests(&lab, client, to, PORT);
    let mut opened = 0;
    for (trace, file) in traces.into_iter().zip(&files) {
        let said = trace.wait_with_output().expect("an end");
        let said = String::from_utf8(said.stdout).expect("text");
        // Headings, a line a packet, and how many there were.
        let lines = said.lines().count().saturating_sub(2);
        let read = Command::new("tcpdump")
            .args(["-nn", "-e", "-r"])
            .arg(file)
            .stderr(Stdio::piped())
            .output();
        let read = read.expect("tcpdump: install Debian's package, or run `cargo xtask test`, which does");
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let packets = String::from_utf8(read.stdout).expect("text");
        assert_eq!(packets.lines().count(), lines, "{packets}\n{said}");
        // As they came: to the owner within GUE, which tcpdump shows as the UDP that it is in.
        let plain = format!("{client}.");
        opened += packets
            .lines()
            .filter(|line| line.contains(&plain) && line.contains("Flags [S]"))
            .count();
    }
    assert_eq!(opened, usize::from(CONNECTIONS), "SYNs as the director got them");
}

#[test]
fn a_flood_is_told_at_the_rate_that_was_asked_for_and_the_log_gets_samples() {
    const RATE: usize = 50;
    const SECONDS: usize = 4;
    let _turn = one_at_a_time();
    let lab = running_lab([1; 3]);
    let node = &lab.nodes()[0];
    let flood = Flood::start(&lab, Vip::FlowHash.http(Family::V4)).expect("a flood");
    let (rate, seconds) = (RATE.to_string(), SECONDS.to_string());
    let trace = node.ask(&["trace", "--rate", &rate, "--seconds", &seconds, "--json"]);
    let (told, last) = written(trace.expect("a trace"));
    let sent = flood.end().expect("a flood that went on");
    println!("flood: {sent}; {last}");
    let cores = std::thread::available_parallelism().expect("cores").get();
    // A bucket holds a tenth of a second's packets; the stream's second may be a little longer.
    let most = (RATE * (SECONDS + 1) + RATE / 10) * cores;
    assert!(told.len() <= most, "{} lines, at most {most}", told.len());
    assert!(told.len() >= RATE, "{} lines only", told.len());
    let counts = &last["counts"];
    let count = |name: &str| counts[name].as_u64().expect("a count");
    // Counted by each CPU while the flood went on, and not read at one moment.
    assert!(count("seen").abs_diff(count("sampled")) < 100, "{counts}");
    assert!(count("limited") > 10 * told.len() as u64, "{counts}");

    let sampled = |node: &Node| {
        let log = std::fs::read_to_string(&node.files().stderr).expect("a log");
        log.lines()
            .filter(|line| line.contains("a sampled packet"))
            .count()
    };
    assert_eq!(sampled(node), 0, "nothing is sampled unless it is said");
    let text = format!("{}\n[trace]\nsample = 1\nrate = 100\n", node.config());
    node.write_config(&text).expect("a configuration");
    node.admin_json(Method::POST, "/v1/reload").expect("a reload");
    wait_for_traces(node, 1);
    let found = wait_until(Instant::now() + PATIENCE, || (sampled(node) > 10).then_some(()));
    assert!(found.is_some(), "no samples in the log");
    node.write_config(&node.config()).expect("a configuration");
    node.admin_json(Method::POST, "/v1/reload").expect("a reload");
    wait_for_traces(node, 0);
    std::thread::sleep(Duration::from_millis(300));
    let before = sampled(node);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(sampled(node), before, "samples after they were ended");
}
