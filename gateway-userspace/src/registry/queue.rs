//! An upstream's connections where they are limited: a place for each, and who waits for one, in the order they came.
//!
//! A place is dropped with its connection, on whatever thread, and then given to the first that waits and that both
//! limits, the endpoint's and the upstream's, let have it. The lock is taken only by who waits, and by who gives back
//! while somebody does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::oneshot::{Receiver, Sender, channel};

use super::{EndpointState, UpstreamState};
use crate::resilience::limits::{Limit, Limited, Limits, Permit};

/// A pool passes an idle connection on to its own worker's requests for so long, though one of another worker came
/// before them: to close it and to make another there costs more. Short against any time that a client waits.
const OTHERS_WAIT: Duration = Duration::from_millis(50);

/// A place for a connection; dropping it lets the next one in.
#[derive(Debug)]
pub struct Place {
    held: Option<(Permit, Permit)>,
    upstream: Arc<UpstreamState>,
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.held.take());
        self.upstream.serve_queue();
    }
}

/// What a request that waited is given.
#[derive(Debug)]
pub enum Grant {
    /// It may connect.
    Connect(Place),
    /// Its own pool has a connection for it.
    Pool,
}

/// What becomes of a connection that is idle while requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Nobody could use its place.
    Keep,
    /// A request of the same pool was told to take it.
    Reserve,
    /// Another pool's request needs its place.
    Close,
}

/// A place in the queue, for as long as this is held.
#[derive(Debug)]
pub struct Ticket {
    id: u64,
    /// How the wait ends.
    pub grant: Receiver<Grant>,
    endpoint: Arc<EndpointState>,
    _pending: (Permit, Permit),
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.endpoint.upstream.queue.leave(self.id);
        // A place that comes too late is given back by whoever holds it last, which is the receiver.
        self.grant.close();
    }
}

/// Who waits for a connection to an upstream.
#[derive(Debug, Default)]
pub struct Queue {
    /// As long as the queue; written under its lock.
    waiting: AtomicU32,
    next: AtomicU64,
    waiters: Mutex<VecDeque<Waiter>>,
    /// Tells those who hold idle connections that somebody waits.
    wanted: Notify,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    /// Whose idle connection will do; `None`: a new one is wanted.
    pool: Option<usize>,
    address: SocketAddr,
    endpoint: Arc<EndpointState>,
    limits: Limits,
    since: Instant,
    grant: Sender<Grant>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiter>> {
        // Nothing in it can be left half done.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    fn counted(&self, waiters: &VecDeque<Waiter>) {
        let waiting = u32::try_from(waiters.len()).unwrap_or(u32::MAX);
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    fn leave(&self, id: u64) {
        let mut waiters = self.lock();
        waiters.retain(|waiter| waiter.id != id);
        self.counted(&waiters);
    }
}

impl EndpointState {
    /// A place for a connection to it, if there is one and nobody waits.
    pub fn place(&self, limits: &Limits) -> Option<Place> {
        if !self.upstream.queue.is_empty() {
            return None;
        }
        let held = Some(self.permits(limits)?);
        let upstream = Arc::clone(&self.upstream);
        Some(Place { held, upstream })
    }

    fn permits(&self, limits: &Limits) -> Option<(Permit, Permit)> {
        let whole = &self.upstream.usage.connections;
        let whole = whole.try_acquire(limits.whole.connections)?;
        let own = self.usage.connections.try_acquire(limits.endpoint.connections)?;
        Some((whole, own))
    }

    /// Joins the queue for a connection. `pool` tells apart whose idle connections will do.
    ///
    /// # Errors
    /// As many wait as may.
    pub fn queue(
        self: &Arc<Self>,
        address: SocketAddr,
        pool: Option<usize>,
        limits: &Limits,
    ) -> Result<Ticket, Limited> {
        let upstream = &self.upstream;
        let limited = |max, endpoint| Limited {
            limit: Limit::Pending,
            max,
            endpoint,
        };
        let max = limits.whole.pending;
        let whole = upstream.usage.pending.try_acquire(max);
        let whole = whole.ok_or_else(|| limited(max, None))?;
        let max = limits.endpoint.pending;
        let own = self.usage.pending.try_acquire(max);
        let own = own.ok_or_else(|| limited(max, Some(address)))?;
        let id = upstream.queue.next.fetch_add(1, Ordering::Relaxed);
        let (grant, granted) = channel();
        let mut waiters = upstream.queue.lock();
        waiters.push_back(Waiter {
            id,
            pool,
            address,
            endpoint: Arc::clone(self),
            limits: *limits,
            since: Instant::now(),
            grant,
        });
        upstream.queue.counted(&waiters);
        drop(waiters);
        // What was given back before the queue was seen to have somebody in it.
        upstream.serve_queue();
        upstream.queue.wanted.notify_waiters();
        Ok(Ticket {
            id,
            grant: granted,
            endpoint: Arc::clone(self),
            _pending: (whole, own),
        })
    }

