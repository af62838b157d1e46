//! Collects the facts of this machine: reads, asks and tries, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use rtnetlink::Handle;

use super::Asked;
use super::ethtool::Ethtool;
use super::facts::{Address, Facts, Interface, Link, Program};
use super::netdev;
use crate::config::snapshot::Dataplane;
use crate::l4::others::{self, Other};
use crate::l4::pins::Pins;
use crate::l4::{L4Error, bpf, interfaces};

/// Numbers of capabilities (include/uapi/linux/capability.h).
const CAPABILITIES: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (39, "CAP_BPF")];
/// May do what CAP_BPF may.
const CAP_SYS_ADMIN: u32 = 21;

/// Looks at the machine, as far as the configuration asks for something of it.
///
/// # Errors
/// Netlink does not answer.
pub async fn look(asked: &Asked<'_>) -> Result<Facts, L4Error> {
    let (connection, netlink, _) = rtnetlink::new_connection().map_err(|source| L4Error::Netlink {
        action: "open a netlink socket".to_owned(),
        source: source.into(),
    })?;
    let connection = tokio::spawn(connection);
    let facts = look_by(&netlink, asked).await;
    connection.abort();
    facts
}

async fn look_by(netlink: &Handle, asked: &Asked<'_>) -> Result<Facts, L4Error> {
    let links = links(netlink).await?;
    let names: BTreeMap<u32, String> = links
        .iter()
        .filter_map(|link| Some((link.header.index, name(link)?)))
        .collect();
    let mut found = Vec::new();
    for wanted in &asked.dataplane.interfaces {
        let message = links
            .iter()
            .find(|link| name(link).as_deref() == Some(wanted.as_str()));
        let link = message.map(|message| link(asked, wanted, message, &links));
        found.push(Interface {
            name: wanted.clone(),
            link,
        });
    }
    let locked_memory = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(RLIM_INFINITY, |(soft, _)| soft);
    Ok(Facts {
        release: fs::read_to_string("/proc/sys/kernel/osrelease")
            .map(|release| release.trim().to_owned())
            .unwrap_or_default(),
        missing_capabilities: missing_capabilities(),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        not_bpffs: (!is_bpffs(asked.dataplane)).then(|| asked.dataplane.pin_directory.clone()),
        socket_lookup: is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_skc_lookup_tcp).ok(),
        mappable_arrays: bpf::has_mappable_arrays(),
        jit: setting("net/core/bpf_jit_enable"),
        membarrier: has_membarrier(),
        realtime: may_be_realtime(),
        locked_memory: (locked_memory != RLIM_INFINITY).then_some(locked_memory),
        interfaces: found,
        addresses: addresses(netlink, &names).await?,
    })
}

fn link(asked: &Asked<'_>, name: &str, message: &LinkMessage, links: &[LinkMessage]) -> Link {
    let index = message.header.index;
    let told = interfaces::link(message);
    let vlans = links
        .iter()
        .filter(|link| is_vlan_over(link, index))
        .filter_map(self::name);
    let ethtool = Ethtool::open();
    let on = ethtool
        .as_ref()
        .and_then(|ethtool| ethtool.features(name))
        .unwrap_or_default();
    let is_on = |feature: &str| on.iter().any(|name| name == feature);
    let dataplane = asked.dataplane;
    let own = Pins::link_of(&dataplane.pin_directory.join(asked.node), name);
    let program = match told.attached {
        None => Program::None,
        Some(attached) if others::is_own(attached, &own) => Program::Own(attached.mode),
        Some(attached) => Program::Other(Box::new(Other::find(name, attached, &dataplane.pin_directory))),
    };
    // The kernel takes the larger of the two.
    let ipv4 = |setting: &str| {
        let of = |interface: &str| self::setting(&format!("net/ipv4/conf/{interface}/{setting}"));
        of("all").max(of(name))
    };
    Link {
        is_up: message.header.flags.contains(LinkFlags::Up),
        mtu: told.mtu,
        vlans: vlans.collect(),
        driver: ethtool.as_ref().and_then(|ethtool| ethtool.driver(name)),
        xdp: netdev::xdp_features(index),
        lro: is_on("rx-lro"),
        gro_hw: is_on("rx-gro-hw"),
        vlan_stripping: is_on("rx-vlan-hw-parse"),
        rp_filter: ipv4("rp_filter"),
        arp_ignore: ipv4("arp_ignore"),
        arp_announce: ipv4("arp_announce"),
        program,
    }
}

