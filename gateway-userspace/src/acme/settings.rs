//! `[acme]` and the certificates that ask for it, checked and with their files read.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use crate::tls::ClientTls;

/// `[acme]`, with what is to be had by it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The authority's directory, by HTTPS.
    pub directory: Uri,
    /// Whom its certificate must be issued by.
    pub tls: Arc<ClientTls>,
    /// URLs by which the authority reaches the operator.
    pub contact: Vec<String>,
    /// The account's key; made with the account where it is absent.
    pub account_key_file: PathBuf,
    /// The account at the authority that a new one is bound to.
    pub binding: Option<Binding>,
    /// After a failure, the first wait until the next try.
    pub retry: Duration,
    /// First orders are spread over so long, so that not all nodes of a cluster order at once.
    pub spread: Duration,
    /// What is to be had, each pair of files once; not empty.
    pub wanted: Vec<Arc<Wanted>>,
}

/// A certificate that is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// DNS names in lower case, not empty, each once.
    pub names: Vec<String>,
    /// Where it is kept.
    pub cert_file: PathBuf,
    /// Where its key is kept.
    pub key_file: PathBuf,
    /// Names of the listeners that have it.
    pub listeners: Vec<String>,
}

/// `acme.external_account` (RFC 8555, section 7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    /// What the authority calls the account.
    pub key_id: String,
    /// The key of an HMAC, never printed.
    pub key: Vec<u8>,
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}
