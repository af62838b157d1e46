//! The thread that writes the lists of prefixes: orders at once, what the configuration lists a piece at a time.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use aya::maps::{Array, MapData};
use gateway_common::abi;
use gateway_common::prefix::Prefix;
use gateway_common::protection::{Lists, Protection as Words};
use tokio::sync::oneshot;

use super::book::Change;
use super::list::{List, Trie};
use super::{Configured, Told};
use crate::config::snapshot::Scope;
use crate::l4::L4Error;
use crate::l4::maps::now_ns;

/// How often what has expired is taken out. The kernel itself compares times: this only frees memory.
const SWEEP: Duration = Duration::from_secs(1);
/// How often the log says how far a long list is.
const PROGRESS: Duration = Duration::from_secs(5);
/// Changes from which on it does.
const LONG: usize = 50_000;

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Order {
    /// Follows the configuration.
    Configure(Configured),
    /// Denies, or (`None`) does so no longer.
    Deny {
        /// Until when, on the kernel's clock.
        changes: Vec<(Prefix, Option<u64>)>,
        /// Told once they are in the kernel.
        done: oneshot::Sender<Result<(), L4Error>>,
    },
}

/// The lists, their maps, and what is still to be written.
pub(super) struct Filler {
    denied: List,
    allowed: List,
    map: Array<MapData, Words>,
    /// What stands in the map, as far as it is known.
    words: HashMap<u32, Words>,
    configured: Option<Configured>,
    /// Until when orders hold.
    ordered: HashMap<Prefix, u64>,
    /// The same by time, and what was ordered otherwise since.
    ends: BTreeSet<(u64, Prefix)>,
    told: Arc<Told>,
    long: Option<Long>,
}

/// A long list that is being written.
struct Long {
    began: Instant,
    said: Instant,
    changes: usize,
}

impl Filler {
    pub(super) fn new(
        denied: (Trie, OwnedFd),
        allowed: (Trie, OwnedFd),
        map: Array<MapData, Words>,
        prefixes_max: u32,
        told: Arc<Told>,
    ) -> Self {
        Self {
            denied: List::new(abi::DENIED, denied, prefixes_max),
            allowed: List::new(abi::ALLOWED, allowed, prefixes_max),
            map,
            words: HashMap::new(),
            configured: None,
            ordered: HashMap::new(),
            ends: BTreeSet::new(),
            told,
            long: None,
        }
    }

    /// Writes until nobody has orders any more.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        for list in [&mut self.allowed, &mut self.denied] {
            list.read();
        }
        let mut swept = Instant::now();
        loop {
            let order = if self.waiting() == 0 {
                orders.recv_timeout(SWEEP)
            } else {
                orders.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            };
            match order {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.sweep();
            }
            // Whoever is never denied comes first.
            if !self.allowed.write_some() {
                self.denied.write_some();
            }
            self.tell();
        }
    }

    fn waiting(&self) -> usize {
        self.allowed.waiting() + self.denied.waiting()
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Configure(configured) => {
                let is_first = self.configured.is_none();
                self.allowed.configure(&configured.protection.allow.all, is_first);
                self.denied.configure(&configured.protection.deny.all, is_first);
                self.configured = Some(configured);
                let changes = self.waiting();
                if changes >= LONG {
                    tracing::info!(changes, "writing the lists of prefixes");
                    let now = Instant::now();
                    self.long = Some(Long {
                        began: now,
                        said: now,
                        changes,
                    });
                }
            }
            Order::Deny { changes, done } => {
                let mut result = Ok(());
                for (prefix, until_ns) in changes {
                    let change = match until_ns {
                        Some(until_ns) => {
                            self.ordered.insert(prefix, until_ns);
                            self.ends.insert((until_ns, prefix));
                            Change::Ordered(until_ns)
                        }
                        None => {
                            self.ordered.remove(&prefix);
                            Change::Withdrawn
                        }
                    };
                    let written = self.denied.change(prefix, change);
                    result = result.and(written);
                }
                self.tell_lists();
                // Whoever asked may have gone.
                drop(done.send(result));
            }
        }
    }

    /// Takes out what has expired.
    fn sweep(&mut self) {
        let Ok(now) = now_ns() else { return };
        while let Some((until_ns, prefix)) = self.ends.first().copied()
            && until_ns <= now
        {
            self.ends.pop_first();
            // Unless it was ordered anew meanwhile.
            if self.ordered.get(&prefix) == Some(&until_ns) {
                self.ordered.remove(&prefix);
                let removed = self.denied.change(prefix, Change::Withdrawn);
                if let Err(error) = removed {
                    tracing::warn!(%prefix, error = &error as &dyn std::error::Error, "an expired prefix stays in the kernel");
                }
            }
        }
    }

    fn tell(&mut self) {
        self.tell_lists();
        let waiting = self.waiting();
        Told::set(&self.told.denied, self.denied.book.len());
        Told::set(&self.told.allowed, self.allowed.book.len());
        Told::set(&self.told.waiting, waiting);
        Told::set(&self.told.refused, self.denied.refused + self.allowed.refused);
        let Some(long) = &mut self.long else { return };
        if waiting == 0 {
            let took = long.began.elapsed();
            tracing::info!(changes = long.changes, ?took, "the lists of prefixes are written");
            self.long = None;
        } else if long.said.elapsed() >= PROGRESS {
            long.said = Instant::now();
            tracing::info!(left = waiting, "writing the lists of prefixes");
        }
    }

    /// Says in the kernel which lists hold, and the bounds: at first those of all, then those of each VIP.
    fn tell_lists(&mut self) {
        let Some(configured) = &self.configured else {
            return;
        };
        let mut lists = Lists::default();
        for (is_ipv4, flag) in [(true, Lists::DENIES_IPV4), (false, Lists::DENIES_IPV6)] {
            if self.denied.book.has_family(is_ipv4) {
                lists = lists.with(flag);
            }
        }
        if configured.protection.scope == Scope::Host {
            lists = lists.with(Lists::OF_HOST);
        }
        for (index, words) in configured.words(lists) {
            if self.words.get(&index) == Some(&words) {
                continue;
            }
            match self.map.set(index, words, 0) {
                Ok(()) => drop(self.words.insert(index, words)),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    return tracing::error!(error, "the bounds of new connections cannot be written");
                }
            }
        }
    }
}
