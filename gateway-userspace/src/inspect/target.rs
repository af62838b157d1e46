//! A request's target: its four forms, and the characters in it.
//!
//! Source: RFC 9112, section 3.2. What passes here is taken by `http::Uri`, which hyper gives it to.

use super::authority::{self, Port};
use super::refusal::{Noted, Refusal};
use super::request_line::MethodKind;
use super::rules::Rules;
use super::table::{self, PATH, QUERY};

/// Which form a target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `/path?query`, or `*`.
    Relative,
    /// `http://host/path?query`.
    Absolute,
    /// `host:port`, of CONNECT.
    Authority,
}

/// Reads a target of that method.
///
/// # Errors
/// Why it must not pass.
pub(super) fn read(
    method: MethodKind,
    target: &[u8],
    rules: &Rules,
    noted: &mut Noted,
) -> Result<Form, Refusal> {
    match (method, target) {
        (MethodKind::Connect, _) => match authority::read(target) {
            Some(Port::Present) => Ok(Form::Authority),
            _ => Err(Refusal::TargetBad),
        },
        (_, [b'/', ..]) => {
            path(target, rules, noted)?;
            Ok(Form::Relative)
        }
        (MethodKind::Options, b"*") => Ok(Form::Relative),
        (_, b"*") => Err(Refusal::TargetAsterisk),
        _ => absolute(target, rules, noted),
    }
}

fn absolute(target: &[u8], rules: &Rules, noted: &mut Noted) -> Result<Form, Refusal> {
    let rest = [b"http://".as_slice(), b"https://"]
        .iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .ok_or(Refusal::TargetBad)?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (host, rest) = rest.split_at_checked(end).ok_or(Refusal::TargetBad)?;
    authority::read(host).ok_or(Refusal::HostBad)?;
    path(rest, rules, noted)?;
    Ok(Form::Absolute)
}

/// A path with its query; in the absolute form it may be empty, or begin with its query.
fn path(text: &[u8], rules: &Rules, noted: &mut Noted) -> Result<(), Refusal> {
    let end = text
        .iter()
        .position(|&byte| table::class(byte) & PATH == 0 || byte == b'?')
        .unwrap_or(text.len());
    match text.get(end..) {
        None | Some([]) => Ok(()),
        Some([b'?', query @ ..]) if table::all(query, QUERY) => Ok(()),
        Some(_) => unusual(text, rules, noted),
    }
}

/// Where the plain way finds a byte that it does not know.
#[cold]
fn unusual(text: &[u8], rules: &Rules, noted: &mut Noted) -> Result<(), Refusal> {
    let utf8 = str::from_utf8(text).is_ok();
    let (text, fragment) = match text.iter().position(|&byte| byte == b'#') {
        Some(at) => text.split_at_checked(at).unwrap_or((text, &[])),
        None => (text, [].as_slice()),
    };
    let mut in_query = false;
    for &byte in text {
        match byte {
            b'?' => in_query = true,
            0x80.. if !utf8 => return Err(Refusal::TargetBad),
            0x80.. if in_query => {}
            0x80.. => rules.judge(Refusal::EightBit, noted)?,
            b'\\' if !in_query => rules.judge(Refusal::Backslash, noted)?,
            _ if table::class(byte) & if in_query { QUERY } else { PATH } != 0 => {}
            _ => return Err(table::control_in(text, Refusal::TargetBad)),
        }
    }
    // It is dropped, but must be text all the same.
    if fragment.is_empty() {
        return Ok(());
    }
    if !utf8 || fragment.iter().any(|byte| !matches!(byte, b'!'..=b'~' | 0x80..)) {
        return Err(table::control_in(fragment, Refusal::TargetBad));
    }
    rules.judge(Refusal::Fragment, noted)
}
