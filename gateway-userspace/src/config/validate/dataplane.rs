//! `[dataplane]` and `[[vip]]`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::names::Names;
use super::node::no_host;
use super::protection::of_vip;
use crate::config::given::{self, Given};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::{Problems, nearest};
use crate::config::snapshot::{AttachMode, Dataplane, Encapsulation, Payload, Steering, Transport, Vip};

/// `[dataplane]`.
pub fn dataplane(given: &Given, problems: &mut Problems<'_>) -> Option<Dataplane> {
    let path = KeyPath::top("dataplane");
    let dataplane = given.dataplane.as_ref()?;
    let interfaces = interfaces(dataplane.interfaces.as_ref(), &path.key("interfaces"), problems);
    let cluster_path = path.key("cluster_interfaces");
    let cluster_interfaces = match &dataplane.cluster_interfaces {
        None => interfaces.clone(),
        given => self::interfaces(given.as_ref(), &cluster_path, problems),
    };
    for (index, name) in cluster_interfaces
        .iter()
        .enumerate()
        .filter(|(_, name)| !interfaces.contains(name))
    {
        let remedy = match nearest(name, interfaces.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"? Else add \"{name}\" to dataplane.interfaces"),
            None => format!("add \"{name}\" to dataplane.interfaces"),
        };
        let fault =
            format!("\"{name}\" is not among dataplane.interfaces, so that no program decapsulates there");
        problems.add(&cluster_path.index(index), fault, remedy);
    }
    let pin_directory = dataplane
        .pin_directory
        .clone()
        .unwrap_or_else(|| PathBuf::from(limits::PIN_DIRECTORY));
    if !pin_directory.is_absolute() {
        let fault = format!("\"{}\" is not an absolute path", pin_directory.display());
        problems.add(
            &path.key("pin_directory"),
            fault,
            format!("write it as in \"{}\"", limits::PIN_DIRECTORY),
        );
    }
    Some(Dataplane {
        interfaces,
        mode: dataplane.mode.unwrap_or(AttachMode::Auto),
        encapsulation: dataplane.encapsulation.unwrap_or(Encapsulation::Gue),
        cluster_interfaces,
        flow_table_entries: dataplane.flow_table_entries.unwrap_or(limits::FLOW_TABLE_ENTRIES),
        tables: dataplane.tables.unwrap_or(limits::TABLES_MAX),
        pin_directory,
        path_mtu: dataplane.path_mtu.unwrap_or(limits::PATH_MTU),
        udp_idle: dataplane.udp_idle.map_or(limits::UDP_IDLE, |time| time.0),
        udp_flow_table_entries: dataplane
            .udp_flow_table_entries
            .unwrap_or(limits::UDP_FLOW_TABLE_ENTRIES),
        prefixes_max: dataplane.prefixes_max.unwrap_or(limits::PREFIXES_MAX),
        heartbeat_port: given
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.listen)
            .map_or(0, |listen| listen.port()),
    })
}

/// Names that the kernel would take for an interface, each once.
fn interfaces(given: Option<&Vec<String>>, path: &KeyPath, problems: &mut Problems<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (index, name) in given.into_iter().flatten().enumerate() {
        let path = path.index(index);
        let is_odd = |c: char| c == '/' || c.is_whitespace() || c.is_control();
        let is_reserved = matches!(name.as_str(), "" | "." | "..");
        if is_reserved || name.len() > limits::INTERFACE_CHARS_MAX || name.contains(is_odd) {
            let remedy = "write a name that `ip link` lists, as in \"eth0\"";
            problems.add(
                &path,
                format!("\"{name}\" is not the name of an interface"),
                remedy,
            );
        } else if names.contains(name) {
            problems.add(&path, format!("\"{name}\" stands here twice"), "remove one");
        }
        names.push(name.clone());
    }
    names
}

