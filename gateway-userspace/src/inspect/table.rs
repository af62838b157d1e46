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

const CLASSES: [u8; 256] = build();

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

/// Whether a value has a control character other than the tab. Written so that the compiler makes vectors of it.
#[inline]
pub(super) fn has_control(bytes: &[u8]) -> bool {
    let bad = |byte: u8| u8::from(byte < b' ') & u8::from(byte != b'\t') | u8::from(byte == 0x7f);
    bytes.iter().fold(0, |found, &byte| found | bad(byte)) != 0
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
