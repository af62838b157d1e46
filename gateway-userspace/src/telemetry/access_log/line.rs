//! One line of the access log.
//!
//! What a client may choose (method, host, path, request id) is quoted and escaped, so that no request can forge a
//! line or a field: a value with anything but plain characters stands in quotes; quotes, backslashes and all that
//! is not printable ASCII are written `\"`, `\\` and `\xNN`.

use std::time::Duration;

use super::out::Out;
use super::stamp::Stamp;

/// Longest value of a field that a client chooses, in bytes before escaping; the rest is cut and marked by `…`.
pub const VALUE_BYTES_MAX: usize = 1024;

/// What a line says; absent values are written `-`.
#[derive(Clone, Copy, Debug)]
pub struct Line<'r> {
    /// When the request's head was read.
    pub time: Stamp,
    /// The peer; behind trusted proxies what they say the client is, without a port.
    pub client: &'r str,
    /// The proxy, where `client` is what it says.
    pub peer: Option<&'r str>,
    /// The listener's name.
    pub listener: &'r str,
    /// The route's name.
    pub route: Option<&'r str>,
    /// Who the client is, as a filter found out.
    pub consumer: Option<&'r [u8]>,
    /// The upstream's name.
    pub upstream: Option<&'r str>,
    /// The endpoint that was tried last.
    pub endpoint: Option<&'r str>,
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
    /// The version of TLS.
    pub tls: Option<&'static str>,
    /// Subject of the client's certificate, which was verified.
    pub client_certificate: Option<&'r str>,
    /// The trace that it belongs to (W3C trace context).
    pub trace: Option<&'r [u8]>,
    /// The snapshot that decided.
    pub snapshot: u64,
    /// May be chosen by the client.
    pub request_id: &'r [u8],
}

impl Line<'_> {
    /// Writes the line, without its end. What a configuration or this program names is plain as it is; only what a
    /// client may choose is looked at.
    pub fn write(&self, out: &mut Out<'_>) {
        out.put(b"time=");
        out.put(&self.time.0);
        out.pair(b" client=", self.client.as_bytes());
        if let Some(peer) = self.peer {
            out.pair(b" peer=", peer.as_bytes());
        }
        out.pair(b" listener=", self.listener.as_bytes());
        out.pair(b" route=", self.route.unwrap_or("-").as_bytes());
        if let Some(consumer) = self.consumer {
            chosen(out, b" consumer=", consumer);
        }
        out.pair(b" upstream=", self.upstream.unwrap_or("-").as_bytes());
        out.pair(b" endpoint=", self.endpoint.unwrap_or("-").as_bytes());
        chosen(out, b" method=", self.method.as_bytes());
        chosen(out, b" host=", self.host);
        chosen(out, b" path=", self.path.as_bytes());
        out.pair(b" version=", self.version.as_bytes());
        match self.status {
            Some(status) => out.number(b" status=", u64::from(status)),
            None => out.put(b" status=-"),
        }
        out.pair(b" reason=", self.reason.as_bytes());
        out.pair(b" fault=", self.fault.as_bytes());
        if let Some(option) = self.option {
            chosen(out, b" option=", option.as_bytes());
        }
        out.number(b" tries=", u64::from(self.tries));
        out.number(b" bytes_in=", self.bytes_in);
        out.number(b" bytes_out=", self.bytes_out);
        out.milliseconds(b" connect_ms=", self.connect);
        out.milliseconds(b" first_byte_ms=", self.first_byte);
        out.milliseconds(b" total_ms=", Some(self.total));
        if let Some(status) = self.grpc_status {
            out.number(b" grpc_status=", u64::from(status));
        }
        if let Some(version) = self.tls {
            out.pair(b" tls=", version.as_bytes());
        }
        if let Some(subject) = self.client_certificate {
            chosen(out, b" client_certificate=", subject.as_bytes());
        }
        if let Some(trace) = self.trace {
            chosen(out, b" trace=", trace);
        }
        out.number(b" snapshot=", self.snapshot);
        chosen(out, b" request_id=", self.request_id);
    }
}

/// Bytes that stand in a line as they are.
static PLAIN: [bool; 256] = plain();

const fn plain() -> [bool; 256] {
    let mut plain = [false; 256];
    let mut byte: u8 = b'!';
    while byte <= b'~' {
        plain[byte as usize] = !matches!(byte, b'"' | b'=' | b'\\');
        byte += 1;
    }
    plain
}

fn is_plain(byte: u8) -> bool {
    PLAIN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// A value that a client may have chosen.
fn chosen(out: &mut Out<'_>, key: &[u8], value: &[u8]) {
    let (value, rest) = value.split_at(value.len().min(VALUE_BYTES_MAX));
    if !value.is_empty() && rest.is_empty() && value.iter().copied().all(is_plain) {
        out.pair(key, value);
        return;
    }
    out.put(key);
    out.put(b"\"");
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.put(&[b'\\', byte]),
            b' '..=b'~' => out.put(&[byte]),
            _ => out.put(&[b'\\', b'x', hex(byte >> 4), hex(byte & 15)]),
        }
    }
    if !rest.is_empty() {
        out.put("…".as_bytes());
    }
    out.put(b"\"");
}

fn hex(digit: u8) -> u8 {
    if digit < 10 {
        b'0' + digit
    } else {
        b'a' + digit - 10
    }
}

#[cfg(test)]
mod tests {
    use super::super::stamp::Stamps;
    use super::*;

    fn line(path: &str) -> String {
        let line = Line {
            time: Stamps::default().at(1_709_210_096_007),
            client: "192.0.2.7:4321",
            peer: None,
            listener: "web",
            route: None,
            consumer: None,
            upstream: Some("users"),
            endpoint: Some("[2001:db8::1]:80"),
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
            tls: None,
            client_certificate: None,
            trace: None,
            snapshot: 3,
            request_id: b"",
        };
        let mut buffer = [0; 8192];
        let mut out = Out::new(&mut buffer);
        line.write(&mut out);
        let written = out.written().unwrap();
        String::from_utf8(buffer[..written].to_vec()).unwrap()
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
}
