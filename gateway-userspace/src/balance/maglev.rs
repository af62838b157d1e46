//! Keys to members by a Maglev table: one look-up, parts as even as the weights say, and few moved keys.
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4;
//! weights by letting a member choose as often as its weight says. The kernel's tables (`gateway_common::maglev`) have
//! one size, and know nodes by 16 bits that are their place, too; these have the size that an upstream needs, and know
//! members by the hash of what they are.

use super::mix::{below, mix};

/// Slots of a table: primes, as the permutation needs (section 3.4), of 2 bytes each: 32 kB, 256 kB, 2 MB.
///
/// The least one with [`SLOTS_PER_MEMBER`] is taken: up to 163 members, 1,310, and 10,485. Adding the one that is too
/// much for a size moves nearly all keys, once.
const SIZES: [u32; 3] = [16_381, 131_071, 1_048_573];

/// At this many the parts of members with equal weights differ by at most 1% (section 3.4).
const SLOTS_PER_MEMBER: usize = 100;

/// What tells a member's two hashes apart.
const OFFSET: u64 = 0x6f66_6673_6574;
const SKIP: u64 = 0x736b_6970;

/// A free slot.
const NOBODY: u16 = u16::MAX;

/// A member: its index, identity and weight.
pub(super) type Share = (u16, u64, u32);

/// A filled table.
#[derive(Debug)]
pub(super) struct Maglev {
    owners: Box<[u16]>,
}

impl Maglev {
    /// Fills a table, so that every member has at least one slot. Its time goes into slots that are taken already, some
    /// ten tries for each: a millisecond for the least size.
    pub(super) fn new(shares: &[Share]) -> Self {
        let wanted = shares.len().saturating_mul(SLOTS_PER_MEMBER);
        let [.., greatest] = SIZES;
        let size = SIZES
            .into_iter()
            .find(|size| *size as usize >= wanted)
            .unwrap_or(greatest);
        let mut owners = vec![NOBODY; size as usize];
        let mut left = owners.len();
        let most = u64::from(shares.iter().map(|(_, _, weight)| *weight).max().unwrap_or(0));
        let mut choosers: Vec<Chooser> = shares
            .iter()
            .map(|share| Chooser::new(share, size, most))
            .collect();
        while left > 0 && !choosers.is_empty() {
            for chooser in &mut choosers {
                if left == 0 {
                    break;
                }
                chooser.credit += chooser.weight;
                if chooser.credit >= most {
                    chooser.credit -= most;
                    chooser.take_free(&mut owners, size);
                    left -= 1;
                }
            }
        }
        Self {
            owners: owners.into(),
        }
    }

    /// Who has a key; another attempt asks another slot.
    pub(super) fn owner(&self, key: u64, attempt: u32) -> Option<usize> {
        let bits = mix(key.wrapping_add(u64::from(attempt)));
        let slot = below(bits, self.owners.len() as u64) as usize;
        let owner = self.owners.get(slot).filter(|owner| **owner != NOBODY)?;
        Some(usize::from(*owner))
    }
}

/// Whose turn it is to choose, and where its permutation stands.
struct Chooser {
    index: u16,
    weight: u64,
    next: u32,
    skip: u32,
    credit: u64,
}

impl Chooser {
    /// All choose in the first round, so that the lightest has a slot, too.
    fn new((index, identity, weight): &Share, size: u32, most: u64) -> Self {
        let weight = u64::from(*weight);
        Self {
            index: *index,
            weight,
            next: below(mix(identity ^ OFFSET), u64::from(size)) as u32,
            skip: below(mix(identity ^ SKIP), u64::from(size - 1)) as u32 + 1,
            credit: most.saturating_sub(weight),
        }
    }

    /// Takes the next free slot of a permutation that visits all of them; there is one.
    fn take_free(&mut self, owners: &mut [u16], size: u32) {
        for _ in 0..size {
            let at = self.next as usize;
            self.next += self.skip;
            if self.next >= size {
                self.next -= size;
            }
            if let Some(owner) = owners.get_mut(at).filter(|owner| **owner == NOBODY) {
                *owner = self.index;
                return;
            }
        }
    }
}
