//! Classes of bytes, looked up in one table each.
//!
//! Sources: RFC 9110, sections 5.5 and 5.6.2 (field-value, token); RFC 3986, section 3; and what `http::Uri` takes,
//! for what it does not take must not reach hyper.

use super::refusal::Refusal;

/// A byte of a token (`tchar`).
pub(super) const TOKEN: u8 = 1;
/// A lower-case letter.
pub(super) const LOWER: u8 = 1 << 1;
/// A byte of a path that `http::Uri` takes and no mode judges.
pub(super) const PATH: u8 = 1 << 2;
/// A byte of a query that `http::Uri` takes.
pub(super) const QUERY: u8 = 1 << 3;
/// A byte of a host's name.
pub(super) const HOST: u8 = 1 << 4;
/// An underscore.
pub(super) const UNDERSCORE: u8 = 1 << 5;

static CLASSES: [u8; 256] = build();

const fn build() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let mut class = 0;
        if byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            class |= TOKEN;
        }
        if byte.is_ascii_lowercase() {
            class |= LOWER;
        }
        if matches!(byte, 0x21 | 0x22 | 0x24..=0x3b | 0x3d | 0x40..=0x5b | 0x5d..=0x5f | 0x61..=0x7e) {
            class |= PATH;
        }
        if matches!(byte, 0x21 | 0x24..=0x3b | 0x3d | 0x3f..=0x7e) {
            class |= QUERY;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            class |= HOST;
        }
        if byte == b'_' {
            class |= UNDERSCORE;
        }
        table[index] = class;
        index += 1;
    }
    table
}

/// The classes of a byte.
#[inline]
pub(super) fn class(byte: u8) -> u8 {
    // A byte is always inside; the compiler sees it, too.
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

/// Whether every byte is of that class.
pub(super) fn all(bytes: &[u8], of: u8) -> bool {
    bytes.iter().all(|&byte| class(byte) & of != 0)
}

/// Where the first control character is at or after `from`, the tab included; the length of `bytes` if none is.
/// Eight bytes at a time, for values are most of a head.
#[inline]
pub(super) fn next_control(bytes: &[u8], from: usize) -> usize {
    let (words, rest) = bytes.get(from..).unwrap_or_default().as_chunks::<8>();
    let mut at = from;
    for word in words {
        let found = controls(u64::from_le_bytes(*word));
        if found != 0 {
            return at + first_byte(found);
        }
        at += 8;
    }
    at + rest.iter().position(u8::is_ascii_control).unwrap_or(rest.len())
}

/// How many bytes at the start of a word are letters, digits or hyphens: those that nearly all names are made of.
#[inline]
pub(super) fn plain_name_bytes(word: [u8; 8]) -> usize {
    let word = u64::from_le_bytes(word);
    // The sums below carry nothing into the next byte only where all bytes are ASCII.
    if word & HIGHS != 0 {
        return 0;
    }
    let at_least = |word: u64, least: u8| word + ONES * u64::from(0x80 - least);
    let between = |word: u64, first: u8, last: u8| at_least(word, first) & !at_least(word, last + 1);
    let letters = between(word | (ONES * 0x20), b'a', b'z');
    let plain = letters | between(word, b'0', b'9') | between(word, b'-', b'-');
    first_byte(!plain & HIGHS)
}

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// The first of the bytes whose high bits are set; 8 where none is.
#[inline]
fn first_byte(highs: u64) -> usize {
    (highs.trailing_zeros() / 8) as usize
}

/// The high bit of each byte below space, and of each DEL; above the first of them perhaps of others, too.
/// Source: "Determine if a word has a byte less than n", Bit Twiddling Hacks, S. E. Anderson.
#[inline]
fn controls(word: u64) -> u64 {
    let low = word.wrapping_sub(ONES * 0x20) & !word;
    let del = word ^ (ONES * 0x7f);
    let del = del.wrapping_sub(ONES) & !del;
    (low | del) & HIGHS
}

/// Whether a token is that name, which is given in lower case and has letters and hyphens alone.
#[inline]
pub(super) fn is_name(token: &[u8], lower: &[u8]) -> bool {
    // In a token only a letter's two cases, and the hyphen itself, come out as these.
    token.len() == lower.len() && token.iter().zip(lower).all(|(byte, lower)| byte | 0x20 == *lower)
}

/// What is wrong with the first control character among bytes that have one; `fallback` where they have none.
#[cold]
pub(super) fn control_in(bytes: &[u8], fallback: Refusal) -> Refusal {
    let found = bytes
        .iter()
        .find(|byte| byte.is_ascii_control() && **byte != b'\t');
    match found {
        Some(0) => Refusal::Nul,
        Some(b'\r') => Refusal::BareCr,
        Some(_) => Refusal::Control,
        None => fallback,
    }
}

/// Without spaces and tabs at both ends.
#[inline]
pub(super) fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bytes_at_a_time_find_what_one_at_a_time_finds() {
        for filler in [b'a', b' ', 0x80, 0xff, b'~'] {
            for len in 0..20 {
                for place in 0..len {
                    for byte in 0..=u8::MAX {
                        let mut bytes = vec![filler; len];
                        bytes[place] = byte;
                        for from in 0..=len {
                            let plain = bytes[from..].iter().position(u8::is_ascii_control);
                            let expected = from + plain.unwrap_or(len - from);
                            assert_eq!(next_control(&bytes, from), expected, "{bytes:?} from {from}");
                        }
                    }
                }
            }
        }
        for filler in [b'a', b'Z', b'-', b'0', b':', 0x80] {
            for place in 0..8 {
                for byte in 0..=u8::MAX {
                    let mut word = [filler; 8];
                    word[place] = byte;
                    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
                    let expected = word.iter().take_while(|byte| is_plain(byte)).count();
                    let expected = if word.is_ascii() { expected } else { 0 };
                    assert_eq!(plain_name_bytes(word), expected, "{word:?}");
                }
            }
        }
    }
}
