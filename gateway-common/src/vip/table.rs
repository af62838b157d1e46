//! VIPs as the kernel looks them up: an array in which each key has two places, and lies in one of them.
//!
//! An array is looked up in line, a hash map by a call. User space makes the whole array anew with each change, tries
//! seeds until every key has a place, writes the half that is not live, and flips one word, which has half and seed: so a
//! packet sees all VIPs before a change, or all after it.
//!
//! Source: Pagh and Rodler, "Cuckoo hashing", 2001; with an array that is filled once, and by a quarter at most.

use super::{VipEntry, VipKey};

/// Cells of one half; a power of two, and four times as many as there can be keys: nearly every seed will do.
pub const CELLS: u32 = 32_768;

/// Bits of a cell's number.
const CELL_BITS: u32 = CELLS.trailing_zeros();

/// Marks the key of a cell that is not empty.
const PRESENT: u32 = 1;

/// Seeds that are tried: each fails with a chance of less than one in a hundred, if all the keys are there.
#[cfg(any(test, feature = "memory"))]
const SEEDS_MAX: u32 = 64;

/// One place of the array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VipCell {
    key: VipKey,
    entry: VipEntry,
}

/// Which half is live, and its seed: one word, read once for each packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct VipHalf(pub u32);

impl VipHalf {
    /// A half, 0 or 1, that was filled with that seed.
    pub const fn new(half: u32, seed: u32) -> Self {
        Self(seed << 1 | half & 1)
    }

    /// Which half it is.
    #[inline(always)]
    pub const fn half(self) -> u32 {
        self.0 & 1
    }

    /// Where a key may lie in the array of both halves.
    #[inline(always)]
    pub fn places(self, key: &VipKey) -> [u32; 2] {
        let [first, second] = places(key, self.0 >> 1);
        let start = self.half() * CELLS;
        [start + first, start + second]
    }
}

impl VipCell {
    /// The entry, if it is that key's.
    #[inline(always)]
    pub fn entry(&self, key: &VipKey) -> Option<&VipEntry> {
        let [[a, b], [c, d]] = [self.key.address.halves(), key.address.halves()];
        let different = (a ^ c) | (b ^ d) | (service(&self.key) ^ service(key) ^ u64::from(PRESENT) << 32);
        (different == 0).then_some(&self.entry)
    }

    /// What lies there.
    pub fn content(&self) -> Option<(VipKey, VipEntry)> {
        let key = VipKey { zero: 0, ..self.key };
        (self.key.zero == PRESENT).then_some((key, self.entry))
    }
}

/// Port, protocol and mark of a key in one word, which the compiler loads as one.
#[inline(always)]
const fn service(key: &VipKey) -> u64 {
    key.port as u64 | (key.protocol as u64) << 16 | (key.zero as u64) << 32
}

#[inline(always)]
fn places(key: &VipKey, seed: u32) -> [u32; 2] {
    let [high, low] = key.address.halves();
    let ports = u64::from(key.port) << 16 | u64::from(key.protocol);
    let mut hash = (high.rotate_left(29) ^ low ^ u64::from(seed)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ hash >> 32 ^ ports).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let cell = |shift: u32| (hash >> shift) as u32 & (CELLS - 1);
    [cell(64 - CELL_BITS), cell(64 - 2 * CELL_BITS)]
}

/// Fills the cells of one half, [`CELLS`] of them, and says with which seed; `None` where no seed will do, or there are not
/// so many cells.
#[cfg(any(test, feature = "memory"))]
pub fn fill(vips: &std::collections::HashMap<VipKey, VipEntry>, cells: &mut [VipCell]) -> Option<u32> {
    if cells.len() != CELLS as usize {
        return None;
    }
    (0..SEEDS_MAX).find(|seed| {
        cells.fill(VipCell::default());
        vips.iter().all(|(key, entry)| insert(cells, *seed, *key, *entry))
    })
}

/// Puts a key into one of its places; who lies there goes to the other one of his own, and so on.
#[cfg(any(test, feature = "memory"))]
fn insert(cells: &mut [VipCell], seed: u32, key: VipKey, entry: VipEntry) -> bool {
    /// Moves after which a seed is given up: some times what is ever needed at a quarter of the load.
    const MOVES_MAX: usize = 64;

    let key = VipKey { zero: PRESENT, ..key };
    let mut homeless = VipCell { key, entry };
    let [first, second] = places(&key, seed);
    let is_free = |cells: &[VipCell], at: u32| cells.get(at as usize).is_some_and(|cell| cell.key.zero == 0);
    let mut at = if is_free(cells, first) { first } else { second };
    for _ in 0..MOVES_MAX {
        let Some(cell) = cells.get_mut(at as usize) else {
            return false;
        };
        core::mem::swap(cell, &mut homeless);
        if homeless.key.zero == 0 {
            return true;
        }
        let [first, second] = places(&homeless.key, seed);
        at = if at == first { second } else { first };
    }
    false
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;
    use std::collections::HashMap;

    use super::super::{TableId, VipId};
    use super::*;

    fn vips(count: u32) -> HashMap<VipKey, VipEntry> {
        let of = |number: u32| {
            // Many ports of few addresses, as real ones are.
            let address = Ipv4Addr::from(0x0a00_0000 + number / 40);
            let key = VipKey::new(address.into(), (number % 40) as u16, 6);
            let entry = VipEntry {
                id: VipId(1),
                table: TableId(number),
                ..VipEntry::default()
            };
            (key, entry)
        };
        (0..count).map(of).collect()
    }

    fn look_up(cells: &[VipCell], seed: u32, key: &VipKey) -> Option<VipEntry> {
        let places = VipHalf::new(0, seed).places(key);
        places
            .iter()
            .find_map(|at| cells[*at as usize].entry(key).copied())
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        for count in [0, 1, 40, crate::abi::VIP_ENTRIES_MAX] {
            let vips = vips(count);
            let mut cells = vec![VipCell::default(); CELLS as usize];
            let seed = fill(&vips, &mut cells).unwrap();
            for (key, entry) in &vips {
                assert_eq!(look_up(&cells, seed, key), Some(*entry), "{key:?} of {count}");
                let other = VipKey { protocol: 17, ..*key };
                assert_eq!(look_up(&cells, seed, &other), None);
            }
            assert_eq!(cells.iter().filter_map(VipCell::content).count(), count as usize);
            assert_eq!(
                look_up(&cells, seed, &VipKey::default()),
                None,
                "an empty cell has no key"
            );
        }
    }

    #[test]
    fn a_word_has_half_and_seed() {
        let key = VipKey::new(Ipv4Addr::LOCALHOST.into(), 80, 6);
        for seed in [0, 1, SEEDS_MAX] {
            let [here, there] = [0, 1].map(|half| VipHalf::new(half, seed).places(&key));
            assert_eq!(here.map(|at| at + CELLS), there);
            assert!(here.iter().all(|at| *at < CELLS));
        }
    }
}
