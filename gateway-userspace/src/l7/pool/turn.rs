//! Waits for a connection, where there may only be so many.

use std::pin::Pin;

use tokio::time::timeout;

use super::{Pool, Terms, Want};
use crate::l7::error::ProxyError;
use crate::registry::{Grant, Place, Ticket};
use crate::resilience::limits::{Limit, Limited};

/// A place in the queue for a connection of that pool.
struct Waiting<'p> {
    ticket: Ticket,
    pool: &'p Pool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // It was told to take a connection of the pool, and does not: it went away.
        if let Ok(Grant::Pool) = self.ticket.grant.try_recv()
            && let Some(line) = self.pool.take_reserved()
        {
            self.pool.put_idle(line);
        }
    }
}

impl Pool {
    /// The right to make a connection; `None`: the pool has one for this request by now.
    ///
    /// # Errors
    /// Too many wait already, or none became free within the time for one.
    ///
    /// # Cancel safety
    /// What was given meanwhile goes to the next.
    pub(super) async fn turn(&self, want: Want, terms: &Terms) -> Result<Option<Place>, ProxyError> {
        if let Some(place) = self.state.place(&terms.limits) {
            return Ok(Some(place));
        }
        let takes = match want {
            Want::Any => Some(self.key()),
            Want::Fresh => None,
        };
        let ticket = self.state.queue(self.endpoint, takes, &terms.limits);
        let ticket = ticket.map_err(|limited| self.overloaded(limited))?;
        let mut waiting = Waiting { ticket, pool: self };
        let granted = match waiting.ticket.grant.try_recv() {
            Ok(granted) => granted,
            Err(_) => {
                self.overloaded(self.connections_in_use(terms));
                let grant = Pin::new(&mut waiting.ticket.grant);
                match timeout(terms.connect_timeout, grant).await {
                    Ok(Ok(granted)) => granted,
                    Ok(Err(_)) | Err(_) => return Err(ProxyError::UpstreamOverloaded),
                }
            }
        };
        match granted {
            Grant::Connect(place) => Ok(Some(place)),
            Grant::Pool => Ok(None),
        }
    }

    /// Whose limit of connections keeps requests waiting.
    fn connections_in_use(&self, terms: &Terms) -> Limited {
        let own = terms.limits.endpoint.connections;
        let (max, endpoint) = if self.state.usage.connections.taken() >= own {
            (own, Some(self.endpoint))
        } else {
            (terms.limits.whole.connections, None)
        };
        Limited {
            limit: Limit::Connections,
            max,
            endpoint,
        }
    }

    fn overloaded(&self, limited: Limited) -> ProxyError {
        self.state.upstream().limited(limited);
        ProxyError::UpstreamOverloaded
    }

    /// What tells this pool apart from all others that live.
    pub(super) fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}
