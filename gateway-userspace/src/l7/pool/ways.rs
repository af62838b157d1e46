//! What a failure of communication means: where several ways lead to an endpoint, it may be the way's.

use super::Pool;
use crate::config::snapshot::{Endpoint, UpstreamProtocol};
use crate::l7::error::ProxyError;
use crate::registry::Blame;
use crate::tls::Security;

/// How many ways lead to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l7) enum Ways {
    /// One: what fails is the endpoint.
    One,
    /// Several, which speak the same protocol.
    Several,
    /// Several, and what cannot be read may be another protocol.
    Mixed,
}

impl Ways {
    /// Those of an endpoint whose first way speaks that.
    pub(in crate::l7) fn of(endpoint: &Endpoint, protocol: UpstreamProtocol, security: Security) -> Self {
        let mut others = endpoint.channels.iter();
        match others.len() {
            0 => Self::One,
            _ if others.all(|channel| channel.protocol == protocol && channel.security == security) => {
                Self::Several
            }
            _ => Self::Mixed,
        }
    }
}

impl Pool {
    /// Whether there are other ways to its endpoint.
    pub(in crate::l7) fn has_other_ways(&self) -> bool {
        self.ways != Ways::One
    }

    /// What failed where a try did: the way, if that error is one of communication and another way is left.
    pub(in crate::l7) fn blame(&self, error: ProxyError) -> Blame {
        let is_of_way = match error {
            ProxyError::ConnectFailed
            | ProxyError::ConnectTimeout
            | ProxyError::UpstreamTlsFailed
            | ProxyError::ConnectionLost
            | ProxyError::UpstreamClosed => self.has_other_ways(),
            ProxyError::UpstreamProtocol => self.ways == Ways::Mixed,
            _ => false,
        };
        if is_of_way {
            self.state.channel_failed(self.endpoint, self.channel)
        } else {
            Blame::Endpoint
        }
    }
}
