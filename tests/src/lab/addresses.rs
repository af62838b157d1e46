//! Who has which address in a lab.
//!
//! The same in every lab: each has its own network namespaces, so that labs side by side cannot meet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Gateway nodes of a lab.
pub const NODES: usize = 3;

/// Upstream servers of a lab.
pub const UPSTREAMS: usize = 3;

/// Bits of the segment's IPv4 network.
pub const SEGMENT_BITS_V4: u8 = 24;

/// Bits of the segment's IPv6 network.
pub const SEGMENT_BITS_V6: u8 = 64;

/// Addresses that the client can send from besides its own.
///
/// Enough for the 3,000 clients of the ip-hash measurement, with a power of two for the prefix.
pub const CLIENT_ADDRESSES: u16 = 4_096;

/// Network of the client's further IPv4 addresses.
pub const CLIENT_NETWORK_V4: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 88, 0, 0), 20);

/// Network of the client's further IPv6 addresses.
pub const CLIENT_NETWORK_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, 0), 116);

/// The nodes' segment; the VIPs lie in it.
pub const SEGMENT_V4: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 77, 0, 0), SEGMENT_BITS_V4);

/// The same, over IPv6.
pub const SEGMENT_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0), SEGMENT_BITS_V6);

/// The segment of a client behind a router.
pub const CLIENT_SEGMENT_V4: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 78, 0, 0), SEGMENT_BITS_V4);

/// The same, over IPv6.
pub const CLIENT_SEGMENT_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 0), SEGMENT_BITS_V6);

/// Port that the VIPs, listeners and upstreams of a lab serve on.
pub const HTTP_PORT: u16 = 80;

/// Port of the VIP for datagrams.
pub const UDP_PORT: u16 = 5300;

/// Port of the upstream servers.
pub const UPSTREAM_PORT: u16 = 8080;

/// UDP port of the heartbeats.
pub const CLUSTER_PORT: u16 = 7946;

/// Port of each node's admin API, on its own loopback.
pub const ADMIN_PORT: u16 = 9900;

/// IP version of an address or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which VIP a request goes to; each exists in both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vip {
    /// Steered by the 5-tuple.
    FlowHash,
    /// Steered by the client's address.
    IpHash,
    /// For datagrams, steered by the 5-tuple.
    Udp,
}

impl Vip {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::FlowHash, Self::IpHash, Self::Udp];

    /// Its address of that family.
    pub fn address(self, family: Family) -> IpAddr {
        let (v4, v6) = match self {
            Self::FlowHash => (100, 0x100),
            Self::IpHash => (101, 0x101),
            Self::Udp => (102, 0x102),
        };
        match family {
            Family::V4 => segment_v4(v4).into(),
            Family::V6 => segment_v6(v6).into(),
        }
    }

    /// Where its datagrams are answered.
    pub fn udp(self, family: Family) -> SocketAddr {
        SocketAddr::new(self.address(family), UDP_PORT)
    }

    /// Where its HTTP is served.
    pub fn http(self, family: Family) -> SocketAddr {
        SocketAddr::new(self.address(family), HTTP_PORT)
    }
}

/// Addresses of one host of the segment, one of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// IPv4, on the segment.
    pub v4: Ipv4Addr,
    /// IPv6, on the segment.
    pub v6: Ipv6Addr,
}

impl Host {
    fn new(last_v4: u8, last_v6: u16) -> Self {
        Self {
            v4: segment_v4(last_v4),
            v6: segment_v6(last_v6),
        }
    }
}

/// The client.
pub fn client() -> Host {
    Host::new(1, 1)
}

/// The client behind a router, on a segment that the two have for themselves.
pub fn client_behind_router() -> Host {
    Host {
        v4: Ipv4Addr::new(10, 78, 0, 2),
        v6: Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 2),
    }
}

/// The router, on the nodes' segment.
pub fn router() -> Host {
    Host::new(2, 2)
}

/// The router, on the client's segment.
pub fn router_at_client() -> Host {
    Host {
        v4: Ipv4Addr::new(10, 78, 0, 1),
        v6: Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 1),
    }
}

/// Node number `index`, from 0.
pub fn node(index: usize) -> Host {
    let last = 11 + u8::try_from(index).unwrap_or(u8::MAX - 11);
    Host::new(last, 0x11 + u16::from(last - 11))
}

/// The same node on a segment that only nodes are on, where they have two interfaces.
pub fn node_inside(index: usize) -> Host {
    let last = 11 + u8::try_from(index).unwrap_or(u8::MAX - 11);
    Host {
        v4: Ipv4Addr::new(10, 79, 0, last),
        v6: Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, 0x11 + u16::from(last - 11)),
    }
}

/// Upstream number `index`, from 0.
pub fn upstream(index: usize) -> Host {
    let last = 21 + u8::try_from(index).unwrap_or(u8::MAX - 21);
    Host::new(last, 0x21 + u16::from(last - 21))
}

/// One of the client's [`CLIENT_ADDRESSES`] further addresses; numbers above wrap around.
pub fn client_source(family: Family, number: u16) -> IpAddr {
    let number = number % CLIENT_ADDRESSES;
    match family {
        Family::V4 => {
            let base = u32::from(CLIENT_NETWORK_V4.0);
            Ipv4Addr::from(base + u32::from(number)).into()
        }
        Family::V6 => {
            let base = u128::from(CLIENT_NETWORK_V6.0);
            Ipv6Addr::from(base + u128::from(number)).into()
        }
    }
}

fn segment_v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

fn segment_v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_sources_are_distinct_and_inside_their_network() {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..CLIENT_ADDRESSES {
            for family in [Family::V4, Family::V6] {
                let address = client_source(family, number);
                assert!(seen.insert(address), "{address} twice");
                match address {
                    IpAddr::V4(v4) => assert_eq!(u32::from(v4) >> 12, u32::from(CLIENT_NETWORK_V4.0) >> 12),
                    IpAddr::V6(v6) => assert_eq!(u128::from(v6) >> 12, u128::from(CLIENT_NETWORK_V6.0) >> 12),
                }
            }
        }
    }

    #[test]
    fn hosts_and_vips_do_not_share_addresses() {
        let mut all = Vec::new();
        for host in [client(), client_behind_router(), router(), router_at_client()] {
            all.extend([IpAddr::from(host.v4), host.v6.into()]);
        }
        for index in 0..3 {
            for host in [node(index), node_inside(index), upstream(index)] {
                all.extend([IpAddr::from(host.v4), host.v6.into()]);
            }
        }
        for vip in Vip::ALL {
            all.extend([vip.address(Family::V4), vip.address(Family::V6)]);
        }
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
