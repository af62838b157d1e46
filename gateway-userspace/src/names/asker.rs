//! Names that are no endpoints' (that of an issuer of tokens, say): asked for when they are wanted, and nothing is kept.

use std::net::IpAddr;
use std::sync::Arc;

use super::Shared;
use super::state::Family;

/// Asks once for a name whenever it is told to, of the servers that are configured then. Keeps nothing.
#[derive(Clone, Debug)]
pub struct Asker(Arc<Shared>);

impl Asker {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    /// The addresses that a host has now; one that is an address has that. Takes 4 s at most, once its turn has come.
    ///
    /// # Errors
    /// It has none, or no server said so.
    ///
    /// # Cancel safety
    /// May be dropped.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let _turn = self.0.asks.acquire().await.map_err(|error| error.to_string())?;
        let source = Arc::clone(&self.0.source());
        let answer = source.ask(host).await;
        let fault = answer.fault();
        let of = |family| match family {
            Family::Found(addresses, _) => addresses,
            Family::Nothing | Family::Failed(_) => Vec::new(),
        };
        let mut addresses = of(answer.v4);
        addresses.extend(of(answer.v6));
        if addresses.is_empty() {
            return Err(fault.unwrap_or_else(|| "it has no addresses".to_owned()));
        }
        Ok(addresses)
    }
}
