//! `gateway check --host`: each trap that a veth can have is made true and found; and other XDP programs in the way.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use gateway_tests::lab::addresses::{Family, Vip};
use gateway_tests::lab::node::Node;
use gateway_tests::lab::pass::{self, Loaded, XdpMode};
use gateway_tests::lab::settings::INTERFACE;
use gateway_tests::lab::wire::{self, Power};
use gateway_tests::lab::{remains, sysctl};
use serde_json::Value;

use crate::start::{FAILURE, User, check, hide_btf, lab, run};
use crate::support::{bpftool, one_at_a_time};

/// Who asks.
#[derive(Clone, Copy, PartialEq)]
enum Asker {
    Root,
    WithoutBtf,
    Nobody,
}

fn ask(node: &Node, program: &std::path::Path, asker: Asker, more: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.arg("check").arg("--host").args(more);
    command.arg(&node.files().config);
    match asker {
        Asker::Root => {}
        Asker::WithoutBtf => {
            // SAFETY: as where a node is started so: system calls alone, on constant paths.
            unsafe { command.pre_exec(hide_btf) };
        }
        Asker::Nobody => {
            command.uid(65_534).gid(65_534).env("HOME", "/nonexistent");
        }
    }
    let output = node.namespace().run(move || command.output());
    output.expect("a job").expect("a run")
}

