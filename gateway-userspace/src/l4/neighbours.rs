//! Next hops to the other nodes: the kernel resolves and probes them, user space copies them into the maps.
//!
//! XDP cannot ask by itself: `bpf_fib_lookup` answers only where IP forwarding is on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use gateway_common::headers::Mac;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::L4Error;
use super::desired::{Neighbour, Neighbours};
use super::interfaces::Link;

/// Where packets to a node leave this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NextHop {
    interface: u32,
    address: IpAddr,
}

/// Which next hops count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nodes on the segment alone: they are known by their hardware addresses, which a router would hide.
    Segment,
    /// Routers, too: nodes are known by their cookies.
    Routed,
}

/// The next hops to these nodes, as far as they are resolved. Has the kernel resolve the rest, and probe those it has not
/// heard of lately.
///
/// Only those at one of `links` count: by no other interface does the kernel program send.
///
/// # Errors
/// Netlink does not answer.
pub async fn resolve(
    netlink: &Handle,
    links: &[Link],
    reach: Reach,
    addresses: &[IpAddr],
) -> Result<Neighbours, L4Error> {
    let known = known(netlink).await?;
    let mut neighbours = Neighbours::new();
    for address in addresses {
        let hop = next_hop(netlink, *address).await;
        let is_near_enough = |hop: &NextHop| reach == Reach::Routed || hop.address == *address;
        let link_of = |hop: &NextHop| links.iter().find(|link| link.index == hop.interface);
        let hop = hop.filter(is_near_enough);
        let Some((hop, link)) = hop.and_then(|hop| Some((hop, link_of(&hop)?))) else {
            tracing::debug!(%address, "the node is not on the segment of dataplane.interfaces");
            continue;
        };
        let entry = known.iter().find(|(at, ..)| *at == hop);
        if let Some((_, mac, _)) = entry {
            let neighbour = Neighbour {
                mac: *mac,
                mtu: link.mtu,
                interface: link.index,
                from: link.mac,
            };
            neighbours.insert(*address, neighbour);
        }
        if entry.is_none_or(|(.., state)| *state == NeighbourState::Stale) {
            probe(netlink, hop).await;
        }
    }
    Ok(neighbours)
}

/// All neighbours with a hardware address that the kernel would use.
async fn known(netlink: &Handle) -> Result<Vec<(NextHop, Mac, NeighbourState)>, L4Error> {
    let failed = |source: rtnetlink::Error| L4Error::Netlink {
        action: "list the neighbours".to_owned(),
        source: source.into(),
    };
    let mut known = Vec::new();
    let mut messages = netlink.neighbours().get().execute();
    while let Some(message) = messages.try_next().await.map_err(failed)? {
        let state = message.header.state;
        if matches!(
            state,
            NeighbourState::Failed | NeighbourState::Incomplete | NeighbourState::Noarp
        ) {
            continue;
        }
        let mut address = None;
        let mut mac: Option<Mac> = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                    address = Some(IpAddr::V4(*ip))
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                    address = Some(IpAddr::V6(*ip))
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
                _ => {}
            }
        }
        if let (Some(address), Some(mac)) = (address, mac) {
            known.push((
                NextHop {
                    interface: message.header.ifindex,
                    address,
                },
                mac,
                state,
            ));
        }
    }
    Ok(known)
}

/// Asks the kernel's routes which way an address lies.
async fn next_hop(netlink: &Handle, address: IpAddr) -> Option<NextHop> {
    let question = match address {
        IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, 32)
            .build(),
        IpAddr::V6(address) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(address, 128)
            .build(),
    };
    let answer: RouteMessage = netlink.route().get(question).execute().try_next().await.ok()??;
    let mut hop = NextHop {
        interface: 0,
        address,
    };
    for attribute in &answer.attributes {
        match attribute {
            RouteAttribute::Oif(index) => hop.interface = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => hop.address = IpAddr::V4(*gateway),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => hop.address = IpAddr::V6(*gateway),
            _ => {}
        }
    }
    Some(hop)
}

/// Has the kernel ask for a neighbour's hardware address, as if a packet went there.
async fn probe(netlink: &Handle, hop: NextHop) {
    let request = netlink
        .neighbours()
        .add(hop.interface, hop.address)
        .replace()
        .flags(NeighbourFlags::Use);
    if let Err(error) = request.state(NeighbourState::None).execute().await {
        tracing::debug!(address = %hop.address, %error, "the kernel does not probe the neighbour");
    }
}
