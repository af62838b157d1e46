//! The hosts of a lab as far as the network goes: a namespace, a cable, addresses, routes.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::addresses::{
    self, CLIENT_NETWORK_V4, CLIENT_NETWORK_V6, CLIENT_SEGMENT_V4, CLIENT_SEGMENT_V6, Host, SEGMENT_BITS_V4,
    SEGMENT_BITS_V6, SEGMENT_V4, SEGMENT_V6,
};
use super::netns::Namespace;
use super::settings::{Announce, Common, Families, INSIDE, INTERFACE};
use super::sysctl::{self, Setting};
use super::wire::{self, Plug, Power};
use super::{node, offload, remains, router};

/// Name of the bridge in the switch's namespace.
pub const BRIDGE: &str = "bridge";

/// Name of another one there, for nodes alone.
pub const INSIDE_BRIDGE: &str = "inside";

/// The network that the kernel gives a loopback by itself.
const LOOPBACK_BITS: u8 = 8;

/// Makes a host's namespace, plugs it into the switch and gives it its addresses.
///
/// # Errors
/// Where the kernel refuses.
pub fn add_host(
    id: u32,
    switch: &Namespace,
    name: &str,
    host: Host,
    settings: &'static [Setting],
    families: Families,
) -> Result<Namespace> {
    let namespace = make_namespace(id, name, settings)?;
    let path = namespace.path();
    let port = name.to_owned();
    switch.run(move || wire::add_cable(Plug::Bridge(BRIDGE), &port, &path, INTERFACE))??;
    namespace.run(move || bring_up(INTERFACE, host, families))??;
    Ok(namespace)
}

/// Plugs a node into the nodes' own segment.
///
/// # Errors
/// Where the kernel refuses.
pub fn plug_inside(
    switch: &Namespace,
    index: usize,
    namespace: &Namespace,
    families: Families,
) -> Result<()> {
    let (path, port) = (namespace.path(), inside_port(&node::name(index)));
    switch.run(move || wire::add_cable(Plug::Bridge(INSIDE_BRIDGE), &port, &path, INSIDE))??;
    namespace.run(move || bring_up(INSIDE, addresses::node_inside(index), families))?
}

/// Plugs a node into the switch, whose interface there is none.
///
/// # Errors
/// Where the kernel refuses.
pub fn plug(switch: &Namespace, index: usize, namespace: &Namespace, common: Common) -> Result<()> {
    let (path, port) = (namespace.path(), node::name(index));
    switch.run(move || wire::add_cable(Plug::Bridge(BRIDGE), &port, &path, INTERFACE))??;
    namespace.run(move || -> Result<()> {
        bring_up(INTERFACE, addresses::node(index), common.families)?;
        add_ways_to_client(common)
    })?
}

/// The port on the nodes' own segment of the node of that name.
pub fn inside_port(node: &str) -> String {
    format!("{node}-in")
}

/// Makes the client's namespace, and a cable from the router to it.
///
/// # Errors
/// Where the kernel refuses.
pub fn add_client_behind(router: &Namespace, id: u32, families: Families) -> Result<Namespace> {
    let namespace = make_namespace(id, "client", sysctl::CLIENT)?;
    let path = namespace.path();
    router.run(move || -> Result<()> {
        wire::add_cable(Plug::Own, router::CLIENT_PORT, &path, INTERFACE)?;
        bring_up(router::CLIENT_PORT, addresses::router_at_client(), families)
    })??;
    namespace.run(move || -> Result<()> {
        bring_up(INTERFACE, addresses::client_behind_router(), families)?;
        let router = addresses::router_at_client();
        if families == Families::Both {
            wire::add_route(SEGMENT_V4.0.into(), SEGMENT_V4.1, router.v4.into())?;
        }
        wire::add_route(SEGMENT_V6.0.into(), SEGMENT_V6.1, router.v6.into())
    })??;
    Ok(namespace)
}

fn make_namespace(id: u32, name: &str, settings: &'static [Setting]) -> Result<Namespace> {
    let namespace = Namespace::create(&remains::namespace(id, name))?;
    namespace.run(move || -> Result<()> {
        sysctl::write(sysctl::EVERYWHERE)?;
        sysctl::write(settings)
    })??;
    Ok(namespace)
}

/// Gives an interface of the calling thread's namespace its addresses, with the loopback.
fn bring_up(interface: &str, host: Host, families: Families) -> Result<()> {
    offload::switch_off(interface)?;
    for interface in ["lo", interface] {
        wire::set_power(interface, Power::Up)?;
    }
    match families {
        Families::Both => wire::add_address(interface, host.v4.into(), SEGMENT_BITS_V4)?,
        Families::V6Only => {
            let loopback = Ipv4Addr::LOCALHOST.into();
            if wire::addresses("lo")?.contains(&loopback) {
                wire::remove_address("lo", loopback, LOOPBACK_BITS)?;
            }
        }
    }
    wire::add_address(interface, host.v6.into(), SEGMENT_BITS_V6)
}

/// Routes what a node of the calling thread's namespace answers to the client.
///
/// # Errors
/// Where the kernel refuses.
pub fn add_ways_to_client(common: Common) -> Result<()> {
    let (v4, v6) = (
        [CLIENT_NETWORK_V4, CLIENT_SEGMENT_V4],
        [CLIENT_NETWORK_V6, CLIENT_SEGMENT_V6],
    );
    // On the client's own segment, the second network needs no route.
    let (by, networks) = match common.announce {
        Announce::Vip => (addresses::client(), 1),
        Announce::None => (addresses::router(), 2),
    };
    if common.families == Families::Both {
        for (network, bits) in v4.into_iter().take(networks) {
            wire::add_route(network.into(), bits, by.v4.into())?;
        }
    }
    for (network, bits) in v6.into_iter().take(networks) {
        wire::add_route(network.into(), bits, by.v6.into())?;
    }
    Ok(())
}
