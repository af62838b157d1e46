//! Links, addresses and routes of one network namespace, by netlink.
//!
//! Each function opens its own netlink socket in the namespace of the calling thread, which is where it acts.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use netlink_packet_route::link::{LinkAttribute, LinkXdp, XdpAttached};
use netlink_packet_route::route::{RouteScope, RouteType};
use nix::net::if_::if_nametoindex;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection};

/// What a network card's segment carries: the same everywhere, as encapsulation is tested against it.
pub const MTU_BYTES: u32 = 1500;

/// The answer to one netlink request is a matter of microseconds; more means that it was lost.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The routing table that the kernel asks first: what is in it as `local` is this host.
const TABLE_LOCAL: u32 = 255;

/// Makes a bridge that forwards at once and floods all multicast, and brings it up.
///
/// Without `multicast snooping` off, a bridge with no querier on it eats neighbour solicitations.
///
/// # Errors
/// Where the kernel refuses.
pub fn add_bridge(name: &str) -> Result<()> {
    with_netlink(|netlink| async move {
        let bridge = LinkBridge::new(name)
            .mcast_snooping(false)
            .forward_delay(0)
            .up()
            .build();
        netlink
            .link()
            .add(bridge)
            .execute()
            .await
            .with_context(|| format!("add bridge {name}"))
    })
}

/// Where this end of a cable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plug<'name> {
    /// On the bridge of that name.
    Bridge(&'name str),
    /// On no bridge: an interface of this namespace.
    Own,
}

/// Makes a veth pair: `port` here, plugged in as said, and its other end as `interface` in the namespace of that file.
///
/// # Errors
/// Where the kernel refuses.
pub fn add_cable(plug: Plug<'_>, port: &str, namespace: &Path, interface: &str) -> Result<()> {
    let file = std::fs::File::open(namespace).with_context(|| format!("open {}", namespace.display()))?;
    // Two ends called `eth0` would clash before the second is moved: it is renamed on its way.
    let passing = format!("{port}-");
    with_netlink(|netlink| async move {
        let pair = LinkVeth::new(port, &passing).mtu(MTU_BYTES).build();
        netlink
            .link()
            .add(pair)
            .execute()
            .await
            .with_context(|| format!("add veth {port}"))?;
        let end = LinkUnspec::new_with_index(index_of(&passing)?)
            .setns_by_fd(file.as_raw_fd())
            .name(interface)
            .mtu(MTU_BYTES)
            .build();
        netlink
            .link()
            .change(end)
            .execute()
            .await
            .with_context(|| format!("move the end of {port} to {}", namespace.display()))?;
        let mut port_up = LinkUnspec::new_with_index(index_of(port)?).up();
        if let Plug::Bridge(bridge) = plug {
            port_up = port_up.controller(index_of(bridge)?);
        }
        netlink
            .link()
            .change(port_up.build())
            .execute()
            .await
            .with_context(|| format!("plug {port} in: {plug:?}"))
    })
}

/// Brings an interface up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Carries frames.
    Up,
    /// Does not; its peer loses the carrier.
    Down,
}

/// Sets an interface up or down.
///
/// # Errors
/// Where there is no such interface or the kernel refuses.
pub fn set_power(interface: &str, power: Power) -> Result<()> {
    with_netlink(|netlink| async move {
        let message = LinkUnspec::new_with_index(index_of(interface)?);
        let message = match power {
            Power::Up => message.up(),
            Power::Down => message.down(),
        };
        netlink
            .link()
            .change(message.build())
            .execute()
            .await
            .with_context(|| format!("set {interface} {power:?}"))
    })
}

/// Removes an interface, and of a cable its other end, too.
///
/// # Errors
/// Where there is no such interface or the kernel refuses.
pub fn remove(interface: &str) -> Result<()> {
    with_netlink(|netlink| async move {
        let removed = netlink.link().del(index_of(interface)?).execute().await;
        removed.with_context(|| format!("remove {interface}"))
    })
}

/// Sets the longest IP packet that an interface takes, in bytes.
///
/// # Errors
/// Where there is no such interface or the kernel refuses.
pub fn set_mtu(interface: &str, bytes: u32) -> Result<()> {
    with_netlink(|netlink| async move {
        let message = LinkUnspec::new_with_index(index_of(interface)?).mtu(bytes);
        netlink
            .link()
            .change(message.build())
            .execute()
            .await
            .with_context(|| format!("set the MTU of {interface} to {bytes}"))
    })
}

/// Gives an interface an address.
///
/// # Errors
/// Where there is no such interface or the kernel refuses.
pub fn add_address(interface: &str, address: IpAddr, bits: u8) -> Result<()> {
    with_netlink(|netlink| async move {
        netlink
            .address()
            .add(index_of(interface)?, address, bits)
            .execute()
            .await
            .with_context(|| format!("add address {address}/{bits} to {interface}"))
    })
}

