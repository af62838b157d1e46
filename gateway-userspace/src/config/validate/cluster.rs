//! `[cluster]`, with the key that its file holds.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::node::{existing_name, no_host};
use crate::config::given::{self, Given};
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::snapshot::{Announce, Cluster, ClusterKey};

/// Bytes read of a key file at most: a key in base64 or hexadecimal has fewer than 100.
const KEY_FILE_BYTES_MAX: u64 = 4096;
/// Command that makes a key file, with what a stock Debian has.
pub(super) const KEY_COMMAND: &str = "od -An -v -tx1 -N32 /dev/urandom | tr -d ' \\n'";

/// `[cluster]`.
pub fn cluster(given: &Given, problems: &mut Problems<'_>) -> Option<Cluster> {
    let path = KeyPath::top("cluster");
    let cluster = given.cluster.as_ref()?;
    let listen = listen(cluster, given, &path.key("listen"), problems);
    let seeds = seeds(cluster, listen, &path.key("seeds"), problems);
    let key_file = cluster.key_file.as_ref();
    let key = key_file.and_then(|file| key(file, &path.key("key_file"), problems));
    let announce = cluster.announce.unwrap_or(Announce::Vip);
    Some(Cluster {
        listen: listen?,
        seeds,
        key: key?,
        announce,
    })
}

/// The key in a file.
pub(super) fn key(file: &PathBuf, path: &KeyPath, problems: &mut Problems<'_>) -> Option<ClusterKey> {
    let file = existing_name(file, path, problems)?;
    match read_key(&file) {
        Ok(key) => Some(key),
        Err((fault, remedy)) => {
            problems.add(path, format!("{} {fault}", file.display()), remedy);
            None
        }
    }
}

fn listen(
    cluster: &given::Cluster,
    given: &Given,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<SocketAddr> {
    let listen = cluster.listen?;
    let own = given.node.as_ref().and_then(|node| node.address);
    let remedy = match own {
        Some(own) => format!("write an address of this node that the others reach, as in \"{own}:7946\""),
        None => "write an address of this node that the others reach, as in \"10.0.0.11:7946\"".to_owned(),
    };
    if let Some(fault) = no_host(listen.ip()) {
        problems.add(path, format!("{listen} {fault}"), &remedy);
    } else if listen.port() == 0 {
        problems.add(path, format!("{listen} has no port"), &remedy);
    } else if given
        .vip
        .iter()
        .flatten()
        .any(|vip| vip.address == Some(listen.ip()))
    {
        problems.add(
            path,
            format!("{} is a VIP, which moves from node to node", listen.ip()),
            &remedy,
        );
    }
    Some(listen)
}

fn seeds(
    cluster: &given::Cluster,
    listen: Option<SocketAddr>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Vec<SocketAddr> {
    let mut seeds: Vec<SocketAddr> = Vec::new();
    for (index, seed) in cluster.seeds.iter().flatten().enumerate() {
        let path = path.index(index);
        let remedy = "write the cluster.listen address of another node, as in \"10.0.0.12:7946\"";
        if let Some(fault) = no_host(seed.ip()) {
            problems.add(&path, format!("{seed} {fault}"), remedy);
        } else if seed.port() == 0 {
            problems.add(&path, format!("{seed} has no port"), remedy);
        } else if listen.is_some_and(|listen| listen.is_ipv4() != seed.is_ipv4()) {
            let fault =
                format!("{seed} cannot be reached from cluster.listen, which is of the other address family");
            problems.add(&path, fault, "use IPv4 for both, or IPv6 for both");
        } else if seeds.contains(seed) {
            problems.add(&path, format!("{seed} stands here twice"), "remove one");
        } else if Some(*seed) != listen {
            seeds.push(*seed);
        }
    }
    seeds
}

/// Reads a key; the texts of an error never contain any of it.
fn read_key(file: &Path) -> Result<ClusterKey, (String, String)> {
    let make = format!(
        "make one with: {KEY_COMMAND} > {0} && chmod 600 {0}",
        file.display()
    );
    let remedy = if file.exists() {
        "let the user that runs gateway read it".to_owned()
    } else {
        make.clone()
    };
    let unreadable = |error: std::io::Error| (format!("cannot be read: {error}"), remedy.clone());
    let opened = fs::File::open(file).map_err(unreadable)?;
    let meta = opened.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(("is not a file".to_owned(), make));
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let remedy = format!("take the secret from others with: chmod 600 {}", file.display());
        return Err((
            format!("has mode {mode:04o}: every user of this machine may use the secret"),
            remedy,
        ));
    }
    let mut text = String::new();
    match opened.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text) {
        Err(error) if error.kind() != std::io::ErrorKind::InvalidData => return Err(unreadable(error)),
        Err(_) => text.clear(),
        Ok(_) => {}
    }
    let text: String = text.split_whitespace().collect();
    decode_hex(&text)
        .or_else(|| decode_base64(&text))
        .map(ClusterKey)
        .ok_or_else(|| {
            (
                "does not hold 32 bytes as 64 hexadecimal digits or as base64".to_owned(),
                make,
            )
        })
}

fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let bytes: Option<Vec<u8>> = digits?
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect();
    bytes?.try_into().ok()
}

/// Base64 (RFC 4648, sections 4 and 5) with or without padding.
fn decode_base64(text: &str) -> Option<[u8; 32]> {
    let (mut bytes, mut pending, mut bits) = (Vec::new(), 0u32, 0u32);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        pending = pending << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(pending >> bits & 0xff).ok()?);
            pending &= (1 << bits) - 1;
        }
    }
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_in_either_writing() {
        let bytes: [u8; 32] = std::array::from_fn(|i| i as u8 * 7);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(decode_hex(&hex), Some(bytes));
        assert_eq!(decode_hex(&hex.to_uppercase()), Some(bytes));
        assert_eq!(decode_hex(&hex[1..]), None);
        let base64 = "AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK+2vcTL0tk=";
        assert_eq!(decode_base64(base64), Some(bytes));
        assert_eq!(decode_base64(&base64.replace('+', "-")[..43]), Some(bytes));
        assert_eq!(decode_base64("AAcO"), None);
        assert_eq!(decode_base64("käse"), None);
    }
}
