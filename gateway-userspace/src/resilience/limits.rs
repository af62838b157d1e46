//! How much of a thing may be under way at once for an upstream or an endpoint: connections, pending requests, requests, retries.
//!
//! Exact under any number of threads: a place is taken by compare-and-swap and comes back when its permit is dropped.
//! What the limits are comes from the snapshot with each call, so that an edit counts from the next request on and resets nothing.
//! Source: the thresholds of Envoy's circuit breakers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// No limit.
pub const UNLIMITED: u32 = u32::MAX;

/// Limits of one upstream or endpoint, for the whole node; [`UNLIMITED`] where there is none.
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
    /// Bounded by 1,024, as in Envoy; retries by the budget only, which grows with the load.
    fn default() -> Self {
        Self {
            connections: 1_024,
            pending: 1_024,
            requests: 1_024,
            retries: UNLIMITED,
        }
    }
}

/// What is under way.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Open connections.
    pub connections: Count,
    /// Requests that wait for a connection.
    pub pending: Count,
    /// Requests under way.
    pub requests: Count,
    /// Retries under way or in back-off.
    pub retries: Count,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// [`Maxima::connections`].
    Connections(u32),
    /// [`Maxima::pending`].
    Pending(u32),
    /// [`Maxima::requests`].
    Requests(u32),
    /// [`Maxima::retries`].
    Retries(u32),
}

impl fmt::Display for Limited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connections(max) => write!(formatter, "all {max} connections are in use"),
            Self::Pending(max) => write!(formatter, "{max} requests wait for a connection already"),
            Self::Requests(max) => write!(formatter, "{max} requests are under way already"),
            Self::Retries(max) => write!(formatter, "{max} retries are under way already"),
        }
    }
}

impl Usage {
    /// A place for a connection.
    ///
    /// # Errors
    /// The limit is reached.
    pub fn connection(&self, maxima: &Maxima) -> Result<Permit, Limited> {
        let max = maxima.connections;
        self.connections.try_acquire(max).ok_or(Limited::Connections(max))
    }

    /// A place in the queue for a connection.
    ///
    /// # Errors
    /// The limit is reached.
    pub fn pending(&self, maxima: &Maxima) -> Result<Permit, Limited> {
        let max = maxima.pending;
        self.pending.try_acquire(max).ok_or(Limited::Pending(max))
    }

    /// A place for a request.
    ///
    /// # Errors
    /// The limit is reached.
    pub fn request(&self, maxima: &Maxima) -> Result<Permit, Limited> {
        let max = maxima.requests;
        self.requests.try_acquire(max).ok_or(Limited::Requests(max))
    }

    /// A place for a retry.
    ///
    /// # Errors
    /// The limit is reached.
    pub fn retry(&self, maxima: &Maxima) -> Result<Permit, Limited> {
        let max = maxima.retries;
        self.retries.try_acquire(max).ok_or(Limited::Retries(max))
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
    fn each_limit_counts_its_own_things_and_says_which_was_reached() {
        let usage = Usage::default();
        let maxima = Maxima {
            connections: 1,
            pending: 2,
            requests: 3,
            retries: 0,
        };
        let _connection = usage.connection(&maxima).unwrap();
        let _pending = [usage.pending(&maxima).unwrap(), usage.pending(&maxima).unwrap()];
        let _requests = [(); 3].map(|()| usage.request(&maxima).unwrap());
        let rows = [
            (usage.connection(&maxima), Limited::Connections(1)),
            (usage.pending(&maxima), Limited::Pending(2)),
            (usage.request(&maxima), Limited::Requests(3)),
            (usage.retry(&maxima), Limited::Retries(0)),
        ];
        for (result, expected) in rows {
            assert_eq!(result.unwrap_err(), expected);
        }
        assert_eq!(
            Limited::Pending(2).to_string(),
            "2 requests wait for a connection already"
        );
    }
}
