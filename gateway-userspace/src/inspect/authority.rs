//! The host of a Host field or a target: `name[:port]`, or `[IPv6][:port]`, and nothing around it.
//!
//! The same as `l7::host` takes, which reads it again. Source: RFC 9110, section 7.2; RFC 3986, section 3.2.2.

use std::net::Ipv6Addr;

use super::table::{self, HOST};

/// Longest name in bytes (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 255;

/// What follows the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// Nothing.
    Absent,
    /// A port.
    Present,
}

/// Reads an authority without user information; `None`: it is none.
pub(super) fn read(text: &[u8]) -> Option<Port> {
    let rest = match text.strip_prefix(b"[") {
        Some(inside) => {
            let end = inside.iter().position(|&byte| byte == b']')?;
            let (address, rest) = inside.split_at_checked(end)?;
            str::from_utf8(address).ok()?.parse::<Ipv6Addr>().ok()?;
            rest.strip_prefix(b"]")?
        }
        None => {
            let end = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
            let (name, rest) = text.split_at_checked(end)?;
            let name = name.strip_suffix(b".").unwrap_or(name);
            if name.is_empty() || name.len() > NAME_BYTES_MAX || !table::all(name, HOST) {
                return None;
            }
            rest
        }
    };
    match rest.split_first() {
        None => Some(Port::Absent),
        Some((b':', digits)) if port(digits) => Some(Port::Present),
        Some(_) => None,
    }
}

/// Whether these are the digits of a port, and nothing else.
fn port(digits: &[u8]) -> bool {
    let plain = digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit);
    // `parse` would take a sign, too.
    plain && str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_or_without_a_port_and_nothing_else() {
        let long = "a".repeat(256);
        let rows = [
            ("a.example", Some(Port::Absent), "a name"),
            ("a.example.", Some(Port::Absent), "a name with a dot at its end"),
            (
                "A_b-c~d.example:8080",
                Some(Port::Present),
                "all characters, and a port",
            ),
            ("192.0.2.1:80", Some(Port::Present), "an address"),
            ("[2001:db8::1]", Some(Port::Absent), "an address in brackets"),
            (
                "[::ffff:192.0.2.1]:443",
                Some(Port::Present),
                "one with dots in it, and a port",
            ),
            ("", None, "empty"),
            (".", None, "a dot alone"),
            ("a,b", None, "a list"),
            ("a b", None, "a space"),
            ("user@a", None, "user information"),
            ("a/x", None, "a path"),
            ("a:", None, "a port without digits"),
            ("a:+1", None, "a port with a sign"),
            ("a:65536", None, "a port that is none"),
            ("a:000080", None, "a port of six digits"),
            ("a:80:80", None, "two ports"),
            ("[::1", None, "an open bracket"),
            ("::1]", None, "a bracket that nothing opened"),
            ("[x]", None, "no address in brackets"),
            ("[]", None, "nothing in brackets"),
            ("[1:2:3:4:5:6:7:8:9]", None, "too many groups"),
            ("[::1]x", None, "a letter after the bracket"),
            ("a%41", None, "an escape"),
            ("a\u{e4}", None, "8-bit"),
            (&long, None, "too long"),
        ];
        for (text, expected, why) in rows {
            assert_eq!(read(text.as_bytes()), expected, "{why}: {text}");
        }
    }
}
