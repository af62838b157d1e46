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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// As RFC 4514 writes it.
    pub subject: String,
    /// Its alternative names: DNS names, URIs and addresses.
    pub names: Vec<String>,
}

impl ClientCertificate {
    /// Reads the leaf of a verified chain; `None`: there is none, or only rustls can read it.
    pub fn of(chain: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let facts = Facts::read(chain?.first()?).ok()?;
        let addresses = facts.addresses.iter().map(ToString::to_string);
        Some(Self {
            subject: facts.subject,
            names: facts
                .dns_names
                .into_iter()
                .chain(facts.uris)
                .chain(addresses)
                .collect(),
        })
    }
}