    /// What becomes of that pool's connection to it, which is idle now.
    pub fn idles(&self, pool: usize) -> Idle {
        let queue = &self.upstream.queue;
        if queue.is_empty() {
            return Idle::Keep;
        }
        let mut waiters = queue.lock();
        let now = Instant::now();
        loop {
            let other = waiters
                .iter()
                .find(|waiter| waiter.pool != Some(pool) && self.is_in_the_way_of(waiter))
                .map(|waiter| now.duration_since(waiter.since));
            let is_due = other.is_some_and(|wait| wait >= OTHERS_WAIT);
            let own = waiters.iter().position(|waiter| waiter.pool == Some(pool));
            match own {
                Some(index) if !is_due => {
                    let waiter = waiters.remove(index);
                    queue.counted(&waiters);
                    if waiter.is_some_and(|waiter| waiter.grant.send(Grant::Pool).is_ok()) {
                        return Idle::Reserve;
                    }
                }
                _ if other.is_some() => return Idle::Close,
                _ => return Idle::Keep,
            }
        }
    }

    /// How many idle connections to it other pools' requests could use the places of.
    pub fn wanted(&self, pool: usize) -> usize {
        let queue = &self.upstream.queue;
        if queue.is_empty() {
            return 0;
        }
        let waiters = queue.lock();
        let wants = |waiter: &&Waiter| waiter.pool != Some(pool) && self.is_in_the_way_of(waiter);
        waiters.iter().filter(wants).count()
    }

    /// Tells all who wait at that pool that it has a connection which all can share.
    pub fn shares(&self, pool: usize) {
        let queue = &self.upstream.queue;
        if queue.is_empty() {
            return;
        }
        let mut waiters = queue.lock();
        let (own, others) = waiters.drain(..).partition(|waiter| waiter.pool == Some(pool));
        *waiters = others;
        queue.counted(&waiters);
        drop(waiters);
        let own: VecDeque<Waiter> = own;
        // Who went away meanwhile needs nothing.
        own.into_iter()
            .for_each(|waiter| drop(waiter.grant.send(Grant::Pool)));
    }

    /// Whether a connection to it keeps that request from having one.
    fn is_in_the_way_of(&self, waiter: &Waiter) -> bool {
        std::ptr::eq(self, &*waiter.endpoint)
            || waiter.endpoint.usage.connections.taken() < waiter.limits.endpoint.connections
    }
}

impl UpstreamState {
    /// Waits until another request has joined the queue. One that did before this was called is not seen.
    pub fn places_wanted(&self) -> impl Future<Output = ()> {
        self.queue.wanted.notified()
    }

