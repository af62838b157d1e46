//! A certificate and its key, which are one thing: read together, checked together, put in force together.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{pem, provider, subject};

/// A certificate with its key.
#[derive(Clone)]
pub struct Pair {
    /// What handshakes are made with.
    pub certified: Arc<CertifiedKey>,
    /// What the certificate says.
    pub facts: Arc<Facts>,
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its subject, as RFC 4514 writes it.
    pub subject: String,
    /// DNS names that it is for, in lower case; `*.` stands for one label.
    pub dns_names: Vec<String>,
    /// Addresses that it is for.
    pub addresses: Vec<IpAddr>,
    /// URIs that it is for, as SPIFFE's.
    pub uris: Vec<String>,
    /// Mail addresses that it is for.
    pub emails: Vec<String>,
    /// Not valid earlier.
    pub not_before: SystemTime,
    /// Not valid later.
    pub not_after: SystemTime,
    /// The whole certificate, to tell whether two are the same.
    der: Vec<u8>,
}

/// Which file is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate's.
    Certificate,
    /// The key's.
    Key,
}

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which of the two it is.
    pub part: Part,
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: String,
    /// What helps.
    pub remedy: String,
}

impl Fault {
    pub(super) fn new(part: Part, file: &Path, fault: String, remedy: impl Into<String>) -> Self {
        Self {
            part,
            file: file.to_owned(),
            fault,
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.file.display(), self.fault, self.remedy)
    }
}

impl Pair {
    /// Reads both files. Blocks: not for a worker.
    ///
    /// # Errors
    /// Either cannot be read, or they do not belong together. Whether it is valid now, [`Facts::check`] says.
    pub fn load(cert_file: &Path, key_file: &Path) -> Result<Self, Fault> {
        let chain = pem::chain(cert_file)?;
        let key = pem::key(key_file)?;
        let broken = |fault: String| {
            Fault::new(
                Part::Certificate,
                cert_file,
                fault,
                "write an X.509 certificate that clients accept",
            )
        };
        let leaf = chain
            .first()
            .ok_or_else(|| broken("holds no certificate".to_owned()))?;
        let facts = Facts::read(leaf).map_err(broken)?;
        let certified = CertifiedKey::from_der(chain, key, provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let fault = format!("is not the key of the certificate in {}", cert_file.display());
                let remedy = "write the paths of a certificate and its own key; while both are renewed they may differ";
                Fault::new(Part::Key, key_file, fault, remedy)
            }
            other => {
                let remedy = "write an unencrypted RSA, ECDSA or Ed25519 key";
                Fault::new(Part::Key, key_file, format!("cannot be used: {other}"), remedy)
            }
        })?;
        Ok(Self {
            certified: Arc::new(certified),
            facts: Arc::new(facts),
        })
    }
}

impl PartialEq for Pair {
    /// The same certificate has the same key.
    fn eq(&self, other: &Self) -> bool {
        self.facts == other.facts && self.certified.cert == other.certified.cert
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("subject", &self.facts.subject)
            .finish_non_exhaustive()
    }
}

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| format!("holds no readable certificate ({error})"))?;
        let mut facts = Self {
            subject: subject::text(certificate.subject()),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            uris: Vec::new(),
            emails: Vec::new(),
            not_before: time(certificate.validity().not_before.timestamp()),
            not_after: time(certificate.validity().not_after.timestamp()),
            der: der.to_vec(),
        };
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| format!("has a subjectAltName that cannot be read ({error})"))?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => facts.dns_names.push(name.to_ascii_lowercase()),
                GeneralName::URI(uri) => facts.uris.push((*uri).to_owned()),
                GeneralName::RFC822Name(name) => facts.emails.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => facts.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Ok(facts)
    }

    /// The whole certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// # Errors
    /// It is not valid at `now`.
    pub fn check(&self, now: SystemTime) -> Result<(), String> {
        if now > self.not_after {
            let ago = humantime::format_duration(whole(now.duration_since(self.not_after)));
            return Err(format!("expired {ago} ago"));
        }
        if now < self.not_before {
            let in_ = humantime::format_duration(whole(self.not_before.duration_since(now)));
            return Err(format!("is valid in {in_} only"));
        }
        Ok(())
    }
}

fn whole(time: Result<Duration, std::time::SystemTimeError>) -> Duration {
    Duration::from_secs(time.unwrap_or_default().as_secs())
}

fn time(seconds: i64) -> SystemTime {
    let since = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        UNIX_EPOCH.checked_sub(since)
    } else {
        UNIX_EPOCH.checked_add(since)
    };
    time.unwrap_or(UNIX_EPOCH)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}
