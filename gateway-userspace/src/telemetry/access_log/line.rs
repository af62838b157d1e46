//! One line of the access log.
//!
//! What a client may choose (method, host, path, request id) is quoted and escaped, so that no request can forge a
//! line or a field: a value with anything but plain characters stands in quotes; quotes, backslashes and all that
//! is not printable ASCII are written `\"`, `\\` and `\xNN`.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest value of a field that a client chooses, in bytes before escaping; the rest is cut and marked by `…`.
pub const VALUE_BYTES_MAX: usize = 1024;

/// What a line says; absent values are written `-`.
#[derive(Clone, Copy, Debug)]
pub struct Line<'r> {
    /// When the request's head was read.
    pub time: SystemTime,
    /// The peer; behind trusted proxies what they say the client is, without a port.
    pub client: SocketAddr,
    /// The proxy, where `client` is what it says.
    pub peer: Option<SocketAddr>,
    /// The listener's name.
    pub listener: &'r str,
    /// The route's name.
    pub route: Option<&'r str>,
    /// The upstream's name.
    pub upstream: Option<&'r str>,
    /// The endpoint that was tried last.
    pub endpoint: Option<SocketAddr>,
    /// Chosen by the client.
    pub method: &'r str,
    /// Chosen by the client.
    pub host: &'r [u8],
    /// Chosen by the client; without the query, which may hold secrets.
    pub path: &'r str,
    /// `1.0`, `1.1` or `2`.
    pub version: &'static str,
    /// Of the answer; `None`: the client got none.
    pub status: Option<u16>,
    /// `ok`, or why the request failed.
    pub reason: &'static str,
    /// `none`, `downstream`, `upstream` or `internal`.
    pub fault: &'static str,
    /// The option that would admit a request that was refused.
    pub option: Option<&'static str>,
    /// Endpoints and connections tried.
    pub tries: u32,
    /// Of the request's body.
    pub bytes_in: u64,
    /// Of the response's body.
    pub bytes_out: u64,
    /// To connect, in the last try that did.
    pub connect: Option<Duration>,
    /// From the request's head to the upstream's response head.
    pub first_byte: Option<Duration>,
    /// From the request's head to the end of the response.
    pub total: Duration,
    /// How a gRPC call went.
    pub grpc_status: Option<u16>,
    /// The trace that it belongs to (W3C trace context).
    pub trace: Option<&'r [u8]>,
    /// The snapshot that decided.
    pub snapshot: u64,
    /// May be chosen by the client.
    pub request_id: &'r [u8],
}

impl Line<'_> {
    /// Appends the line, without its end.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"time=");
        write_time(out, self.time);
        out.extend_from_slice(b" client=");
        write_client(out, self.client);
        if let Some(peer) = self.peer {
            out.extend_from_slice(b" peer=");
            write_address(out, peer);
        }
        text(out, b" listener=", self.listener.as_bytes());
        text(out, b" route=", self.route.unwrap_or("-").as_bytes());
        text(out, b" upstream=", self.upstream.unwrap_or("-").as_bytes());
        out.extend_from_slice(b" endpoint=");
        match self.endpoint {
            Some(address) => write_address(out, address),
            None => out.push(b'-'),
        }
        text(out, b" method=", self.method.as_bytes());
        text(out, b" host=", self.host);
        text(out, b" path=", self.path.as_bytes());
        text(out, b" version=", self.version.as_bytes());
        match self.status {
            Some(status) => number(out, b" status=", u64::from(status)),
            None => out.extend_from_slice(b" status=-"),
        }
        text(out, b" reason=", self.reason.as_bytes());
        text(out, b" fault=", self.fault.as_bytes());
        if let Some(option) = self.option {
            text(out, b" option=", option.as_bytes());
        }
        number(out, b" tries=", u64::from(self.tries));
        number(out, b" bytes_in=", self.bytes_in);
        number(out, b" bytes_out=", self.bytes_out);
        milliseconds(out, b" connect_ms=", self.connect);
        milliseconds(out, b" first_byte_ms=", self.first_byte);
        milliseconds(out, b" total_ms=", Some(self.total));
        if let Some(status) = self.grpc_status {
            number(out, b" grpc_status=", u64::from(status));
        }
        if let Some(trace) = self.trace {
            text(out, b" trace=", trace);
        }
        number(out, b" snapshot=", self.snapshot);
        text(out, b" request_id=", self.request_id);
    }
}

