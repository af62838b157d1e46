//! Bounds of TLS, and of certificates that are had by ACME.

use std::time::Duration;

/// Certificates of a listener at most; each handshake looks its own up in a hash map.
pub const CERTIFICATES_MAX: usize = 10_000;
/// Handshakes at once of a worker, where none is given: each costs some 0.1 ms (ECDSA) to 1 ms (RSA), so that the last of a
/// full house waits for less than a tenth of a second.
pub const HANDSHAKES_MAX: usize = 100;
/// The most that may be given.
pub const HANDSHAKES_MAX_MAX: usize = 100_000;
/// `acme.directory` where none is given: Let's Encrypt's, as with Caddy, Traefik and lego.
pub const ACME_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Names of one certificate at most: Let's Encrypt takes no more.
pub const ACME_NAMES_MAX: usize = 100;
/// `acme.contact` at most.
pub const ACME_CONTACTS_MAX: usize = 10;
/// The first wait after a failure: so Let's Encrypt's limit of five failed validations of a name in an hour is kept.
pub const ACME_RETRY: Duration = Duration::from_secs(300);
/// Short ones are for authorities of one's own.
pub const ACME_RETRY_MIN: Duration = Duration::from_secs(1);
/// Longer ones would leave a name without a certificate for a day.
pub const ACME_RETRY_MAX: Duration = Duration::from_secs(6 * 3_600);