/// What is no good, and whether the whole is.
fn found(node: &Node, program: &std::path::Path, asker: Asker) -> (Vec<(String, String)>, bool) {
    let output = ask(node, program, asker, &["--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let faults = String::from_utf8_lossy(&output.stderr);
    let told = serde_json::from_str::<Value>(&text);
    assert!(told.is_ok(), "no JSON: {text}{faults}");
    let told = told.expect("JSON");
    let is_ok = told["ok"].as_bool().expect("a verdict");
    assert_eq!(output.status.code(), Some(i32::from(!is_ok)), "{text}");
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    let findings = told["findings"].as_array().expect("findings").iter();
    let bad = findings
        .filter(|finding| finding["level"] != "good")
        .inspect(|finding| assert!(finding["remedy"].is_string(), "{finding}"))
        .map(|finding| (word(&finding["check"]), word(&finding["level"])));
    (bad.collect(), is_ok)
}

/// Something that a node's namespace suffers.
type Change = Box<dyn FnOnce() -> anyhow::Result<()> + Send>;

#[test]
fn each_trap_that_is_made_true_is_found_and_named() {
    let _turn = one_at_a_time();
    let (lab, plan) = lab();
    let node = &lab.nodes()[0];
    let vip = Vip::FlowHash.address(Family::V4);
    let none: &[(&str, &str)] = &[];
    let see = |what: &str, asker: Asker, expected: &[(&str, &str)]| {
        let (bad, _) = found(node, &plan.program, asker);
        let bad: Vec<_> = bad
            .iter()
            .map(|(check, level)| (check.as_str(), level.as_str()))
            .collect();
        assert_eq!(bad, expected, "{what}");
    };
    see("a lab's node", Asker::Root, none);
    // The larger counts of the interface's own value and that of all.
    let set = |setting: &'static str, value: &'static str| -> Change {
        Box::new(move || {
            sysctl::write_value(&format!("ipv4/conf/all/{setting}"), value)?;
            sysctl::write_value(&format!("ipv4/conf/{INTERFACE}/{setting}"), value)
        })
    };
    let mtu = |bytes| -> Change { Box::new(move || wire::set_mtu(INTERFACE, bytes)) };
    // What is done, what is found then, and what undoes it.
    let rows: [(&str, Change, (&str, &str), Change); 7] = [
        (
            "ARP for VIPs",
            set("arp_ignore", "0"),
            ("arp-ignore", "warning"),
            set("arp_ignore", "1"),
        ),
        (
            "ARP from VIPs",
            set("arp_announce", "1"),
            ("arp-announce", "warning"),
            set("arp_announce", "2"),
        ),
        (
            "a strict way back",
            set("rp_filter", "1"),
            ("rp-filter", "warning"),
            set("rp_filter", "2"),
        ),
        ("a narrow interface", mtu(1_400), ("mtu", "warning"), mtu(1_500)),
        (
            "one too narrow for IPv6",
            mtu(1_300),
            ("mtu", "fault"),
            mtu(1_500),
        ),
        (
            "a VIP on the wire",
            Box::new(move || wire::add_address(INTERFACE, vip, 32)),
            ("vip-address", "warning"),
            Box::new(move || wire::remove_address(INTERFACE, vip, 32)),
        ),
        (
            "a VIP on lo as a source",
            Box::new(move || wire::add_address("lo", vip, 32)),
            ("vip-address", "warning"),
            Box::new(move || wire::remove_address("lo", vip, 32)),
        ),
    ];
    for (what, make, expected, undo) in rows {
        node.namespace().run(make).expect("a job").expect(what);
        see(what, Asker::Root, &[expected]);
        node.namespace().run(undo).expect("a job").expect(what);
    }
    see("all undone", Asker::Root, none);
    see("without BTF", Asker::WithoutBtf, &[("btf", "fault")]);
    let good = node.config();
    let other = good.replacen("interfaces = [\"eth0\"]", "interfaces = [\"eth7\"]", 1);
    node.write_config(&other).expect("a file");
    see("no such interface", Asker::Root, &[("interface", "fault")]);
    let other = good.replacen(
        "pin_directory = \"/sys/fs/bpf",
        "pin_directory = \"/run/nowhere",
        1,
    );
    node.write_config(&other).expect("a file");
    see("no bpffs", Asker::Root, &[("bpffs", "fault")]);
    node.write_config(&good).expect("a file");
    let power = |power| node.namespace().run(move || wire::set_power(INTERFACE, power));
    power(Power::Down).expect("a job").expect("an interface down");
    see("down", Asker::Root, &[("interface", "fault")]);
}

#[test]
fn without_rights_that_is_what_is_told() {
    let _turn = one_at_a_time();
    let (lab, plan) = lab();
    let node = &lab.nodes()[0];
    let program = lab.directory().join("gateway");
    std::fs::copy(&plan.program, &program).expect("a copy");
    // The key of a cluster is root's.
    let config = node.config();
    let (head, rest) = config.split_once("[cluster]").expect("a cluster table");
    let (_, tail) = rest.split_once("[defaults]").expect("a table after it");
    node.write_config(&format!("{head}[defaults]{tail}"))
        .expect("a file");
    let (bad, is_ok) = found(node, &program, Asker::Nobody);
    let expected = [("rights", "fault"), ("realtime", "warning")];
    let expected = expected.map(|(check, level)| (check.to_owned(), level.to_owned()));
    assert_eq!(bad, expected);
    assert!(!is_ok);
}

#[test]
fn a_running_node_finds_its_own_program_and_people_get_a_table() {
    let _turn = one_at_a_time();
    let (lab, plan) = lab();
    let node = &lab.nodes()[0];
    node.start().expect("a start");
    node.wait_ready().expect("a ready node");
    assert_eq!(found(node, &plan.program, Asker::Root), (Vec::new(), true));
    let output = ask(node, &plan.program, Asker::Root, &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    for told in [
        "check",
        "this node's program is attached",
        "has native XDP",
        "this machine is as",
    ] {
        assert!(text.contains(told), "nothing about {told:?} in: {text}");
    }
    let bad = node.config().replacen("weight = 1", "weight = 0", 1);
    node.write_config(&bad).expect("a file");
    let output = ask(node, &plan.program, Asker::Root, &[]);
    assert_eq!(output.status.code(), Some(64), "a refused configuration");
}

/// How another program is attached.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Link(XdpMode),
    PinnedLink(XdpMode),
    Netlink(&'static str),
}

#[test]
fn another_xdp_program_is_named_with_what_takes_it_off_and_is_left_alone() {
    let _turn = one_at_a_time();
    let (lab, plan) = lab();
    let node = &lab.nodes()[0];
    // Beside the lab's own directory, which a failed start takes away.
    let pin = std::path::PathBuf::from(remains::BPFFS).join(format!("another_{}", lab.id()));
    let own = std::process::id();
    let pinned = format!("pinned at {}", pin.display());
    let rm = format!("`rm {}`", pin.display());
    let held = format!("held by process {own} (");
    let rows: [(Way, [&str; 4]); 6] = [
        (
            Way::Link(XdpMode::Driver),
            ["native mode", "by link ", &held, "which holds its link"],
        ),
        (
            Way::Link(XdpMode::Skb),
            ["generic mode", "by link ", &held, "which holds its link"],
        ),
        (
            Way::PinnedLink(XdpMode::Driver),
            ["native mode", "by link ", &pinned, &rm],
        ),
        (
            Way::PinnedLink(XdpMode::Skb),
            ["generic mode", "by link ", &pinned, &rm],
        ),
        (
            Way::Netlink("xdpdrv"),
            [
                "native mode",
                "by netlink",
                "loaded by root",
                "`ip link set dev eth0 xdpdrv off`",
            ],
        ),
        (
            Way::Netlink("xdpgeneric"),
            [
                "generic mode",
                "by netlink",
                "loaded by root",
                "`ip link set dev eth0 xdpgeneric off`",
            ],
        ),
    ];
    for (way, named) in rows {
        let what = format!("{way:?}");
        let interfaces = [INTERFACE.to_owned()];
        let mut passing = None;
        let id = match way {
            Way::Link(mode) => {
                let attached = node.namespace().run(move || pass::attach_in(&interfaces, mode));
                let attached = attached.expect("a job").expect("a program");
                let id = attached.id();
                passing = Some(attached);
                id
            }
            Way::PinnedLink(mode) => {
                let attached = node.namespace().run(move || pass::attach_in(&interfaces, mode));
                let attached = attached.expect("a job").expect("a program");
                let id = attached.id();
                attached.pin(&pin).expect("a pin");
                id
            }
            Way::Netlink(kind) => {
                let mut loaded = Loaded::new().expect("a program");
                let id = loaded.id().expect("a number");
                bpftool_net(node, &["attach", kind, "id", &id.to_string(), "dev", INTERFACE]);
                id
            }
        };
        let numbered = format!("pass (id {id}, tag ");
        let mut all = vec!["another XDP program", INTERFACE, numbered.as_str()];
        all.extend(named);
        let there = node.leftovers().expect("a look");
        let output = run(node, User::Root, &plan.program);
        check(node, &what, &output, FAILURE, &all, &there);
        let (bad, _) = found(node, &plan.program, Asker::Root);
        assert!(
            bad.contains(&("xdp-program".to_owned(), "fault".to_owned())),
            "{what}: {bad:?}"
        );
        assert_ne!(
            node.xdp_mode().expect("a mode"),
            wire::XdpMode::Absent,
            "{what}: the other program stays"
        );
        drop(passing);
        match way {
            Way::Link(_) => {}
            Way::PinnedLink(_) => std::fs::remove_file(&pin).expect("a pin that can go"),
            Way::Netlink(kind) => bpftool_net(node, &["detach", kind, "dev", INTERFACE]),
        }
        assert_eq!(node.xdp_mode().expect("a mode"), wire::XdpMode::Absent, "{what}");
    }
}

fn bpftool_net(node: &Node, arguments: &[&str]) {
    let mut command = Command::new(bpftool());
    command.arg("net").args(arguments);
    let output = node.namespace().run(move || command.output()).expect("a job");
    let output = output.expect("a run of bpftool");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
