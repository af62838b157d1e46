//! `[tls]`, `listener.tls` and `listener.certificates` as given.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::limits;
use crate::tls::{ClientAuth, MinVersion};

/// What all listeners with TLS share.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// File with the keys of session tickets, not readable by others: three lines of 64 hexadecimal digits, the previous,
    /// the current and the next key. With one file on all nodes a client resumes its session at any of them. To rotate,
    /// leave the first line out and add a new one at the end, on one node after another. The file is watched. A relative
    /// path starts at the configuration file's directory. Default: keys of this process alone, renewed every 12 hours.
    #[schemars(extend("examples" = ["/etc/gateway/ticket.keys"]))]
    pub ticket_keys_file: Option<PathBuf>,
}

/// How TLS is spoken.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// The oldest version that clients may speak.
    #[schemars(extend("default" = MinVersion::Tls12))]
    pub min_version: Option<MinVersion>,
    /// Whether clients show a certificate of their own.
    #[schemars(extend("default" = ClientAuth::None))]
    pub client_auth: Option<ClientAuth>,
    /// File with the certificates, as PEM, of the authorities that may have issued it. Required unless `client_auth` is
    /// `none`. It is watched; where it has changed, connections that were let in by the old one end in order. A relative path starts at the configuration file's directory.
    #[schemars(extend("examples" = ["/etc/gateway/clients-ca.pem"]))]
    pub client_ca_file: Option<PathBuf>,
    /// Handshakes at once, of each worker; further ones wait for their turn, within `first_byte_timeout`.
    #[schemars(
        range(min = 1, max = limits::HANDSHAKES_MAX_MAX),
        extend("default" = limits::HANDSHAKES_MAX)
    )]
    pub handshakes_max: Option<usize>,
}

/// A certificate and its key. Clients get it by the DNS names in its subjectAltName: an exact name comes before a wildcard,
/// of two certificates for one name the first. Both files are watched: when they have changed, fit each other and are
/// valid now, they are taken over together; else the old ones stay, and an event says why.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["cert_file", "key_file"]))]
pub struct Certificate {
    /// The certificate and what links it to a root, as PEM, the certificate first. A relative path starts at the
    /// configuration file's directory.
    #[schemars(extend("examples" = ["/etc/gateway/example.com.pem"]))]
    pub cert_file: Option<PathBuf>,
    /// Its key, as PEM, not encrypted and not readable by others.
    #[schemars(extend("examples" = ["/etc/gateway/example.com.key"]))]
    pub key_file: Option<PathBuf>,
    /// Names that an authority is to issue it for, by `[acme]`: it is ordered where the files are missing, lack a name or have
    /// expired, and renewed when two thirds of its life are over. Until it is there, handshakes for these names are refused.
    /// What stands in the files is replaced.
    #[schemars(
        length(min = 1, max = limits::ACME_NAMES_MAX),
        extend("examples" = [["example.com", "www.example.com"]])
    )]
    pub acme_names: Option<Vec<String>>,
    /// Whether clients get it that name a host of no certificate, or none. One at most; where none is, the first is it.
    #[schemars(extend("default" = false))]
    pub default: Option<bool>,
}

/// TLS to the endpoints of an upstream. Their certificates are verified, always. The files are watched, as those of listeners
/// are: what has changed and is good is taken over, else the old stays, and an event says why.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// File with the certificates, as PEM, of the authorities that may have issued the endpoints'. A relative path starts at
    /// the configuration file's directory. Default: those that the system trusts.
    #[schemars(extend("examples" = ["/etc/gateway/services-ca.pem"]))]
    pub ca_file: Option<PathBuf>,
    /// The name that endpoints are asked for (SNI) and that their certificates must have. Default: the host name or the
    /// address by which an endpoint is configured.
    #[schemars(extend("examples" = ["users.internal"]))]
    pub server_name: Option<String>,
    /// A certificate of our own for endpoints that ask for one, as PEM, with `key_file`.
    #[schemars(extend("examples" = ["/etc/gateway/client.pem"]))]
    pub cert_file: Option<PathBuf>,
    /// Its key, as PEM, not encrypted and not readable by others.
    #[schemars(extend("examples" = ["/etc/gateway/client.key"]))]
    pub key_file: Option<PathBuf>,
}
