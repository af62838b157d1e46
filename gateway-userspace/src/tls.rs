//! TLS (RFC 8446, RFC 5246) by rustls with aws-lc-rs: certificates, who chooses among them, and tickets.
//!
//! What is here is data and pure decisions. Files are read by `config` when a configuration is loaded and by `control`
//! when one has changed, never by a worker; sockets belong to `l7`.

mod choice;
mod client;
mod client_auth;
mod pair;
mod pem;
mod server;
mod subject;
mod tickets;

pub use choice::{Choice, Chosen, Held, NO_CERTIFICATE};
pub use client::{ClientSettings, ClientStream, ClientTls, Security, system_roots};
pub use client_auth::{ClientAuth, ClientCertificate, Roots};
pub use pair::{Facts, Fault, Pair, Part};
pub use pem::key as private_key;
pub use server::{MinVersion, ServerSettings, ServerTls};
pub use tickets::{KEY_BYTES, TicketKeys, TicketKeysError};

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

/// The one source of cryptography of this program.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    &PROVIDER
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
