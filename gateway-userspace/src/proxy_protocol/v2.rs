//! Version 2: a signature, command and family, a length, the addresses, and what else the proxy says.
//!
//! Source: "The PROXY protocol", section 2.2.

use std::net::{IpAddr, SocketAddr};

use super::{Ends, Fault, HEADER_BYTES_MAX, Header, crc32c};

/// What it begins with: no text, and no beginning of any known protocol.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of the signature, of version with command, of family with transport, and of the length.
const FIXED_BYTES: usize = SIGNATURE.len() + 1 + 1 + 2;

/// Version 2, and whose connection it is.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// TCP over IPv4, and over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// Bytes of both addresses and ports.
const TCP4_BYTES: usize = 2 * (4 + 2);
const TCP6_BYTES: usize = 2 * (16 + 2);
/// Of two names of unix sockets.
const UNIX_BYTES: usize = 2 * 108;

/// The extension that is a checksum of the whole, itself taken as 0.
const CRC32C: u8 = 0x03;

pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let begun = bytes.get(..SIGNATURE.len()).unwrap_or(bytes);
    if !SIGNATURE.starts_with(begun) {
        return Err(Fault::Missing);
    }
    let command = bytes.get(SIGNATURE.len()).copied();
    if !matches!(command, Some(LOCAL | PROXY) | None) {
        return Err(Fault::Malformed);
    }
    let Some(([command, family, high, low], _)) = bytes
        .get(SIGNATURE.len()..)
        .and_then(<[u8]>::split_first_chunk::<4>)
    else {
        return Ok(None);
    };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
    if length > HEADER_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let Some(whole) = bytes.get(..length) else {
        return Ok(None);
    };
    let ends = match *command {
        // The proxy's own: the source wants all of it discarded.
        LOCAL => None,
        _ => told(*family, whole)?,
    };
    Ok(Some(Header { bytes: length, ends }))
}

/// What the proxy says behind the fixed part.
fn told(family: u8, whole: &[u8]) -> Result<Option<Ends>, Fault> {
    let rest = whole.get(FIXED_BYTES..).ok_or(Fault::Malformed)?;
    let address_bytes = match family {
        // Nothing is known: the proxy may say more all the same.
        0x00 => 0,
        TCP4 | 0x12 => TCP4_BYTES,
        TCP6 | 0x22 => TCP6_BYTES,
        0x31 | 0x32 => UNIX_BYTES,
        _ => return Err(Fault::Malformed),
    };
    let (addresses, extensions) = rest.split_at_checked(address_bytes).ok_or(Fault::Malformed)?;
    check(whole, extensions)?;
    // Of datagrams and of unix sockets there is nobody whom this connection could be from.
    Ok(match family {
        TCP4 => ends::<4>(addresses),
        TCP6 => ends::<16>(addresses),
        _ => None,
    })
}

/// Client, server, and their ports, with addresses of so many bytes.
fn ends<const N: usize>(addresses: &[u8]) -> Option<Ends>
where
    [u8; N]: Into<IpAddr>,
{
    let (client, rest) = addresses.split_first_chunk::<N>()?;
    let (server, rest) = rest.split_first_chunk::<N>()?;
    let (client_port, rest) = rest.split_first_chunk::<2>()?;
    let (server_port, _) = rest.split_first_chunk::<2>()?;
    let address = |ip: &[u8; N], port: &[u8; 2]| SocketAddr::new((*ip).into(), u16::from_be_bytes(*port));
    Some(Ends {
        client: address(client, client_port),
        server: address(server, server_port),
    })
}

/// Walks the extensions, which must fill the rest, and looks at the checksum, if there is one.
fn check(whole: &[u8], extensions: &[u8]) -> Result<(), Fault> {
    let mut rest = extensions;
    while let Some(([kind, high, low], value)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, behind) = value.split_at_checked(length).ok_or(Fault::Malformed)?;
        if *kind == CRC32C {
            let told = <[u8; 4]>::try_from(value).map_err(|_| Fault::Malformed)?;
            let before = whole.len().saturating_sub(behind.len() + told.len());
            let before = whole.get(..before).ok_or(Fault::Malformed)?;
            if crc32c::of(&[before, &[0; 4], behind]) != u32::from_be_bytes(told) {
                return Err(Fault::Checksum);
            }
        }
        rest = behind;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Fault::Malformed)
    }
}

pub(super) fn header(ends: Option<Ends>) -> Vec<u8> {
    let mut addresses = Vec::with_capacity(TCP6_BYTES);
    let (command, family) = match ends {
        None => (LOCAL, 0x00),
        Some(Ends { client, server }) => {
            for ip in [client.ip(), server.ip()] {
                match ip {
                    IpAddr::V4(ip) => addresses.extend(ip.octets()),
                    IpAddr::V6(ip) => addresses.extend(ip.octets()),
                }
            }
            addresses.extend(client.port().to_be_bytes());
            addresses.extend(server.port().to_be_bytes());
            (PROXY, if client.is_ipv4() { TCP4 } else { TCP6 })
        }
    };
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    // One of three lengths, of which the longest is `TCP6_BYTES`.
    header.extend((addresses.len() as u16).to_be_bytes());
    header.extend(addresses);
    header
}
