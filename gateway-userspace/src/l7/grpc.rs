//! gRPC as a proxy must know it: whether a message is gRPC, deadlines, statuses, and how long each message is.
//!
//! Bodies are not decoded but for the prefix of each message. Sources: the gRPC documents "PROTOCOL-HTTP2" (requests,
//! responses, `grpc-timeout`, `grpc-message`) and "statuscodes".

pub(crate) mod web;

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

/// When the caller gives up, counted from the request.
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The outcome, in trailers, or in the head of a response without a body.
pub(crate) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The outcome in words.
pub(crate) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

const CONTENT_TYPE: &str = "application/grpc";
/// Digits of a timeout's value.
const TIMEOUT_DIGITS_MAX: usize = 8;
const TIMEOUT_VALUE_MAX: u128 = 99_999_999;
/// Nanoseconds in a unit, the shortest unit first.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];
/// Compressed or not (1 byte), length (4 bytes, network order).
const PREFIX_BYTES: usize = 5;

/// A `grpc-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(u16);

impl Status {
    pub(crate) const UNKNOWN: Self = Self(2);
    pub(crate) const DEADLINE_EXCEEDED: Self = Self(4);
    pub(crate) const PERMISSION_DENIED: Self = Self(7);
    pub(crate) const RESOURCE_EXHAUSTED: Self = Self(8);
    pub(crate) const UNIMPLEMENTED: Self = Self(12);
    pub(crate) const INTERNAL: Self = Self(13);
    pub(crate) const UNAVAILABLE: Self = Self(14);
    pub(crate) const UNAUTHENTICATED: Self = Self(16);

    /// What stands in trailers, or in a head without a body; `None`: nothing that can be read.
    pub(crate) fn read(fields: &HeaderMap) -> Option<Self> {
        let digits = fields.get(STATUS)?.as_bytes();
        // `parse` would take a sign, too.
        let is_plain = digits.iter().all(u8::is_ascii_digit);
        let code = str::from_utf8(digits).ok()?.parse().ok()?;
        is_plain.then_some(Self(code))
    }

    /// What an answer of our own is to a gRPC client, by the status that others would get.
    pub(crate) fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            408 | 504 => Self::DEADLINE_EXCEEDED,
            413 | 429 => Self::RESOURCE_EXHAUSTED,
            502 | 503 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// Whether the endpoint failed, and not the caller with what it asked for.
    pub(crate) fn is_failure(self) -> bool {
        matches!(
            self,
            Self::UNKNOWN | Self::DEADLINE_EXCEEDED | Self::INTERNAL | Self::UNAVAILABLE
        )
    }

    /// The code, 0 to 16 where it is one that is known.
    pub(crate) fn code(self) -> u16 {
        self.0
    }

    /// Writes it with a text into trailers, or into a head.
    pub(crate) fn write(self, fields: &mut HeaderMap, text: &str) {
        fields.insert(STATUS, HeaderValue::from(self.0));
        fields.insert(MESSAGE, message(text));
    }

    /// The head of an answer of our own: HTTP 200, no body, the trailers in the head.
    pub(crate) fn write_alone(self, head: &mut HeaderMap, text: &str) {
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        self.write(head, text);
    }
}

/// Whether a head says that its body is gRPC: `application/grpc`, with `+proto` and the like, or parameters. gRPC-Web
/// is another protocol, which needs no trailers.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let bytes = value.as_bytes();
        bytes
            .split_at_checked(CONTENT_TYPE.len())
            .is_some_and(|(start, rest)| {
                start.eq_ignore_ascii_case(CONTENT_TYPE.as_bytes())
                    && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
            })
    })
}

/// Whether a request is a gRPC call, which is always a POST.
pub(crate) fn is_call(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::POST && is_grpc(headers)
}

/// How long the caller waits; `None`: it does not say, or not so that it can be read.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    headers.get(TIMEOUT).and_then(parse_timeout)
}

fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    let is_plain =
        !digits.is_empty() && digits.len() <= TIMEOUT_DIGITS_MAX && digits.iter().all(u8::is_ascii_digit);
    let (_, nanoseconds) = UNITS.iter().find(|(letter, _)| letter == unit)?;
    let count: u64 = str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()?;
    // At most 99,999,999 hours: as seconds in 64 bits, not as nanoseconds.
    let count = u32::try_from(count).ok()?;
    Duration::from_nanos(*nanoseconds).checked_mul(count)
}

