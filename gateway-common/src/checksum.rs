//! The Internet checksum (RFC 1071).

/// Folds a sum of 16-bit words into one, twice: the first fold can carry again.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum over ten words, as an IPv4 header without options has.
///
/// Words and result stand in the network's order; one's complement sums do not care, so long as all do.
#[inline(always)]
pub fn ipv4_header(words: &[u16; 10]) -> u16 {
    let mut sum = 0_u32;
    for word in words {
        sum += u32::from(*word);
    }
    !fold(sum)
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

    /// The header of the example in RFC 1071's spirit that is quoted most: 4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7.
    #[test]
    fn known_header_has_its_known_checksum() {
        let words = [0x4500, 0x0073, 0, 0x4000, 0x4011, 0, 0xc0a8, 1, 0xc0a8, 0x00c7].map(u16::to_be);
        assert_eq!(ipv4_header(&words), 0xb861_u16.to_be());
    }

    #[test]
    fn updated_checksum_is_the_one_that_is_made_anew() {
        let words = [0x4500, 0x0073, 0, 0x4000, 0x4011, 0, 0xc0a8, 1, 0xc0a8, 0x00c7].map(u16::to_be);
        for ttl in [0, 1, 0x3f, 0x40, 0xff] {
            let mut changed = words;
            changed[4] = (ttl << 8 | 0x11_u16).to_be();
            assert_eq!(
                updated(ipv4_header(&words), words[4], changed[4]),
                ipv4_header(&changed),
                "TTL {ttl}"
            );
        }
    }

    #[test]
    fn header_with_its_checksum_sums_to_all_ones() {
        let mut words = [
            0x4500, 0xffff, 0xffff, 0x4000, 0xff04, 0, 0xffff, 0xffff, 0xffff, 0xfffe,
        ]
        .map(u16::to_be);
        words[5] = ipv4_header(&words);
        assert_eq!(fold(words.iter().map(|word| u32::from(*word)).sum()), 0xffff);
    }
}
