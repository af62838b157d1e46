//! The keyed hash that spreads connections over slots.
//!
//! SipHash-1-3, so that whoever does not know the cluster's key cannot aim all of his connections at one node.
//! Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012.

use crate::flow::FlowKey;
use crate::vip::{SteeringCode, VipEntry};

/// A hash over whole 64-bit words.
#[derive(Clone, Copy)]
pub struct SipHash {
    v: [u64; 4],
    words: u64,
}

impl SipHash {
    /// An empty hash under that key.
    #[inline(always)]
    pub fn new(key: [u64; 2]) -> Self {
        let v = [
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        ];
        Self { v, words: 0 }
    }

    /// Takes eight bytes, the least significant first.
    #[inline(always)]
    pub fn write(mut self, word: u64) -> Self {
        self.v[3] ^= word;
        self.round();
        self.v[0] ^= word;
        self.words += 1;
        self
    }

    /// The hash of all that was written.
    #[inline(always)]
    pub fn finish(self) -> u64 {
        self.finish_with(0, 0)
    }

    /// The hash of all that was written, and of so many bytes more, at most seven, the least significant first.
    #[inline(always)]
    pub fn finish_with(self, rest: u64, bytes: u64) -> u64 {
        // The last block of the definition: the length in bytes in its top byte, and what is no whole word.
        let length = (self.words * 8 + bytes) << 56;
        let mut hash = self.write(length | rest);
        hash.v[2] ^= 0xff;
        hash.round();
        hash.round();
        hash.round();
        hash.v[0] ^ hash.v[1] ^ hash.v[2] ^ hash.v[3]
    }

    #[inline(always)]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32);
        c = c.wrapping_add(b);
        a = a.wrapping_add(d);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        self.v = [a, b, c, d];
    }
}

/// Where a flow falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread(u64);

impl Spread {
    /// The number from 0 to `slots - 1` on which the flow falls.
    #[inline(always)]
    pub fn slot(self, slots: u32) -> u32 {
        (((self.0 >> 32) * u64::from(slots)) >> 32) as u32
    }

    /// Where it falls next if nobody can be sent there: as good as a new hash, without the key's cost.
    #[inline(always)]
    pub fn again(self) -> Self {
        // Multiplying by an odd number loses nothing; the rotation brings low bits up, where `slot` looks.
        Self(self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31))
    }
}

