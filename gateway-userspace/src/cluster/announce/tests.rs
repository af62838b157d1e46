//! Two network namespaces, joined by a veth pair: what a neighbour's kernel makes of it. `root_…` want root.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::config::snapshot::{Payload, Steering, Transport, VipProtection};
use crate::view::SetId;
use gateway_common::node::NodeId;

/// Far more than any step here takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

fn view(number: u64, names: &[&str]) -> View {
    let member = |(i, name): (usize, &&str)| Member {
        id: NodeId(u16::try_from(i + 1).unwrap()),
        name: (*name).to_owned(),
        address: None,
        address_v6: None,
        weight: 1,
        incarnation: 1,
        serves: SetId::ALL,
    };
    View {
        sets: Vec::new(),
        number,
        hash_key: [0, 0],
        members: names.iter().enumerate().map(member).collect(),
        history: Vec::new(),
    }
}

fn vip(address: IpAddr) -> Vip {
    Vip {
        name: address.to_string(),
        address,
        ports: vec![80],
        protocol: Transport::Tcp,
        steering: Steering::FlowHash,
        payload: Payload::Plain,
        protection: VipProtection::default(),
    }
}

fn addresses(n: u8) -> Vec<IpAddr> {
    (0..n).map(|i| IpAddr::from([203, 0, 113, i])).collect()
}

#[test]
fn each_address_has_one_holder_and_they_are_spread() {
    let four = view(1, &["gw-1", "gw-2", "gw-3", "gw-4"]);
    for name in ["gw-1", "gw-2", "gw-3", "gw-4"] {
        let held = addresses(200)
            .iter()
            .filter(|a| holder(&four, **a).unwrap().name == name)
            .count();
        assert!((30..=70).contains(&held), "{name} holds {held} of 200");
    }
    assert_eq!(holder(&view(1, &[]), addresses(1)[0]), None);
}

#[test]
fn only_the_addresses_of_a_lost_member_move() {
    let (all, less) = (view(1, &["a", "b", "c"]), view(2, &["a", "c"]));
    for address in addresses(100) {
        let (before, after) = (holder(&all, address).unwrap(), holder(&less, address).unwrap());
        assert!(before.name == "b" || before.name == after.name, "{address}");
    }
}

#[test]
fn addresses_are_held_by_nodes_that_serve_them() {
    let mut some = view(1, &["gw-1", "gw-2", "gw-3"]);
    let [known, strange] = [addresses(8)[3], addresses(8)[7]];
    let fingerprint = Fingerprint::of(&VipKey::of_address(known.into()));
    some.sets = vec![Vec::new(), vec![fingerprint]];
    for (member, serves) in some.members.iter_mut().zip([1, 2, 1]) {
        member.serves = SetId(serves);
    }
    assert_eq!(holder(&some, known).unwrap().name, "gw-2");
    let all = view(1, &["gw-1", "gw-2", "gw-3"]);
    assert_eq!(
        holder(&some, strange).unwrap().name,
        holder(&all, strange).unwrap().name
    );
}

#[test]
fn draining_changes_no_holder() {
    let mut draining = view(1, &["a", "b"]);
    draining.members[0].weight = 0;
    for address in addresses(50) {
        let before = view(1, &["a", "b"]);
        assert_eq!(
            holder(&draining, address).unwrap().name,
            holder(&before, address).unwrap().name
        );
    }
}

#[test]
fn announcements_come_in_a_burst_and_then_every_five_seconds() {
    let times: Vec<u128> = (0..6).map(|sent| due(sent).as_millis()).collect();
    assert_eq!(times, [0, 100, 500, 5_500, 10_500, 15_500]);
}

#[test]
fn missing_permission_names_the_remedy() {
    let thread = std::thread::spawn(|| {
        // SAFETY: only this thread becomes nobody (the raw call, not the C library's), and it ends here.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
        if result != 0 {
            // Not root, so without the permission already.
            assert_ne!(nix::unistd::geteuid().as_raw(), 0);
        }
        Announcer::start(&["lo".to_owned()])
            .map(drop)
            .unwrap_err()
            .to_string()
    });
    let text = thread.join().unwrap();
    assert!(
        text.contains("CAP_NET_RAW") && text.contains("announce = \"none\""),
        "{text}"
    );
}

