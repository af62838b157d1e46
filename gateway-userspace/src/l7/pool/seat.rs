//! A request's place at an endpoint.

use std::rc::Rc;

use super::{Line, Origin, Pool, Want};
use crate::l7::error::ProxyError;
use crate::resilience::limits::{Limit, Limited, Maxima, Permit};

/// Counted as under way at the endpoint while it lives.
pub(crate) struct Seat {
    pub(super) pool: Rc<Pool>,
}

/// Whether a try is one of those that are bounded as retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l7) enum Try {
    First,
    Again,
}

impl Seat {
    /// Whether that pool's connections are what it is for.
    pub(in crate::l7) fn is_at(&self, pool: &Rc<Pool>) -> bool {
        Rc::ptr_eq(&self.pool, pool)
    }

    /// Where it is.
    pub(in crate::l7) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// A place for one request, if the endpoint has room; for a retry with its place among those.
    ///
    /// # Errors
    /// Which limit of the endpoint is reached.
    pub(in crate::l7) fn take(
        pool: &Rc<Pool>,
        maxima: &Maxima,
        which: Try,
    ) -> Result<(Self, Option<Permit>), Limited> {
        let limited = |limit| Limited {
            limit,
            max: maxima.of(limit),
            endpoint: Some(pool.endpoint),
        };
        let retrying = match which {
            Try::First => None,
            Try::Again => {
                let permit = pool.state.usage.retries.try_acquire(maxima.retries);
                Some(permit.ok_or_else(|| limited(Limit::Retries))?)
            }
        };
        // Last, as it is what must be given back by hand until there is a seat.
        if !pool.state.enters(maxima.requests) {
            return Err(limited(Limit::Requests));
        }
        let seat = Self {
            pool: Rc::clone(pool),
        };
        Ok((seat, retrying))
    }
}

/// A connection for who has a seat.
pub(super) async fn connect_for(seat: &Option<Seat>, want: Want) -> Result<(Line, Origin), ProxyError> {
    match seat {
        Some(seat) => seat.pool.connect(want).await,
        None => Err(ProxyError::UpstreamOverloaded),
    }
}

impl Pool {
    /// A place for the same request once more, on another connection; `None`: the endpoint has no room any more.
    pub(in crate::l7) fn seat(self: &Rc<Self>) -> Option<Seat> {
        let maxima = self.terms.get().limits.endpoint;
        match Seat::take(self, &maxima, Try::First) {
            Ok((seat, _)) => Some(seat),
            Err(limited) => {
                self.state.upstream().limited(limited);
                None
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pool.state.leaves();
    }
}
