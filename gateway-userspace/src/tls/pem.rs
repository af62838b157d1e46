//! Reading PEM files (RFC 7468): bounded, and with errors that never hold any of a secret.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::pair::{Fault, Part};

/// Bytes of a file at most: a bundle of all public roots has some 230 kB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Certificates of a chain at most; what a client verifies has three or four.
const CHAIN_MAX: usize = 16;

/// The certificates of a file, in its order; at least one.
pub(super) fn certificates(file: &Path, most: usize) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let part = Part::Certificate;
    let bytes = read(file, part)?;
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| {
            let remedy = "write whole certificates as PEM, each from -----BEGIN CERTIFICATE----- to its END";
            Fault::new(part, file, format!("holds broken PEM ({error})"), remedy)
        })?;
        found.push(certificate);
        if found.len() > most {
            let fault = format!("holds more than {most} certificates");
            return Err(Fault::new(part, file, fault, "keep those that are needed"));
        }
    }
    if found.is_empty() {
        let remedy = "write a certificate as PEM, which begins with -----BEGIN CERTIFICATE-----";
        return Err(Fault::new(part, file, "holds no certificate".to_owned(), remedy));
    }
    Ok(found)
}

/// A leaf and what links it to a root, in this order.
pub(super) fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    certificates(file, CHAIN_MAX)
}

/// The first private key of a file, which others may not read.
///
/// # Errors
/// It cannot be read, others may read it, or it holds none.
pub fn key(file: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let part = Part::Key;
    let bytes = read(file, part)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let fault = match error {
            rustls::pki_types::pem::Error::NoItemsFound => "holds no private key".to_owned(),
            // Of others the text could quote the file.
            _ => "holds broken PEM".to_owned(),
        };
        let remedy = "write the key as PEM, unencrypted, which begins with -----BEGIN PRIVATE KEY-----";
        Fault::new(part, file, fault, remedy)
    })
}

fn read(file: &Path, part: Part) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: std::io::Error| {
        let remedy = if file.exists() {
            "let the user that runs gateway read it"
        } else {
            "put it there, or write another path"
        };
        Fault::new(part, file, format!("cannot be read: {error}"), remedy)
    };
    let opened = File::open(file).map_err(unreadable)?;
    let meta = opened.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(Fault::new(
            part,
            file,
            "is not a file".to_owned(),
            "write the path of a PEM file",
        ));
    }
    let mode = meta.permissions().mode() & 0o777;
    if part == Part::Key && mode & 0o007 != 0 {
        let fault = format!("has mode {mode:04o}: every user of this machine may use the key");
        let remedy = format!("take it from others with: chmod o= {}", file.display());
        return Err(Fault::new(part, file, fault, remedy));
    }
    let mut bytes = Vec::new();
    opened
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let fault = format!("is larger than {FILE_BYTES_MAX} bytes");
        return Err(Fault::new(part, file, fault, "write the path of a PEM file"));
    }
    Ok(bytes)
}
