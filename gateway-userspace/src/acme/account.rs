//! The account at the authority, which is its key: P-256, in a file that all nodes of a cluster share.
//!
//! Where the file is absent a key is made together with the account, for an account that is bound to another at the
//! authority has to be. A key without an account gets one, so an operator may make keys beforehand.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use instant_acme::{Account, Error, ExternalAccountKey, Key, NewAccount};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

use super::Settings;
use super::authority;
use super::client::Client;
use super::files::{KEY_MODE, unfinished, write};
use crate::tls;

/// What says that the key has no account (RFC 8555, section 7.3.1).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
/// Characters of a line of PEM (RFC 7468, section 2).
const PEM_LINE: usize = 64;

/// The key of an account. Never printed.
pub struct AccountKey {
    pkcs8: PrivatePkcs8KeyDer<'static>,
    /// By which challenges are answered (RFC 7638).
    pub thumbprint: String,
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountKey(…)")
    }
}

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The key's file will not do.
    #[error("{0}; {1}")]
    Key(String, String),
    /// A new key cannot be kept.
    #[error("the account's key cannot be kept in {file}")]
    Keep {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key has no account, and cannot be given one that is bound.
    #[error(
        "the key in {0} has no account at this authority, and a binding is made with a new key only: remove the file, \
         or put that of the node there whose account is bound"
    )]
    Unbound(PathBuf),
    /// The authority refuses it, or cannot be asked.
    #[error(transparent)]
    Authority(#[from] authority::Fault),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Authority(error.into())
    }
}

impl AccountKey {
    /// As the crate takes it.
    pub fn pkcs8(&self) -> PrivatePkcs8KeyDer<'static> {
        self.pkcs8.clone_key()
    }

    /// Reads it; `None`: there is none yet.
    ///
    /// # Errors
    /// What is wrong with the file, and what helps.
    pub fn load(file: &Path) -> Result<Option<Self>, (String, String)> {
        if fs::metadata(file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let key = tls::private_key(file)
            .map_err(|fault| (format!("{} {}", file.display(), fault.fault), fault.remedy))?;
        let wrong = || {
            let remedy = "write an ECDSA P-256 key as PKCS#8, as `openssl genpkey -algorithm EC -pkeyopt \
                          ec_paramgen_curve:P-256` makes it, or remove the file to have one made";
            let fault = "is no key that ACME accounts have here";
            (format!("{} {fault}", file.display()), remedy.to_owned())
        };
        let PrivateKeyDer::Pkcs8(pkcs8) = key else {
            return Err(wrong());
        };
        let thumbprint = thumbprint(&pkcs8).ok_or_else(wrong)?;
        Ok(Some(Self { pkcs8, thumbprint }))
    }
}

/// SHA-256 of the public key's members in their order (RFC 7638, section 3.2).
fn thumbprint(pkcs8: &PrivatePkcs8KeyDer<'_>) -> Option<String> {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.secret_pkcs8_der()).ok()?;
    // An uncompressed point: a byte 4, then both coordinates.
    let (x, y) = pair
        .public_key()
        .as_ref()
        .strip_prefix(&[4])?
        .split_at_checked(32)?;
    let [x, y] = [x, y].map(|coordinate| BASE64_URL_SAFE_NO_PAD.encode(coordinate));
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    Some(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(members)))
}