/// Writes a `grpc-timeout` in the shortest unit that has room for it, never more than what is left.
///
/// `None`: nothing is left, and there is no way to say so.
pub(crate) fn format_timeout(left: Duration) -> Option<HeaderValue> {
    if left.is_zero() {
        return None;
    }
    let in_unit = |(letter, nanoseconds): &(u8, u64)| (*letter, left.as_nanos() / u128::from(*nanoseconds));
    let mut values = UNITS.iter().map(in_unit);
    let (letter, value) = values
        .find(|(_, value)| *value <= TIMEOUT_VALUE_MAX)
        .unwrap_or((b'H', TIMEOUT_VALUE_MAX));
    HeaderValue::try_from(format!("{value}{}", char::from(letter))).ok()
}

/// A text as `grpc-message` has it: percent-encoded but for printable ASCII.
pub(crate) fn message(text: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => {
                let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
                let digits = [digit(byte >> 4), digit(byte & 0xf)];
                encoded.push('%');
                encoded.extend(digits.map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    // Printable ASCII is a valid value.
    HeaderValue::try_from(encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A message is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a gRPC message of {bytes} bytes is longer than {bytes_max}")]
pub(crate) struct MessageTooLong {
    pub(crate) bytes: u32,
    pub(crate) bytes_max: u32,
}

/// Follows the messages of a body, however it is cut into pieces.
#[derive(Clone, Debug)]
pub(crate) struct MessageMeter {
    bytes_max: u32,
    /// Of the prefix under way.
    prefix: u64,
    prefix_bytes: usize,
    /// That the message under way still has to come.
    owed: usize,
}

impl MessageMeter {
    /// Messages may have so many bytes, as they are sent: compressed ones by their compressed length.
    pub(crate) fn new(bytes_max: u32) -> Self {
        Self {
            bytes_max,
            prefix: 0,
            prefix_bytes: 0,
            owed: 0,
        }
    }

    /// The next piece of the body.
    ///
    /// # Errors
    /// A message that is too long begins in it; the piece must not be passed on.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<(), MessageTooLong> {
        let mut rest = piece;
        while let Some((byte, after)) = rest.split_first() {
            if self.owed > 0 {
                let passed = self.owed.min(rest.len());
                self.owed -= passed;
                rest = rest.get(passed..).unwrap_or_default();
                continue;
            }
            rest = after;
            self.prefix = self.prefix << 8 | u64::from(*byte);
            self.prefix_bytes += 1;
            if self.prefix_bytes == PREFIX_BYTES {
                self.begin()?;
            }
        }
        Ok(())
    }

    /// A prefix is whole.
    fn begin(&mut self) -> Result<(), MessageTooLong> {
        // The lower four of the five bytes.
        let bytes = u32::try_from(self.prefix & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        self.prefix = 0;
        self.prefix_bytes = 0;
        if bytes > self.bytes_max {
            return Err(MessageTooLong {
                bytes,
                bytes_max: self.bytes_max,
            });
        }
        self.owed = usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(())
    }

    /// Whether the body may end here: no message is half there.
    #[cfg(test)]
    pub(crate) fn is_between_messages(&self) -> bool {
        self.owed == 0 && self.prefix_bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_content_type() {
        let rows = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc+json", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc ; x=y", true),
            ("Application/GRPC", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ];
        for (content_type, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(is_grpc(&headers), expected, "{content_type:?}");
            assert_eq!(is_call(&Method::POST, &headers), expected, "{content_type:?}");
            assert!(!is_call(&Method::GET, &headers), "{content_type:?}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn timeouts_are_read_exactly() {
        let rows = [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("15S", Some(Duration::from_secs(15))),
            ("100m", Some(Duration::from_millis(100))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("00000001S", Some(Duration::from_secs(1))),
            ("0S", Some(Duration::ZERO)),
            ("100000000n", None),
            ("S", None),
            ("10", None),
            ("10s", None),
            ("+1S", None),
            ("-1S", None),
            ("1.5S", None),
            (" 1S", None),
            ("", None),
        ];
        assert_eq!(timeout(&HeaderMap::new()), None);
        for (text, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, HeaderValue::from_static(text));
            assert_eq!(timeout(&headers), expected, "{text:?}");
        }
    }

    #[test]
    fn a_timeout_that_is_passed_on_is_never_longer() {
        let rows = [
            (Duration::ZERO, None),
            (Duration::from_nanos(1), Some("1n")),
            (Duration::from_millis(99), Some("99000000n")),
            (Duration::from_millis(100), Some("100000u")),
            (Duration::from_nanos(1_234_567_899), Some("1234567u")),
            (Duration::from_secs(15), Some("15000000u")),
            (Duration::from_secs(100), Some("100000m")),
            (Duration::new(99_999, 999_999_999), Some("99999999m")),
            (Duration::from_secs(100_000), Some("100000S")),
            (Duration::from_secs(100_000_059), Some("1666667M")),
            (Duration::from_secs(6_000_000_000), Some("1666666H")),
            (Duration::MAX, Some("99999999H")),
        ];
        for (left, expected) in rows {
            let got = format_timeout(left);
            let text = got.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(text, expected, "{left:?}");
            let read = got.and_then(|value| parse_timeout(&value)).unwrap_or_default();
            assert!(read <= left, "{left:?}: {read:?}");
        }
    }

    #[test]
    fn our_own_answers_have_a_grpc_status() {
        let rows = [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (405, 2),
            (408, 4),
            (413, 8),
            (417, 2),
            (429, 8),
            (431, 2),
            (500, 2),
            (502, 14),
            (503, 14),
            (504, 4),
            (508, 2),
        ];
        for (http, code) in rows {
            let status = Status::of_http(StatusCode::from_u16(http).unwrap());
            assert_eq!(status.code(), code, "{http}");
            let mut head = HeaderMap::new();
            status.write_alone(&mut head, "text");
            assert_eq!(Status::read(&head), Some(status), "{http}");
            assert!(is_grpc(&head));
        }
        for code in 0..=17 {
            let is_failure = [2, 4, 13, 14].contains(&code);
            assert_eq!(Status(code).is_failure(), is_failure, "{code}");
        }
        assert!(!Status(0).is_failure());
        for text in ["", "+1", "-1", "x", "65536", "1 "] {
            let mut trailers = HeaderMap::new();
            trailers.insert(STATUS, HeaderValue::from_static(text));
            assert_eq!(Status::read(&trailers), None, "{text:?}");
        }
    }

    #[test]
    fn messages_are_encoded_but_for_printable_ascii() {
        let rows = [
            ("no route", "no route"),
            ("100%", "100%25"),
            ("a\r\nb\t", "a%0D%0Ab%09"),
            ("ä\u{7f}~", "%C3%A4%7F~"),
            ("", ""),
        ];
        for (text, expected) in rows {
            assert_eq!(message(text), expected, "{text:?}");
        }
    }

    fn framed(lengths: &[u32]) -> Vec<u8> {
        let mut body = Vec::new();
        for (index, length) in lengths.iter().enumerate() {
            body.push(u8::try_from(index % 2).unwrap());
            body.extend(length.to_be_bytes());
            body.extend(vec![0xff; usize::try_from(*length).unwrap()]);
        }
        body
    }

    #[test]
    fn messages_are_told_apart_over_any_split() {
        let rows: &[(&[u32], Option<u32>, &str)] = &[
            (&[], None, "nothing"),
            (&[0], None, "an empty message"),
            (&[3, 0, 10], None, "up to the bound"),
            (&[11], Some(11), "over it"),
            (&[10, 11], Some(11), "the second"),
            (&[0, 0, 300], Some(300), "by two bytes of length"),
        ];
        for (lengths, too_long, why) in rows {
            let body = framed(lengths);
            for first in 0..=body.len() {
                for second in first..=body.len() {
                    let mut meter = MessageMeter::new(10);
                    let pieces = [&body[..first], &body[first..second], &body[second..]];
                    let end = pieces.iter().try_for_each(|piece| meter.take(piece));
                    let got = end.err().map(|fault| fault.bytes);
                    assert_eq!(got, *too_long, "{why}: {first} {second}");
                    assert!(
                        got.is_some() || meter.is_between_messages(),
                        "{why}: {first} {second}"
                    );
                }
            }
        }
        for cut in 1..framed(&[3]).len() {
            let mut meter = MessageMeter::new(10);
            meter.take(&framed(&[3])[..cut]).unwrap();
            assert!(!meter.is_between_messages(), "cut after {cut}");
        }
    }
}
