//! How much of an upstream's limits is in use.

use std::sync::atomic::Ordering;

use super::{Endpoint, Upstream};
use crate::resilience::limits::{Limit, UNLIMITED};

impl Upstream {
    /// How much of that is under way, all endpoints together.
    pub fn under_way(&self, limit: Limit) -> u32 {
        let requests = if self.limits.whole.requests == UNLIMITED {
            let active = self
                .endpoints
                .iter()
                .map(|one| one.state.active.load(Ordering::Relaxed));
            active.fold(0, u32::saturating_add)
        } else {
            self.state.requests.taken()
        };
        self.state.usage.of(limit, requests)
    }
}

impl Endpoint {
    /// How much of that is under way.
    pub fn under_way(&self, limit: Limit) -> u32 {
        self.state
            .usage
            .of(limit, self.state.active.load(Ordering::Relaxed))
    }
}
