//! State cells of the node, keyed by identity, which outlive snapshots.
//!
//! A cell is shared by all workers and by the control thread; it holds atomics only, so nobody waits for anybody.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

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

/// One endpoint's state, on a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub struct EndpointState {
    readiness: AtomicU8,
    /// Requests under way.
    pub active: AtomicU32,
    /// Requests sent to it since the start.
    pub requests: AtomicU64,
    /// Of these, failed before a response head came.
    pub failures: AtomicU64,
}

impl EndpointState {
    fn new() -> Self {
        Self {
            readiness: AtomicU8::new(0),
            active: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
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
        self.readiness.store(value, Ordering::Relaxed);
    }
}

/// One upstream's state on this node, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct UpstreamState {
    /// Retries under way, back-off included, of requests that were sent already.
    pub retrying: AtomicU32,
}

/// Cells that are kept without a look at who still holds them.
const UNPRUNED_MAX: usize = 64;

/// All cells of the node.
#[derive(Debug, Default)]
pub struct Registry {
    endpoints: Mutex<Cells<(String, SocketAddr), EndpointState>>,
    upstreams: Mutex<Cells<String, UpstreamState>>,
}

#[derive(Debug)]
struct Cells<K, C> {
    all: HashMap<K, Weak<C>>,
    /// How many were held after the last pruning: the next comes at twice that, which costs each insertion a
    /// constant share, and bounds the map by twice what is held.
    held: usize,
}

impl Registry {
    /// The cell of that endpoint: the living one, else a new one whose readiness is unknown.
    pub fn endpoint(&self, upstream: &str, address: SocketAddr) -> Arc<EndpointState> {
        let mut cells = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        cells.cell((upstream.to_owned(), address), EndpointState::new)
    }

    /// The cell of that upstream: the living one, else a new one.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamState> {
        let mut cells = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        cells.cell(name.to_owned(), UpstreamState::default)
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