/// `[[vip]]`.
pub fn vips(given: &Given, problems: &mut Problems<'_>) -> Vec<Vip> {
    let path = KeyPath::top("vip");
    let mut names = Names::new("vip");
    let mut taken: HashMap<(IpAddr, u16, Transport), KeyPath> = HashMap::new();
    let mut vips = Vec::new();
    for (index, vip) in given.vip.iter().flatten().enumerate() {
        let path = path.index(index);
        let name = names.declare(vip.name.as_ref(), &path.key("name"), problems);
        if given.dataplane.is_none() {
            let remedy = "add [dataplane] with its interfaces; or, for L7 only, remove the VIP and give a \
                          [[listener]] an address of this machine";
            problems.add(
                &path,
                "a VIP is steered by the data plane, and there is no [dataplane]",
                remedy,
            );
        }
        if let Some(address) = vip.address {
            check_address(address, given, &path.key("address"), problems);
        }
        let protocol = vip.protocol.unwrap_or(Transport::Tcp);
        let mut ports = vip.ports.clone().unwrap_or_default();
        for (index, port) in ports.iter().enumerate() {
            let (Some(address), path) = (vip.address, path.key("ports").index(index)) else {
                continue;
            };
            if let Some(first) = taken.insert((address, *port, protocol), path.clone()) {
                let line = problems.document().line(&first);
                let fault = format!("{address} port {port} is taken already by {first} (line {line})");
                problems.add(&path, fault, "remove one of the two");
            }
        }
        ports.sort_unstable();
        ports.dedup();
        check_protocol(vip, protocol, &path, problems);
        let steering = vip.steering.unwrap_or(Steering::FlowHash);
        let payload = match vip.quic {
            Some(true) => Payload::Quic,
            _ => Payload::Plain,
        };
        let protection = vip.protection.as_ref().map(|own| of_vip(given, own));
        let protection = protection.unwrap_or_default();
        if let (Some(name), Some(address)) = (name, vip.address) {
            vips.push(Vip {
                name,
                address,
                ports,
                protocol,
                steering,
                payload,
                protection,
            });
        }
    }
    let in_all: usize = vips.iter().map(|vip| vip.ports.len()).sum();
    if in_all > limits::VIP_PORTS_IN_ALL_MAX {
        let fault = format!("{in_all} ports in all are more than the kernel's VIP map holds");
        problems.add(
            &path,
            fault,
            format!("list at most {} in all", limits::VIP_PORTS_IN_ALL_MAX),
        );
    }
    vips
}

/// What only makes sense for UDP, or for TCP.
fn check_protocol(vip: &given::Vip, protocol: Transport, path: &KeyPath, problems: &mut Problems<'_>) {
    if protocol == Transport::Udp {
        if vip.protection.is_some() {
            let fault = "the bounds are of new TCP connections, and this VIP is UDP";
            problems.add(
                &path.key("protection"),
                fault,
                "remove it, or write protocol = \"tcp\"",
            );
        }
        return;
    }
    if vip.ports.as_ref().is_some_and(Vec::is_empty) {
        let fault = "an empty list is every port, and each TCP port needs a listener";
        let remedy = "list the ports of its listeners, as in [80, 443]; or write protocol = \"udp\"";
        problems.add(&path.key("ports"), fault, remedy);
    }
    if vip.quic == Some(true) {
        let remedy = "write protocol = \"udp\", or remove `quic`";
        problems.add(
            &path.key("quic"),
            "QUIC runs over UDP, and this VIP is TCP",
            remedy,
        );
    }
}

/// A VIP is an address of a host, and of a family in which nodes reach each other.
fn check_address(address: IpAddr, given: &Given, path: &KeyPath, problems: &mut Problems<'_>) {
    let fault = no_host(address).or_else(|| {
        address
            .is_loopback()
            .then_some("is loopback, which no client reaches")
    });
    if let Some(fault) = fault {
        problems.add(
            path,
            format!("{address} {fault}"),
            "write an address that clients connect to",
        );
    }
    let Some(node) = &given.node else { return };
    let (key, given, family) = match address {
        IpAddr::V4(_) => ("address", node.address.is_some(), "IPv4"),
        IpAddr::V6(_) => ("address_v6", node.address_v6.is_some(), "IPv6"),
    };
    let node_path = KeyPath::top("node").key(key);
    if !given && !problems.is_known_at(&node_path) {
        let fault = format!(
            "{address} is {family}, and node.{key} is missing: other nodes could not send its packets here"
        );
        problems.add(
            path,
            fault,
            format!("add node.{key}, this machine's own {family} address"),
        );
    }
}
