//! The VIPs of a configuration, `[[vip]]`: of ports or of all ports, each with nodes of its own if it names some.

use std::collections::HashSet;
use std::net::IpAddr;

use gateway::config::path::KeyPath;
use gateway::config::problem::{Problems, listed, nearest};
use gateway_common::abi::VIPS_MAX;
use gateway_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use gateway_common::node::NodeId;
use gateway_common::vip::SteeringCode;
use serde_json::Value;

use super::nodes::NodeGiven;
use super::reader::{Table, number};

/// One VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipGiven {
    /// What clients connect to.
    pub address: IpAddr,
    /// Its ports; none: all that no other VIP of the address names.
    pub ports: Vec<u16>,
    /// 6 or 17.
    pub protocol: u8,
    /// What chooses the slot.
    pub steering: SteeringCode,
    /// Whether its datagrams are QUIC, whose connection ids name nodes.
    pub quic: bool,
    /// The nodes that share it.
    pub nodes: Vec<NodeId>,
    /// Who owned all of its slots before, the latest first; at most two.
    pub previous: Vec<NodeId>,
    /// Who takes its slots over, instead of who would own them without this node.
    pub successor: Option<NodeId>,
    /// Ports of it at which this node has sockets.
    pub listeners: Vec<u16>,
}

const PORTS_REMEDY: &str = "write a list of ports, as in [80, 443]; leave it out for all ports";

/// Reads all VIPs, and notes what is wrong with them.
pub fn read(top: &Table<'_>, nodes: &[NodeGiven], problems: &mut Problems<'_>) -> Vec<VipGiven> {
    let remedy = "write [[vip]], with two brackets, for each VIP";
    let tables = top.list("vip", remedy, problems).unwrap_or_default();
    if tables.len() > VIPS_MAX as usize {
        let fault = format!("{} VIPs are too many", tables.len());
        problems.add(&top.at("vip"), fault, format!("give at most {VIPS_MAX}"));
    }
    let known = [
        "name",
        "address",
        "port",
        "ports",
        "protocol",
        "steering",
        "quic",
        "nodes",
        "previous",
        "successor",
        "listeners",
    ];
    let mut seen = HashSet::new();
    let mut vips = Vec::new();
    for (index, value) in tables.iter().enumerate().take(VIPS_MAX as usize) {
        let path = top.at("vip").index(index);
        let Some(table) = Table::new(path, value, &known, problems) else {
            continue;
        };
        let Some(vip) = vip(&table, nodes, problems) else {
            continue;
        };
        let any = vip.ports.is_empty().then_some(0);
        for port in vip.ports.iter().copied().chain(any) {
            if !seen.insert((vip.address, port, vip.protocol)) {
                let fault = match port {
                    0 => format!("all ports of {} have a VIP already", vip.address),
                    port => format!("port {port} of {} has a VIP already", vip.address),
                };
                problems.add(&table.path, fault, "leave one of the two out");
            }
        }
        vips.push(vip);
    }
    vips
}

fn vip(table: &Table<'_>, nodes: &[NodeGiven], problems: &mut Problems<'_>) -> Option<VipGiven> {
    // A name is for readers.
    let _name = table.text("name", problems);
    table.require(
        "address",
        "add an address, as in address = \"203.0.113.10\"",
        problems,
    );
    let address = table.parsed(
        "address",
        "an IP address, as in \"203.0.113.10\" or \"2001:db8::10\"",
        problems,
    );
    let ports = ports_of(table, problems);
    let protocol = table.choice(
        "protocol",
        &[("tcp", PROTOCOL_TCP), ("udp", PROTOCOL_UDP)],
        problems,
    );
    let protocol = protocol.unwrap_or(PROTOCOL_TCP);
    let steerings = [
        ("flow-hash", SteeringCode::FLOW_HASH),
        ("ip-hash", SteeringCode::IP_HASH),
    ];
    let steering = table.choice("steering", &steerings, problems);
    let quic = table.flag("quic", problems).unwrap_or(false);
    if quic && protocol != PROTOCOL_UDP {
        problems.add(
            &table.at("quic"),
            "QUIC without UDP",
            "add protocol = \"udp\", or leave quic out",
        );
    }
    let names = |key: &str, problems: &mut Problems<'_>| named(table, key, nodes, problems);
    let members = names("nodes", problems);
    let previous = names("previous", problems).unwrap_or_default();
    if previous.len() > 2 {
        let fault = format!("{} previous owners", previous.len());
        problems.add(
            &table.at("previous"),
            fault,
            "name at most two, the latest first: a slot has no more",
        );
    }
    let successor = (table.text("successor", problems))
        .and_then(|name| node_named(name, &table.at("successor"), nodes, problems));
    let listeners = listeners(table, &ports, problems);
    Some(VipGiven {
        address: address?,
        ports,
        protocol,
        steering: steering.unwrap_or(SteeringCode::FLOW_HASH),
        quic,
        nodes: members.unwrap_or_else(|| nodes.iter().map(|node| node.id).collect()),
        previous,
        successor,
        listeners,
    })
}

