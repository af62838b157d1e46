//! Tables: one fact that is made true, and the finding that comes of it.

use std::collections::BTreeSet;

use super::*;
use crate::config::snapshot::{
    Announce, AttachMode, Dataplane, Encapsulation, Payload, Steering, Transport, Vip, VipProtection,
};
use crate::l4::host::facts::{Address, Interface, Link, Program, XdpFeatures};
use crate::l4::interfaces::Mode;
use crate::l4::others::Other;

/// A finding that is no good: what was looked at, and how bad it is.
type Bad = (&'static str, Level);

fn dataplane() -> Dataplane {
    Dataplane {
        interfaces: vec!["eth0".to_owned()],
        mode: AttachMode::Auto,
        encapsulation: Encapsulation::Gue,
        cluster_interfaces: vec!["eth0".to_owned()],
        flow_table_entries: 1_024,
        tables: 4,
        pin_directory: "/sys/fs/bpf/gateway".into(),
        path_mtu: 1_500,
        udp_idle: std::time::Duration::from_secs(30),
        udp_flow_table_entries: 1_024,
        prefixes_max: 1_024,
        heartbeat_port: 7_946,
    }
}

fn vip(address: &str) -> Vip {
    Vip {
        name: "public".to_owned(),
        address: address.parse().unwrap(),
        ports: vec![80],
        protocol: Transport::Tcp,
        steering: Steering::FlowHash,
        payload: Payload::Plain,
        protection: VipProtection::default(),
    }
}

/// A machine with which nothing is wrong.
fn facts() -> Facts {
    let link = Link {
        is_up: true,
        mtu: 1_500,
        driver: Some("ice".to_owned()),
        xdp: Some(XdpFeatures(0x7f)),
        rp_filter: Some(2),
        arp_ignore: Some(1),
        arp_announce: Some(2),
        ..Link::default()
    };
    Facts {
        release: "6.18.44-amd64".to_owned(),
        btf: true,
        socket_lookup: Some(true),
        mappable_arrays: Some(true),
        jit: Some(1),
        membarrier: true,
        realtime: true,
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            link: Some(link),
        }],
        ..Facts::default()
    }
}

/// What is no good with these: check and level.
fn found(dataplane: &Dataplane, announce: Announce, vips: &[Vip], facts: &Facts) -> Vec<Bad> {
    let asked = Asked {
        node: "node1",
        dataplane,
        vips,
        announce,
    };
    let findings = judge(&asked, facts);
    for finding in &findings {
        let is_good = finding.level == Level::Good;
        assert_eq!(
            finding.remedy.is_none(),
            is_good,
            "a fault has a remedy: {finding:?}"
        );
    }
    let bad = findings.iter().filter(|finding| finding.level != Level::Good);
    bad.map(|finding| (finding.check, finding.level)).collect()
}

#[test]
fn a_good_machine_has_no_fault_and_each_check_is_told_once() {
    let vips = [vip("10.0.0.1"), vip("fd00::1")];
    assert_eq!(found(&dataplane(), Announce::Vip, &vips, &facts()), []);
    let dataplane = dataplane();
    let asked = Asked {
        node: "node1",
        dataplane: &dataplane,
        vips: &vips,
        announce: Announce::Vip,
    };
    let findings = judge(&asked, &facts());
    let names: BTreeSet<_> = findings.iter().map(|finding| finding.check).collect();
    assert_eq!(names.len(), findings.len(), "{findings:?}");
    let document = include_str!("../../../../../docs/hardware.md");
    for name in names.iter().chain(&["locked-memory", "exit"]) {
        assert!(
            document.contains(&format!("| `{name}` |")),
            "docs/hardware.md has no row for {name}"
        );
    }
}

