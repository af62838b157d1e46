//! State cells of the node, keyed by identity, which outlive snapshots.
//!
//! A cell is shared by all workers and by the control thread. What a request reads of it are atomics, so nobody waits for
//! anybody; the machines of an upstream (`registry/upstream.rs`) have a lock, which calls that succeed never take.

mod calls;
mod queue;
mod reached;
mod upstream;

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::acme::challenge::Thumbprint;
use crate::events::Events;
use crate::filters::jwt::fetched::Fetched;
use crate::filters::passwords::Verified;
use crate::filters::rate_limit::Buckets;
use crate::filters::{Counts, Identity};
use crate::resilience::breaker::Outcome;
use crate::resilience::limits::{UNLIMITED, Usage};
use crate::tls::TicketKeys;

pub use calls::{Age, Begun, BreakerStatus, Calls, Gate, GuardSettings, NoBreaker};
pub use queue::{Grant, Idle, Place, Ticket};
pub use upstream::{Blame, Channel, Probe, Reachable, Trying, UpstreamState};

/// What is known of an endpoint, from checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not checked yet.
    Unknown,
    /// May get traffic.
    Ready,
    /// Gets none while another is ready or unknown.
    Failing,
}

/// One endpoint's state, beginning on a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub struct EndpointState {
    readiness: AtomicU8,
    ejected: AtomicU8,
    /// Which way is taken to it.
    channel: AtomicU8,
    /// What its breaker lets through.
    gate: AtomicU32,
    /// Changes of its breaker.
    era: AtomicU32,
    /// Requests under way, those that wait for a connection included.
    pub active: AtomicU32,
    /// What else is under way.
    pub usage: Usage,
    /// Requests sent to it since the start.
    pub requests: AtomicU64,
    /// Of these, failed before a response head came.
    pub failures: AtomicU64,
    /// How long its answers take: a word of [`Ewma`](crate::balance::Ewma).
    pub latency: AtomicU64,
    /// Since when it gets traffic again, in milliseconds of [`UpstreamState::now`].
    since_ms: AtomicU64,
    calls: Calls,
    upstream: Arc<UpstreamState>,
}

impl EndpointState {
    fn new(upstream: Arc<UpstreamState>) -> Self {
        Self {
            readiness: AtomicU8::new(0),
            ejected: AtomicU8::new(0),
            channel: AtomicU8::new(0),
            gate: AtomicU32::new(1_000),
            era: AtomicU32::new(0),
            active: AtomicU32::new(0),
            usage: Usage::default(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            since_ms: AtomicU64::new(0),
            calls: Calls::default(),
            upstream,
        }
    }

    /// The upstream that it is of.
    pub fn upstream(&self) -> &Arc<UpstreamState> {
        &self.upstream
    }

    /// What the checks know of it.
    pub fn readiness(&self) -> Readiness {
        match self.readiness.load(Ordering::Relaxed) {
            1 => Readiness::Ready,
            2 => Readiness::Failing,
            _ => Readiness::Unknown,
        }
    }

    /// Says what the checks found.
    pub fn set_readiness(&self, readiness: Readiness) {
        let value = match readiness {
            Readiness::Unknown => 0,
            Readiness::Ready => 1,
            Readiness::Failing => 2,
        };
        if self.readiness.swap(value, Ordering::Relaxed) != value {
            if readiness == Readiness::Ready {
                self.returns();
            }
            self.upstream.changed();
        }
    }

    /// Whether its failures have taken it out.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed) == 1
    }

    /// What its breaker lets through.
    pub fn gate(&self) -> Gate {
        Gate::read(&self.gate)
    }

    /// Which way is taken to it: 0 is the first, then the others in the snapshot's order.
    pub fn channel(&self) -> usize {
        self.channel.load(Ordering::Relaxed).into()
    }

    /// Communication with it, at that address, failed over that way.
    pub fn channel_failed(&self, address: SocketAddr, channel: Channel) -> Blame {
        self.upstream.channel_failed(address, self, channel)
    }

    /// How long it has been getting traffic since it last came back.
    pub fn since(&self) -> Duration {
        let since = Duration::from_millis(self.since_ms.load(Ordering::Relaxed));
        self.upstream.now().saturating_sub(since)
    }

    /// A call to it begins: what is to be told when its outcome is.
    pub fn begins(&self) -> Begun {
        Begun {
            endpoint: self.era.load(Ordering::Relaxed),
            whole: self.upstream.era(),
        }
    }

    /// Counts a call to it, at that address.
    pub fn count(&self, address: SocketAddr, begun: Begun, outcome: Outcome) {
        self.upstream.count(address, self, begun, outcome);
    }

    /// A call to it, at that address, that was counted when its answer began broke off in the answer's body.
    pub fn spoil(&self, address: SocketAddr, begun: Begun) {
        self.upstream.spoil(address, self, begun);
    }

