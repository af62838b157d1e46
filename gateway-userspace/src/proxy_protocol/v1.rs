//! Version 1: one line of text, `PROXY TCP4 192.0.2.1 198.51.100.1 40000 443`.
//!
//! Source: "The PROXY protocol", section 2.1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Ends, Fault, Header};

/// What the line begins with.
const BEGIN: &[u8] = b"PROXY ";
/// Bytes of the line at most, its end included: what the source gives for the longest.
const LINE_BYTES_MAX: usize = 107;

pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let begun = bytes.get(..BEGIN.len()).unwrap_or(bytes);
    if !BEGIN.starts_with(begun) {
        return Err(Fault::Missing);
    }
    let line = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(line_feed) = line.iter().position(|byte| *byte == b'\n') else {
        return if line.len() < LINE_BYTES_MAX {
            Ok(None)
        } else {
            Err(Fault::Malformed)
        };
    };
    // A line feed alone ends no such line, and stands in none.
    let end = line_feed
        .checked_sub(1)
        .filter(|end| line.get(*end) == Some(&b'\r'));
    let end = end.ok_or(Fault::Malformed)?;
    let told = line.get(BEGIN.len()..end).ok_or(Fault::Malformed)?;
    let told = str::from_utf8(told).map_err(|_| Fault::Malformed)?;
    Ok(Some(Header {
        bytes: end + 2,
        ends: ends(told).ok_or(Fault::Malformed)?,
    }))
}

/// What the line says; `None`: it says nothing that can be read.
fn ends(told: &str) -> Option<Option<Ends>> {
    let mut words = told.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        // The source wants the rest of it ignored.
        return Some(None);
    }
    let ips: [IpAddr; 2] = match family {
        "TCP4" => [ip::<Ipv4Addr>(words.next()?)?, ip::<Ipv4Addr>(words.next()?)?],
        "TCP6" => [ip::<Ipv6Addr>(words.next()?)?, ip::<Ipv6Addr>(words.next()?)?],
        _ => return None,
    };
    let [client, server] = ips;
    let ends = Ends {
        client: SocketAddr::new(client, port(words.next()?)?),
        server: SocketAddr::new(server, port(words.next()?)?),
    };
    words.next().is_none().then_some(Some(ends))
}

fn ip<T: std::str::FromStr + Into<IpAddr>>(word: &str) -> Option<IpAddr> {
    word.parse::<T>().ok().map(Into::into)
}

/// Digits alone, without a zero before others: `parse` would take a sign, too.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    is_plain.then(|| word.parse().ok()).flatten()
}

pub(super) fn header(ends: Option<Ends>) -> Vec<u8> {
    let Some(Ends { client, server }) = ends else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (client.ip(), server.ip());
    format!(
        "PROXY {family} {from} {to} {} {}\r\n",
        client.port(),
        server.port()
    )
    .into_bytes()
}