fn write_client(out: &mut Vec<u8>, client: SocketAddr) {
    if client.port() == 0 {
        out.extend_from_slice(client.ip().to_string().as_bytes());
    } else {
        write_address(out, client);
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\')
}

fn text(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    let (value, rest) = value.split_at(value.len().min(VALUE_BYTES_MAX));
    if !value.is_empty() && rest.is_empty() && value.iter().copied().all(is_plain) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => {
                out.extend_from_slice(b"\\x");
                out.push(hex(byte >> 4));
                out.push(hex(byte & 15));
            }
        }
    }
    if !rest.is_empty() {
        out.extend_from_slice("…".as_bytes());
    }
    out.push(b'"');
}

fn hex(digit: u8) -> u8 {
    if digit < 10 {
        b'0' + digit
    } else {
        b'a' + digit - 10
    }
}

fn number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    digits(out, value, 1);
}

fn milliseconds(out: &mut Vec<u8>, key: &[u8], value: Option<Duration>) {
    out.extend_from_slice(key);
    let Some(value) = value else {
        out.push(b'-');
        return;
    };
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    digits(out, micros / 1000, 1);
    out.push(b'.');
    digits(out, micros % 1000, 3);
}

/// Decimal, at least `width` digits.
fn digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    while value > 0 || out.len() - start < width {
        out.push(b'0' + (value % 10) as u8);
        value /= 10;
    }
    if let Some(written) = out.get_mut(start..) {
        written.reverse();
    }
}

fn write_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(v4) => {
            for (index, octet) in v4.ip().octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                digits(out, u64::from(octet), 1);
            }
            out.push(b':');
            digits(out, u64::from(address.port()), 1);
        }
        // `io::Write` for `Vec` cannot fail; the formatter's text has no character that needs quotes.
        SocketAddr::V6(v6) => out.extend_from_slice(v6.to_string().as_bytes()),
    }
}

/// RFC 3339 in UTC, with milliseconds.
fn write_time(out: &mut Vec<u8>, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    digits(out, year, 4);
    for (mark, value) in [
        (b'-', month),
        (b'-', day),
        (b'T', seconds / 3600 % 24),
        (b':', seconds / 60 % 60),
        (b':', seconds % 60),
    ] {
        out.push(mark);
        digits(out, value, 2);
    }
    out.push(b'.');
    digits(out, u64::from(since.subsec_millis()), 3);
    out.push(b'Z');
}

/// Year, month and day of a day since 1970.
///
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str) -> String {
        let line = Line {
            time: UNIX_EPOCH + Duration::from_millis(1_709_210_096_007),
            client: "192.0.2.7:4321".parse().unwrap(),
            peer: None,
            listener: "web",
            route: None,
            upstream: Some("users"),
            endpoint: Some("[2001:db8::1]:80".parse().unwrap()),
            method: "GET",
            host: b"a.example",
            path,
            version: "1.1",
            status: Some(200),
            reason: "ok",
            fault: "none",
            option: None,
            tries: 1,
            bytes_in: 0,
            bytes_out: 12_345,
            connect: None,
            first_byte: Some(Duration::from_micros(1_070)),
            total: Duration::from_micros(12_003_004),
            grpc_status: None,
            trace: None,
            snapshot: 3,
            request_id: b"",
        };
        let mut out = Vec::new();
        line.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_says_all_fields_in_order() {
        assert_eq!(
            line("/a/b"),
            "time=2024-02-29T12:34:56.007Z client=192.0.2.7:4321 listener=web route=- upstream=users \
             endpoint=[2001:db8::1]:80 method=GET host=a.example path=/a/b version=1.1 status=200 reason=ok \
             fault=none tries=1 bytes_in=0 bytes_out=12345 connect_ms=- first_byte_ms=1.070 total_ms=12003.004 \
             snapshot=3 request_id=\"\""
        );
    }

    #[test]
    fn client_text_never_forges_a_line_or_a_field() {
        let rows = [
            ("/a b", r#"path="/a b" "#),
            ("/a\nstatus=200", r#"path="/a\x0astatus=200" "#),
            ("/\" status=1", r#"path="/\" status=1" "#),
            ("/a=b", r#"path="/a=b" "#),
            ("/\\", r#"path="/\\" "#),
            ("/\u{7f}é", r#"path="/\x7f\xc3\xa9" "#),
        ];
        for (path, expected) in rows {
            let line = line(path);
            assert!(line.contains(expected), "{path:?} became {line}");
            assert!(!line.contains('\n'));
        }
        let long = line(&"x".repeat(VALUE_BYTES_MAX + 1));
        assert!(long.contains("x…\" version"), "{long}");
    }

    #[test]
    fn dates_follow_the_calendar() {
        let rows = [
            (0, (1970, 1, 1)),
            (11_016, (2000, 2, 29)),
            (19_782, (2024, 2, 29)),
            (20_454, (2026, 1, 1)),
        ];
        for (days, expected) in rows {
            assert_eq!(civil(days), expected, "day {days}");
        }
    }
}
