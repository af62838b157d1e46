//! What becomes of a pool with the next snapshot: it serves on, or another takes its place.

use std::sync::Arc;

use super::{Pool, Terms, Ways};
use crate::config::snapshot::Endpoint;
use crate::registry::Channel;
use crate::tls::{ClientTls, Security};

impl Pool {
    /// Whether it can serve that endpoint over that way. Connections that were made by other terms of TLS cannot.
    pub(in crate::l7) fn is_for(
        &self,
        endpoint: &Endpoint,
        channel: Channel,
        tls: Option<&Arc<ClientTls>>,
        ways: Ways,
    ) -> bool {
        let is_secured_so =
            channel.security == Security::Plain || (self.tls.as_ref() == tls && self.host == endpoint.host);
        self.endpoint == endpoint.address
            && is_secured_so
            && self.channel == channel
            && self.ways == ways
            && Arc::ptr_eq(&self.state, &endpoint.state)
    }

    /// Whether it takes the place of another over the same way, whose connections differ by nothing but our certificate, or
    /// who else is trusted: what is under way on them may go on.
    pub(in crate::l7) fn renews(&self, other: &Self) -> bool {
        let goes_on = match (&self.tls, &other.tls) {
            (Some(here), Some(there)) => here.believes_as(there),
            _ => false,
        };
        goes_on
            && self.endpoint == other.endpoint
            && self.channel == other.channel
            && self.host == other.host
            && Arc::ptr_eq(&self.state, &other.state)
    }

    /// No snapshot in force has it: connections that do nothing close, others once they have nothing more to do.
    pub(in crate::l7) fn retire(&self) {
        self.terms.set(Terms {
            idle_max: 0,
            ..self.terms.get()
        });
        self.idle.borrow_mut().clear();
        self.http2.evict(|_, _| false);
    }
}