#[test]
fn dead_announcer_thread_is_noticed() {
    let mut announcer = Announcer::start(&[]).unwrap();
    assert!(announcer.is_running());
    let panicking = std::thread::spawn(|| panic!("on purpose, in a test"));
    let healthy = announcer.thread.replace(panicking);
    let begin = Instant::now();
    while announcer.is_running() {
        assert!(begin.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
    announcer.stop();
    healthy.unwrap().join().unwrap();
}

/// More than the announcements of one burst could bring about, were questions not answered.
const RESOLUTIONS: usize = 2 * BURST.len();

/// A node's and a client's namespace; removed when dropped.
struct Pair {
    node: String,
    client: String,
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("`ip` of iproute2");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {arguments}: {error} (this test needs root)"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Pair {
    fn new() -> Pair {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let pair = Pair {
            node: format!("gwt-n-{unique}"),
            client: format!("gwt-c-{unique}"),
        };
        let (node, client) = (&pair.node, &pair.client);
        ip(&format!("netns add {node}"));
        ip(&format!("netns add {client}"));
        ip(&format!(
            "-n {node} link add up0 type veth peer name up1 netns {client}"
        ));
        for (namespace, device, host) in [(node, "up0", 1), (client, "up1", 2)] {
            ip(&format!(
                "-n {namespace} address add 10.77.0.{host}/24 dev {device}"
            ));
            ip(&format!(
                "-n {namespace} address add fd77::{host}/64 dev {device} nodad"
            ));
            ip(&format!("-n {namespace} link set {device} up"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        // As a node has them: on lo, and never answered by the kernel.
        pair.at_node(|| std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1").unwrap());
        for address in pair.vips() {
            let (bits, extra) = if address.is_ipv4() {
                (32, "")
            } else {
                (128, "nodad")
            };
            ip(&format!("-n {node} address add {address}/{bits} dev lo {extra}"));
        }
        pair
    }

    /// Of either family, one that `a` holds beside `b`, and one that `b` holds.
    fn vips(&self) -> Vec<IpAddr> {
        let both = view(1, &["a", "b"]);
        let v4 = |i: u16| IpAddr::from([10, 77, 0, 100 + u8::try_from(i).unwrap()]);
        let v6 = |i: u16| IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 1, i]);
        let pick = |address: &dyn Fn(u16) -> IpAddr, name: &str| {
            (0..100)
                .map(address)
                .find(|a| holder(&both, *a).unwrap().name == name)
                .unwrap()
        };
        vec![pick(&v4, "a"), pick(&v6, "a"), pick(&v4, "b"), pick(&v6, "b")]
    }

    fn mac(&self) -> String {
        let shown = ip(&format!("-n {} -o link show up0", self.node));
        shown.split("link/ether ").nth(1).unwrap()[..17].to_owned()
    }

    fn at_node<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        inside(&self.node, run)
    }

    /// Makes the client's kernel ask who has this address.
    fn ask(&self, address: IpAddr) {
        inside(&self.client, || {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.send_to(b"?", (address, 9)).unwrap();
        });
    }

    /// What the client's kernel believes.
    fn neighbour(&self, address: IpAddr) -> String {
        ip(&format!("-n {} neigh show {address} dev up1", self.client))
    }

    fn forget(&self, address: IpAddr) {
        ip(&format!("-n {} neigh flush dev up1 to {address}", self.client));
    }

    fn wait_for(&self, address: IpAddr, expected: &str) {
        let begin = Instant::now();
        while !self.neighbour(address).contains(expected) {
            assert!(
                begin.elapsed() < DEADLINE,
                "{address}: {:?}, not {expected}",
                self.neighbour(address)
            );
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for namespace in [&self.node, &self.client] {
            if let Err(error) = Command::new("ip").args(["netns", "del", namespace]).status() {
                eprintln!("removing {namespace}: {error}");
            }
        }
    }
}

fn inside<T: Send>(namespace: &str, run: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            run()
        });
        thread.join().unwrap()
    })
}

fn all(pair: &Pair) -> Vec<Vip> {
    pair.vips().into_iter().map(vip).collect()
}

fn start(pair: &Pair) -> Announcer {
    pair.at_node(|| Announcer::start(&["up0".to_owned()])).unwrap()
}

#[test]
fn root_neighbours_resolve_held_addresses_and_no_others() {
    let pair = Pair::new();
    let announcer = start(&pair);
    let [v4, v6, other_v4, other_v6] = pair.vips()[..] else {
        panic!("four addresses")
    };
    let held = announcer.update(&view(1, &["a", "b"]), "a", &all(&pair));
    assert_eq!(held, [v4, v6]);
    let mac = pair.mac();
    let begin = Instant::now();
    for (mine, others) in [(v4, other_v4), (v6, other_v6)] {
        // In this order: once ours is resolved by an answer, the other question has been passed over.
        pair.ask(others);
        for _ in 0..RESOLUTIONS {
            pair.forget(mine);
            pair.ask(mine);
            pair.wait_for(mine, &mac);
        }
        assert!(
            !pair.neighbour(others).contains("lladdr"),
            "{}",
            pair.neighbour(others)
        );
    }
    assert!(
        begin.elapsed() < REPEAT,
        "announcements alone resolve it {} times in this time",
        BURST.len()
    );
    let nobody_answers = || {
        for mine in [v4, v6] {
            let begin = Instant::now();
            pair.forget(mine);
            pair.ask(mine);
            while !pair.neighbour(mine).contains("FAILED") {
                assert!(begin.elapsed() < DEADLINE, "{mine} is still answered for");
                // An answer may have been on its way: ask again.
                if pair.neighbour(mine).contains("lladdr") {
                    pair.forget(mine);
                    pair.ask(mine);
                }
            }
        }
    };
    announcer.stop();
    nobody_answers();
}

#[test]
fn root_change_of_holder_corrects_what_neighbours_believe() {
    let pair = Pair::new();
    let announcer = start(&pair);
    let [.., other_v4, other_v6] = pair.vips()[..] else {
        panic!("four addresses")
    };
    announcer.update(&view(1, &["a", "b"]), "a", &all(&pair));
    let dead = "02:00:00:00:00:99";
    for address in [other_v4, other_v6] {
        ip(&format!(
            "-n {} neigh replace {address} lladdr {dead} dev up1 nud reachable",
            pair.client
        ));
        assert!(pair.neighbour(address).contains(dead));
    }
    // b dies: nobody asks, and yet its addresses are found here.
    let held = announcer.update(&view(2, &["a"]), "a", &all(&pair));
    assert_eq!(held.len(), 4);
    let mac = pair.mac();
    for address in [other_v4, other_v6] {
        pair.wait_for(address, &mac);
    }
}

#[test]
fn root_missing_and_wrong_interfaces_name_the_remedy() {
    let pair = Pair::new();
    for (interface, expected) in [("none0", "no such interface"), ("lo", "no Ethernet interface")] {
        let result = pair.at_node(|| Announcer::start(&[interface.to_owned()]).map(drop));
        let text = result.unwrap_err().to_string();
        assert!(text.contains(expected) && text.contains(interface), "{text}");
    }
}