fn ports_of(table: &Table<'_>, problems: &mut Problems<'_>) -> Vec<u16> {
    let port = table.number("port", 1, 65_535, problems);
    if port.is_some() && table.get("ports").is_some() {
        problems.add(&table.at("port"), "port and ports", "say all in ports");
    }
    let ports = ports_in(table, "ports", problems);
    match (port, ports) {
        (_, Some(ports)) => ports,
        (port, None) => port
            .into_iter()
            .filter_map(|port| u16::try_from(port).ok())
            .collect(),
    }
}

fn ports_in(table: &Table<'_>, key: &str, problems: &mut Problems<'_>) -> Option<Vec<u16>> {
    let list = table.list(key, PORTS_REMEDY, problems)?;
    if list.is_empty() {
        problems.add(&table.at(key), "the list is empty", PORTS_REMEDY);
    }
    let path = |index| table.at(key).index(index);
    let ports = (list.iter().enumerate())
        .filter_map(|(index, value)| number(value, &path(index), (1, 65_535), problems))
        .filter_map(|port| u16::try_from(port).ok())
        .collect();
    Some(ports)
}

/// `true`: at all of its ports; a list: at those.
fn listeners(table: &Table<'_>, ports: &[u16], problems: &mut Problems<'_>) -> Vec<u16> {
    match table.get("listeners") {
        Some(Value::Array(_)) => {
            let listeners = ports_in(table, "listeners", problems).unwrap_or_default();
            for port in listeners
                .iter()
                .filter(|port| !ports.is_empty() && !ports.contains(port))
            {
                let fault = format!("{port} is no port of this VIP");
                problems.add(&table.at("listeners"), fault, "list ports of it, or write true");
            }
            listeners
        }
        Some(Value::Bool(false)) | None => Vec::new(),
        Some(Value::Bool(true)) if ports.is_empty() => {
            let remedy = "list the ports at which there is one, as in listeners = [80]";
            problems.add(
                &table.at("listeners"),
                "a listener at each of 65,535 ports",
                remedy,
            );
            Vec::new()
        }
        Some(Value::Bool(true)) => ports.to_vec(),
        Some(_) => {
            let remedy = "write true, false, or a list of ports";
            problems.add(&table.at("listeners"), "is neither a flag nor a list", remedy);
            Vec::new()
        }
    }
}

fn named(
    table: &Table<'_>,
    key: &str,
    nodes: &[NodeGiven],
    problems: &mut Problems<'_>,
) -> Option<Vec<NodeId>> {
    let list = table.list(key, "write a list of names, as in [\"gw-2\"]", problems)?;
    let mut ids = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let path = table.at(key).index(index);
        let Some(name) = value.as_str() else {
            problems.add(&path, "is not text", "write the name of a node in quotes");
            continue;
        };
        if let Some(id) = node_named(name, &path, nodes, problems)
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    Some(ids)
}

fn node_named(
    name: &str,
    path: &KeyPath,
    nodes: &[NodeGiven],
    problems: &mut Problems<'_>,
) -> Option<NodeId> {
    if let Some(node) = nodes.iter().find(|node| node.name == name) {
        return Some(node.id);
    }
    let names = || nodes.iter().map(|node| node.name.as_str());
    let remedy = match nearest(name, names()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("nodes here: {}", listed(names())),
    };
    problems.add(path, format!("no node is named \"{name}\""), remedy);
    None
}