    /// One more request is under way, if fewer than `max` are: exact, whatever the threads do.
    pub fn enters(&self, max: u32) -> bool {
        if max == UNLIMITED {
            self.active.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let more = |active: u32| if active < max { active.checked_add(1) } else { None };
        let order = Ordering::Relaxed;
        self.active.fetch_update(order, order, more).is_ok()
    }

    /// One that [`EndpointState::enters`] counted is over.
    pub fn leaves(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    fn eject(&self, is_out: bool) {
        let value = u8::from(is_out);
        if self.ejected.swap(value, Ordering::Relaxed) != value {
            if !is_out {
                self.returns();
            }
            self.upstream.changed();
        }
    }

    /// Calls that began before are late.
    fn set_era(&self, era: u64) {
        // It wraps after 4 billion changes.
        self.era.store(era as u32, Ordering::Relaxed);
    }

    fn set_gate(&self, word: u32) {
        if self.gate.swap(word, Ordering::Relaxed) != word {
            self.upstream.changed();
        }
    }

    /// It gets traffic from now on.
    fn returns(&self) {
        let now = u64::try_from(self.upstream.now().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(now, Ordering::Relaxed);
    }
}

/// Cells that are kept without a look at who still holds them.
const UNPRUNED_MAX: usize = 64;

/// All cells of the node.
#[derive(Debug, Default)]
pub struct Registry {
    events: Events,
    endpoints: Mutex<Cells<(String, SocketAddr), EndpointState>>,
    upstreams: Mutex<Cells<String, UpstreamState>>,
    filters: Mutex<Cells<Identity, Counts>>,
    /// Of rate limits with room for so many keys.
    buckets: Mutex<Cells<(Identity, usize), Buckets>>,
    verified: Mutex<Cells<Identity, Verified>>,
    /// Of filters that have their keys from that URL.
    fetched: Mutex<Cells<(Identity, String), Fetched>>,
    ticket_keys: Mutex<OwnKeys>,
    acme_thumbprint: Arc<Thumbprint>,
}

/// Keys of session tickets, where no file has any.
#[derive(Debug)]
struct OwnKeys(TicketKeys);

impl Default for OwnKeys {
    fn default() -> Self {
        Self(TicketKeys::random())
    }
}

#[derive(Debug)]
struct Cells<K, C> {
    all: HashMap<K, Weak<C>>,
    /// How many were held after the last pruning: the next comes at twice that, which costs each insertion a
    /// constant share, and bounds the map by twice what is held.
    held: usize,
}

impl Registry {
    /// No cells yet; theirs are told there.
    pub fn new(events: Events) -> Self {
        Self {
            events,
            ..Self::default()
        }
    }

    /// The cell of that endpoint: the living one, else a new one whose readiness is unknown.
    pub fn endpoint(&self, upstream: &str, address: SocketAddr) -> Arc<EndpointState> {
        let whole = self.upstream(upstream);
        let mut cells = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        cells.cell((upstream.to_owned(), address), || EndpointState::new(whole))
    }

    /// The cell of that upstream: the living one, else a new one.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamState> {
        let mut cells = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        cells.cell(name.to_owned(), || UpstreamState::new(name, self.events.clone()))
    }

    /// What came of that filter so far.
    pub fn filter(&self, id: &Identity) -> Arc<Counts> {
        let mut cells = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        cells.cell(id.clone(), Counts::default)
    }

    /// What that rate limit remembers of its keys; another number of them begins anew.
    pub fn buckets(&self, id: &Identity, keys_max: usize) -> Arc<Buckets> {
        let mut cells = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        cells.cell((id.clone(), keys_max), || Buckets::new(keys_max))
    }

    /// Whose passwords that filter has verified.
    pub fn verified(&self, id: &Identity) -> Arc<Verified> {
        let mut cells = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        cells.cell(id.clone(), Verified::default)
    }

    /// The keys that were fetched for that filter; from another URL there are none yet.
    pub fn fetched(&self, id: &Identity, url: &str) -> Arc<Fetched> {
        let mut cells = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        cells.cell((id.clone(), url.to_owned()), Fetched::default)
    }
}

impl Registry {
    /// What challenges of authorities are answered by.
    pub fn acme_thumbprint(&self) -> Arc<Thumbprint> {
        Arc::clone(&self.acme_thumbprint)
    }

    /// The keys of session tickets of this process alone.
    pub fn ticket_keys(&self) -> TicketKeys {
        self.ticket_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }

    /// The next of them seals from the next snapshot on, and the current one still opens.
    pub fn rotate_ticket_keys(&self) {
        let mut keys = self.ticket_keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.0 = keys.0.rotated();
    }
}

impl<K, C> Default for Cells<K, C> {
    fn default() -> Self {
        Self {
            all: HashMap::new(),
            held: 0,
        }
    }
}

impl<K: Eq + Hash, C> Cells<K, C> {
    fn cell(&mut self, key: K, new: impl FnOnce() -> C) -> Arc<C> {
        if let Some(cell) = self.all.get(&key).and_then(Weak::upgrade) {
            return cell;
        }
        if self.all.len() >= UNPRUNED_MAX.max(self.held.saturating_mul(2)) {
            self.all.retain(|_, cell| cell.strong_count() > 0);
            self.held = self.all.len();
        }
        let cell = Arc::new(new());
        self.all.insert(key, Arc::downgrade(&cell));
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cell_outlives_the_snapshot_that_made_it_while_another_holds_it() {
        let registry = Registry::default();
        let address = "192.0.2.1:80".parse().unwrap();
        let first = registry.endpoint("users", address);
        first.set_readiness(Readiness::Failing);
        let second = registry.endpoint("users", address);
        drop(first);
        assert_eq!(
            registry.endpoint("users", address).readiness(),
            Readiness::Failing
        );
        drop(second);
        assert_eq!(
            registry.endpoint("users", address).readiness(),
            Readiness::Unknown
        );
    }

    #[test]
    fn cells_that_nobody_holds_do_not_pile_up() {
        let registry = Registry::default();
        let address = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let held: Vec<_> = (0..100)
            .map(|port| registry.endpoint("held", address(port)))
            .collect();
        for port in 0..10_000 {
            drop(registry.endpoint("gone", address(port)));
        }
        let count = registry.endpoints.lock().unwrap().all.len();
        assert!(count <= 2 * held.len() + UNPRUNED_MAX, "{count}");
        for (port, cell) in (0..).zip(&held) {
            assert!(Arc::ptr_eq(cell, &registry.endpoint("held", address(port))));
        }
    }
}
