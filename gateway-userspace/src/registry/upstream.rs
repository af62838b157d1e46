//! One upstream's state on this node: what its breakers and its passive health know, and what workers read of that.
//!
//! Workers read atomics. The machines lie behind a lock, which is taken after a failure, for a trial call, and by the
//! control thread ten times a second.

mod channels;
mod publish;
mod tell;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::EndpointState;
use super::calls::{Age, Begun, BreakerStatus, Calls, Gate, GuardSettings, NoBreaker};
use super::queue::Queue;
use super::reached::{self, Reached};
use crate::events::Events;
use crate::resilience::breaker::{self, Breaker, Force, Outcome, State, Trial};
use crate::resilience::channel::Channels;
use crate::resilience::limits::{Count, Usage};
use crate::resilience::outliers::{self, Action, Outliers};

pub use channels::{Blame, Channel, Probe, Reachable};

/// One upstream's state.
#[derive(Debug)]
pub struct UpstreamState {
    pub(super) name: String,
    /// Where changes are told.
    pub(super) events: Events,
    /// What is under way, all its endpoints together.
    pub usage: Usage,
    /// Requests under way, where they are limited: only those that began under a limit.
    pub requests: Count,
    /// Copies of requests under way.
    pub mirrors: Count,
    /// Who waits for a connection.
    pub(super) queue: Queue,
    /// Limits that were reached.
    pub(super) reached: Reached,
    /// Changes of what a roster is made of.
    changes: AtomicU32,
    /// [`Gate`] of the whole.
    gate: AtomicU32,
    /// Changes of the whole's breaker.
    era: AtomicU32,
    /// Endpoints with trial calls left.
    trials: AtomicU32,
    /// Whether calls are counted.
    guarded: AtomicU8,
    calls: Calls,
    /// Times that a breaker of it, or of an endpoint, opened.
    pub openings: AtomicU64,
    /// Times that an endpoint was ejected.
    pub ejections: AtomicU64,
    /// Times that another way to an endpoint was taken.
    pub switches: AtomicU64,
    /// When time began for the machines.
    began: Instant,
    machines: Mutex<Machines>,
}

#[derive(Debug, Default)]
struct Machines {
    whole: Option<Breaker>,
    endpoints: BTreeMap<SocketAddr, Breaker>,
    outliers: Option<Outliers<SocketAddr>>,
    /// Of endpoints that have more than one.
    channels: BTreeMap<SocketAddr, Channels<Channel>>,
}

/// A trial call, which owes its outcome: [`UpstreamState::trial_ended`].
#[derive(Debug)]
pub struct Trying {
    /// The endpoint; `None`: of the whole upstream.
    endpoint: Option<SocketAddr>,
    trial: Trial,
}

impl Trying {
    /// Whose breaker wants the outcome; `None`: that of the whole upstream.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.endpoint
    }
}

impl UpstreamState {
    pub(super) fn new(name: &str, events: Events) -> Self {
        Self {
            name: name.to_owned(),
            events,
            usage: Usage::default(),
            requests: Count::default(),
            mirrors: Count::default(),
            queue: Queue::default(),
            reached: Reached::default(),
            changes: AtomicU32::new(0),
            gate: AtomicU32::new(1_000),
            era: AtomicU32::new(0),
            trials: AtomicU32::new(0),
            guarded: AtomicU8::new(0),
            calls: Calls::default(),
            openings: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            began: Instant::now(),
            machines: Mutex::default(),
        }
    }

    /// Changes so far of what is known of its endpoints: a roster that was made before the last one is out of date.
    pub fn changes(&self) -> u32 {
        self.changes.load(Ordering::Acquire)
    }

    /// Something of an endpoint changed.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// What its own breaker lets through.
    pub fn gate(&self) -> Gate {
        Gate::read(&self.gate)
    }

    pub(super) fn era(&self) -> u32 {
        self.era.load(Ordering::Relaxed)
    }

    /// Whether an endpoint has trial calls left.
    pub fn has_trials(&self) -> bool {
        self.trials.load(Ordering::Relaxed) > 0
    }

