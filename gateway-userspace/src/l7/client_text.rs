//! A client's address as log lines and X-Forwarded-For have it: written once for a connection, into the connection
//! itself, for clients that ask once and go pay for every allocation.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use http::HeaderValue;

/// The longest: an IPv6 address of 39 characters with a scope of 11, brackets, and a port of 6.
const BYTES_MAX: usize = 39 + 11 + 2 + 6;

/// Address and port.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientText {
    bytes: [u8; BYTES_MAX],
    len: u8,
    /// Where the address itself ends; it begins at 0 or, in brackets, at 1.
    ip_end: u8,
}

impl ClientText {
    pub(super) fn new(client: SocketAddr) -> Self {
        let mut text = Self {
            bytes: [0; BYTES_MAX],
            len: 0,
            ip_end: 0,
        };
        // `BYTES_MAX` holds every address, so that writing cannot fail.
        text.fill(client).unwrap_or_default();
        text
    }

    fn fill(&mut self, client: SocketAddr) -> fmt::Result {
        match client {
            // Nearly all: without the machinery of formats, which costs 2,000 instructions.
            SocketAddr::V4(v4) => {
                for (index, octet) in v4.ip().octets().into_iter().enumerate() {
                    if index > 0 {
                        self.write_char('.')?;
                    }
                    self.decimal(u16::from(octet))?;
                }
                self.ip_end = self.len;
            }
            SocketAddr::V6(v6) => {
                write!(self, "[{}", v6.ip())?;
                self.ip_end = self.len;
                if v6.scope_id() != 0 {
                    write!(self, "%{}", v6.scope_id())?;
                }
                self.write_char(']')?;
            }
        }
        self.write_char(':')?;
        self.decimal(client.port())
    }

    fn decimal(&mut self, value: u16) -> fmt::Result {
        let mut started = false;
        for unit in [10_000, 1000, 100, 10, 1] {
            let digit = (value / unit % 10) as u8;
            started |= digit > 0 || unit == 1;
            if started {
                self.write_char(char::from(b'0' + digit))?;
            }
        }
        Ok(())
    }

    /// `192.0.2.7:443` or `[2001:db8::7]:443`.
    pub(super) fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or("-")
    }

    /// The address alone, as X-Forwarded-For has it.
    pub(super) fn forwarded_for(&self) -> HeaderValue {
        let start = usize::from(self.bytes.first() == Some(&b'['));
        let address = self
            .bytes
            .get(start..usize::from(self.ip_end))
            .unwrap_or_default();
        HeaderValue::from_bytes(address).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }
}

impl Write for ClientText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = usize::from(self.len);
        let space = self.bytes.get_mut(start..start + text.len()).ok_or(fmt::Error)?;
        space.copy_from_slice(text.as_bytes());
        self.len = u8::try_from(start + text.len()).map_err(|_| fmt::Error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_the_standard_library_writes_it() {
        let mut clients: Vec<SocketAddr> = [
            "0.0.0.0:0",
            "9.10.99.100:7",
            "255.255.255.255:65535",
            "127.0.0.1:10000",
            "[::]:1",
            "[2001:db8::7]:443",
            "[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
            "[::ffff:255.255.255.255]:65535",
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        let scoped = "[fe80:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535";
        clients.push(scoped.parse().unwrap());
        for client in clients {
            let text = ClientText::new(client);
            assert_eq!(text.as_str(), client.to_string());
            assert_eq!(text.forwarded_for(), client.ip().to_string());
        }
        assert_eq!(scoped.len(), BYTES_MAX);
    }
}
