//! The Internet checksum (RFC 1071), straight from its text, and what each one in a frame should be.

/// A checksum as it stands in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Whose it is.
    pub name: String,
    /// Where it stands, in bytes from the frame's start.
    pub at: usize,
    /// What stands there.
    pub found: u16,
    /// What it says of the bytes that it covers.
    pub state: State,
}

/// Whether a checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Right,
    /// That would be.
    Wrong(u16),
    /// There is none: UDP's zero (RFC 768; over IPv6 in tunnels, RFC 6935).
    Absent,
    /// Not all that it covers is in this frame.
    Unknown,
}

impl Checksum {
    /// As a diff shows it.
    pub fn shown(&self) -> String {
        let found = self.found;
        match self.state {
            State::Right => format!("{found:#06x}, right"),
            State::Wrong(right) => format!("{found:#06x}, wrong: {right:#06x} would be right"),
            State::Absent => "0, none".to_owned(),
            State::Unknown => format!("{found:#06x}, not all that it covers is here"),
        }
    }
}

/// The checksum of these bytes; those of each part but the last are of even number.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let byte = |index: usize| u64::from(pair.get(index).copied().unwrap_or(0));
            sum += byte(0) << 8 | byte(1);
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whether the checksum that stands `at` bytes into `covered` is that of `pseudo` and `covered`.
pub fn state(pseudo: &[u8], covered: &[u8], at: usize) -> State {
    let mut without = covered.to_vec();
    without.iter_mut().skip(at).take(2).for_each(|byte| *byte = 0);
    // Of one's complement's two zeros only one holds over bytes that are all zero: so the sum decides, with it in.
    if checksum(&[pseudo, covered]) == 0 {
        State::Right
    } else {
        State::Wrong(checksum(&[pseudo, &without]))
    }
}

/// The pseudo-header of TCP and UDP over IPv4 (RFC 9293, 3.1), or of all over IPv6 (RFC 8200, 8.1).
pub fn pseudo_header(source: &[u8], destination: &[u8], protocol: u8, bytes: usize) -> Vec<u8> {
    let mut header = [source, destination].concat();
    header.extend((bytes as u32).to_be_bytes());
    header.extend([0, 0, 0, protocol]);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_header_that_is_quoted_most_is_known() {
        let header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7,
        ];
        assert_eq!(state(&[], &header, 10), State::Right);
        let mut wrong = header;
        wrong[8] = 0x3f;
        assert_eq!(state(&[], &wrong, 10), State::Wrong(0xb961));
        wrong[10] = 0xb9;
        assert_eq!(state(&[], &wrong, 10), State::Right);
    }

    #[test]
    fn either_zero_is_right_but_over_zeros() {
        let rows: [(&str, [u8; 4], State); 4] = [
            ("0 over ones", [0xff, 0xff, 0, 0], State::Right),
            ("all ones over ones", [0xff, 0xff, 0xff, 0xff], State::Right),
            ("all ones over zeros", [0, 0, 0xff, 0xff], State::Right),
            ("0 over zeros", [0, 0, 0, 0], State::Wrong(0xffff)),
        ];
        for (name, covered, expected) in rows {
            assert_eq!(state(&[], &covered, 2), expected, "{name}");
        }
    }

    #[test]
    fn odd_bytes_are_filled_with_zero() {
        assert_eq!(checksum(&[&[1, 2, 3]]), checksum(&[&[1, 2], &[3, 0]]));
    }
}
