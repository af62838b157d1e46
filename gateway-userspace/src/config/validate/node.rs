//! `[node]`, `[admin]` and `[dns]`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::names;
use crate::config::given::Given;
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::snapshot::{Admin, AdminListen, Node, NodeHeader};
use crate::config::surroundings::Surroundings;

/// `[node]`.
pub fn node(given: &Given, surroundings: &Surroundings, problems: &mut Problems<'_>) -> Option<Node> {
    let path = KeyPath::top("node");
    let node = given.node.as_ref()?;
    if let Some(name) = &node.name {
        names::check(name, &path.key("name"), problems);
    }
    let addresses = [
        ("address", node.address.map(IpAddr::V4)),
        ("address_v6", node.address_v6.map(IpAddr::V6)),
    ];
    for (key, address) in addresses {
        let Some(address) = address else { continue };
        let path = path.key(key);
        if let Some(fault) = no_host(address) {
            problems.add(
                &path,
                format!("{address} {fault}"),
                "write an address of this machine that other nodes reach",
            );
        }
        let is_vip = |vip: &crate::config::given::Vip| vip.address == Some(address);
        if given.vip.iter().flatten().any(is_vip) {
            let remedy = "write this machine's own address: a VIP moves from node to node";
            problems.add(&path, format!("{address} is a VIP"), remedy);
        }
    }
    if let (Some(max), Some(per_client)) = (node.connections_max, node.connections_per_client_max)
        && per_client > max
    {
        problems.add(
            &path.key("connections_per_client_max"),
            format!("{per_client} is more than connections_max, which is {max}"),
            format!("write at most {max}, or leave it out"),
        );
    }
    Some(Node {
        name: node.name.clone()?,
        address: node.address,
        address_v6: node.address_v6,
        weight: node.weight.unwrap_or(limits::WEIGHT),
        zone: node.zone.clone(),
        workers: node.workers.unwrap_or(surroundings.cores),
        node_header: match node.node_header {
            Some(true) => NodeHeader::Sent,
            Some(false) | None => NodeHeader::Omitted,
        },
        connections_max: node.connections_max,
        connections_per_client_max: node.connections_per_client_max,
    })
}

/// Why an address cannot be that of one host; `None`: it can.
pub fn no_host(address: IpAddr) -> Option<&'static str> {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let is_mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    if address.is_unspecified() {
        Some("stands for any address")
    } else if address.is_multicast() || is_broadcast {
        Some("is not the address of one machine")
    } else if is_mapped {
        Some("is an IPv4 address written as IPv6")
    } else {
        None
    }
}

/// `[admin]`.
pub fn admin(given: &Given, surroundings: &Surroundings, problems: &mut Problems<'_>) -> Option<Admin> {
    let path = KeyPath::top("admin");
    let admin = given.admin.as_ref();
    let listen = admin
        .and_then(|admin| admin.listen.as_deref())
        .unwrap_or(limits::ADMIN_LISTEN);
    let listen = match admin_listen(listen) {
        Ok(listen) => Some(listen),
        Err((fault, remedy)) => {
            problems.add(&path.key("listen"), format!("\"{listen}\" {fault}"), remedy);
            None
        }
    };
    let token_file = match admin.and_then(|admin| admin.token_file.as_ref()) {
        Some(file) => existing_name(file, &path.key("token_file"), problems)?,
        None => surroundings.token_file(),
    };
    let routes_file = match admin.and_then(|admin| admin.routes_file.as_ref()) {
        Some(file) => existing_name(file, &path.key("routes_file"), problems)?,
        None => surroundings.routes_file(given.node.as_ref()?.name.as_deref()?),
    };
    let denied_file = match admin.and_then(|admin| admin.denied_file.as_ref()) {
        Some(file) => existing_name(file, &path.key("denied_file"), problems)?,
        None => surroundings.denied_file(given.node.as_ref()?.name.as_deref()?),
    };
    Some(Admin {
        listen: listen?,
        token_file,
        routes_file,
        denied_file,
    })
}

/// `dns.servers`; empty where the system's configuration holds.
pub fn dns_servers(given: &Given, problems: &mut Problems<'_>) -> Vec<SocketAddr> {
    let path = KeyPath::top("dns").key("servers");
    let given = given.dns.iter().flat_map(|dns| &dns.servers).flatten();
    let mut servers = Vec::new();
    for (index, server) in given.enumerate() {
        let path = path.index(index);
        let remedy = "write the address of a DNS server, as in \"10.0.0.53:53\"";
        if let Some(fault) = no_host(server.ip()) {
            problems.add(&path, format!("{server} {fault}"), remedy);
        } else if server.port() == 0 {
            problems.add(&path, format!("{server} has no port"), remedy);
        } else if servers.contains(server) {
            problems.add(&path, format!("{server} stands here twice"), "remove one");
        }
        servers.push(*server);
    }
    servers
}

/// An address of the admin API: loopback, or `unix:` with an absolute path. Also what `gateway --admin` takes.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn admin_listen(text: &str) -> Result<AdminListen, (&'static str, &'static str)> {
    const FORMS: &str =
        "write a loopback address as in \"127.0.0.1:9900\", or \"unix:/run/gateway/admin.sock\"";
    if let Some(socket) = text.strip_prefix("unix:") {
        let fault = match socket {
            _ if !socket.starts_with('/') => "has a socket path that does not start with /",
            _ if socket.len() > limits::SOCKET_PATH_BYTES_MAX => "has a socket path of more than 107 bytes",
            _ => return Ok(AdminListen::Unix(PathBuf::from(socket))),
        };
        return Err((fault, FORMS));
    }
    let address: SocketAddr = text
        .parse()
        .map_err(|_| ("is neither an address with a port nor a socket", FORMS))?;
    if !address.ip().is_loopback() {
        return Err((
            "can be reached from other machines, and this version has no TLS for the admin API",
            FORMS,
        ));
    }
    if address.port() == 0 {
        return Err(("has no port", FORMS));
    }
    Ok(AdminListen::Tcp(address))
}

/// A file that a key names; relative paths start at the configuration file.
pub fn existing_name(file: &PathBuf, path: &KeyPath, problems: &mut Problems<'_>) -> Option<PathBuf> {
    if file.as_os_str().is_empty() {
        problems.add(
            path,
            "the path is empty",
            "write the path of a file, or leave the key out",
        );
        return None;
    }
    Some(problems.document().directory().join(file))
}
