//! One field line, and what the fields of a head say of the message's end and of the connection.
//!
//! Sources: RFC 9112, sections 5 (fields), 6 (body), 9 (connection); RFC 9110, sections 5.5, 7.6.1 and 8.6.

use super::lines::{Line, Text};
use super::refusal::Refusal;
use super::step::{Body, Version};
use super::table::{self, TOKEN};

/// Bytes of a body that its length may announce: what fits a file offset everywhere.
const LENGTH_MAX: u64 = i64::MAX as u64;

/// Bytes of a field's name; hyper takes 65,535.
const NAME_BYTES_MAX: usize = 1_024;

/// A field line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'b> {
    /// A token.
    pub(super) name: &'b [u8],
    /// Without space around it, and without control characters.
    pub(super) value: &'b [u8],
    /// The classes of those bytes of the name that are neither letters, digits nor hyphens, at least.
    pub(super) classes: u8,
}

/// Reads a line that is not empty.
///
/// # Errors
/// Why it is none.
#[inline]
pub(super) fn read<'b>(line: &Line<'b>) -> Result<Field<'b>, Refusal> {
    let (end, classes) = name_end(line.bytes);
    let split = line.bytes.split_at_checked(end);
    let Some((name @ [_, ..], [b':', value @ ..])) = split else {
        return Err(name_fault(line.bytes, end));
    };
    if end > NAME_BYTES_MAX {
        return Err(Refusal::FieldBad);
    }
    if line.text == Text::Control {
        return Err(table::control_in(value, Refusal::Control));
    }
    let value = table::trimmed(value);
    Ok(Field { name, value, classes })
}

/// Where the token at the start of a line ends, and which classes its bytes have beside [`TOKEN`] and those of
/// letters, digits and hyphens.
#[inline]
fn name_end(line: &[u8]) -> (usize, u8) {
    let mut end = 0;
    while let Some(word) = line.get(end..).and_then(<[u8]>::first_chunk) {
        let plain = table::plain_name_bytes(*word);
        end += plain;
        if plain < word.len() {
            break;
        }
    }
    let mut classes = 0;
    for &byte in line.get(end..).unwrap_or_default() {
        let class = table::class(byte);
        if class & TOKEN == 0 {
            break;
        }
        classes |= class;
        end += 1;
    }
    (end, classes)
}

/// What is wrong with a line whose name ends at `end`, but not in a colon.
#[cold]
fn name_fault(line: &[u8], end: usize) -> Refusal {
    let rest = line.get(end..).unwrap_or_default();
    match rest.first() {
        Some(b' ' | b'\t') if end == 0 => Refusal::Folding,
        Some(b' ' | b'\t') if table::trimmed(rest).first() == Some(&b':') => Refusal::SpaceBeforeColon,
        Some(byte) if byte.is_ascii_control() && *byte != b'\t' => table::control_in(rest, Refusal::FieldBad),
        _ => Refusal::FieldBad,
    }
}

/// What the fields that both directions share have said so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Framing {
    count: usize,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl Framing {
    /// Counts a field.
    ///
    /// # Errors
    /// [`Refusal::FieldsTooMany`].
    #[inline]
    pub(super) fn count(&mut self, fields_max: usize) -> Result<(), Refusal> {
        self.count += 1;
        if self.count > fields_max {
            return Err(Refusal::FieldsTooMany);
        }
        Ok(())
    }

    /// Content-Length.
    ///
    /// # Errors
    /// It is not one plain number, or not the only word on the body.
    pub(super) fn length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(Refusal::LengthAndEncoding);
        }
        if self.length.is_some() {
            return Err(Refusal::ContentLengthRepeated);
        }
        self.length = Some(number(value).ok_or(Refusal::ContentLengthBad)?);
        Ok(())
    }

    /// Transfer-Encoding.
    ///
    /// # Errors
    /// It is not `chunked`, or not the only word on the body.
    pub(super) fn encoding(&mut self, value: &[u8], version: Version) -> Result<(), Refusal> {
        if version == Version::Http10 {
            return Err(Refusal::TransferEncodingOld);
        }
        if self.length.is_some() {
            return Err(Refusal::LengthAndEncoding);
        }
        if self.chunked {
            return Err(Refusal::TransferEncodingBad);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(encoding_fault(value));
        }
        self.chunked = true;
        Ok(())
    }

    /// Connection.
    pub(super) fn connection(&mut self, value: &[u8]) {
        // hyper takes no option from a line that is not ASCII.
        if !value.is_ascii() {
            return;
        }
        for option in value.split(|&byte| byte == b',').map(table::trimmed) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// The body that the fields announce; `None`: they say nothing.
    pub(super) fn body(&self) -> Option<Body> {
        match self.length {
            Some(length) => Some(Body::Length(length)),
            None => self.chunked.then_some(Body::Chunked),
        }
    }

    /// Whether another message may follow on the connection.
    pub(super) fn persists(&self, version: Version) -> bool {
        !self.close && (self.keep_alive || version == Version::Http11)
    }

    /// Whether Connection names Upgrade.
    pub(super) fn names_upgrade(&self) -> bool {
        self.upgrade
    }
}

/// A number in plain digits, without needless zeros.
fn number(digits: &[u8]) -> Option<u64> {
    if matches!(digits, [] | [b'0', _, ..]) {
        return None;
    }
    let value = digits.iter().try_fold(0_u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    (value <= LENGTH_MAX).then_some(value)
}

/// Codings before a last `chunked` are ours to lack; anything else is the sender's fault.
#[cold]
fn encoding_fault(value: &[u8]) -> Refusal {
    let mut codings = value.split(|&byte| byte == b',').map(table::trimmed).rev();
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let ends = codings.next().is_some_and(is_chunked);
    let known = |coding: &[u8]| !coding.is_empty() && table::all(coding, TOKEN) && !is_chunked(coding);
    if ends && codings.all(known) {
        Refusal::TransferEncodingUnknown
    } else {
        Refusal::TransferEncodingBad
    }
}

/// Whether an Upgrade field names a protocol other than h2c, which is ignored: Java's client and curl offer it to all.
pub(super) fn offers_protocol(value: &[u8]) -> bool {
    let mut protocols = value.split(|&byte| byte == b',').map(table::trimmed);
    protocols.any(|protocol| !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c"))
}

/// Names that ours, or those that frame a message, would be taken for where `-` and `_` are one.
const SHADOWED: [&[u8]; 9] = [
    b"transfer-encoding",
    b"proxy-authorization",
    b"proxy-connection",
    b"keep-alive",
    b"x-real-ip",
    b"x-request-id",
    b"x-gateway-node",
    b"http2-settings",
    b"x-http-method-override",
];

/// Prefixes of such names.
const SHADOWED_PREFIXES: [&[u8]; 2] = [b"content-", b"x-forwarded-"];

/// Whether a name with an underscore would shadow one of them.
#[cold]
pub(super) fn shadows(name: &[u8]) -> bool {
    let same = |(&byte, &ours): (&u8, &u8)| match byte {
        b'_' => ours == b'-',
        _ => byte.eq_ignore_ascii_case(&ours),
    };
    let is = |ours: &&[u8]| name.len() == ours.len() && name.iter().zip(*ours).all(same);
    let begins = |ours: &&[u8]| name.len() >= ours.len() && name.iter().zip(*ours).all(same);
    SHADOWED.iter().any(is) || SHADOWED_PREFIXES.iter().any(begins)
}
