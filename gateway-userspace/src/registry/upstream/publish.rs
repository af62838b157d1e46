//! What workers read of an upstream's breakers: gates, and whether there are trial calls to be had.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Machines, UpstreamState};
use crate::registry::EndpointState;
use crate::registry::calls::Gate;
use crate::resilience::breaker::{self, Admission, Breaker, Change};

impl UpstreamState {
    pub(super) fn publish_all(
        &self,
        machines: &mut Machines,
        endpoints: &[(SocketAddr, &EndpointState)],
        now: Duration,
    ) {
        for (address, state) in endpoints {
            match machines.endpoints.get_mut(address) {
                Some(breaker) => {
                    let change = breaker.step(breaker::Event::Sample(state.calls.timely()), now);
                    self.publish_endpoint(*address, state, breaker, change, now);
                }
                None => state.set_gate(1_000),
            }
        }
        match &mut machines.whole {
            Some(breaker) => {
                let change = breaker.step(breaker::Event::Sample(self.calls.timely()), now);
                self.publish_whole(breaker, change, now);
            }
            None => self.gate.store(1_000, Ordering::Relaxed),
        }
        self.publish_trials(machines, now);
    }

    pub(super) fn publish_endpoint(
        &self,
        address: SocketAddr,
        state: &EndpointState,
        breaker: &Breaker,
        change: Option<Change>,
        now: Duration,
    ) {
        // Who is let in by the new gate has the new era, or an older one, which counts for less and never for more.
        state.set_era(breaker.era());
        state.set_gate(Gate::word(breaker.admits(now)));
        if let Some(change) = change {
            self.tell_breaker(Some(address), &change);
        }
    }

    pub(super) fn publish_whole(&self, breaker: &Breaker, change: Option<Change>, now: Duration) {
        self.era.store(breaker.era() as u32, Ordering::Relaxed);
        self.gate
            .store(Gate::word(breaker.admits(now)), Ordering::Relaxed);
        if let Some(change) = change {
            self.tell_breaker(None, &change);
        }
    }

    pub(super) fn publish_trials(&self, machines: &Machines, now: Duration) {
        let with_trials = machines
            .endpoints
            .values()
            .filter(|breaker| matches!(breaker.admits(now), Admission::Trials(1..)));
        let count = u32::try_from(with_trials.count()).unwrap_or(u32::MAX);
        self.trials.store(count, Ordering::Relaxed);
    }
}
