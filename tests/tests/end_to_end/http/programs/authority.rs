//! An authority for tests: a root, a folder with its files, and certificates that programs accept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType,
};

use super::super::gateway::Setup;

const DAY: Duration = Duration::from_secs(86_400);

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// An authority with a folder, removed in the end. Its keys are of P-256.
pub(super) struct Authority {
    root: Issuer,
    pub(super) folder: PathBuf,
}

impl Authority {
    /// Its root is in `ca.pem`.
    pub(super) fn new() -> Self {
        let folder =
            std::env::temp_dir().join(format!("gateway-certificates-{:016x}", rand::random::<u64>()));
        fs::create_dir(&folder).expect("a folder");
        let authority = Self {
            root: root("test root"),
            folder,
        };
        authority.put("ca.pem", &authority.root.pem());
        authority
    }

    /// Takes another root, which is nobody's yet: the old one's and its own text.
    pub(super) fn turn(&mut self) -> [String; 2] {
        let old = std::mem::replace(&mut self.root, root("next root"));
        [old.pem(), self.root.pem()]
    }

    /// Writes `NAME.pem` and `NAME.key`, each whole by a rename, the certificate valid for so many days.
    pub(super) fn issue(&self, name: &str, host: &str, days: u64) {
        let (certificate, key) = signed(host, days, &self.root);
        self.put(&format!("{name}.pem"), &certificate);
        self.put(&format!("{name}.key"), &key);
    }

    /// The same for a client of that name and organization, with these other names.
    pub(super) fn issue_client(&self, name: &str, common_name: &str, names: Vec<SanType>) {
        let mut params = leaf_params(CertificateParams::default(), 30);
        params.distinguished_name = DistinguishedName::new();
        let subject = &mut params.distinguished_name;
        subject.push(DnType::OrganizationName, "Example");
        subject.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.root).expect("a certificate");
        self.put(&format!("{name}.pem"), &certificate.pem());
        self.put(&format!("{name}.key"), &key.serialize_pem());
    }

    /// The same by way of an intermediate authority, whose certificate follows in the file: as public ones do it.
    pub(super) fn issue_chain(&self, name: &str, host: &str, days: u64) {
        let mut params = authority_params("test intermediate");
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().expect("a key");
        let intermediate = CertifiedIssuer::signed_by(params, key, &self.root).expect("an intermediate");
        let (certificate, key) = signed(host, days, &intermediate);
        self.put(&format!("{name}.pem"), &(certificate + &intermediate.pem()));
        self.put(&format!("{name}.key"), &key);
    }

    /// Puts a file in the place of another.
    pub(super) fn put(&self, name: &str, content: &str) {
        use std::os::unix::fs::PermissionsExt;
        let new = self.folder.join("new");
        fs::write(&new, content).expect("a file");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("its mode");
        fs::rename(&new, self.folder.join(name)).expect("a file in its place");
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{}: {error}", self.folder.display());
        }
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + 300 * DAY).into();
    params
}

fn root(name: &str) -> Issuer {
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(authority_params(name), key).expect("a root")
}

/// Certificate and key, as files have them.
fn signed(host: &str, days: u64, issuer: &Issuer) -> (String, String) {
    let params = CertificateParams::new([host.to_owned()]).expect("a name");
    let mut params = leaf_params(params, days);
    params.distinguished_name.push(DnType::CommonName, host);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// What servers' and clients' certificates have in common.
fn leaf_params(mut params: CertificateParams, days: u64) -> CertificateParams {
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + u32::try_from(days).expect("some days") * DAY).into();
    params
}

/// With TLS by `web.pem` and `web.key` of that folder, and one more line in the listener's table.
pub(super) fn secured(setup: Setup, folder: &Path, more: &str) -> Setup {
    let file = |name: &str| folder.join(name).display().to_string();
    setup
        .listener("protocol = \"https\"")
        .listener(&format!(
            "certificates = [{{ cert_file = \"{}\", key_file = \"{}\" }}]",
            file("web.pem"),
            file("web.key")
        ))
        .listener(more)
}
