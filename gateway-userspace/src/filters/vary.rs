//! What `Vary` says: requests that differ in a field get other answers. Source: RFC 9110, section 12.5.5.

use http::header::{self, HeaderMap, HeaderValue};

/// Says that answers differ by that field, if nobody said so before.
pub(super) fn vary(headers: &mut HeaderMap, name: &'static str) {
    let is_said = |member: &[u8]| {
        let member = member.trim_ascii();
        member == b"*" || member.eq_ignore_ascii_case(name.as_bytes())
    };
    let mut fields = headers.get_all(header::VARY).iter();
    if !fields.any(|value| value.as_bytes().split(|byte| *byte == b',').any(is_said)) {
        headers.append(header::VARY, HeaderValue::from_static(name));
    }
}
