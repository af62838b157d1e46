//! Bits from bits: for places in tables and for second draws, never for secrets.

/// Mixes all bits of a word into all others; a bijection.
///
/// Source: the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
/// OOPSLA 2014), with Stafford's constants.
pub fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A number below `bound` from 64 random bits, without a division; 0 where `bound` is 0.
///
/// Source: Lemire, "Fast Random Integer Generation in an Interval", 2019. It is not rejected that some numbers come
/// once more often than others in 2^64 draws.
pub(super) fn below(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}
