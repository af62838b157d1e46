//! Certificates for tests, made on the spot, and the files that hold them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};

use super::{Pair, Roots};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// As a file has it.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key for those names, as files have them; the first is the subject.
    pub(crate) fn issue(&self, names: &[&str]) -> (String, String) {
        let day = Duration::from_secs(86_400);
        self.issue_for(names, SystemTime::now() - day, SystemTime::now() + 30 * day)
    }

    pub(crate) fn issue_for(&self, names: &[&str], from: SystemTime, to: SystemTime) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, names[0].clone());
        params.not_before = from.into();
        params.not_after = to.into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// The same for a client: parts of its subject, from the first to the last, and URIs or mail addresses.
    pub(crate) fn issue_client(&self, subject: &[(DnType, &str)], names: &[&str]) -> (String, String) {
        let day = Duration::from_secs(86_400);
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let name = |name: &&str| {
            let text = (*name).try_into().unwrap();
            if name.contains("://") {
                SanType::URI(text)
            } else if name.contains('@') {
                SanType::Rfc822Name(text)
            } else {
                SanType::DnsName(text)
            }
        };
        params.subject_alt_names = names.iter().map(name).collect();
        params.not_before = (SystemTime::now() - day).into();
        params.not_after = (SystemTime::now() + 30 * day).into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// The same, read as a listener's.
    pub(crate) fn pair(&self, names: &[&str]) -> Pair {
        let folder = Folder::new();
        let (cert_file, key_file) = folder.pair("pair", &self.issue(names));
        Pair::load(&cert_file, &key_file).unwrap()
    }

    /// As whose signature is trusted.
    pub(crate) fn roots(&self) -> Roots {
        let folder = Folder::new();
        Roots::load(&folder.file("ca.pem", &self.pem(), 0o644)).unwrap()
    }
}

/// A folder of its own, removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("gateway-tls-{:016x}", rand::random::<u64>()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    /// Files of a certificate and its key.
    pub(crate) fn pair(&self, name: &str, (certificate, key): &(String, String)) -> (PathBuf, PathBuf) {
        (
            self.file(&format!("{name}.pem"), certificate, 0o644),
            self.file(&format!("{name}.key"), key, 0o600),
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}
