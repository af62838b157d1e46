//! Nodes as the kernel knows them.

use crate::parse::Family;
use crate::vip::Address;

/// Number of a node in the tables; 0 is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(transparent)]
pub struct NodeId(pub u16);

impl NodeId {
    /// No node.
    pub const NOBODY: Self = Self(0);

    /// Whether it names no node.
    #[inline(always)]
    pub const fn is_nobody(self) -> bool {
        self.0 == 0
    }
}

/// Where a node is reached, and in which life. Replaced whole, so that no reader sees half of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NodeEntry {
    /// Its address for IPv4; unset where it has none.
    pub address: Address,
    /// Its address for IPv6; unset where it has none.
    pub address_v6: Address,
    /// What it proves itself with in GUE; never zero.
    pub cookie: u64,
    /// The next hop's hardware address on the way to `address`; zero while it is not resolved.
    pub mac: [u16; 3],
    /// The same for `address_v6`.
    pub mac_v6: [u16; 3],
    /// The life of its sockets; [`NodeEntry::FORMER`] for who is no member any more.
    pub incarnation: u32,
    /// Longest IP packet on the way to `address`, in bytes; 0: not known.
    pub mtu: u16,
    /// The same for `address_v6`.
    pub mtu_v6: u16,
    /// The interface that leads to `address`; 0: that by which packets come in, as there is no other.
    pub interface: u32,
    /// The same for `address_v6`.
    pub interface_v6: u32,
    /// The hardware address of `interface`.
    pub from_mac: [u16; 3],
    /// That of `interface_v6`.
    pub from_mac_v6: [u16; 3],
}

impl NodeEntry {
    /// The incarnation of a former member: what it sends is believed, for its kernel program may outlive its process, and
    /// nothing is sent to it.
    pub const FORMER: u32 = 0;

    /// Whether there is a node at all: an array is full of zeroes.
    #[inline(always)]
    pub const fn is_there(&self) -> bool {
        self.cookie != 0
    }

    /// Whether it is a member.
    #[inline(always)]
    pub const fn is_member(&self) -> bool {
        self.incarnation != Self::FORMER
    }

    /// Where encapsulated packets of that family go.
    #[inline(always)]
    pub fn address(&self, family: Family) -> &Address {
        match family {
            Family::V4 => &self.address,
            Family::V6 => &self.address_v6,
        }
    }

    /// By which hardware address; `None` while it is not resolved.
    #[inline(always)]
    pub fn mac(&self, family: Family) -> Option<[u16; 3]> {
        let mac = match family {
            Family::V4 => self.mac,
            Family::V6 => self.mac_v6,
        };
        (mac[0] | mac[1] | mac[2] != 0).then_some(mac)
    }

    /// Longest IP packet on the way, in bytes; `None` while it is not known.
    #[inline(always)]
    pub fn mtu(&self, family: Family) -> Option<usize> {
        let mtu = match family {
            Family::V4 => self.mtu,
            Family::V6 => self.mtu_v6,
        };
        (mtu != 0).then_some(mtu as usize)
    }

    /// By which interface, and from which hardware address there; 0: by that of the packet.
    #[inline(always)]
    pub fn exit(&self, family: Family) -> (u32, [u16; 3]) {
        match family {
            Family::V4 => (self.interface, self.from_mac),
            Family::V6 => (self.interface_v6, self.from_mac_v6),
        }
    }
}

/// How packets get from node to node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct EncapsulationCode(pub u16);

impl EncapsulationCode {
    /// IP in UDP, with cookie and hop count ([`crate::gue`]).
    pub const GUE: Self = Self(0);
    /// IP in IP.
    pub const IPIP: Self = Self(1);
    /// The first hop by hardware address alone; the others by GUE.
    pub const L2: Self = Self(2);
}

/// What the program knows of the node it runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Secret of the steering hash.
    pub hash_key: [u64; 2],
    /// What this node proves itself with in GUE.
    pub cookie: u64,
    /// How long a UDP flow without datagrams is remembered, in nanoseconds.
    pub udp_idle_ns: u64,
    /// This node's address for IPv4; unset where it has none.
    pub address: Address,
    /// This node's address for IPv6; unset where it has none.
    pub address_v6: Address,
    /// This node in the tables; nobody while it is not a member.
    pub node: NodeId,
    /// How packets get to other nodes.
    pub encapsulation: EncapsulationCode,
    /// The port of the nodes' heartbeats, in the network's order; 0: there are none.
    pub heartbeat_port: u16,
    /// Zero: the struct has no padding.
    pub zero: u16,
}

impl Settings {
    /// This node's address of that family.
    #[inline(always)]
    pub fn address(&self, family: Family) -> &Address {
        match family {
            Family::V4 => &self.address,
            Family::V6 => &self.address_v6,
        }
    }
}
