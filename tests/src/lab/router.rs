//! The router between the client and the nodes: static ECMP next hops to the nodes' own addresses, and no protocol.
//!
//! Any node may be director for any flow, and which one it is changes whenever the router's hash does.
//!
//! ```text
//!   client ── router ── switch ── node1, node2, node3, upstreams
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use netlink_packet_route::IpProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute};
use rtnetlink::{RouteMessageBuilder, RouteNextHopBuilder};

use super::addresses::{self, CLIENT_NETWORK_V4, CLIENT_NETWORK_V6, Family, Vip};
use super::netns::Namespace;
use super::settings::INTERFACE;
use super::sysctl;
use super::wire::{add_route, index_of, with_netlink};

/// The router's interface on the client's segment.
pub const CLIENT_PORT: &str = "client";

/// Before the rules that the kernel brings along, but for the one of its own addresses.
const RULE_PRIORITY: u32 = 100;

/// What the seed of the hash becomes at each rehash: any odd number spreads well enough.
const SEED_STEP: u32 = 0x9e37_79b1;

/// A router that forwards.
#[derive(Debug)]
pub struct Router {
    namespace: Namespace,
    families: Vec<Family>,
}

impl Router {
    /// A router in a namespace that has its two interfaces already.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn new(namespace: Namespace, families: &[Family]) -> Result<Self> {
        let is_v4 = families.contains(&Family::V4);
        namespace.run(move || -> Result<()> {
            let client = addresses::client_behind_router();
            if is_v4 {
                add_route(CLIENT_NETWORK_V4.0.into(), CLIENT_NETWORK_V4.1, client.v4.into())?;
            }
            add_route(CLIENT_NETWORK_V6.0.into(), CLIENT_NETWORK_V6.1, client.v6.into())
        })??;
        Ok(Self {
            namespace,
            families: families.to_vec(),
        })
    }

    /// The namespace that it lives in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Sends what is for a VIP to these nodes, in shares of the hash in this order: another order, another director.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn set_next_hops(&self, nodes: &[usize]) -> Result<()> {
        for family in self.families.clone() {
            for vip in Vip::ALL {
                let hops = nodes.iter().map(|index| match family {
                    Family::V4 => addresses::node(*index).v4.into(),
                    Family::V6 => addresses::node(*index).v6.into(),
                });
                let hops: Vec<IpAddr> = hops.collect();
                self.namespace
                    .run(move || replace_multipath(vip.address(family), &hops))??;
            }
        }
        Ok(())
    }

    /// Changes the hash in mid-connection: the next hops change places, and flows are spread by another seed.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn rehash(&self, nodes: &[usize], turn: usize) -> Result<()> {
        let mut order = nodes.to_vec();
        order.rotate_left(turn.checked_rem(nodes.len()).unwrap_or(0));
        let seed = SEED_STEP.wrapping_mul(u32::try_from(turn).unwrap_or(u32::MAX) | 1);
        self.namespace
            .run(move || sysctl::write_value("ipv4/fib_multipath_hash_seed", &seed.to_string()))??;
        self.set_next_hops(&order)
    }

    /// Forwards no ICMP any more, of either family, as many firewalls do.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn block_icmp(&self) -> Result<()> {
        self.namespace.run(|| {
            with_netlink(|netlink| async move {
                let rules = netlink.rule();
                let mut v4 = rules
                    .add()
                    .v4()
                    .priority(RULE_PRIORITY)
                    .action(RuleAction::Blackhole);
                let attributes = &mut v4.message_mut().attributes;
                attributes.push(RuleAttribute::IpProtocol(IpProtocol::Icmp));
                v4.execute().await.context("block ICMP")?;
                let mut v6 = rules
                    .add()
                    .v6()
                    .priority(RULE_PRIORITY)
                    .action(RuleAction::Blackhole);
                let attributes = &mut v6.message_mut().attributes;
                attributes.push(RuleAttribute::IpProtocol(IpProtocol::Other(libc::IPPROTO_ICMPV6)));
                v6.execute().await.context("block ICMPv6")
            })
        })?
    }
}

/// Routes one address by several gateways of equal weight on the nodes' segment.
fn replace_multipath(destination: IpAddr, gateways: &[IpAddr]) -> Result<()> {
    with_netlink(|netlink| async move {
        let interface = index_of(INTERFACE)?;
        let mut hops = Vec::new();
        for gateway in gateways {
            let hop = match gateway {
                IpAddr::V4(_) => RouteNextHopBuilder::new_ipv4(),
                IpAddr::V6(_) => RouteNextHopBuilder::new_ipv6(),
            };
            let hop = hop.interface(interface).via(*gateway);
            hops.push(hop.with_context(|| format!("a next hop by {gateway}"))?.build());
        }
        let message = match destination {
            IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(address, 32)
                .multipath(hops)
                .build(),
            IpAddr::V6(address) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(address, 128)
                .multipath(hops)
                .build(),
        };
        netlink
            .route()
            .add(message)
            .replace()
            .execute()
            .await
            .with_context(|| format!("route {destination} by {gateways:?}"))
    })
}
