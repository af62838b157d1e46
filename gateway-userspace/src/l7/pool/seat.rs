//! A request's place at an endpoint.

use std::rc::Rc;

use super::Pool;
use crate::resilience::limits::{Limit, Limited, Maxima, Permit};

/// Counted as under way at the endpoint while it lives.
pub(crate) struct Seat {
    pub(super) pool: Rc<Pool>,
    _retrying: Option<Permit>,
}

/// Whether a try is one of those that are bounded as retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l7) enum Try {
    First,
    Again,
}

impl Seat {
    /// A place for one request, if the endpoint has room.
    ///
    /// # Errors
    /// Which limit of the endpoint is reached.
    pub(in crate::l7) fn take(pool: &Rc<Pool>, maxima: &Maxima, which: Try) -> Result<Self, Limited> {
        let limited = |limit| Limited {
            limit,
            max: maxima.of(limit),
            endpoint: Some(pool.address),
        };
        let retrying = match which {
            Try::First => None,
            Try::Again => {
                let permit = pool.state.usage.retries.try_acquire(maxima.retries);
                Some(permit.ok_or_else(|| limited(Limit::Retries))?)
            }
        };
        if !pool.state.begins(maxima.requests) {
            return Err(limited(Limit::Requests));
        }
        Ok(Self {
            pool: Rc::clone(pool),
            _retrying: retrying,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pool.state.ends();
    }
}
