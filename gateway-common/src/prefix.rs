//! Prefixes of addresses, as lists of clients name them: in one order that puts what a prefix covers right behind it.
//!
//! Not for the kernel's path, which asks a trie of the kernel's own; this is what fills that, and what stands for it in memory.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::ops::RangeInclusive;

use crate::vip::Address;

/// Bits before those of an IPv4 prefix: the addresses stand as IPv4-mapped IPv6.
pub const IPV4_BITS_BEFORE: u8 = 96;

/// A prefix of IPv4 or IPv6 addresses. Ordered by address, then the wider one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The first address, as a number.
    network: u128,
    /// Bits that count, of 128.
    bits: u8,
}

impl Prefix {
    /// The addresses that share so many bits with that one, of the 32 or 128 that its family has; `None`: it has fewer.
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let (mapped, before, all) = match address {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped(), IPV4_BITS_BEFORE, 32),
            IpAddr::V6(v6) => (v6, 0, 128),
        };
        (bits <= all).then(|| Self::of(mapped.to_bits(), before + bits))
    }

    /// One address alone.
    pub fn host(address: Address) -> Self {
        Self::of(number(&address), 128)
    }

    fn of(network: u128, bits: u8) -> Self {
        let network = network & mask(bits);
        Self { network, bits }
    }

    /// Its first address.
    pub fn address(&self) -> Address {
        Ipv6Addr::from_bits(self.network).into()
    }

    /// Bits that count, of the 128 that an [`Address`] has.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The bits of an [`Address`] that count, and what they are, each as its halves.
    pub fn halves(&self) -> ([u64; 2], [u64; 2]) {
        let mask = Address::from(Ipv6Addr::from_bits(mask(self.bits)));
        (mask.halves(), self.address().halves())
    }

    /// Whether it is one of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.bits >= IPV4_BITS_BEFORE && self.address().is_ipv4()
    }

    /// Whether all addresses of the other one are its own, too.
    pub fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && other.network & mask(self.bits) == self.network
    }

    /// Itself and all prefixes that it covers, whichever there are.
    pub fn covered(&self) -> RangeInclusive<Self> {
        let last = Self {
            network: self.network | !mask(self.bits),
            bits: 128,
        };
        *self..=last
    }

    /// The prefix with fewer bits around it; itself, if it has no more.
    pub fn with_bits(&self, bits: u8) -> Self {
        Self::of(self.network, bits.min(self.bits))
    }
}

fn number(address: &Address) -> u128 {
    Ipv6Addr::from(address.words().map(u16::from_be)).to_bits()
}

const fn mask(bits: u8) -> u128 {
    match bits {
        0 => 0,
        _ => u128::MAX << (128 - bits),
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.is_ipv4() {
            self.bits - IPV4_BITS_BEFORE
        } else {
            self.bits
        };
        let address = if self.is_ipv4() {
            IpAddr::from(self.address())
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(self.network))
        };
        write!(f, "{address}/{bits}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, bits) = text.split_once('/').unwrap();
        Prefix::new(address.parse().unwrap(), bits.parse().unwrap()).unwrap()
    }

    #[test]
    fn prefixes_are_written_as_they_are_read_without_what_does_not_count() {
        for (text, shown) in [
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("192.0.2.7/32", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("::1/128", "::1/128"),
        ] {
            assert_eq!(prefix(text).to_string(), shown);
        }
        assert_eq!(Prefix::new("192.0.2.1".parse().unwrap(), 33), None);
        assert_eq!(Prefix::new("::1".parse().unwrap(), 129), None);
    }

    #[test]
    fn what_a_prefix_covers_stands_right_behind_it() {
        let wide = prefix("10.0.0.0/8");
        for (text, is_covered) in [
            ("10.0.0.0/8", true),
            ("10.255.255.255/32", true),
            ("10.1.0.0/16", true),
            ("11.0.0.0/8", false),
            ("9.255.255.255/32", false),
            ("0.0.0.0/0", false),
            ("::/0", false),
            ("2001:db8::/32", false),
        ] {
            let other = prefix(text);
            assert_eq!(wide.covers(&other), is_covered, "{text}");
            assert_eq!(wide.covered().contains(&other), is_covered, "{text}");
        }
        assert!(prefix("::/0").covers(&prefix("::/0")));
        assert_eq!(prefix("10.1.2.3/32").with_bits(IPV4_BITS_BEFORE + 8), wide);
    }
}
