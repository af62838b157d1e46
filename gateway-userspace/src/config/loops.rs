//! Does an address lead back to this gateway? Its own listeners and the VIPs of the cluster are no endpoints.
//!
//! Pure: of this machine's addresses it knows loopback, those of `[node]` and the VIPs. What it misses, 508 by `Via`
//! ends after a few rounds.

use std::net::{IpAddr, SocketAddr};

use super::snapshot::{Transport, Vip};

/// What this gateway accepts on.
#[derive(Clone, Debug)]
pub struct Own<'s> {
    /// `node.address` and `node.address_v6`.
    pub node: [Option<IpAddr>; 2],
    /// Where the listeners are.
    pub listeners: Vec<SocketAddr>,
    /// What clients of the cluster connect to.
    pub vips: &'s [Vip],
}

/// Who accepts at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'s> {
    /// The listener of that index.
    Listener(usize),
    /// The VIP of that name: this node or another of the cluster.
    Vip(&'s str),
}

impl<'s> Own<'s> {
    /// Who of this gateway accepts at that address; `None`: somebody else.
    pub fn owner(&self, address: SocketAddr) -> Option<Owner<'s>> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let is_here = address.ip().is_loopback()
            || self.node.contains(&Some(address.ip()))
            || self.vips.iter().any(|vip| vip.address == address.ip());
        let accepts = |listener: &SocketAddr| {
            let is_everywhere = listener.ip().is_unspecified();
            (is_here || !is_everywhere) && serves(*listener, address)
        };
        if let Some(index) = self.listeners.iter().position(accepts) {
            return Some(Owner::Listener(index));
        }
        let is_of = |vip: &&Vip| {
            vip.address == address.ip()
                && vip.protocol == Transport::Tcp
                && vip.ports.contains(&address.port())
        };
        self.vips.iter().find(is_of).map(|vip| Owner::Vip(&vip.name))
    }
}

/// Whether a listener there accepts connections to an address of its machine. Wildcard IPv6 sockets take IPv4 too.
pub fn serves(listener: SocketAddr, address: SocketAddr) -> bool {
    let fits = match listener.ip().to_canonical() {
        IpAddr::V6(v6) if v6.is_unspecified() => true,
        IpAddr::V4(v4) if v4.is_unspecified() => address.is_ipv4(),
        ip => ip == address.ip(),
    };
    fits && listener.port() == address.port()
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::{Payload, Steering, VipProtection};
    use super::*;

    #[test]
    fn own_listeners_and_vips_are_known_by_every_address_that_leads_to_them() {
        let vip = |name: &str, address: &str, protocol: Transport| Vip {
            name: name.to_owned(),
            address: address.parse().unwrap(),
            ports: vec![443],
            protocol,
            steering: Steering::FlowHash,
            payload: Payload::Plain,
            protection: VipProtection::default(),
        };
        let vips = [
            vip("public", "203.0.113.1", Transport::Tcp),
            vip("datagrams", "203.0.113.2", Transport::Udp),
        ];
        let own = Own {
            node: [Some("10.0.0.1".parse().unwrap()), None],
            listeners: ["10.0.0.1:80", "0.0.0.0:81", "[::]:82", "127.0.0.1:83"]
                .map(|address| address.parse().unwrap())
                .to_vec(),
            vips: &vips,
        };
        let rows = [
            ("10.0.0.1:80", Some(Owner::Listener(0)), "the listener itself"),
            (
                "[::ffff:10.0.0.1]:80",
                Some(Owner::Listener(0)),
                "written as IPv6",
            ),
            ("10.0.0.2:80", None, "another machine"),
            ("127.0.0.1:80", None, "an address that is not listened on"),
            ("127.9.9.9:81", Some(Owner::Listener(1)), "wildcard by loopback"),
            (
                "10.0.0.1:81",
                Some(Owner::Listener(1)),
                "wildcard by the node's address",
            ),
            ("203.0.113.1:81", Some(Owner::Listener(1)), "wildcard by a VIP"),
            ("10.0.0.2:81", None, "the same port of another machine"),
            ("[::1]:81", None, "the IPv4 wildcard takes no IPv6"),
            (
                "[::1]:82",
                Some(Owner::Listener(2)),
                "the IPv6 wildcard takes both",
            ),
            (
                "127.0.0.1:82",
                Some(Owner::Listener(2)),
                "the IPv6 wildcard takes both",
            ),
            ("203.0.113.1:443", Some(Owner::Vip("public")), "a VIP's port"),
            ("203.0.113.1:444", None, "another port of a VIP"),
            ("203.0.113.2:443", None, "UDP is no HTTP"),
        ];
        for (address, owner, why) in rows {
            assert_eq!(own.owner(address.parse().unwrap()), owner, "{address}: {why}");
        }
    }
}
