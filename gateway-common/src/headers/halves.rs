//! Words of 32 bits as they lie in memory, and the two of 16 bits in them: each in the network's order, whatever the
//! machine's is.

/// Two short words as one long one.
#[inline(always)]
pub const fn join([first, second]: [u16; 2]) -> u32 {
    if cfg!(target_endian = "little") {
        first as u32 | (second as u32) << 16
    } else {
        (first as u32) << 16 | second as u32
    }
}

/// A long word as the two short ones in it.
#[inline(always)]
pub const fn split(word: u32) -> [u16; 2] {
    let (low, high) = (word as u16, (word >> 16) as u16);
    if cfg!(target_endian = "little") {
        [low, high]
    } else {
        [high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_lie_as_they_do_in_memory() {
        let word = u32::from_ne_bytes([0x12, 0x34, 0x56, 0x78]);
        let halves = [[0x12, 0x34], [0x56, 0x78]].map(u16::from_ne_bytes);
        assert_eq!(split(word), halves);
        assert_eq!(join(halves), word);
    }
}
