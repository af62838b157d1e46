//! One interface: its driver, its offloads, its MTU, the program on it, and the settings of ARP and of the reverse path.

use gateway_common::encap::Format;
use gateway_common::parse::Family;

use super::{bad, good};
use crate::config::snapshot::{Announce, AttachMode, Encapsulation};
use crate::l4::host::facts::{Interface, Link, Program};
use crate::l4::host::{Asked, Finding, Level};
use crate::l4::interfaces::Mode;

/// Drivers with native XDP in Linux 5.10 to 6.2, which do not say it themselves.
const NATIVE_DRIVERS: [&str; 27] = [
    "bnxt_en",
    "bonding",
    "cpsw",
    "ena",
    "fsl_dpa",
    "fsl_dpaa2_eth",
    "hv_netvsc",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mlx4_en",
    "mlx5_core",
    "mvneta",
    "mvpp2",
    "netsec",
    "nfp",
    "nicvf",
    "qede",
    "sfc",
    "st_gmac",
    "thunder-nicvf",
    "tun",
    "veth",
    "virtio_net",
];

/// Longest IP packet that drivers take in native mode where a program wants a frame in one page: 4,096 less headroom (256),
/// what the stack keeps behind the frame (320), and the Ethernet header; as veth counts it. Others allow a little less.
const NATIVE_MTU_MAX: u32 = 3_506;

/// What every IPv6 packet may be long (RFC 8200, section 5).
const IPV6_BYTES_MIN: u32 = 1_280;

/// What is to be said of one interface.
pub(super) fn judge(asked: &Asked<'_>, interface: &Interface) -> Vec<Finding> {
    let name = interface.name.as_str();
    let Some(link) = &interface.link else {
        return vec![bad(
            "interface",
            Level::Fault,
            Some(name),
            "there is no such interface",
            "name one of `ip link` in dataplane.interfaces",
        )];
    };
    let mut findings = vec![
        state(name, link),
        program(asked, name, link),
        driver(asked, name, link),
        mtu(asked, name, link),
    ];
    findings.extend(exit(asked, name, link));
    findings.extend(offloads(asked, name, link));
    if asked.vips.iter().any(|vip| vip.address.is_ipv4()) {
        findings.extend(ipv4(asked, name, link));
    }
    findings
}

fn state(name: &str, link: &Link) -> Finding {
    if link.is_up {
        return good("interface", Some(name), "it is up".to_owned());
    }
    bad(
        "interface",
        Level::Fault,
        Some(name),
        "it is down",
        format!("`ip link set dev {name} up`"),
    )
}

fn program(asked: &Asked<'_>, name: &str, link: &Link) -> Finding {
    let check = "xdp-program";
    match &link.program {
        Program::None => good(check, Some(name), "no XDP program is in the way".to_owned()),
        Program::Own(Mode::Generic) if asked.dataplane.mode == AttachMode::Auto => bad(
            check,
            Level::Warning,
            Some(name),
            "this node's program runs in generic mode, at several times the cost of each packet",
            "see the finding on the driver; where that has native XDP, stop the node and start it again",
        ),
        Program::Own(_) => good(check, Some(name), "this node's program is attached".to_owned()),
        Program::Other(other) => bad(
            check,
            Level::Fault,
            Some(name),
            format!("another XDP program is attached: {other}"),
            other.remedy(),
        ),
    }
}