    /// Time since the machines began.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Counts a call to one of its endpoints; after a failure the machines look at once.
    pub fn count(&self, endpoint: SocketAddr, state: &EndpointState, begun: Begun, outcome: Outcome) {
        if self.guarded.load(Ordering::Relaxed) == 0 {
            return;
        }
        state.calls.add(outcome, Age::of(begun.endpoint, &state.era));
        self.calls.add(outcome, Age::of(begun.whole, &self.era));
        if outcome == Outcome::Failed {
            self.look_at(endpoint, state);
        }
    }

    /// A call that was counted when its answer began broke off in the answer's body: it failed.
    pub fn spoil(&self, endpoint: SocketAddr, state: &EndpointState, begun: Begun) {
        if self.guarded.load(Ordering::Relaxed) == 0 {
            return;
        }
        state.calls.spoil(Age::of(begun.endpoint, &state.era));
        self.calls.spoil(Age::of(begun.whole, &self.era));
        self.look_at(endpoint, state);
    }

    fn look_at(&self, endpoint: SocketAddr, state: &EndpointState) {
        let now = self.now();
        let mut machines = self.machines();
        if let Some(outliers) = &mut machines.outliers {
            let totals = state.calls.totals();
            for action in outliers.step(outliers::Event::Sample(endpoint, totals), now) {
                // One that is not this endpoint is told with the next tick, which knows them all.
                if let Action::Eject { key, .. } = &action
                    && *key == endpoint
                {
                    state.eject(true);
                }
                self.tell_outlier(&action);
            }
        }
        if let Some(breaker) = machines.endpoints.get_mut(&endpoint) {
            let change = breaker.step(breaker::Event::Sample(state.calls.timely()), now);
            self.publish_endpoint(endpoint, state, breaker, change, now);
        }
        if let Some(breaker) = &mut machines.whole {
            let change = breaker.step(breaker::Event::Sample(self.calls.timely()), now);
            self.publish_whole(breaker, change, now);
        }
        self.publish_trials(&machines, now);
    }

    /// Takes over what a snapshot says, and keeps the state of what stays.
    pub fn guard(&self, guards: &GuardSettings, endpoints: &[(SocketAddr, &EndpointState)]) {
        let now = self.now();
        let mut machines = self.machines();
        let members: Vec<_> = endpoints
            .iter()
            .map(|(address, state)| (*address, state.calls.totals()))
            .collect();
        machines.outliers = match (guards.outliers, machines.outliers.take()) {
            (None, _) => {
                endpoints.iter().for_each(|(_, state)| state.eject(false));
                None
            }
            (Some(settings), held) => {
                let mut outliers = held.unwrap_or_else(|| Outliers::new(settings, now));
                let mut actions = outliers.set(settings, now);
                actions.extend(outliers.set_members(&members, now));
                self.follow(&actions, endpoints);
                // A cell that was made anew, for an address that was away, knows nothing of an old ejection.
                for (address, state) in endpoints {
                    state.eject(outliers.is_ejected(address));
                }
                Some(outliers)
            }
        };
        let settings = guards.breaker;
        machines
            .endpoints
            .retain(|address, _| settings.is_some() && members.iter().any(|(member, _)| member == address));
        for (address, state) in endpoints {
            let Some(settings) = settings else { break };
            match machines.endpoints.get_mut(address) {
                Some(breaker) => breaker.set(settings, now),
                None => drop(
                    machines
                        .endpoints
                        .insert(*address, Breaker::new(settings, state.calls.timely(), now)),
                ),
            }
        }
        machines.whole = settings.map(|settings| match machines.whole.take() {
            Some(mut breaker) => {
                breaker.set(settings, now);
                breaker
            }
            None => Breaker::new(settings, self.calls.timely(), now),
        });
        self.guarded.store(u8::from(guards.is_any()), Ordering::Relaxed);
        self.publish_all(&mut machines, endpoints, now);
        self.changed();
    }

    /// Time passed; a few times a second.
    pub fn tick(&self, endpoints: &[(SocketAddr, &EndpointState)]) {
        self.calm_down(reached::CALM);
        if self.guarded.load(Ordering::Relaxed) == 0 {
            return;
        }
        let now = self.now();
        let mut machines = self.machines();
        if let Some(outliers) = &mut machines.outliers {
            let mut actions = Vec::new();
            for (address, state) in endpoints {
                actions.extend(outliers.step(outliers::Event::Sample(*address, state.calls.totals()), now));
            }
            actions.extend(outliers.step(outliers::Event::Tick, now));
            self.follow(&actions, endpoints);
            for (address, state) in endpoints {
                state.eject(outliers.is_ejected(address));
            }
        }
        self.publish_all(&mut machines, endpoints, now);
    }

