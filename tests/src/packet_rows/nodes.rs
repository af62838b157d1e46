//! The nodes of a configuration: this one in `[node]`, the others in `[[nodes]]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use gateway::config::path::KeyPath;
use gateway::config::problem::Problems;
use gateway_common::abi::NODES_MAX;
use gateway_common::headers::Mac;
use gateway_common::node::NodeId;

use super::config::{NotUnderstood, hex_word};
use super::reader::Table;

/// Highest weight, as in the gateway's configuration.
const WEIGHT_MAX: u32 = 1_000;

/// Lowest and highest MTU that may be given, in bytes: what IPv4 promises, and what its length field holds.
const MTU: (u32, u32) = (68, 65_535);

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeGiven {
    /// Its number in the tables.
    pub id: NodeId,
    /// Its name; unique.
    pub name: String,
    /// Its address for IPv4.
    pub address: Option<Ipv4Addr>,
    /// Its address for IPv6.
    pub address_v6: Option<Ipv6Addr>,
    /// Share of connections.
    pub weight: u32,
    /// Next hop's hardware address; `None`: not resolved.
    pub mac: Option<Mac>,
    /// Longest IP packet on the way to `address`; `None`: any.
    pub mtu: Option<u16>,
    /// The same for `address_v6`.
    pub mtu_v6: Option<u16>,
    /// What it proves itself with in GUE; `None`: what follows from hash key and number.
    pub cookie: Option<u64>,
}

/// Reads all nodes, this one first, and notes what is wrong with them.
pub fn read(top: &Table<'_>, problems: &mut Problems<'_>) -> Vec<NodeGiven> {
    let mut tables: Vec<(KeyPath, &serde_json::Value)> = Vec::new();
    if let Some(node) = top.get("node") {
        tables.push((top.at("node"), node));
    }
    let remedy = "write [[nodes]], with two brackets, for each other node";
    let others = top.list("nodes", remedy, problems).unwrap_or_default();
    tables.extend((others.iter().enumerate()).map(|(index, node)| (top.at("nodes").index(index), node)));
    if tables.len() > NODES_MAX as usize {
        let fault = format!("{} nodes are too many", tables.len());
        problems.add(&top.at("nodes"), fault, format!("give at most {NODES_MAX}"));
        tables.truncate(NODES_MAX as usize);
    }
    let known = [
        "name",
        "address",
        "address_v6",
        "weight",
        "mac",
        "mtu",
        "mtu_v6",
        "id",
        "cookie",
    ];
    let tables: Vec<Table<'_>> = tables
        .into_iter()
        .filter_map(|(path, value)| Table::new(path, value, &known, problems))
        .collect();
    let given: Vec<Option<u32>> = (tables.iter())
        .map(|table| table.number("id", 1, NODES_MAX, problems))
        .collect();
    let mut free = (1..=NODES_MAX).filter(|id| !given.contains(&Some(*id)));
    let mut nodes: Vec<NodeGiven> = Vec::new();
    for (table, id) in tables.iter().zip(&given) {
        let id = id.or_else(|| free.next()).unwrap_or_default();
        let node = node(table, NodeId(u16::try_from(id).unwrap_or_default()), problems);
        note_clashes(table, &node, &nodes, problems);
        nodes.push(node);
    }
    nodes
}

fn node(table: &Table<'_>, id: NodeId, problems: &mut Problems<'_>) -> NodeGiven {
    table.require("name", "add a name, as in name = \"gw-1\"", problems);
    let name = table.text("name", problems).unwrap_or_default().to_owned();
    let address = table.parsed("address", "an IPv4 address, as in \"10.0.0.11\"", problems);
    let address_v6 = table.parsed("address_v6", "an IPv6 address, as in \"2001:db8::11\"", problems);
    if table.get("address").is_none() && table.get("address_v6").is_none() {
        table.require(
            "address",
            "add an address, as in address = \"10.0.0.11\", or an address_v6",
            problems,
        );
    }
    let unresolved_or_mac = "six bytes, as in \"02:00:00:00:00:0b\", or \"unresolved\"";
    let mac = match table.parsed("mac", unresolved_or_mac, problems) {
        Some(GivenMac::Known(mac)) => Some(mac),
        Some(GivenMac::Unresolved) => None,
        None => Some(made_up_mac(id)),
    };
    let mut mtu_in = |key: &str| {
        let mtu = table.number(key, MTU.0, MTU.1, problems)?;
        u16::try_from(mtu).ok()
    };
    let mtu = mtu_in("mtu");
    let mtu_v6 = mtu_in("mtu_v6").or(mtu);
    let cookie = table.parsed("cookie", "16 hexadecimal digits that are not all zero", problems);
    NodeGiven {
        id,
        name,
        address,
        address_v6,
        weight: table.number("weight", 0, WEIGHT_MAX, problems).unwrap_or(1),
        mac,
        mtu,
        mtu_v6,
        cookie: cookie.map(|Cookie(cookie)| cookie),
    }
}

/// Names, numbers and addresses belong to one node each.
fn note_clashes(table: &Table<'_>, node: &NodeGiven, others: &[NodeGiven], problems: &mut Problems<'_>) {
    for other in others {
        if !node.name.is_empty() && other.name == node.name {
            let fault = format!("\"{}\" is the name of another node, too", node.name);
            problems.add(&table.at("name"), fault, "give each node a name of its own");
        }
        if other.id == node.id {
            let fault = format!("{} is the number of \"{}\", too", node.id.0, other.name);
            problems.add(
                &table.at("id"),
                fault,
                "give each node a number of its own, or none",
            );
        }
        let clash = |mine: Option<IpAddr>, other: Option<IpAddr>| mine.filter(|mine| Some(*mine) == other);
        let pairs = [
            (
                "address",
                clash(node.address.map(IpAddr::V4), other.address.map(IpAddr::V4)),
            ),
            (
                "address_v6",
                clash(node.address_v6.map(IpAddr::V6), other.address_v6.map(IpAddr::V6)),
            ),
        ];
        for (key, address) in pairs {
            if let Some(address) = address {
                let fault = format!("{address} is the address of \"{}\", too", other.name);
                problems.add(&table.at(key), fault, "give each node an address of its own");
            }
        }
    }
}

/// The hardware address of a node that was given none: local, and the node's number in its last two bytes.
pub fn made_up_mac(id: NodeId) -> Mac {
    let [high, low] = id.0.to_be_bytes();
    [2, 0, 0, 0xbe, high, low]
}

/// What `mac` may say.
enum GivenMac {
    Known(Mac),
    Unresolved,
}

impl FromStr for GivenMac {
    type Err = NotUnderstood;

    fn from_str(text: &str) -> Result<Self, NotUnderstood> {
        if text == "unresolved" {
            return Ok(Self::Unresolved);
        }
        let mut mac = [0; 6];
        let mut bytes = text.split([':', '-']);
        for byte in &mut mac {
            let text = bytes.next().filter(|text| (1..=2).contains(&text.len()));
            *byte = u8::from_str_radix(text.ok_or(NotUnderstood)?, 16).map_err(|_| NotUnderstood)?;
        }
        match bytes.next() {
            None if mac != [0; 6] => Ok(Self::Known(mac)),
            _ => Err(NotUnderstood),
        }
    }
}

/// A cookie, as 16 hexadecimal digits.
struct Cookie(u64);

impl FromStr for Cookie {
    type Err = NotUnderstood;

    fn from_str(text: &str) -> Result<Self, NotUnderstood> {
        match hex_word(text)? {
            0 => Err(NotUnderstood),
            cookie => Ok(Self(cookie)),
        }
    }
}
