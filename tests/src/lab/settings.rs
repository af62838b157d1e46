//! The configuration that a node of a lab runs with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::addresses::{
    ADMIN_PORT, CLUSTER_PORT, Family, HTTP_PORT, Host, NODES, UDP_PORT, UPSTREAM_PORT, UPSTREAMS, Vip, node,
    node_inside, upstream,
};

/// Interface of every host of a lab but the switch.
pub const INTERFACE: &str = "eth0";

/// A node's second interface, by which the other nodes reach it.
pub const INSIDE: &str = "eth1";

/// How packets travel between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// The default.
    Gue,
    /// IP in IP.
    Ipip,
}

/// Who sees to it that packets for a VIP reach a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// A node, by ARP and neighbour discovery.
    Vip,
    /// A router's static routes.
    None,
}

/// By which interfaces a node is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// By one: [`INTERFACE`].
    One,
    /// Clients reach it by [`INTERFACE`], the other nodes by [`INSIDE`], on a segment of their own.
    Two,
}

impl Links {
    /// Their names.
    pub fn list(self) -> &'static [&'static str] {
        match self {
            Self::One => &[INTERFACE],
            Self::Two => &[INTERFACE, INSIDE],
        }
    }

    /// Where the other nodes reach a node.
    pub fn node(self, index: usize) -> Host {
        match self {
            Self::One => node(index),
            Self::Two => node_inside(index),
        }
    }
}

/// Which addresses there are in a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Those of both families.
    Both,
    /// None of IPv4, not even a loopback.
    V6Only,
}

impl Families {
    /// The families in there.
    pub fn list(self) -> &'static [Family] {
        match self {
            Self::Both => &[Family::V4, Family::V6],
            Self::V6Only => &[Family::V6],
        }
    }

    /// A host's address, of IPv4 where there is any.
    pub fn of(self, host: Host) -> IpAddr {
        match self {
            Self::Both => host.v4.into(),
            Self::V6Only => host.v6.into(),
        }
    }

    /// A node's own loopback, of IPv4 where there is any.
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::Both => Ipv4Addr::LOCALHOST.into(),
            Self::V6Only => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

/// What the configurations of all nodes of a lab have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// `dataplane.encapsulation`.
    pub encapsulation: Encapsulation,
    /// `cluster.announce`.
    pub announce: Announce,
    /// Addresses of everything.
    pub families: Families,
    /// Interfaces of the nodes.
    pub links: Links,
    /// `dataplane.path_mtu`, where it is not the default.
    pub path_mtu: Option<u16>,
}

impl Default for Common {
    /// Addresses of both families, VIPs that nodes announce, and the gateway's own defaults.
    fn default() -> Self {
        Self {
            encapsulation: Encapsulation::Gue,
            announce: Announce::Vip,
            families: Families::Both,
            links: Links::One,
            path_mtu: None,
        }
    }
}

/// Where a node keeps its files.
#[derive(Clone, Debug)]
pub struct Files {
    /// The configuration.
    pub config: PathBuf,
    /// The admin API's bearer token, made by the node.
    pub token: PathBuf,
    /// Prefixes that the node was told to deny.
    pub denied: PathBuf,
    /// The secret that all nodes of the lab share.
    pub cluster_key: PathBuf,
    /// Directory on bpffs that the nodes of the lab share.
    pub pin_directory: PathBuf,
    /// Directory in there that the node makes for its own maps and links.
    pub pins: PathBuf,
    /// What the node wrote to its standard output: the access log.
    pub stdout: PathBuf,
    /// What the node wrote to its standard error.
    pub stderr: PathBuf,
}

impl Files {
    /// Those of one node, below the directories of its lab.
    pub fn new(directory: &Path, pin_directory: &Path, name: &str) -> Self {
        Self {
            config: directory.join(format!("{name}.toml")),
            token: directory.join(format!("{name}.token")),
            denied: directory.join(format!("{name}.denied.toml")),
            cluster_key: directory.join("cluster.key"),
            pin_directory: pin_directory.to_owned(),
            pins: pin_directory.join(name),
            stdout: directory.join(format!("{name}.out")),
            stderr: directory.join(format!("{name}.err")),
        }
    }
}

