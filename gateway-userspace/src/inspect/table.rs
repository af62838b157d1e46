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

/// Whether bytes have a control character other than the tab. Eight at a time, for values are most of a head.
#[inline]
pub(super) fn has_control(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    // The last eight bytes once more, with those that fill no word.
    let last = bytes.last_chunk::<8>();
    let suspicious = words.iter().any(|word| is_suspicious(*word))
        || match last {
            Some(last) => is_suspicious(*last),
            None => rest.iter().any(|&byte| is_control(byte)),
        };
    suspicious && bytes.iter().any(|&byte| is_control(byte))
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// Whether any of eight bytes is below space, or DEL; true at times where none is, never false where one is.
/// Source: "Determine if a word has a byte less than n", Bit Twiddling Hacks, S. E. Anderson.
#[inline]
fn is_suspicious(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let word = u64::from_ne_bytes(word);
    let low = word.wrapping_sub(ONES * 0x20) & !word;
    let del = word ^ (ONES * 0x7f);
    let del = del.wrapping_sub(ONES) & !del;
    (low | del) & HIGHS != 0
}

/// What is wrong with the first control character among bytes that have one; `fallback` where they have none.
#[cold]
pub(super) fn control_in(bytes: &[u8], fallback: Refusal) -> Refusal {
    let found = bytes
        .iter()
        .find(|byte| is_control(**byte));
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