    /// The right to one trial call of an endpoint, if one has any left that was not asked for this request yet.
    pub fn try_endpoint(&self, may: impl Fn(&SocketAddr) -> bool) -> Option<(SocketAddr, Trying)> {
        let now = self.now();
        let mut machines = self.machines();
        let taken = machines
            .endpoints
            .iter_mut()
            .filter(|(address, _)| may(address))
            .find_map(|(address, breaker)| Some((*address, breaker.take_trial(now)?)));
        self.publish_trials(&machines, now);
        taken.map(|(address, trial)| {
            let endpoint = Some(address);
            (address, Trying { endpoint, trial })
        })
    }

    /// The right to one trial call of the whole upstream.
    pub fn try_whole(&self) -> Option<Trying> {
        let now = self.now();
        let trial = self.machines().whole.as_mut()?.take_trial(now)?;
        Some(Trying {
            endpoint: None,
            trial,
        })
    }

    /// A trial call ended; `state` is its endpoint's, where it was asked.
    pub fn trial_ended(&self, trying: &Trying, state: Option<&EndpointState>, outcome: Outcome) {
        let now = self.now();
        let event = breaker::Event::TrialEnded(trying.trial, outcome);
        let mut machines = self.machines();
        match (trying.endpoint, state) {
            (Some(address), state) => {
                if let Some(breaker) = machines.endpoints.get_mut(&address) {
                    let change = breaker.step(event, now);
                    match state {
                        Some(state) => self.publish_endpoint(address, state, breaker, change, now),
                        // The next tick publishes it.
                        None => change
                            .iter()
                            .for_each(|change| self.tell_breaker(Some(address), change)),
                    }
                }
            }
            (None, _) => {
                if let Some(breaker) = &mut machines.whole {
                    let change = breaker.step(event, now);
                    self.publish_whole(breaker, change, now);
                }
            }
        }
        self.publish_trials(&machines, now);
    }

    /// An operator forces a breaker, or (`None`) lets it decide again. Of an endpoint, or of the whole.
    ///
    /// # Errors
    /// There is no such breaker.
    pub fn force(
        &self,
        endpoint: Option<(SocketAddr, &EndpointState)>,
        force: Option<Force>,
    ) -> Result<State, NoBreaker> {
        let now = self.now();
        let event = force.map_or(breaker::Event::Release, breaker::Event::Force);
        let mut machines = self.machines();
        let state = match endpoint {
            Some((address, state)) => {
                let breaker = machines.endpoints.get_mut(&address).ok_or(NoBreaker)?;
                let change = breaker.step(event, now);
                self.publish_endpoint(address, state, breaker, change, now);
                breaker.state()
            }
            None => {
                let breaker = machines.whole.as_mut().ok_or(NoBreaker)?;
                let change = breaker.step(event, now);
                self.publish_whole(breaker, change, now);
                breaker.state()
            }
        };
        self.publish_trials(&machines, now);
        Ok(state)
    }

    /// How its breakers stand, the whole one first.
    pub fn breakers(&self) -> Vec<BreakerStatus> {
        let machines = self.machines();
        let whole = machines.whole.iter().map(|breaker| BreakerStatus {
            endpoint: None,
            state: breaker.state(),
        });
        let endpoints = machines.endpoints.iter().map(|(address, breaker)| BreakerStatus {
            endpoint: Some(*address),
            state: breaker.state(),
        });
        whole.chain(endpoints).collect()
    }

    fn follow(&self, actions: &[Action<SocketAddr>], endpoints: &[(SocketAddr, &EndpointState)]) {
        for action in actions {
            let (Action::Eject { key, .. } | Action::Restore { key }) = action;
            if let Some((_, state)) = endpoints.iter().find(|(address, _)| address == key) {
                state.eject(matches!(action, Action::Eject { .. }));
            }
            self.tell_outlier(action);
        }
    }

    fn machines(&self) -> MutexGuard<'_, Machines> {
        // A machine's step is whole or panicked in a pure function: what it holds can be gone on with.
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
