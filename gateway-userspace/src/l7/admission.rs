//! How many client connections the node takes, in all and of one client.
//!
//! Counted when a connection is accepted and when it is gone, by all workers together: figures are the node's.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::filters::network;

/// The client has its most connections.
#[derive(Debug)]
pub(super) struct Full;

/// The node's connections.
#[derive(Debug)]
pub(super) struct Admission {
    open: AtomicUsize,
    max: AtomicUsize,
    /// Of one client at most; 0: any number.
    per_client_max: AtomicUsize,
    /// Counted whatever the limit, which may come while connections are there. Bounded by their number.
    clients: Mutex<HashMap<IpAddr, usize>>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(usize::MAX),
            per_client_max: AtomicUsize::new(0),
            clients: Mutex::default(),
        }
    }
}

impl Admission {
    /// Sets the limits; connections that are there stay.
    pub(super) fn limit(&self, max: usize, per_client_max: Option<usize>) {
        self.max.store(max, Ordering::Relaxed);
        self.per_client_max
            .store(per_client_max.unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether another connection fits. Workers that ask at once may both go on: exact within one per worker.
    pub(super) fn has_room(&self) -> bool {
        self.open.load(Ordering::Relaxed) < self.max.load(Ordering::Relaxed)
    }

    /// A connection is accepted; [`Admission::leave`] must follow.
    ///
    /// # Errors
    /// The client has its most; nothing is to be left.
    pub(super) fn enter(&self, client: IpAddr) -> Result<(), Full> {
        self.more(client)?;
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn more(&self, client: IpAddr) -> Result<(), Full> {
        let max = self.per_client_max.load(Ordering::Relaxed);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(network(client)).or_default();
        if max > 0 && *count >= max {
            return Err(Full);
        }
        *count += 1;
        Ok(())
    }

    /// A connection that was entered is not the peer's: [`Admission::name`] is to say whose, or nobody ever.
    pub(super) fn forget(&self, peer: IpAddr) {
        self.less(peer);
    }

    /// A connection that was entered, and is nobody's yet, is that client's.
    ///
    /// # Errors
    /// The client has its most; the connection is nobody's still.
    pub(super) fn name(&self, client: IpAddr) -> Result<(), Full> {
        self.more(client)
    }

    /// A connection is gone; `None`: nobody was named.
    pub(super) fn leave(&self, client: Option<IpAddr>) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = client {
            self.less(client);
        }
    }

    fn less(&self, client: IpAddr) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = clients.entry(network(client)) {
            if *entry.get() > 1 {
                *entry.get_mut() -= 1;
            } else {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_most_and_others_have_theirs() {
        let admission = Admission::default();
        admission.limit(10, Some(2));
        let client = |text: &str| text.parse::<IpAddr>().unwrap();
        let rows = [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::1", true),
            ("2001:db8::ffff", true),
            ("2001:db8::2", false),
            ("2001:db8:0:1::1", true),
        ];
        for (address, taken) in rows {
            assert_eq!(admission.enter(client(address)).is_ok(), taken, "{address}");
        }
        admission.leave(Some(client("192.0.2.1")));
        assert!(admission.enter(client("192.0.2.1")).is_ok(), "one went");
        for address in [
            "192.0.2.1",
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8::1",
            "2001:db8::1",
        ] {
            admission.leave(Some(client(address)));
        }
        admission.leave(Some(client("2001:db8:0:1::1")));
        assert!(admission.clients.lock().unwrap().is_empty(), "nothing piles up");
    }

    #[test]
    fn who_connects_for_others_is_not_counted_for_them() {
        let admission = Admission::default();
        admission.limit(10, Some(1));
        let (proxy, client) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
        for _ in 0..3 {
            admission.enter(proxy).unwrap();
            admission.forget(proxy);
        }
        assert!(admission.name(client).is_ok());
        assert!(admission.name(client).is_err(), "that client has its most");
        assert!(admission.name(proxy).is_ok(), "the proxy's own");
        for counted_for in [Some(client), Some(proxy), None] {
            admission.leave(counted_for);
        }
        assert!(admission.clients.lock().unwrap().is_empty(), "nothing piles up");
        assert_eq!(admission.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_limit_that_comes_later_counts_who_is_there() {
        let admission = Admission::default();
        let client = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..3 {
            admission.enter(client).unwrap();
        }
        admission.limit(10, Some(2));
        assert!(admission.enter(client).is_err(), "three are there");
        admission.leave(Some(client));
        assert!(admission.enter(client).is_err(), "two are there");
        admission.leave(Some(client));
        assert!(admission.enter(client).is_ok(), "one is there");
    }

    #[test]
    fn the_node_is_full_at_its_most_whoever_comes() {
        let admission = Admission::default();
        admission.limit(1, None);
        let client = IpAddr::from([192, 0, 2, 1]);
        assert!(admission.has_room());
        admission.enter(client).unwrap();
        assert!(!admission.has_room());
        admission.leave(Some(client));
        assert!(admission.has_room());
    }
}
