//! What a listener speaks TLS by.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choice::{Choice, Held};
use super::client_auth::{ClientAuth, Roots};
use super::provider;
use super::tickets::TicketKeys;

/// Tickets that a client gets after a TLS 1.3 handshake: it may use each once, and browsers open two connections.
const TICKETS: usize = 2;

/// `listener.tls.min_version`; older versions are not built in (RFC 8996).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum MinVersion {
    /// TLS 1.2, with AEAD ciphers and ephemeral keys only.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// `listener.tls` and `listener.certificates`, their files read.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// The oldest version.
    pub min_version: MinVersion,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// Who may have issued it; there is one unless `client_auth` is none.
    pub client_roots: Option<Roots>,
    /// Handshakes at once, of each worker.
    pub handshakes_max: usize,
    /// In the file's order, not empty.
    pub pairs: Vec<Held>,
    /// Index of the one for everybody else.
    pub default: usize,
}

impl ServerSettings {
    /// What a client was let in by. Where that changes, connections that were let in by the old have to go, and so have
    /// tickets. Renewed certificates change nothing here.
    fn terms(&self, listener: &str) -> Vec<u8> {
        let mut terms = vec![self.min_version as u8, self.client_auth as u8];
        terms.extend_from_slice(listener.as_bytes());
        for root in self.client_roots.iter().flat_map(|roots| &roots.certificates) {
            terms.push(0);
            terms.extend_from_slice(root);
        }
        terms
    }
}

/// A listener's TLS, ready for handshakes.
pub struct ServerTls {
    /// For each handshake.
    pub config: Arc<ServerConfig>,
    /// Who gets which certificate.
    pub choice: Arc<Choice>,
    /// Handshakes at once, of each worker.
    pub handshakes_max: usize,
    terms: Vec<u8>,
}

impl ServerTls {
    /// Makes it; no file is read.
    ///
    /// # Errors
    /// What rustls says; of what was validated never.
    pub fn new(listener: &str, settings: &ServerSettings, keys: &TicketKeys) -> Result<Self, rustls::Error> {
        let versions: &[_] = match settings.min_version {
            MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let verifier = match &settings.client_roots {
            Some(roots) => roots.verifier(settings.client_auth)?,
            None => rustls::server::WebPkiClientVerifier::no_client_auth(),
        };
        let choice = Arc::new(Choice::new(settings.pairs.clone(), settings.default));
        let terms = settings.terms(listener);
        let resolver: Arc<dyn rustls::server::ResolvesServerCert> = choice.clone();
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Every suite is as good as any, but a scan counts a server without an order of its own as a fault.
        config.ignore_client_order = true;
        // A session is in its ticket: any node can take it up, and none has a table that grows.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(keys.sealer(&terms)?);
        config.send_tls13_tickets = TICKETS;
        // A request in early data can be sent twice by whoever saw it (RFC 8470).
        config.max_early_data_size = 0;
        Ok(Self {
            config: Arc::new(config),
            choice,
            handshakes_max: settings.handshakes_max,
            terms,
        })
    }

    /// Whether clients that the other let in would be let in here by the same rules.
    pub fn has_terms_of(&self, other: &Self) -> bool {
        self.terms == other.terms
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("choice", &self.choice)
            .finish_non_exhaustive()
    }
}
