//! The Internet checksum (RFC 1071).

/// Folds a sum of 16-bit words into one, twice: the first fold can carry again.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum over five words of 32 bits, as an IPv4 header without options has.
///
/// Words and result stand in the network's order; one's complement sums do not care, so long as all do, nor how long the
/// words are (RFC 1071, 2).
#[inline(always)]
pub fn ipv4_header(words: &[u32; 5]) -> u16 {
    let mut sum = 0_u64;
    for word in words {
        sum += u64::from(*word);
    }
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    !fold((sum & 0xffff) as u32 + (sum >> 16) as u32)
}

/// A checksum after one word of what it covers has changed (RFC 1624, equation 3); the network's order throughout.
#[inline(always)]
pub const fn updated(sum: u16, before: u16, after: u16) -> u16 {
    !fold(!sum as u32 + !before as u32 + after as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_the_carry_of_the_first_fold() {
        assert_eq!(fold(0x0001_ffff), 1);
        assert_eq!(fold(0xffff_ffff), 0xffff);
        assert_eq!(fold(0), 0);
    }

    /// Ten words as they stand in a header, by twos.
    fn header(words: [u16; 10]) -> [u32; 5] {
        core::array::from_fn(|index| {
            let two = [words[2 * index], words[2 * index + 1]];
            crate::headers::halves::join(two.map(u16::to_be))
        })
    }

    const EXAMPLE: [u16; 10] = [0x4500, 0x0073, 0, 0x4000, 0x4011, 0, 0xc0a8, 1, 0xc0a8, 0x00c7];

    /// The header of the example in RFC 1071's spirit that is quoted most: 4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7.
    #[test]
    fn known_header_has_its_known_checksum() {
        assert_eq!(ipv4_header(&header(EXAMPLE)), 0xb861_u16.to_be());
    }

    #[test]
    fn checksum_of_long_words_is_that_of_short_ones() {
        for fill in [0, 1, 0x00ff, 0x7fff, 0x8000, 0xfffe, 0xffff] {
            let words: [u16; 10] = core::array::from_fn(|index| EXAMPLE[index] ^ fill);
            let short = !fold(words.iter().map(|word| u32::from(word.to_be())).sum());
            assert_eq!(ipv4_header(&header(words)), short, "{fill:#x}");
        }
        assert_eq!(ipv4_header(&[u32::MAX; 5]), 0);
    }

    #[test]
    fn updated_checksum_is_the_one_that_is_made_anew() {
        for ttl in [0, 1, 0x3f, 0x40, 0xff] {
            let mut changed = EXAMPLE;
            changed[4] = ttl << 8 | 0x11_u16;
            assert_eq!(
                updated(
                    ipv4_header(&header(EXAMPLE)),
                    EXAMPLE[4].to_be(),
                    changed[4].to_be()
                ),
                ipv4_header(&header(changed)),
                "TTL {ttl}"
            );
        }
    }

    #[test]
    fn header_with_its_checksum_sums_to_all_ones() {
        let mut words = [
            0x4500, 0xffff, 0xffff, 0x4000, 0xff04, 0, 0xffff, 0xffff, 0xffff, 0xfffe,
        ];
        words[5] = u16::from_be(ipv4_header(&header(words)));
        assert_eq!(fold(words.iter().map(|word| u32::from(*word)).sum()), 0xffff);
    }
}