/// Takes an address from an interface.
///
/// # Errors
/// Where there is no such interface or address.
pub fn remove_address(interface: &str, address: IpAddr, bits: u8) -> Result<()> {
    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::address::{AddressAttribute, AddressMessage};
    with_netlink(|netlink| async move {
        let mut message = AddressMessage::default();
        message.header.family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.prefix_len = bits;
        message.header.index = index_of(interface)?;
        message.attributes.push(AddressAttribute::Local(address));
        netlink
            .address()
            .del(message)
            .execute()
            .await
            .with_context(|| format!("remove address {address}/{bits} from {interface}"))
    })
}

/// All addresses of an interface.
///
/// # Errors
/// Where there is no such interface or the kernel refuses.
pub fn addresses(interface: &str) -> Result<Vec<IpAddr>> {
    use netlink_packet_route::address::AddressAttribute;
    with_netlink(|netlink| async move {
        let mut found = Vec::new();
        let index = index_of(interface)?;
        let mut dump = netlink.address().get().set_link_index_filter(index).execute();
        while let Some(message) = dump.try_next().await.context("list addresses")? {
            found.extend(message.attributes.iter().filter_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            }));
        }
        Ok(found)
    })
}

/// Routes a network by a gateway on a directly connected segment.
///
/// # Errors
/// Where the kernel refuses, and for a network and gateway of two families.
pub fn add_route(network: IpAddr, bits: u8, gateway: IpAddr) -> Result<()> {
    with_netlink(|netlink| async move {
        let message = match (network, gateway) {
            (IpAddr::V4(network), IpAddr::V4(gateway)) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(network, bits)
                .gateway(gateway)
                .build(),
            (IpAddr::V6(network), IpAddr::V6(gateway)) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(network, bits)
                .gateway(gateway)
                .build(),
            _ => bail!("a route to {network} cannot go by {gateway}: another IP version"),
        };
        netlink
            .route()
            .add(message)
            .execute()
            .await
            .with_context(|| format!("add a route to {network}/{bits} by {gateway}"))
    })
}

/// Makes every address of a network this host's own, without adding one of them.
///
/// # Errors
/// Where the kernel refuses.
pub fn add_local_network(network: IpAddr, bits: u8) -> Result<()> {
    with_netlink(|netlink| async move {
        let loopback = index_of("lo")?;
        let mut message = match network {
            IpAddr::V4(network) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(network, bits)
                .output_interface(loopback)
                .table_id(TABLE_LOCAL)
                .scope(RouteScope::Host)
                .build(),
            IpAddr::V6(network) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(network, bits)
                .output_interface(loopback)
                .table_id(TABLE_LOCAL)
                .build(),
        };
        message.header.kind = RouteType::Local;
        netlink
            .route()
            .add(message)
            .execute()
            .await
            .with_context(|| format!("make {network}/{bits} local"))
    })
}

/// The hardware address of an interface.
///
/// # Errors
/// Where there is no such interface or it has none.
pub fn hardware_address(interface: &str) -> Result<[u8; 6]> {
    for attribute in link_attributes(interface)? {
        if let LinkAttribute::Address(bytes) = attribute {
            return bytes
                .as_slice()
                .try_into()
                .with_context(|| format!("the hardware address of {interface} has {} bytes", bytes.len()));
        }
    }
    bail!("{interface} has no hardware address")
}

/// How an XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// There is none.
    Absent,
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
    /// In hardware, or several at once.
    Other,
}

/// How the XDP program of an interface is attached.
///
/// # Errors
/// Where there is no such interface.
pub fn xdp_mode(interface: &str) -> Result<XdpMode> {
    for attribute in link_attributes(interface)? {
        if let LinkAttribute::Xdp(facts) = attribute {
            for fact in facts {
                if let LinkXdp::Attached(attached) = fact {
                    return Ok(match attached {
                        XdpAttached::None => XdpMode::Absent,
                        XdpAttached::Driver => XdpMode::Native,
                        XdpAttached::SocketBuffer => XdpMode::Generic,
                        _ => XdpMode::Other,
                    });
                }
            }
        }
    }
    Ok(XdpMode::Absent)
}

fn link_attributes(interface: &str) -> Result<Vec<LinkAttribute>> {
    with_netlink(|netlink| async move {
        let mut answer = netlink.link().get().match_index(index_of(interface)?).execute();
        let link = answer
            .try_next()
            .await
            .with_context(|| format!("ask for {interface}"))?
            .with_context(|| format!("no answer about {interface}"))?;
        Ok(link.attributes)
    })
}

pub(super) fn index_of(interface: &str) -> Result<u32> {
    if_nametoindex(interface).with_context(|| format!("find interface {interface}"))
}

/// Opens netlink in the calling thread's namespace for the length of one job.
pub(super) fn with_netlink<T, F>(job: impl FnOnce(Handle) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    super::netns::block_on(async {
        let (connection, netlink, _) = new_connection().context("open netlink")?;
        let pump = tokio::spawn(connection);
        let outcome = tokio::time::timeout(REQUEST_TIMEOUT, job(netlink)).await;
        pump.abort();
        outcome.context("netlink did not answer in time")?
    })
}