#[test]
fn each_fault_of_a_machine_is_one_finding() {
    use Level::{Fault, Warning};
    type Row = (&'static str, fn(&mut Facts), &'static [Bad]);
    let rows: [Row; 14] = [
        (
            "an old kernel",
            |f| f.release = "5.4.0-generic".to_owned(),
            &[("kernel", Fault)],
        ),
        (
            "a kernel that marks no addresses",
            |f| f.release = "5.15.0".to_owned(),
            &[("kernel", Warning)],
        ),
        (
            "no version",
            |f| f.release = "custom".to_owned(),
            &[("kernel", Warning)],
        ),
        (
            "locked memory counts",
            |f| {
                f.release = "5.10.9".to_owned();
                f.locked_memory = Some(64 << 10);
            },
            &[("kernel", Warning), ("locked-memory", Fault)],
        ),
        (
            "locked memory does not count",
            |f| f.locked_memory = Some(64 << 10),
            &[],
        ),
        (
            "rights",
            |f| f.missing_capabilities = vec!["CAP_BPF"],
            &[("rights", Fault)],
        ),
        ("no BTF", |f| f.btf = false, &[("btf", Fault)]),
        (
            "no bpffs",
            |f| f.not_bpffs = Some("/run/x".into()),
            &[("bpffs", Fault)],
        ),
        (
            "no socket lookup",
            |f| f.socket_lookup = Some(false),
            &[("socket-lookup", Fault)],
        ),
        ("nobody may ask", |f| f.socket_lookup = None, &[]),
        (
            "no mapped arrays",
            |f| f.mappable_arrays = Some(false),
            &[("mappable-arrays", Fault)],
        ),
        ("interpreted", |f| f.jit = Some(0), &[("jit", Warning)]),
        (
            "no membarrier",
            |f| f.membarrier = false,
            &[("membarrier", Warning)],
        ),
        ("no priority", |f| f.realtime = false, &[("realtime", Warning)]),
    ];
    for (what, change, expected) in rows {
        let mut facts = facts();
        change(&mut facts);
        let found = found(&dataplane(), Announce::Vip, &[vip("10.0.0.1")], &facts);
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn each_fault_of_an_interface_is_one_finding() {
    use Level::{Fault, Warning};
    type Row = (&'static str, fn(&mut Dataplane, &mut Link), &'static [Bad]);
    let rows: [Row; 27] = [
        ("down", |_, l| l.is_up = false, &[("interface", Fault)]),
        (
            "another program",
            |_, l| {
                l.program = Program::Other(Box::new(Other {
                    id: 7,
                    ..Other::default()
                }))
            },
            &[("xdp-program", Fault)],
        ),
        (
            "its own, native",
            |_, l| l.program = Program::Own(Mode::Native),
            &[],
        ),
        (
            "its own, generic",
            |_, l| l.program = Program::Own(Mode::Generic),
            &[("xdp-program", Warning)],
        ),
        (
            "its own, generic as asked",
            |d, l| {
                d.mode = AttachMode::Generic;
                l.program = Program::Own(Mode::Generic);
            },
            &[],
        ),
        (
            "the kernel says: not native",
            |_, l| l.xdp = Some(XdpFeatures(0)),
            &[("driver", Warning)],
        ),
        (
            "native asked, and none",
            |d, l| {
                d.mode = AttachMode::Native;
                l.xdp = Some(XdpFeatures(0));
            },
            &[("driver", Fault)],
        ),
        (
            "generic asked, and no native",
            |d, l| {
                d.mode = AttachMode::Generic;
                l.xdp = Some(XdpFeatures(0));
            },
            &[],
        ),
        (
            "the kernel does not say, the driver is known",
            |_, l| l.xdp = None,
            &[],
        ),
        (
            "the kernel does not say, the driver is known to have none",
            |_, l| {
                l.xdp = None;
                l.driver = Some("r8169".to_owned());
            },
            &[("driver", Warning)],
        ),
        ("LRO", |_, l| l.lro = true, &[("lro", Warning)]),
        ("GRO-HW", |_, l| l.gro_hw = true, &[("gro-hw", Warning)]),
        (
            "LRO and GRO-HW in generic mode",
            |d, l| {
                d.mode = AttachMode::Generic;
                (l.lro, l.gro_hw) = (true, true);
            },
            &[],
        ),
        ("stripping without VLANs", |_, l| l.vlan_stripping = true, &[]),
        (
            "VLANs without stripping",
            |_, l| l.vlans = vec!["eth0.5".to_owned()],
            &[],
        ),
        (
            "VLANs whose tags are stripped",
            |_, l| {
                l.vlan_stripping = true;
                l.vlans = vec!["eth0.5".to_owned()];
            },
            &[("vlan-stripping", Warning)],
        ),
        ("MTU below the path's", |_, l| l.mtu = 1_400, &[("mtu", Warning)]),
        (
            "MTU too small for IPv6 inside",
            |_, l| l.mtu = 1_343,
            &[("mtu", Fault)],
        ),
        (
            "MTU just enough for it",
            |_, l| l.mtu = 1_344,
            &[("mtu", Warning)],
        ),
        (
            "path too narrow for IPv6 inside",
            |d, _| d.path_mtu = 1_280,
            &[("mtu", Fault)],
        ),
        (
            "jumbo frames and native mode",
            |d, l| {
                d.path_mtu = 9_000;
                l.mtu = 9_000;
            },
            &[("mtu", Warning)],
        ),
        (
            "MTU where clients alone are",
            |d, l| {
                d.interfaces.push("eth1".to_owned());
                d.cluster_interfaces = vec!["eth1".to_owned()];
                l.mtu = 1_343;
            },
            &[],
        ),
        (
            "no frames of another interface",
            |d, l| {
                d.interfaces.push("eth1".to_owned());
                l.program = Program::Own(Mode::Native);
                l.xdp = Some(XdpFeatures(3));
            },
            &[("exit", Fault)],
        ),
        (
            "no frames of another interface, and there is none",
            |_, l| {
                l.program = Program::Own(Mode::Native);
                l.xdp = Some(XdpFeatures(3));
            },
            &[],
        ),
        (
            "the kernel answers for VIPs",
            |_, l| l.arp_ignore = Some(0),
            &[("arp-ignore", Warning)],
        ),
        (
            "requests name VIPs",
            |_, l| l.arp_announce = Some(0),
            &[("arp-announce", Warning)],
        ),
        (
            "strict reverse path",
            |_, l| l.rp_filter = Some(1),
            &[("rp-filter", Warning)],
        ),
    ];
    for (what, change, expected) in rows {
        let (mut dataplane, mut facts) = (dataplane(), facts());
        change(&mut dataplane, facts.interfaces[0].link.as_mut().unwrap());
        let vips = [vip("10.0.0.1"), vip("fd00::1")];
        let found = found(&dataplane, Announce::Vip, &vips, &facts);
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn what_no_vip_needs_is_no_fault() {
    let mut facts = facts();
    let link = facts.interfaces[0].link.as_mut().unwrap();
    (link.arp_ignore, link.rp_filter, link.mtu) = (Some(0), Some(1), 1_300);
    let (dataplane, v4, v6) = (dataplane(), [vip("10.0.0.1")], [vip("fd00::1")]);
    let rows: [(&str, Announce, &[Vip], &[Bad]); 3] = [
        (
            "of IPv4 alone",
            Announce::Vip,
            &v4,
            &[
                ("mtu", Level::Warning),
                ("arp-ignore", Level::Warning),
                ("rp-filter", Level::Warning),
            ],
        ),
        (
            "behind a router nobody asks for VIPs",
            Announce::None,
            &v4,
            &[("mtu", Level::Warning), ("rp-filter", Level::Warning)],
        ),
        ("of IPv6 alone", Announce::Vip, &v6, &[("mtu", Level::Fault)]),
    ];
    for (what, announce, vips, expected) in rows {
        assert_eq!(found(&dataplane, announce, vips, &facts), expected, "{what}");
    }
}

#[test]
fn an_interface_that_is_not_there_is_one_fault() {
    let mut facts = facts();
    facts.interfaces[0].link = None;
    let found = found(&dataplane(), Announce::Vip, &[vip("10.0.0.1")], &facts);
    assert_eq!(found, [("interface", Level::Fault)]);
}

#[test]
fn vips_are_nowhere_but_deprecated_on_lo() {
    let rows: [(&str, &str, bool, &[Bad]); 4] = [
        ("lo", "10.0.0.1", true, &[]),
        ("lo", "10.0.0.1", false, &[("vip-address", Level::Warning)]),
        ("eth0", "10.0.0.1", true, &[("vip-address", Level::Warning)]),
        ("eth0", "10.0.0.2", false, &[]),
    ];
    for (interface, address, is_deprecated, expected) in rows {
        let mut facts = facts();
        facts.addresses.push(Address {
            interface: interface.to_owned(),
            address: address.parse().unwrap(),
            is_deprecated,
        });
        let found = found(&dataplane(), Announce::Vip, &[vip("10.0.0.1")], &facts);
        assert_eq!(found, expected, "{address} on {interface}");
    }
}