/// The account of that key, made where there is none; without a key, with a new one, which is kept.
///
/// # Errors
/// See [`Fault`].
pub async fn open(settings: &Settings, key: Option<&AccountKey>, client: &Client) -> Result<Account, Fault> {
    let directory = settings.directory.to_string();
    let builder = || Account::builder_with_http(Box::new(client.clone()));
    let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
    let Some(key) = key else {
        let wanted = NewAccount {
            contact: &contact,
            // Validation refuses a configuration that does not say so.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let binding = settings.binding.as_ref();
        let binding = binding.map(|binding| ExternalAccountKey::new(binding.key_id.clone(), &binding.key));
        let (account, credentials) = builder().create(&wanted, directory, binding.as_ref()).await?;
        keep(&settings.account_key_file, credentials.private_key())?;
        return Ok(account);
    };
    let of_it = || {
        let own = Key::from_pkcs8_der(key.pkcs8())?;
        Ok::<_, Error>((own, PrivateKeyDer::Pkcs8(key.pkcs8())))
    };
    let found = builder().from_key(of_it()?, directory.clone()).await;
    let account = match found {
        Err(Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
            if settings.binding.is_some() {
                return Err(Fault::Unbound(settings.account_key_file.clone()));
            }
            builder().create_from_key(of_it()?, directory).await?.0
        }
        found => found?.0,
    };
    // Some authorities keep none, and say so in their own ways: no reason to have no certificate.
    if !contact.is_empty()
        && let Err(error) = account.update_contacts(&contact).await
    {
        tracing::warn!(%error, "the authority does not take acme.contact");
    }
    Ok(account)
}

/// Keeps a new key: whole before it has its name, and never in the place of another.
fn keep(file: &Path, key: &PrivatePkcs8KeyDer<'_>) -> Result<(), Fault> {
    let kept = || {
        let unfinished = unfinished(file);
        write(&unfinished, &pem(key), KEY_MODE)?;
        let linked = fs::hard_link(&unfinished, file);
        fs::remove_file(&unfinished)?;
        linked
    };
    kept().map_err(|source| Fault::Keep {
        file: file.to_owned(),
        source,
    })
}

fn pem(key: &PrivatePkcs8KeyDer<'_>) -> String {
    let text = BASE64_STANDARD.encode(key.secret_pkcs8_der());
    let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    for (index, letter) in text.chars().enumerate() {
        if index > 0 && index.is_multiple_of(PEM_LINE) {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END PRIVATE KEY-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::testing::Folder;

    /// A key whose thumbprint another program computed: OpenSSL gave the coordinates, Python the hash.
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmo7qn5XuAEfSeuYV\nmnd+KyvREBNHsGHzWjLbuUqPyN+hRANCAATEkOOfFv8o8+YtP2BWS5s4sVoVyXNj\nEOLzmdxZMO2uCrfElGKfavKGCABw6f59ajjQxW5saKzZQa9Dkk4UAoNA\n-----END PRIVATE KEY-----\n";
    const THUMBPRINT: &str = "UMheBkxsbqv3wKkczyrZZXGczvUGHeQ3-3w6jcN-pJA";

    #[test]
    fn a_key_has_the_thumbprint_that_others_compute() {
        let folder = Folder::new();
        let file = folder.file("key", KEY, 0o600);
        let key = AccountKey::load(&file).unwrap().unwrap();
        assert_eq!(key.thumbprint, THUMBPRINT);
    }

    #[test]
    fn a_new_key_is_kept_for_its_owner_alone_and_never_in_the_place_of_another() {
        let folder = Folder::new();
        let file = folder.path().join("acme/deep/account.key");
        assert!(AccountKey::load(&file).unwrap().is_none());
        let (_, pkcs8) = Key::generate_pkcs8().unwrap();
        keep(&file, &pkcs8).unwrap();
        let key = AccountKey::load(&file).unwrap().unwrap();
        assert_eq!(key.pkcs8, pkcs8);
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let (_, other) = Key::generate_pkcs8().unwrap();
        keep(&file, &other).unwrap_err();
        assert_eq!(AccountKey::load(&file).unwrap().unwrap().pkcs8, pkcs8);
        let left = fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "nothing unfinished is left");
    }

    #[test]
    fn what_is_no_account_key_is_refused_with_what_would_be() {
        let folder = Folder::new();
        let rsa = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let rows = [
            (KEY.to_owned(), 0o644, "chmod o="),
            ("nothing".to_owned(), 0o600, "holds no private key"),
            (rsa.to_owned(), 0o600, "write an ECDSA P-256 key"),
            (p384.serialize_pem(), 0o600, "write an ECDSA P-256 key"),
        ];
        for (content, mode, expected) in rows {
            let file = folder.file("key", &content, mode);
            let (fault, remedy) = AccountKey::load(&file).unwrap_err();
            assert!(
                format!("{fault}; {remedy}").contains(expected),
                "{fault}; {remedy}"
            );
        }
    }
}
