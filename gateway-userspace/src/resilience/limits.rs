//! How much of a thing may be under way at once for an upstream or an endpoint: connections, pending requests, requests, retries.
//!
//! Exact under any number of threads: a place is taken by compare-and-swap and comes back when its permit is dropped.
//! What the limits are comes from the snapshot with each call, so that an edit counts from the next request on and resets nothing.
//! Source: the thresholds of Envoy's circuit breakers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// No limit.
pub const UNLIMITED: u32 = u32::MAX;

/// Requests that may wait for a connection where nothing is said; nobody waits where connections have no limit.
pub const PENDING: u32 = 1_024;

/// Limits of one upstream or of one endpoint, for the whole node; [`UNLIMITED`] where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maxima {
    /// Open connections.
    pub connections: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Requests under way, those that wait included.
    pub requests: u32,
    /// Retries under way or in back-off, whatever the budget says.
    pub retries: u32,
}

impl Default for Maxima {
    /// Nothing is bounded but the queue: Envoy's 1,024 would turn away the requests of a busy site whose owner never
    /// heard of it. Retries are bounded by the budget, which grows with the load.
    fn default() -> Self {
        Self {
            connections: UNLIMITED,
            pending: PENDING,
            requests: UNLIMITED,
            retries: UNLIMITED,
        }
    }
}

impl Maxima {
    /// What it allows of that.
    pub fn of(&self, limit: Limit) -> u32 {
        match limit {
            Limit::Connections => self.connections,
            Limit::Pending => self.pending,
            Limit::Requests => self.requests,
            Limit::Retries => self.retries,
        }
    }
}

/// `upstream.limits`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of the upstream, all its endpoints together.
    pub whole: Maxima,
    /// Of each of its endpoints.
    pub endpoint: Maxima,
}

impl Limits {
    /// Whether connections are bounded, so that requests may have to wait for one.
    pub fn bounds_connections(&self) -> bool {
        self.whole.connections != UNLIMITED || self.endpoint.connections != UNLIMITED
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Open connections.
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests under way.
    Requests,
    /// Retries.
    Retries,
}

impl Limit {
    /// All of them, in the order of [`Limit::index`].
    pub const ALL: [Self; 4] = [Self::Connections, Self::Pending, Self::Requests, Self::Retries];

    /// Position in [`Limit::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::Connections => 0,
            Self::Pending => 1,
            Self::Requests => 2,
            Self::Retries => 3,
        }
    }

    /// The key of the configuration, which metrics and the admin API use, too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Pending => "pending",
            Self::Requests => "requests",
            Self::Retries => "retries",
        }
    }
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Which one.
    pub limit: Limit,
    /// What it is.
    pub max: u32,
    /// Whose; `None`: the whole upstream's.
    pub endpoint: Option<SocketAddr>,
}

impl fmt::Display for Limited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = self.max;
        match self.limit {
            Limit::Connections => write!(formatter, "all {max} connections are in use"),
            Limit::Pending => write!(formatter, "{max} requests wait for a connection already"),
            Limit::Requests => write!(formatter, "{max} requests are under way already"),
            Limit::Retries => write!(formatter, "{max} retries are under way already"),
        }
    }
}

/// What is under way at an upstream or an endpoint.
///
/// Not its requests: those are counted with each of them, and so where it costs least.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Open connections.
    pub connections: Count,
    /// Requests that wait for a connection.
    pub pending: Count,
    /// Retries under way or in back-off, of requests that were sent already.
    pub retries: Count,
}

impl Usage {
    /// How much of that is under way; its requests are that many.
    pub fn of(&self, limit: Limit, requests: u32) -> u32 {
        match limit {
            Limit::Connections => self.connections.taken(),
            Limit::Pending => self.pending.taken(),
            Limit::Requests => requests,
            Limit::Retries => self.retries.taken(),
        }
    }
}

/// Places of one kind that are taken. Clones count the same places.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<Taken>);

/// On a cache line of its own, as all workers write to it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Taken(AtomicU32);

impl Count {
    /// A place, if fewer than `max` are taken.
    ///
    /// Never more than the largest `max` ever asked with are out at once; with a smaller one than before, those that
    /// are out stay until they are dropped.
    pub fn try_acquire(&self, max: u32) -> Option<Permit> {
        let more = |taken: u32| if taken < max { taken.checked_add(1) } else { None };
        // Relaxed: the count guards no other memory.
        match self.0.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Some(Permit(Arc::clone(&self.0))),
            Err(_) => None,
        }
    }

    /// Places that are taken now.
    pub fn taken(&self) -> u32 {
        self.0.0.load(Ordering::Relaxed)
    }
}

/// A place; dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping a permit gives its place back"]
pub struct Permit(Arc<Taken>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn places_end_at_the_limit_and_come_back() {
        let rows = [("none", 0, 0), ("one", 1, 1), ("many", 100, 100)];
        for (what, max, expected) in rows {
            let count = Count::default();
            let permits: Vec<_> = (0..200).filter_map(|_| count.try_acquire(max)).collect();
            assert_eq!(permits.len(), expected, "{what}");
            assert_eq!(count.taken(), max, "{what}");
            drop(permits);
            assert_eq!(count.taken(), 0, "{what}");
        }
    }

    #[test]
    fn lowered_limit_lets_none_in_until_enough_have_left() {
        let count = Count::default();
        let mut permits: Vec<_> = (0..10).filter_map(|_| count.try_acquire(10)).collect();
        while permits.len() >= 3 {
            assert!(count.try_acquire(3).is_none(), "{} are out", permits.len());
            permits.pop();
        }
        assert!(count.try_acquire(3).is_some());
    }

    #[test]
    fn threads_never_take_more_than_the_limit_and_lose_no_place() {
        const MAX: u32 = 3;
        let count = Count::default();
        // Counted apart from the code under test, by those who hold a permit.
        let inside = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut held = Vec::new();
                    for round in 0..20_000 {
                        if let Some(permit) = count.try_acquire(MAX) {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < MAX, "above the limit");
                            held.push(permit);
                        }
                        if round % 3 != 0 && !held.is_empty() {
                            inside.fetch_sub(1, Ordering::SeqCst);
                            held.pop();
                        }
                    }
                    inside.fetch_sub(held.len() as u32, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(count.taken(), 0);
    }

    #[test]
    fn each_limit_has_its_name_its_place_and_its_figure() {
        let maxima = Maxima {
            connections: 1,
            pending: 2,
            requests: 3,
            retries: 4,
        };
        for (index, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit.index(), index);
            assert_eq!(maxima.of(limit) as usize, index + 1, "{}", limit.name());
            let limited = Limited {
                limit,
                max: 7,
                endpoint: None,
            };
            let told = limited.to_string();
            assert!(told.contains('7'), "{told}");
        }
    }
}
