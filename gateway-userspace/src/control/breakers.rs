//! Circuit breakers that an operator forces open or closed, or lets decide again.

use super::controller::Controller;
use crate::admin::ApiError;
use crate::admin::breakers::{Breaker, Switched};
use crate::resilience::breaker::Force;

impl Controller {
    /// Forces a breaker, or (`None`) releases it; one that stands so already stays.
    ///
    /// # Errors
    /// There is no such upstream, endpoint or breaker.
    pub(super) fn force(&self, breaker: &Breaker, force: Option<Force>) -> Result<Switched, ApiError> {
        let name = &breaker.upstream;
        let snapshot = self.snapshot();
        let upstream = snapshot.upstreams.iter().find(|upstream| upstream.name == *name);
        let upstream =
            upstream.ok_or_else(|| ApiError::NotFound(format!("There is no upstream \"{name}\".")))?;
        let endpoint = match breaker.endpoint {
            Some(address) => {
                let mut endpoints = upstream.endpoints.iter();
                let found = endpoints.find(|endpoint| endpoint.address == address);
                let found = found.ok_or_else(|| {
                    ApiError::NotFound(format!("{address} is no endpoint of upstream \"{name}\"."))
                })?;
                Some((address, &*found.state))
            }
            None => None,
        };
        let state = upstream.state.force(endpoint, force).map_err(|_| {
            ApiError::NotFound(format!(
                "Upstream \"{name}\" has no circuit breaker: [upstream.circuit_breaker] is missing there."
            ))
        })?;
        Ok(Switched { breaker: state })
    }
}
