//! W3C trace context: passed on as it came if it can be read, else removed whole. No span of our own is added.
//!
//! Source: W3C Trace Context, sections 3.2 (traceparent) and 3.3 (tracestate, which means nothing without it).

use std::fmt;

use http::header::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-` trace id (32) `-` parent id (16) `-` flags (2).
const TRACEPARENT_BYTES: usize = 55;

/// Names a trace: 32 lower-case hexadecimal digits, not all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId([u8; 32]);

impl TraceId {
    /// For the log.
    pub(crate) fn as_str(&self) -> &str {
        // Only digits passed `read`.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The trace that a head belongs to; where that cannot be read, its fields go.
pub(super) fn pass(headers: &mut HeaderMap) -> Option<TraceId> {
    let mut fields = headers.get_all(TRACEPARENT).iter();
    let trace = match (fields.next(), fields.next()) {
        (Some(value), None) => read(value.as_bytes()),
        _ => None,
    };
    if trace.is_none() {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    } else if let Some(parent) = headers.get_mut(TRACEPARENT) {
        // As `once` says.
        parent.set_sensitive(true);
    }
    trace
}

fn read(value: &[u8]) -> Option<TraceId> {
    let (known, later) = value.split_at_checked(TRACEPARENT_BYTES)?;
    let mut parts = known.split(|&b| b == b'-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    let is_known = match version {
        b"ff" => false,
        b"00" => later.is_empty(),
        // A later version may only append.
        _ => later.is_empty() || later.starts_with(b"-"),
    };
    let is_set = |digits: &[u8]| digits.iter().any(|&b| b != b'0');
    let is_hex = |digits: &[u8], count: usize| {
        let is_digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        digits.len() == count && digits.iter().all(is_digit)
    };
    let is_whole = is_known
        && parts.next().is_none()
        && is_hex(version, 2)
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && is_set(trace)
        && is_set(parent);
    is_whole.then(|| trace.try_into().ok().map(TraceId)).flatten()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::map;
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_readable_parent_is_passed_on_and_another_removed() {
        let good = format!("00-{ID}-00f067aa0ba902b7-01");
        let none = "0".repeat(32);
        let rows = [
            (good.clone(), true, "as the specification has it"),
            (format!("cc-{ID}-00f067aa0ba902b7-01"), true, "a later version"),
            (format!("cc-{ID}-00f067aa0ba902b7-01-more"), true, "that appends"),
            (
                format!("cc-{ID}-00f067aa0ba902b7-01more"),
                false,
                "but not like this",
            ),
            (
                format!("00-{ID}-00f067aa0ba902b7-01-more"),
                false,
                "nor this version",
            ),
            (
                format!("ff-{ID}-00f067aa0ba902b7-01"),
                false,
                "the version that is none",
            ),
            (format!("00-{none}-00f067aa0ba902b7-01"), false, "no trace"),
            (format!("00-{ID}-0000000000000000-01"), false, "no parent"),
            (good.to_ascii_uppercase(), false, "upper case"),
            (format!("00-{ID}-00f067aa0ba902b7-0"), false, "short"),
            (format!("00-{ID}-00f067aa0ba902b7_01"), false, "no dash"),
            (format!("00-{ID}0-0f067aa0ba902b7-01"), false, "dashes elsewhere"),
            (format!("00-{}z-00f067aa0ba902b7-01", &ID[1..]), false, "no digit"),
            (String::new(), false, "nothing"),
        ];
        for (parent, is_good, why) in rows {
            let fields = [("traceparent", parent.as_str()), ("tracestate", "a=1,b=2")];
            let mut headers = map(&fields);
            let trace = pass(&mut headers);
            let left = if is_good { map(&fields) } else { map(&[]) };
            assert_eq!(headers, left, "{why}");
            assert_eq!(
                trace.as_ref().map(TraceId::as_str),
                is_good.then_some(ID),
                "{why}"
            );
            assert!(
                headers.get(TRACEPARENT).is_none_or(HeaderValue::is_sensitive),
                "{why}"
            );
        }
        let mut twice = map(&[("traceparent", &good), ("traceparent", &good)]);
        assert_eq!(pass(&mut twice), None);
        assert!(twice.is_empty());
        let mut alone = map(&[("tracestate", "a=1")]);
        assert_eq!(pass(&mut alone), None);
        assert!(alone.is_empty());
    }
}
