//! Which VIPs a node serves: what it tells the others, and how a view refers to it.
//!
//! Nodes name VIPs to each other by fingerprints, so that every node computes the tables of every VIP alike, whether it
//! serves it or not. Two VIPs of one fingerprint share their nodes: of 512 VIPs that happens once in 30,000
//! configurations, and a node that gets a packet for a VIP it does not know passes it on.

use gateway_common::hash::SipHash;
use gateway_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use gateway_common::vip::{Address, VipKey};
use serde::{Deserialize, Serialize};

use crate::config::snapshot::{Transport, Vip};

/// VIP keys that a node names one by one, at 4 bytes a heartbeat: 512 VIPs of one port, each with the key of its address.
/// A node with more counts as serving all.
pub const VIPS_ADVERTISED_MAX: usize = 1_024;

/// Distinct sets of a view: one a bit of a word.
pub const SETS_MAX: usize = 64;

/// Fingerprints of all sets of a view, at 4 bytes in a datagram: four of the largest sets.
pub const FINGERPRINTS_MAX: usize = 4 * VIPS_ADVERTISED_MAX;

/// Key of the fingerprints: anything fixed, for whoever writes configurations has no need of collisions.
const FINGERPRINT_KEY: [u64; 2] = [0x5649_5020, 0x6669_6e67];

/// A VIP's key, as nodes name it to each other. Always 4 bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "[u8; 4]", into = "[u8; 4]")]
pub struct Fingerprint(pub u32);

impl From<[u8; 4]> for Fingerprint {
    fn from(bytes: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(bytes))
    }
}

impl From<Fingerprint> for [u8; 4] {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0.to_le_bytes()
    }
}

impl Fingerprint {
    /// The fingerprint of a key; the same on every architecture.
    pub fn of(key: &VipKey) -> Self {
        let words = key.address.words().map(|word| u64::from(u16::from_be(word)));
        let [a, b, c, d, e, f, g, h] = words;
        let port = u64::from(u16::from_be(key.port));
        let hash = SipHash::new(FINGERPRINT_KEY)
            .write(a << 48 | b << 32 | c << 16 | d)
            .write(e << 48 | f << 32 | g << 16 | h)
            .write(u64::from(key.protocol) << 16 | port);
        Self(hash.finish() as u32)
    }

    /// The fingerprints that stand for a key: its own, and that of all ports.
    pub fn standing_for(key: &VipKey) -> [Self; 2] {
        [Self::of(key), Self::of(&VipKey { port: 0, ..*key })]
    }
}

/// What a node says of the VIPs that it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Served {
    /// Any VIP that there is.
    #[default]
    All,
    /// These: sorted, distinct, at most [`VIPS_ADVERTISED_MAX`].
    These(Vec<Fingerprint>),
}

impl Served {
    /// What a node with these VIPs says.
    pub fn by(vips: &[Vip]) -> Self {
        let mut these: Vec<Fingerprint> = vips
            .iter()
            .flat_map(keys)
            .map(|key| Fingerprint::of(&key))
            .collect();
        these.sort_unstable();
        these.dedup();
        if these.len() > VIPS_ADVERTISED_MAX {
            return Self::All;
        }
        Self::These(these)
    }

    /// Whether it is sorted and within its bound.
    pub fn is_sound(&self) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.len() <= VIPS_ADVERTISED_MAX && these.is_sorted_by(|a, b| a < b),
        }
    }
}

/// Number of a set of VIPs in a view: from 1 up, by its place among the view's sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SetId(pub u8);

impl SetId {
    /// All VIPs that there are.
    pub const ALL: Self = Self(0);
}

/// The keys under which the kernel looks up a VIP: each port, or all; and its address, for what comes without ports.
pub fn keys(vip: &Vip) -> impl Iterator<Item = VipKey> + '_ {
    let address = Address::from(vip.address);
    let protocol = u16::from(match vip.protocol {
        Transport::Tcp => PROTOCOL_TCP,
        Transport::Udp => PROTOCOL_UDP,
    });
    let any = vip.ports.is_empty().then_some(0);
    let ports = vip.ports.iter().copied().chain(any);
    let of_ports = ports.map(move |port| VipKey::new(address, port.to_be(), protocol));
    std::iter::once(VipKey::of_address(address)).chain(of_ports)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::config::snapshot::{Payload, Steering, VipProtection};

    fn vip(address: u8, ports: &[u16]) -> Vip {
        Vip {
            name: format!("v{address}"),
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, address)),
            ports: ports.to_vec(),
            protocol: Transport::Tcp,
            steering: Steering::FlowHash,
            payload: Payload::Plain,
            protection: VipProtection::default(),
        }
    }

    #[test]
    fn fingerprints_never_change_for_nodes_of_different_releases_compare_them() {
        let key = VipKey::new(Address::from(Ipv4Addr::new(192, 0, 2, 1)), 443_u16.to_be(), 6);
        let [own, any] = Fingerprint::standing_for(&key);
        assert_eq!(own, Fingerprint::of(&key));
        assert_eq!(any, Fingerprint::of(&VipKey { port: 0, ..key }));
        assert_ne!(own, any);
        assert_ne!(own, Fingerprint::of(&VipKey { protocol: 17, ..key }));
    }

    #[test]
    fn order_and_repetition_of_vips_do_not_matter() {
        let one = Served::by(&[vip(1, &[80, 443]), vip(2, &[])]);
        let other = Served::by(&[vip(2, &[]), vip(1, &[443]), vip(1, &[80])]);
        assert_eq!(one, other);
        assert!(one.is_sound());
        // Two ports and an address; all ports and an address.
        assert!(matches!(one, Served::These(these) if these.len() == 5));
    }

    #[test]
    fn whoever_has_too_many_vips_serves_all() {
        let ports: Vec<u16> = (1..=1_023).collect();
        assert!(
            matches!(Served::by(&[vip(1, &ports)]), Served::These(these) if these.len() == VIPS_ADVERTISED_MAX)
        );
        assert_eq!(Served::by(&[vip(1, &ports), vip(1, &[2_000])]), Served::All);
    }
}