fn driver(asked: &Asked<'_>, name: &str, link: &Link) -> Finding {
    let check = "driver";
    let driver = link.driver.as_deref().unwrap_or("of an unknown name");
    if asked.dataplane.mode == AttachMode::Generic {
        let found = format!("driver {driver}; generic mode is asked for, which every driver has");
        return good(check, Some(name), found);
    }
    let is_native = match link.xdp {
        Some(features) => features.is_native(),
        None => NATIVE_DRIVERS.contains(&driver),
    };
    if is_native {
        return good(check, Some(name), format!("driver {driver} has native XDP"));
    }
    let source = match link.xdp {
        Some(_) => "the kernel says",
        None => "as far as is known (the kernel does not say before 6.3)",
    };
    match asked.dataplane.mode {
        AttachMode::Native => bad(
            check,
            Level::Fault,
            Some(name),
            format!("driver {driver} has no native XDP, {source}, and dataplane.mode asks for it"),
            "set dataplane.mode = \"auto\" or \"generic\", or use a card whose driver has it (docs/hardware.md)",
        ),
        AttachMode::Auto | AttachMode::Generic => bad(
            check,
            Level::Warning,
            Some(name),
            format!(
                "driver {driver} has no native XDP, {source}: generic mode, at several times the cost of each packet"
            ),
            "use a card whose driver has it (docs/hardware.md); or set dataplane.mode = \"generic\"",
        ),
    }
}

fn mtu(asked: &Asked<'_>, name: &str, link: &Link) -> Finding {
    let check = "mtu";
    let (mtu, path_mtu) = (link.mtu, u32::from(asked.dataplane.path_mtu));
    let around = |family| match asked.dataplane.encapsulation {
        Encapsulation::Gue => Format::Gue.bytes(family) as u32,
        Encapsulation::Ipip => Format::Ipip.bytes(family) as u32,
        // The first hop has nothing around it, the others GUE.
        Encapsulation::L2 => Format::Gue.bytes(family) as u32,
    };
    let has_v6 = asked.vips.iter().any(|vip| vip.address.is_ipv6());
    let needed = IPV6_BYTES_MIN + around(Family::V6);
    if !is_of_cluster(asked, name) {
        let found = format!("it takes {mtu} bytes; nodes are not reached by it");
        return good(check, Some(name), found);
    }
    if has_v6 && mtu.min(path_mtu) < needed {
        return bad(
            check,
            Level::Fault,
            Some(name),
            format!(
                "between nodes pass {} bytes, and an IPv6 packet of 1280 is {needed} after encapsulation: it could not be \
                 sent to its owner",
                mtu.min(path_mtu)
            ),
            format!(
                "`ip link set dev {name} mtu {needed}` or more on all nodes, and as much in dataplane.path_mtu"
            ),
        );
    }
    if mtu < path_mtu {
        return bad(
            check,
            Level::Warning,
            Some(name),
            format!(
                "it takes {mtu} bytes, and dataplane.path_mtu is {path_mtu}: clients send segments that are too long after \
                 encapsulation, and learn so by ICMP alone"
            ),
            format!("set dataplane.path_mtu = {mtu}, or `ip link set dev {name} mtu {path_mtu}`"),
        );
    }
    let wants_native = asked.dataplane.mode != AttachMode::Generic;
    if wants_native && mtu > NATIVE_MTU_MAX && link.program != Program::Own(Mode::Native) {
        return bad(
            check,
            Level::Warning,
            Some(name),
            format!("it takes {mtu} bytes, and most drivers refuse native XDP above some {NATIVE_MTU_MAX}"),
            format!(
                "`ip link set dev {name} mtu {NATIVE_MTU_MAX}` or less, or set dataplane.mode = \"generic\""
            ),
        );
    }
    let found = format!(
        "it takes {mtu} bytes; encapsulation takes {} of them",
        around(Family::V6)
    );
    good(check, Some(name), found)
}

/// Whether frames of the other interfaces can leave by this one, where nodes are reached by it. A driver may say so only once
/// a program is attached.
fn exit(asked: &Asked<'_>, name: &str, link: &Link) -> Option<Finding> {
    let check = "exit";
    if asked.dataplane.interfaces.len() < 2 || !is_of_cluster(asked, name) {
        return None;
    }
    let takes_frames = link.xdp.is_none_or(|features| features.takes_frames());
    if link.program != Program::Own(Mode::Native) || takes_frames {
        let found = "frames that come in by other interfaces can leave by it".to_owned();
        return Some(good(check, Some(name), found));
    }
    Some(bad(
        check,
        Level::Fault,
        Some(name),
        "its driver takes no frames from other interfaces (ndo_xdp_xmit), so that what comes in there is lost on its way to \
         other nodes",
        "see its driver in docs/hardware.md; or set dataplane.mode = \"generic\"",
    ))
}

