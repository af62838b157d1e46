//! What clients connect to, as the kernel looks it up.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub mod table;

/// An address of either family, in the network's order; IPv4 stands as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
///
/// Two words, not sixteen bytes: what does not fit into registers lies on the kernel program's small stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Address([u64; 2]);

impl Address {
    /// From an IPv4 address as it stands in memory.
    #[inline(always)]
    pub const fn from_ipv4(address: u32) -> Self {
        const PREFIX: u64 = join(0, 0xffff, 0, 0);
        if cfg!(target_endian = "little") {
            Self([0, PREFIX | (address as u64) << 32])
        } else {
            Self([0, PREFIX | address as u64])
        }
    }

    /// From its two halves.
    #[inline(always)]
    pub const fn from_halves(halves: [u64; 2]) -> Self {
        Self(halves)
    }

    /// An IPv4 address as it stands in memory; meaningless for IPv6.
    #[inline(always)]
    pub const fn ipv4(&self) -> u32 {
        if cfg!(target_endian = "little") {
            (self.0[1] >> 32) as u32
        } else {
            self.0[1] as u32
        }
    }

    /// From the eight words of an IPv6 header.
    #[inline(always)]
    pub const fn from_words(w: [u16; 8]) -> Self {
        Self([join(w[0], w[1], w[2], w[3]), join(w[4], w[5], w[6], w[7])])
    }

    /// The eight words of an IPv6 header.
    #[inline(always)]
    pub const fn words(&self) -> [u16; 8] {
        let [[a, b, c, d], [e, f, g, h]] = [split(self.0[0]), split(self.0[1])];
        [a, b, c, d, e, f, g, h]
    }

    /// Its two halves, for hashing.
    #[inline(always)]
    pub const fn halves(&self) -> [u64; 2] {
        self.0
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_ipv4(&self) -> bool {
        const MASK: u64 = join(0xffff, 0xffff, 0, 0);
        const PREFIX: u64 = join(0, 0xffff, 0, 0);
        self.0[0] == 0 && self.0[1] & MASK == PREFIX
    }

    /// Whether no address was set.
    #[inline(always)]
    pub const fn is_unset(&self) -> bool {
        self.0[0] | self.0[1] == 0
    }
}

/// Four words as they follow each other in memory.
#[inline(always)]
const fn join(a: u16, b: u16, c: u16, d: u16) -> u64 {
    let [a, b, c, d] = [a as u64, b as u64, c as u64, d as u64];
    if cfg!(target_endian = "little") {
        a | b << 16 | c << 32 | d << 48
    } else {
        a << 48 | b << 32 | c << 16 | d
    }
}

/// What `join` joined.
#[inline(always)]
const fn split(word: u64) -> [u16; 4] {
    let words = [
        word as u16,
        (word >> 16) as u16,
        (word >> 32) as u16,
        (word >> 48) as u16,
    ];
    if cfg!(target_endian = "little") {
        words
    } else {
        [words[3], words[2], words[1], words[0]]
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::from_ipv4(u32::from_ne_bytes(address.octets()))
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self::from_words(address.segments().map(u16::to_be))
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        Ipv6Addr::from(address.words().map(u16::from_be)).to_canonical()
    }
}

/// Key of a VIP: address, port, protocol.
///
/// Port 0 stands for all ports that have no key of their own. Port and protocol 0 stand for the address: each address
/// of a VIP has such a key, for what comes without ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct VipKey {
    /// The address.
    pub address: Address,
    /// The port, in the network's order.
    pub port: u16,
    /// 6 or 17.
    pub protocol: u16,
    /// Zero, so that the key has no padding.
    pub zero: u32,
}

impl VipKey {
    /// The key of a port, in the network's order, and a protocol.
    #[inline(always)]
    pub const fn new(address: Address, port: u16, protocol: u16) -> Self {
        Self {
            address,
            port,
            protocol,
            zero: 0,
        }
    }

    /// The key of an address.
    #[inline(always)]
    pub const fn of_address(address: Address) -> Self {
        Self::new(address, 0, 0)
    }
}

/// Number of a VIP in the counters; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct VipId(pub u16);

/// Number of a Maglev table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct TableId(pub u32);

/// What chooses the slot of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct SteeringCode(pub u16);

impl SteeringCode {
    /// The 5-tuple.
    pub const FLOW_HASH: Self = Self(0);
    /// The client's address.
    pub const IP_HASH: Self = Self(1);
}

/// What else is known of a VIP, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct VipFlags(pub u16);

impl VipFlags {
    /// Of an address: it has a TCP VIP of all ports.
    pub const ANY_TCP_PORT: Self = Self(1);
    /// Of an address: it has a UDP VIP of all ports.
    pub const ANY_UDP_PORT: Self = Self(2);
    /// Of a UDP VIP: its datagrams are QUIC, whose connection ids name nodes ([`crate::quic`]).
    pub const QUIC: Self = Self(4);

    /// Whether all bits of `flags` are set.
    #[inline(always)]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// With the bits of `flags`, too.
    #[inline(always)]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }
}

/// One VIP, as the kernel reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VipEntry {
    /// For the counters.
    pub id: VipId,
    /// What chooses the slot.
    pub steering: SteeringCode,
    /// What else is known of it.
    pub flags: VipFlags,
    /// Zero: the struct has no padding.
    pub zero: u16,
    /// Which Maglev table.
    pub table: TableId,
    /// Mixed into the hash, so that two VIPs that share a table spread a client differently. The same on all nodes,
    /// and the same for all ports of an address, so that `ip-hash` keeps a client on one node across them.
    pub salt: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_went_in() {
        for text in [
            "192.0.2.1",
            "0.0.0.0",
            "255.255.255.255",
            "2001:db8::1:2",
            "::1",
            "ff02::1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address);
        }
    }

    #[test]
    fn ipv4_is_told_from_ipv6() {
        for (text, is_ipv4) in [
            ("192.0.2.1", true),
            ("0.0.0.0", true),
            ("::ffff:1.2.3.4", true),
            ("::1", false),
            ("::fffe:102:304", false),
            ("2001:db8::ffff:102:304", false),
        ] {
            let address: Ipv6Addr = match text.parse::<IpAddr>().unwrap() {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            assert_eq!(Address::from(address).is_ipv4(), is_ipv4, "{text}");
        }
    }

    #[test]
    fn address_bytes_stand_in_the_network_order() {
        let address = Address::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, 2));
        assert_eq!(address.words()[0].to_ne_bytes(), [0x20, 0x01]);
        assert_eq!(
            Address::from(Ipv4Addr::new(192, 0, 2, 1)).ipv4().to_ne_bytes(),
            [192, 0, 2, 1]
        );
    }
}