async fn links(netlink: &Handle) -> Result<Vec<LinkMessage>, L4Error> {
    let failed = |source: rtnetlink::Error| L4Error::Netlink {
        action: "list the interfaces".to_owned(),
        source: source.into(),
    };
    netlink.link().get().execute().try_collect().await.map_err(failed)
}

async fn addresses(netlink: &Handle, names: &BTreeMap<u32, String>) -> Result<Vec<Address>, L4Error> {
    let failed = |source: rtnetlink::Error| L4Error::Netlink {
        action: "list the addresses".to_owned(),
        source: source.into(),
    };
    let mut found = Vec::new();
    let mut messages = netlink.address().get().execute();
    while let Some(message) = messages.try_next().await.map_err(failed)? {
        let mut address: Option<IpAddr> = None;
        // Of IPv4 addresses that are valid for ever the kernel says no lifetimes, but this.
        let is_deprecated = message.header.flags.contains(AddressHeaderFlags::Deprecated);
        for attribute in &message.attributes {
            match attribute {
                // At a point-to-point interface the other end's is `Address`, at all others both are the same.
                AddressAttribute::Local(local) => address = Some(*local),
                AddressAttribute::Address(ip) => address = address.or(Some(*ip)),
                _ => {}
            }
        }
        if let (Some(address), Some(interface)) = (address, names.get(&message.header.index)) {
            found.push(Address {
                interface: interface.clone(),
                address,
                is_deprecated,
            });
        }
    }
    Ok(found)
}

fn name(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn is_vlan_over(link: &LinkMessage, index: u32) -> bool {
    let is_over = link
        .attributes
        .iter()
        .any(|attribute| matches!(attribute, LinkAttribute::Link(lower) if *lower == index));
    let is_vlan = link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Vlan)),
        _ => false,
    });
    is_over && is_vlan
}

/// A number below `/proc/sys`.
fn setting(name: &str) -> Option<u32> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
    text.trim().parse().ok()
}

/// Of the capabilities in force of this thread (`CapEff` in proc(5)).
fn missing_capabilities() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let word = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = word
        .and_then(|word| u64::from_str_radix(word.trim(), 16).ok())
        .unwrap_or(0);
    let has = |number: u32| held >> number & 1 == 1;
    CAPABILITIES
        .iter()
        .filter(|(number, name)| {
            let is_implied = *name == "CAP_BPF" && has(CAP_SYS_ADMIN);
            !(has(*number) || is_implied)
        })
        .map(|(_, name)| *name)
        .collect()
}

fn is_bpffs(dataplane: &Dataplane) -> bool {
    let existing = dataplane.pin_directory.ancestors().find(|path| path.exists());
    let on = existing.and_then(|path| statfs(path).ok());
    on.is_some_and(|on| on.filesystem_type() == BPF_FS_MAGIC)
}

fn has_membarrier() -> bool {
    const MEMBARRIER_CMD_QUERY: libc::c_int = 0;
    const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;
    // SAFETY: a system call without pointers.
    let commands = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) };
    commands >= 0 && commands & MEMBARRIER_CMD_GLOBAL != 0
}

/// Tries it on a thread that ends with the try.
fn may_be_realtime() -> bool {
    let tried = std::thread::spawn(|| {
        let parameters = libc::sched_param { sched_priority: 1 };
        // SAFETY: `parameters` is valid for the call; 0 means the calling thread.
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) == 0 }
    });
    tried.join().unwrap_or(false)
}
