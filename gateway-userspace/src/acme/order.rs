//! One order, from its names to a chain of certificates and its key (RFC 8555, section 7.1).

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::authority::{self, bounded, words};

/// How an order is asked after: at first four times a second, then ever less, and at most for so long. An authority that wants
/// to be asked later says so, and is obeyed.
const POLLED: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// What an authority has issued, as files have it.
#[derive(Debug)]
pub struct Issued {
    /// The certificate first, then what links it to a root.
    pub chain: String,
    /// Its key, ECDSA P-256.
    pub key: String,
}

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It knows no way to validate that name that is known here.
    #[error("the authority does not validate {0} by http-01")]
    NoChallenge(String),
    /// An authorization that cannot be used.
    #[error("the authorization of {0} is {1:?}")]
    Authorization(String, AuthorizationStatus),
    /// The order is not what it should be by now.
    #[error("the order is {0:?}")]
    Order(OrderStatus),
    /// The request for the certificate cannot be made.
    #[error("the request for a certificate cannot be made")]
    Request(#[from] rcgen::Error),
    /// The authority refuses it, or cannot be asked.
    #[error(transparent)]
    Authority(#[from] authority::Fault),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Authority(error.into())
    }
}

/// Has those names validated and a certificate issued. Takes as long as it takes: the caller has a limit.
///
/// # Errors
/// See [`Fault`].
///
/// # Cancel safety
/// The order is left alone; the authority forgets it.
pub async fn issue(account: &Account, names: &[String]) -> Result<Issued, Fault> {
    let identifiers: Vec<Identifier> = names.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    validate(&mut order).await?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&POLLED).await?;
    Ok(Issued {
        chain,
        key: key.serialize_pem(),
    })
}

/// Tells the authority to look at each name, and waits for what it says.
async fn validate(order: &mut Order) -> Result<(), Fault> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let name = authorization.identifier().to_string();
        match authorization.status {
            AuthorizationStatus::Pending => {}
            // It has validated the name lately.
            AuthorizationStatus::Valid => continue,
            status => return Err(Fault::Authorization(name, status)),
        }
        let challenge = authorization.challenge(ChallengeType::Http01);
        challenge.ok_or(Fault::NoChallenge(name))?.set_ready().await?;
    }
    let fault = match order.poll_ready(&POLLED).await {
        Ok(OrderStatus::Ready) => return Ok(()),
        Ok(status) => Fault::Order(status),
        Err(error) => error.into(),
    };
    // What the order says is less than what its challenges do.
    Err(refusals(order).await.ok().flatten().unwrap_or(fault))
}

/// What the authority found wrong with each name.
async fn refusals(order: &mut Order) -> Result<Option<Fault>, Fault> {
    let mut said = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let name = authorization.identifier().to_string();
        let state = authorization.refresh().await?;
        let problems = state
            .challenges
            .iter()
            .filter_map(|challenge| challenge.error.as_ref());
        said.extend(problems.map(|problem| format!("{name}: {}", words(problem))));
    }
    let refused = || authority::Fault::Refused(bounded(&said.join("; ")));
    Ok((!said.is_empty()).then(|| refused().into()))
}
