//! What the bench makes for generators and subjects: a certificate with its key, and the call of the gRPC scenario.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::backend::CALL;
use crate::steps;

/// Writes `call`: one gRPC message, with what stands before it.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_call(folder: &Path) -> Result<()> {
    fs::write(folder.join("call"), CALL).context("writing the gRPC message")
}

/// Makes a P-256 key and a certificate for it: `key.pem`, `certificate.pem`, and `both.pem` in one.
///
/// # Errors
/// When openssl cannot make them.
pub fn make_certificate(folder: &Path) -> Result<()> {
    let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| folder.join(name));
    let mut command = Command::new("openssl");
    command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args(["-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    steps::ask(&mut command).context("making a certificate")?;
    let both = format!(
        "{}{}",
        fs::read_to_string(&certificate)?,
        fs::read_to_string(&key)?
    );
    fs::write(folder.join("both.pem"), both).context("writing certificate and key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::process::Scratch;

    #[test]
    fn certificate_and_key_are_there_in_each_form() {
        let scratch = Scratch::new("files-test").unwrap();
        make_certificate(scratch.path()).unwrap();
        let read = |name| fs::read_to_string(scratch.path().join(name)).unwrap();
        assert!(read("certificate.pem").starts_with("-----BEGIN CERTIFICATE-----"));
        let both = read("both.pem");
        assert!(both.contains("PRIVATE KEY-----") && both.starts_with(&read("certificate.pem")));
        let text = steps::ask(
            Command::new("openssl")
                .args(["x509", "-noout", "-text", "-in"])
                .arg(scratch.path().join("certificate.pem")),
        );
        assert!(text.unwrap().contains("prime256v1"));
    }
}
