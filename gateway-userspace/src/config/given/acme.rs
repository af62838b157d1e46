//! `[acme]` as given.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::limits;
use super::values::{Time, time_text};

/// How certificates are had by ACME (RFC 8555). Names are validated by HTTP-01: the authority asks for each name on port 80,
/// and every listener of protocol `http` answers, before routes, filters and redirects. `docs/tls.md` says more.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["terms_of_service_agreed"]))]
pub struct Acme {
    /// URL of the authority's directory, by `https`. The default is Let's Encrypt's; to try things out there is
    /// `https://acme-staging-v02.api.letsencrypt.org/directory`, whose limits are wider and whose certificates nobody trusts.
    #[schemars(extend("default" = limits::ACME_DIRECTORY))]
    pub directory: Option<String>,
    /// That you agree to the authority's terms of service. Nothing is ordered without `true`.
    pub terms_of_service_agreed: Option<bool>,
    /// URLs by which the authority reaches you.
    #[schemars(
        length(max = limits::ACME_CONTACTS_MAX),
        extend("default" = [] as [&str; 0], "examples" = [["mailto:ops@example.com"]])
    )]
    pub contact: Option<Vec<String>>,
    /// File with the certificates, as PEM, of the authorities that may have issued the directory's own certificate. A relative
    /// path starts at the configuration file's directory. Default: those that the system trusts.
    #[schemars(extend("examples" = ["/etc/gateway/acme-ca.pem"]))]
    pub ca_file: Option<PathBuf>,
    /// File with the key of the account: ECDSA P-256 as PKCS#8, not readable by others. Where it is absent a key is made with
    /// the account. All nodes of a cluster need the same file, for each answers the challenges of the others. A relative path
    /// starts at the configuration file's directory. Default: `acme/account.key` beside the default of `admin.token_file`.
    #[schemars(extend("examples" = ["/etc/gateway/acme.key"]))]
    pub account_key_file: Option<PathBuf>,
    /// The account at the authority that a new ACME account is bound to, where the authority wants that.
    pub external_account: Option<ExternalAccount>,
    /// After an order that failed, the first wait until the next try; it doubles with each failure, up to 6 hours. So much time
    /// is at least between two orders of one certificate.
    #[schemars(extend(
        "default" = time_text(limits::ACME_RETRY),
        "x-range" = [time_text(limits::ACME_RETRY_MIN), time_text(limits::ACME_RETRY_MAX)]
    ))]
    pub retry: Option<Time>,
}

/// External account binding (RFC 8555, section 7.3.4).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["key_id", "key_file"]))]
pub struct ExternalAccount {
    /// What the authority calls the account.
    #[schemars(extend("examples" = ["kid-1"]))]
    pub key_id: Option<String>,
    /// File with the key that the authority gave with it, as base64url, not readable by others.
    #[schemars(extend("examples" = ["/etc/gateway/acme-eab.key"]))]
    pub key_file: Option<PathBuf>,
}
