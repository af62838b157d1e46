//! When the authority wants a certificate to be renewed (ARI, RFC 9773): earlier than usual where it is to be revoked, say.
//!
//! Not every authority says so, and none has to: what cannot be had changes nothing.

use std::time::{Duration, SystemTime};

use instant_acme::{Account, CertificateIdentifier, Error};
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::Settings;
use super::account::AccountKey;
use super::client::Client;
use super::schedule::Chance;
use crate::tls::Facts;

/// An authority says when it is to be asked again, within these bounds.
const ASKED_MIN: Duration = Duration::from_secs(3_600);
const ASKED_MAX: Duration = Duration::from_secs(24 * 3_600);
/// After a failure.
const ASKED_AGAIN: Duration = Duration::from_secs(6 * 3_600);

/// What the authority said of a certificate.
#[derive(Debug, Default)]
pub struct Suggestion {
    /// The certificate, and when it is to be renewed.
    said: Option<(Facts, SystemTime)>,
    /// The certificate that was asked after, and when it is to be again.
    next: Option<(Facts, Instant)>,
}

impl Suggestion {
    /// When that certificate is to be renewed, if the authority said so.
    pub fn of(&self, facts: &Facts) -> Option<SystemTime> {
        let said = self.said.as_ref().filter(|(of, _)| of == facts);
        said.map(|(_, at)| *at)
    }

    /// Whether it is time to ask after that certificate.
    pub fn is_due(&self, facts: &Facts, now: Instant) -> bool {
        let next = self.next.as_ref().filter(|(of, _)| of == facts);
        next.is_none_or(|(_, at)| now >= *at)
    }

    /// Asks after it.
    pub async fn ask(
        &mut self,
        settings: &Settings,
        key: &AccountKey,
        client: &Client,
        facts: &Facts,
        chance: Chance,
    ) {
        let again = match asked(settings, key, client, facts, chance).await {
            Ok((at, again)) => {
                self.said = Some((facts.clone(), at));
                again.clamp(ASKED_MIN, ASKED_MAX)
            }
            // It says nothing.
            Err(Error::Unsupported(_)) => ASKED_MAX,
            Err(error) => {
                tracing::debug!(%error, names = ?facts.dns_names, "asking when a certificate is to be renewed");
                ASKED_AGAIN
            }
        };
        self.next = Some((facts.clone(), Instant::now() + again));
    }
}

/// A time of the window that it names, and when it is to be asked again.
async fn asked(
    settings: &Settings,
    key: &AccountKey,
    client: &Client,
    facts: &Facts,
    chance: Chance,
) -> Result<(SystemTime, Duration), Error> {
    // Who asks need not say who it is: an account without a name will do, and is not looked for.
    let account = Account::builder_with_http(Box::new(client.clone()));
    let (nobody, directory) = (String::new(), settings.directory.to_string());
    let account = account.from_parts(nobody, key.pkcs8(), directory).await?;
    let der = CertificateDer::from(facts.der());
    let id = CertificateIdentifier::try_from(&der).map_err(|why| Error::Other(why.into()))?;
    let (info, again) = account.renewal_info(&id).await?;
    let window = info.suggested_window;
    let (start, end) = (SystemTime::from(window.start), SystemTime::from(window.end));
    let length = end.duration_since(start).unwrap_or_default();
    Ok((start + chance.of_time(length), again))
}
