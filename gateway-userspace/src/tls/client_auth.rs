//! Client certificates: whether a listener wants one, who may have issued it, and what is kept of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pair::{Facts, Fault, Part};
use super::{pem, provider};
use crate::router::Certificate;

/// Roots of one file at most.
const ROOTS_MAX: usize = 1_000;

/// `listener.tls.client_auth`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Clients are asked for no certificate.
    #[default]
    None,
    /// They are asked for one, and may have none; a bad one ends the handshake.
    Optional,
    /// Without a good one there is no handshake.
    Required,
}

/// Whose signature is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The file they came from.
    pub file: PathBuf,
    /// In the file's order.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Reads a bundle. Blocks: not for a worker.
    ///
    /// # Errors
    /// It cannot be read, or one of it is no root.
    pub fn load(file: &Path) -> Result<Self, Fault> {
        let roots = Self {
            file: file.to_owned(),
            certificates: pem::certificates(file, ROOTS_MAX)?,
        };
        roots.store().map_err(|error| {
            let remedy = "write certificates of authorities, as PEM";
            Fault::new(
                Part::Certificate,
                file,
                format!("holds one that is no root: {error}"),
                remedy,
            )
        })?;
        Ok(roots)
    }

    /// # Errors
    /// One of them is no root.
    pub fn store(&self) -> Result<RootCertStore, rustls::Error> {
        let mut store = RootCertStore::empty();
        for certificate in &self.certificates {
            store.add(certificate.clone())?;
        }
        Ok(store)
    }

    pub(super) fn verifier(&self, wanted: ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        if wanted == ClientAuth::None {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let store = Arc::new(self.store()?);
        let builder = WebPkiClientVerifier::builder_with_provider(store, Arc::clone(provider()));
        let builder = match wanted {
            ClientAuth::Optional => builder.allow_unauthenticated(),
            ClientAuth::Required | ClientAuth::None => builder,
        };
        builder
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))
    }
}

/// What is known of a client by its certificate, which was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientCertificate {
    /// As RFC 4514 writes it.
    pub subject: String,
    /// Its DNS names, in lower case.
    pub dns: Vec<String>,
    /// Its URIs.
    pub uris: Vec<String>,
    /// Its mail addresses.
    pub emails: Vec<String>,
}

impl ClientCertificate {
    /// Reads the leaf of a verified chain; `None`: there is none, or only rustls can read it.
    pub fn of(chain: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        Facts::read(chain?.first()?).ok().map(Self::from)
    }

    /// Reads the first certificate of a file. Blocks: not for a worker.
    ///
    /// # Errors
    /// There is none.
    pub fn load(file: &Path) -> Result<Self, Fault> {
        let broken = |fault| Fault::new(Part::Certificate, file, fault, "write a certificate, as PEM");
        let chain = pem::chain(file)?;
        let leaf = chain
            .first()
            .ok_or_else(|| broken("holds no certificate".to_owned()))?;
        Facts::read(leaf).map(Self::from).map_err(broken)
    }

    /// As routes are told.
    pub fn facts(&self) -> Certificate<'_> {
        Certificate {
            subject: &self.subject,
            dns: &self.dns,
            uris: &self.uris,
            emails: &self.emails,
        }
    }
}

impl From<Facts> for ClientCertificate {
    fn from(facts: Facts) -> Self {
        Self {
            subject: facts.subject,
            dns: facts.dns_names,
            uris: facts.uris,
            emails: facts.emails,
        }
    }
}
