//! A request line: `METHOD TARGET VERSION`, with one space between each.
//!
//! Source: RFC 9112, section 3; RFC 9110, section 9.

use memchr::memchr;

use super::refusal::{Noted, Refusal};
use super::rules::Rules;
use super::step::Version;
use super::table::{self, LOWER, TOKEN};
use super::target::{self, Form};

/// Longest method in bytes; the longest registered one has 17.
const METHOD_BYTES_MAX: usize = 32;
/// Bytes of a request line beside its target: the method, two spaces, the version, a carriage return.
pub(super) const BYTES_BESIDE: usize = METHOD_BYTES_MAX + 11;

/// What a method means for framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// Its answer has no body.
    Head,
    /// Asks for a tunnel.
    Connect,
    /// May have the target `*`.
    Options,
    /// Any other.
    Other,
}

/// What a request line says.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine {
    pub(super) method: MethodKind,
    pub(super) version: Version,
    pub(super) form: Form,
}

/// Reads it, without its end.
///
/// # Errors
/// Why it must not pass.
pub(super) fn read(line: &[u8], rules: &Rules, noted: &mut Noted) -> Result<RequestLine, Refusal> {
    let bad = || table::control_in(line, Refusal::RequestLineBad);
    let (method, rest) = word(line).ok_or_else(bad)?;
    let (target, version) = word(rest).ok_or_else(bad)?;
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(Refusal::VersionUnsupported);
        }
        _ => return Err(bad()),
    };
    let method = kind(method, rules, noted).map_err(|refusal| table::control_in(line, refusal))?;
    if target.len() > rules.target_bytes_max {
        return Err(Refusal::TargetTooLong);
    }
    let form = target::read(method, target, rules, noted)?;
    Ok(RequestLine {
        method,
        version,
        form,
    })
}

/// The bytes before the first space, of which there is at least one, and those after it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (word, rest) = text.split_at_checked(memchr(b' ', text)?)?;
    (!word.is_empty()).then_some((word, rest.get(1..)?))
}

fn kind(method: &[u8], rules: &Rules, noted: &mut Noted) -> Result<MethodKind, Refusal> {
    match method {
        b"GET" | b"POST" | b"PUT" | b"DELETE" | b"PATCH" => return Ok(MethodKind::Other),
        b"HEAD" => return Ok(MethodKind::Head),
        b"CONNECT" => return Ok(MethodKind::Connect),
        b"OPTIONS" => return Ok(MethodKind::Options),
        _ => {}
    }
    if method.len() > METHOD_BYTES_MAX || !table::all(method, TOKEN) {
        return Err(Refusal::RequestLineBad);
    }
    if method.eq_ignore_ascii_case(b"TRACE") {
        return Err(Refusal::MethodTrace);
    }
    if method.iter().any(|&byte| table::class(byte) & LOWER != 0) {
        rules.judge(Refusal::MethodLowerCase, noted)?;
        // An upstream that takes them for the real ones would answer, or tunnel, in another way than we read it.
        if method.eq_ignore_ascii_case(b"HEAD") || method.eq_ignore_ascii_case(b"CONNECT") {
            return Err(Refusal::RequestLineBad);
        }
    }
    Ok(MethodKind::Other)
}