/// The hash of a flow under that key, by which its table finds it and ways between nodes tell it apart; no slot depends on
/// it.
///
/// Two multiplications: every packet of a flow pays for it, also where the slot need not be known. Who could guess the key
/// would at worst make flows forget each other.
#[inline(always)]
pub const fn of_flow(key: [u64; 2], flow: &FlowKey) -> u64 {
    let [high, low] = flow.source.halves();
    let [to_high, to_low] = flow.destination.halves();
    let ports = flow.port_word() as u64;
    let mut hash = (low ^ high.rotate_left(23) ^ key[0]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 32;
    hash = (hash ^ to_low.rotate_left(17) ^ to_high ^ ports ^ key[1]).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ hash >> 29
}

/// Where a flow falls under that key; of no VIP, by the client alone.
///
/// What no whole word is filled with goes into the hash's last block, which is there anyway: a round less of six or seven.
#[inline(always)]
pub fn spread(key: [u64; 2], vip: Option<&VipEntry>, flow: &FlowKey) -> Spread {
    // The salt stands for the VIP's address and protocol.
    let (salt, ports) = match vip {
        None => (0, 0),
        Some(vip) if vip.steering == SteeringCode::IP_HASH => (vip.salt, 0),
        Some(vip) => (vip.salt, flow.port_word()),
    };
    let (salt, ports) = (u64::from(salt), u64::from(ports));
    let hash = SipHash::new(key);
    Spread(if flow.source.is_ipv4() {
        let word = u64::from(flow.source.ipv4()) | ports << 32;
        hash.write(word).finish_with(salt, 4)
    } else {
        let [high, low] = flow.source.halves();
        let rest = ports | (salt & 0x00ff_ffff) << 32;
        hash.write(high).write(low).finish_with(rest, 7)
    })
}

/// A salt from what all nodes know of a VIP: its address and protocol.
pub fn vip_salt(address: &crate::vip::Address, protocol: u16) -> u32 {
    let [high, low] = address.halves();
    let hash = SipHash::new([0x5649_5020, 0x7361_6c74])
        .write(high)
        .write(low)
        .write(u64::from(protocol));
    hash.finish() as u32
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher;
    use core::net::IpAddr;

    use super::*;

    #[test]
    fn agrees_with_another_siphash() {
        for words in [&[][..], &[0], &[1, 2, 3], &[u64::MAX; 7]] {
            let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
            let mut other = siphasher::sip::SipHasher13::new_with_keys(key[0], key[1]);
            let mut ours = SipHash::new(key);
            for word in words {
                other.write(&word.to_le_bytes());
                ours = ours.write(*word);
            }
            assert_eq!(ours.finish(), other.finish(), "{words:?}");
            other.write(&[1, 2, 3, 4, 5]);
            assert_eq!(
                ours.finish_with(0x05_0403_0201, 5),
                other.finish(),
                "{words:?} and five bytes"
            );
        }
    }

    fn flow(source: &str, port: u16) -> FlowKey {
        FlowKey {
            source: source.parse::<IpAddr>().unwrap().into(),
            ports: [port.to_be(), 80_u16.to_be()],
            ..FlowKey::default()
        }
    }

    #[test]
    fn ip_hash_ignores_ports_and_flow_hash_does_not() {
        let slots = 65_537;
        for (source, other) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8:1::1")] {
            let by_ip = VipEntry {
                steering: SteeringCode::IP_HASH,
                ..VipEntry::default()
            };
            let by_flow = VipEntry {
                steering: SteeringCode::FLOW_HASH,
                ..VipEntry::default()
            };
            let at =
                |vip: &VipEntry, source, port| spread([1, 2], Some(vip), &flow(source, port)).slot(slots);
            assert_eq!(at(&by_ip, source, 1), at(&by_ip, source, 2));
            assert_ne!(at(&by_ip, source, 1), at(&by_ip, other, 1));
            assert_ne!(at(&by_flow, source, 1), at(&by_flow, source, 2));
        }
    }

    #[test]
    fn key_and_salt_change_the_slot() {
        let vip = VipEntry::default();
        let salted = VipEntry { salt: 7, ..vip };
        let flow = flow("192.0.2.1", 1);
        let at = |key, vip| spread(key, Some(vip), &flow).slot(65_537);
        assert_ne!(at([1, 2], &vip), at([1, 3], &vip));
        assert_ne!(at([1, 2], &vip), at([1, 2], &salted));
    }

    #[test]
    fn slots_are_hit_evenly() {
        let vip = VipEntry::default();
        let mut hits = [0_u32; 16];
        for port in 0..32_000 {
            hits[spread([3, 4], Some(&vip), &flow("192.0.2.1", port)).slot(16) as usize] += 1;
        }
        // 2,000 expected in each; 5 standard deviations are some 220.
        assert!(hits.iter().all(|hit| (1_780..2_220).contains(hit)), "{hits:?}");
    }

    #[test]
    fn flows_of_one_slot_fall_evenly_again() {
        let vip = VipEntry::default();
        let mut hits = [0_u32; 16];
        for port in 0..64_000 {
            let spread = spread([3, 4], Some(&vip), &flow("192.0.2.1", port));
            if spread.slot(2) == 0 {
                hits[spread.again().slot(16) as usize] += 1;
            }
        }
        // 2,000 expected in each, as above.
        assert!(hits.iter().all(|hit| (1_780..2_220).contains(hit)), "{hits:?}");
    }
}