fn is_of_cluster(asked: &Asked<'_>, name: &str) -> bool {
    asked
        .dataplane
        .cluster_interfaces
        .iter()
        .any(|of_cluster| of_cluster == name)
}

fn offloads(asked: &Asked<'_>, name: &str, link: &Link) -> [Finding; 3] {
    let is_generic = asked.dataplane.mode == AttachMode::Generic;
    let joined = |check, is_on: bool, what: &str, switch: &str| match is_on {
        false => good(check, Some(name), format!("{what} is off")),
        // The kernel switches it off as it attaches a program in generic mode.
        true if is_generic => good(
            check,
            Some(name),
            format!("{what} is on; attaching in generic mode switches it off"),
        ),
        true => bad(
            check,
            Level::Warning,
            Some(name),
            format!(
                "{what} is on: packets that the card joined are longer than the MTU; some drivers refuse native XDP then, and \
                 others hand such packets past the program"
            ),
            format!("`ethtool -K {name} {switch} off`, at each boot"),
        ),
    };
    let vlan = "vlan-stripping";
    let stripping = if link.vlan_stripping && !link.vlans.is_empty() {
        bad(
            vlan,
            Level::Warning,
            Some(name),
            format!(
                "the card takes VLAN tags off, and there is {}: the program does not see the tag, and what it sends on leaves \
                 without",
                link.vlans.join(", ")
            ),
            format!("`ethtool -K {name} rxvlan off`, at each boot"),
        )
    } else if link.vlan_stripping {
        let found = "the card takes VLAN tags off, and there is no VLAN interface over it".to_owned();
        good(vlan, Some(name), found)
    } else {
        good(vlan, Some(name), "the program sees VLAN tags".to_owned())
    };
    [
        joined("lro", link.lro, "large receive offload", "lro"),
        joined("gro-hw", link.gro_hw, "GRO in the card", "rx-gro-hw"),
        stripping,
    ]
}

/// What only IPv4 has: a kernel that answers ARP for addresses of other interfaces, and a filter by the way back.
fn ipv4(asked: &Asked<'_>, name: &str, link: &Link) -> [Finding; 3] {
    let setting = |setting: &str, value: u32| {
        format!("set net.ipv4.conf.all.{setting} = {value} (deploy/sysctl.conf, then `sysctl --system`)")
    };
    let answers = link.arp_ignore == Some(0) && asked.announce == Announce::Vip;
    let arp_ignore = if answers {
        bad(
            "arp-ignore",
            Level::Warning,
            Some(name),
            "arp_ignore is 0: this kernel answers ARP for every VIP, also when another node is to, and when the gateway is dead",
            setting("arp_ignore", 1),
        )
    } else {
        let found = "the kernel does not answer ARP for VIPs in place of the gateway".to_owned();
        good("arp-ignore", Some(name), found)
    };
    let arp_announce = if link.arp_announce.is_some_and(|value| value < 2) {
        bad(
            "arp-announce",
            Level::Warning,
            Some(name),
            "arp_announce is below 2: this kernel's own ARP requests may name a VIP, and teach the segment that it is here",
            setting("arp_announce", 2),
        )
    } else {
        good(
            "arp-announce",
            Some(name),
            "ARP requests name an address of the interface".to_owned(),
        )
    };
    let rp_filter = if link.rp_filter == Some(1) {
        bad(
            "rp-filter",
            Level::Warning,
            Some(name),
            "rp_filter is 1 (strict): of packets that another node sent, those of clients are dropped without a trace whose way \
             back is another interface",
            setting("rp_filter", 2),
        )
    } else {
        good(
            "rp-filter",
            Some(name),
            "packets are taken whatever their way back".to_owned(),
        )
    };
    [arp_ignore, arp_announce, rp_filter]
}
