//! The configuration that a node of a lab runs with.

use std::path::{Path, PathBuf};

use super::addresses::{
    ADMIN_PORT, CLUSTER_PORT, Family, HTTP_PORT, NODES, UDP_PORT, UPSTREAM_PORT, UPSTREAMS, Vip, node,
    upstream,
};

/// Interface of every host of a lab but the switch.
pub const INTERFACE: &str = "eth0";

/// Where a node keeps its files.
#[derive(Clone, Debug)]
pub struct Files {
    /// The configuration.
    pub config: PathBuf,
    /// The admin API's bearer token, made by the node.
    pub token: PathBuf,
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
pub fn toml(index: usize, weight: u32, files: &Files) -> String {
    let host = node(index);
    let seeds: Vec<_> = (0..NODES)
        .filter(|other| *other != index)
        .map(|other| format!("\"{}:{CLUSTER_PORT}\"", node(other).v4))
        .collect();
    let mut text = format!(
        r#"[node]
name = "node{number}"
address = "{v4}"
address_v6 = "{v6}"
weight = {weight}
workers = 1
node_header = true

[admin]
listen = "127.0.0.1:{ADMIN_PORT}"
token_file = "{token}"

[dataplane]
interfaces = ["{INTERFACE}"]
mode = "native"
encapsulation = "ipip"
flow_table_entries = 65_536
tables = 4
pin_directory = "{pins}"

[cluster]
listen = "{v4}:{CLUSTER_PORT}"
seeds = [{seeds}]
key_file = "{key}"
announce = "vip"

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
        v4 = host.v4,
        v6 = host.v6,
        token = files.token.display(),
        pins = files.pin_directory.display(),
        seeds = seeds.join(", "),
        key = files.cluster_key.display(),
        endpoints = endpoints(),
    );
    for (name, vip, steering, protocol, port) in [
        ("public", Vip::FlowHash, "flow-hash", "tcp", HTTP_PORT),
        ("datagrams", Vip::Udp, "flow-hash", "udp", UDP_PORT),
        ("sticky", Vip::IpHash, "ip-hash", "tcp", HTTP_PORT),
    ] {
        for (suffix, family) in [("", Family::V4), ("-v6", Family::V6)] {
            let address = vip.address(family);
            text.push_str(&format!(
                "\n[[vip]]\nname = \"{name}{suffix}\"\naddress = \"{address}\"\nports = [{port}]\n\
                 protocol = \"{protocol}\"\nsteering = \"{steering}\"\n"
            ));
        }
    }
    text
}

fn endpoints() -> String {
    let all: Vec<_> = (0..UPSTREAMS)
        .map(|index| format!("{{ address = \"{}:{UPSTREAM_PORT}\" }}", upstream(index).v4))
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
            let parsed: toml::Table = toml::from_str(&toml(index, 2, &files)).expect("valid TOML");
            assert_eq!(parsed["node"]["name"].as_str(), Some(name.as_str()));
            assert_eq!(parsed["vip"].as_array().map(Vec::len), Some(6));
            assert_eq!(
                parsed["cluster"]["seeds"].as_array().map(Vec::len),
                Some(NODES - 1)
            );
        }
    }
}