/// The configuration of node `index` as TOML.
///
/// The tables are small, so that three nodes fit beside each other in the memory of a small machine.
pub fn toml(index: usize, weight: u32, files: &Files, common: &Common) -> String {
    let host = common.links.node(index);
    let families = common.families;
    let at = |address, port| SocketAddr::new(address, port).to_string();
    let seeds: Vec<_> = (0..NODES)
        .filter(|other| *other != index)
        .map(|other| format!("\"{}\"", at(families.of(common.links.node(other)), CLUSTER_PORT)))
        .collect();
    let own_v4 = match families {
        Families::Both => format!("address = \"{}\"\n", host.v4),
        Families::V6Only => String::new(),
    };
    let path_mtu = common
        .path_mtu
        .map_or(String::new(), |bytes| format!("path_mtu = {bytes}\n"));
    let of_cluster = match common.links {
        Links::One => String::new(),
        Links::Two => format!("cluster_interfaces = [\"{INSIDE}\"]\n"),
    };
    let encapsulation = match common.encapsulation {
        Encapsulation::Gue => "gue",
        Encapsulation::Ipip => "ipip",
    };
    let announce = match common.announce {
        Announce::Vip => "vip",
        Announce::None => "none",
    };
    let mut text = format!(
        r#"[node]
name = "node{number}"
{own_v4}address_v6 = "{v6}"
weight = {weight}
workers = 1
node_header = true

[admin]
listen = "{admin}"
token_file = "{token}"
denied_file = "{denied}"

[dataplane]
interfaces = {interfaces:?}
{of_cluster}mode = "native"
encapsulation = "{encapsulation}"
flow_table_entries = 65_536
tables = 4
pin_directory = "{pins}"
{path_mtu}
[cluster]
listen = "{listen}"
seeds = [{seeds}]
key_file = "{key}"
announce = "{announce}"

[defaults]
timeout = "10s"

[[listener]]
name = "web"
address = "[::]:{HTTP_PORT}"
protocol = "http"

[[route]]
name = "hello"
listeners = ["web"]
match = {{ path = "/hello" }}
respond = {{ status = 200, body = "hello" }}

[[route]]
name = "all"
listeners = ["web"]
match = {{ path_prefix = "/" }}
upstream = "pool"

[[upstream]]
name = "pool"
balancer = "round-robin"
endpoints = [{endpoints}]
[upstream.health]
readiness = {{ http = "/readyz", interval = "500ms", timeout = "1s" }}
"#,
        number = index + 1,
        interfaces = common.links.list(),
        v6 = host.v6,
        admin = at(families.loopback(), ADMIN_PORT),
        listen = at(families.of(host), CLUSTER_PORT),
        token = files.token.display(),
        denied = files.denied.display(),
        pins = files.pin_directory.display(),
        seeds = seeds.join(", "),
        key = files.cluster_key.display(),
        endpoints = endpoints(families),
    );
    for (name, vip, steering, protocol, port) in [
        ("public", Vip::FlowHash, "flow-hash", "tcp", HTTP_PORT),
        ("datagrams", Vip::Udp, "flow-hash", "udp", UDP_PORT),
        ("sticky", Vip::IpHash, "ip-hash", "tcp", HTTP_PORT),
    ] {
        for family in families.list().iter().copied() {
            let suffix = match family {
                Family::V4 => "",
                Family::V6 => "-v6",
            };
            let address = vip.address(family);
            text.push_str(&format!(
                "\n[[vip]]\nname = \"{name}{suffix}\"\naddress = \"{address}\"\nports = [{port}]\n\
                 protocol = \"{protocol}\"\nsteering = \"{steering}\"\n"
            ));
        }
    }
    text
}

fn endpoints(families: Families) -> String {
    let all: Vec<_> = (0..UPSTREAMS)
        .map(|index| SocketAddr::new(families.of(upstream(index)), UPSTREAM_PORT))
        .map(|address| format!("{{ address = \"{address}\" }}"))
        .collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_valid_toml_with_its_own_names() {
        for index in 0..NODES {
            let name = format!("node{}", index + 1);
            let files = Files::new(Path::new("/tmp/x"), Path::new("/sys/fs/bpf/x"), &name);
            let parsed: toml::Table =
                toml::from_str(&toml(index, 2, &files, &Common::default())).expect("valid TOML");
            assert_eq!(parsed["node"]["name"].as_str(), Some(name.as_str()));
            assert_eq!(parsed["vip"].as_array().map(Vec::len), Some(6));
            assert_eq!(
                parsed["cluster"]["seeds"].as_array().map(Vec::len),
                Some(NODES - 1)
            );
        }
    }

    #[test]
    fn without_ipv4_no_ipv4_address_is_named() {
        let common = Common {
            families: Families::V6Only,
            path_mtu: Some(9_000),
            ..Common::default()
        };
        let files = Files::new(Path::new("/tmp/x"), Path::new("/sys/fs/bpf/x"), "node1");
        let text = toml(0, 1, &files, &common);
        let parsed: toml::Table = toml::from_str(&text).expect("valid TOML");
        assert_eq!(parsed["vip"].as_array().map(Vec::len), Some(3));
        assert_eq!(parsed["dataplane"]["path_mtu"].as_integer(), Some(9_000));
        for v4 in ["10.77.", "127.0.0.1"] {
            assert!(!text.contains(v4), "{text}");
        }
    }
}