    /// Gives free places to those who wait, in their order.
    pub(super) fn serve_queue(&self) {
        // Who gives back a place and who joins the queue each write one word and then read the other's: with a fence on
        // both sides at least one of them sees what the other did.
        fence(Ordering::SeqCst);
        if self.queue.is_empty() {
            return;
        }
        let mut waiters = self.queue.lock();
        let mut index = 0;
        while let Some(waiter) = waiters.get(index) {
            let Some(held) = waiter.endpoint.permits(&waiter.limits) else {
                index += 1;
                continue;
            };
            let Some(waiter) = waiters.remove(index) else {
                break;
            };
            self.queue.counted(&waiters);
            let place = Place {
                held: Some(held),
                upstream: Arc::clone(&waiter.endpoint.upstream),
            };
            tracing::trace!(endpoint = %waiter.address, "a place for a connection is free");
            if let Err(Grant::Connect(mut unused)) = waiter.grant.send(Grant::Connect(place)) {
                // Its own drop would come back here, for the lock that is held.
                let held = unused.held.take();
                drop(held);
                drop(waiters);
                drop(unused);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::registry::Registry;
    use crate::resilience::limits::Maxima;

    const ADDRESS: ([u8; 4], u16) = ([192, 0, 2, 1], 80);

    fn limits(whole: u32, endpoint: u32) -> Limits {
        let connections = |connections| Maxima {
            connections,
            ..Maxima::default()
        };
        Limits {
            whole: connections(whole),
            endpoint: connections(endpoint),
        }
    }

    fn waits(ticket: &mut Ticket) -> bool {
        ticket.grant.try_recv().is_err()
    }

    #[test]
    fn who_is_kept_out_by_its_endpoint_lets_those_behind_pass() {
        let registry = Registry::default();
        let [one, two] = [1, 2].map(|host| registry.endpoint("users", ([192, 0, 2, host], 80).into()));
        let limits = limits(3, 1);
        let held = one.place(&limits).unwrap();
        let mut first = one.queue(ADDRESS.into(), None, &limits).unwrap();
        let mut second = two.queue(ADDRESS.into(), None, &limits).unwrap();
        assert!(waits(&mut first));
        let other = second.grant.try_recv().unwrap();
        drop(held);
        let mine = first.grant.try_recv().unwrap();
        assert!(matches!((mine, other), (Grant::Connect(_), Grant::Connect(_))));
        drop((first, second));
        assert_eq!(one.upstream().usage.connections.taken(), 0);
        assert_eq!(one.upstream().usage.pending.taken(), 0);
    }

    #[test]
    fn what_who_went_away_was_given_goes_to_the_next() {
        let registry = Registry::default();
        let endpoint = registry.endpoint("users", ADDRESS.into());
        let limits = limits(1, 1);
        let held = endpoint.place(&limits).unwrap();
        let mut tickets: Vec<_> = (0..3)
            .map(|_| endpoint.queue(ADDRESS.into(), None, &limits).unwrap())
            .collect();
        drop(tickets.remove(1));
        drop(held);
        // It was given the place, and never looks.
        drop(tickets.remove(0));
        assert!(!waits(&mut tickets[0]));
        assert!(endpoint.place(&limits).is_some(), "which was dropped, too");
    }

    #[test]
    fn an_idle_connection_goes_to_its_own_pool_unless_another_has_waited_for_long() {
        let registry = Registry::default();
        let endpoint = registry.endpoint("users", ADDRESS.into());
        let limits = limits(1, 1);
        let _held = endpoint.place(&limits).unwrap();
        let queue = |pool| endpoint.queue(ADDRESS.into(), Some(pool), &limits).unwrap();
        assert_eq!(endpoint.idles(1), Idle::Keep);
        let (_other, mut own) = (queue(2), queue(1));
        assert_eq!(endpoint.idles(1), Idle::Reserve);
        assert!(matches!(own.grant.try_recv(), Ok(Grant::Pool)));
        assert_eq!((endpoint.wanted(1), endpoint.wanted(2)), (1, 0));
        let _own = queue(1);
        thread::sleep(OTHERS_WAIT);
        assert_eq!(endpoint.idles(1), Idle::Close);
    }

    #[test]
    fn threads_never_have_more_connections_than_may_be_and_nobody_waits_for_ever() {
        let registry = Registry::default();
        let endpoint = registry.endpoint("users", ADDRESS.into());
        let limits = limits(3, 2);
        let inside = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    for round in 0..5_000 {
                        let place = endpoint.place(&limits).or_else(|| {
                            let mut ticket = endpoint.queue(ADDRESS.into(), None, &limits).unwrap();
                            if round % 7 == 0 {
                                return None;
                            }
                            // Hangs for ever where a place is lost.
                            match runtime.block_on(&mut ticket.grant).unwrap() {
                                Grant::Connect(place) => Some(place),
                                Grant::Pool => None,
                            }
                        });
                        if place.is_some() {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < 2, "above the limit");
                            thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(endpoint.usage.connections.taken(), 0);
        assert_eq!(endpoint.upstream().usage.connections.taken(), 0);
        assert_eq!(endpoint.upstream().usage.pending.taken(), 0);
        assert!(endpoint.upstream().queue.is_empty());
    }
}
