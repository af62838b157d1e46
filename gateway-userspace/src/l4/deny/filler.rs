//! The thread that writes the lists of prefixes: orders at once, what the configuration lists a piece at a time.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData, MapError};
use gateway_common::abi;
use gateway_common::prefix::Prefix;
use gateway_common::protection::{Lists, Protection as Words};
use gateway_common::vip::Address;
use tokio::sync::oneshot;

use super::book::{Book, Change, Write};
use super::{Told, words};
use crate::config::snapshot::{Protection, Scope};
use crate::l4::L4Error;
use crate::l4::maps::now_ns;

/// Changes between two looks for orders: some milliseconds.
const PIECE: usize = 4_096;
/// How often what has expired is taken out. The kernel itself compares times: this only frees memory.
const SWEEP: Duration = Duration::from_secs(1);
/// How often the log says how far a long list is.
const PROGRESS: Duration = Duration::from_secs(5);
/// Changes from which on it does.
const LONG: usize = 50_000;

type Trie = LpmTrie<MapData, Address, u64>;

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Order {
    /// Follows the configuration.
    Configure(Arc<Protection>),
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
    /// What stands in the map; `None`: nobody knows.
    words: Option<Words>,
    configured: Option<Arc<Protection>>,
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

struct List {
    name: &'static str,
    trie: Trie,
    book: Book,
    prefixes_max: u32,
    /// What the configuration lists, whether it is written or waits.
    configured: Arc<[Prefix]>,
    waiting: VecDeque<(Prefix, Change)>,
    refused: usize,
}

impl Filler {
    pub(super) fn new(
        denied: Trie,
        allowed: Trie,
        map: Array<MapData, Words>,
        prefixes_max: u32,
        told: Arc<Told>,
    ) -> Self {
        Self {
            denied: List::new(abi::DENIED, denied, prefixes_max),
            allowed: List::new(abi::ALLOWED, allowed, prefixes_max),
            map,
            words: None,
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
        self.allowed.waiting.len() + self.denied.waiting.len()
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Configure(protection) => {
                let is_first = self.configured.is_none();
                self.allowed.configure(&protection.allow.all, is_first);
                self.denied.configure(&protection.deny.all, is_first);
                self.configured = Some(protection);
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

    /// Says in the kernel which lists hold, and the bounds.
    fn tell_lists(&mut self) {
        let Some(protection) = &self.configured else {
            return;
        };
        let mut lists = Lists::default();
        for (is_ipv4, flag) in [(true, Lists::DENIES_IPV4), (false, Lists::DENIES_IPV6)] {
            if self.denied.book.has_family(is_ipv4) {
                lists = lists.with(flag);
            }
        }
        if protection.scope == Scope::Host {
            lists = lists.with(Lists::OF_HOST);
        }
        let words = Words {
            lists,
            ..words(protection)
        };
        if self.words == Some(words) {
            return;
        }
        match self.map.set(0, words, 0) {
            Ok(()) => self.words = Some(words),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the bounds of new connections cannot be written"
            ),
        }
    }
}

impl List {
    fn new(name: &'static str, trie: Trie, prefixes_max: u32) -> Self {
        Self {
            name,
            trie,
            book: Book::default(),
            prefixes_max,
            configured: Arc::from([]),
            waiting: VecDeque::new(),
            refused: 0,
        }
    }

    /// Reads what an earlier life left.
    fn read(&mut self) {
        for entry in self.trie.iter() {
            match entry {
                Ok((key, until_ns)) => {
                    let (bits, address) = (key.prefix_len(), key.data());
                    let host = Prefix::host(address);
                    self.book.found(host.with_bits(bits as u8), until_ns);
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(
                        error,
                        map = self.name,
                        "what an earlier life left there cannot be read"
                    );
                    return;
                }
            }
        }
    }

    /// Has it become what the configuration lists; of what an earlier life left, the rest goes the first time.
    fn configure(&mut self, next: &Arc<[Prefix]>, is_first: bool) {
        let before = std::mem::replace(&mut self.configured, Arc::clone(next));
        let (mut old, mut new) = (before.iter().copied().peekable(), next.iter().copied().peekable());
        loop {
            let change = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(was), Some(is)) if was == is => {
                    old.next();
                    new.next();
                    continue;
                }
                (Some(was), Some(is)) if was < is => (*was, Change::Unconfigured),
                (Some(was), None) => (*was, Change::Unconfigured),
                (_, Some(is)) => (*is, Change::Configured),
            };
            match change.1 {
                Change::Configured => new.next(),
                _ => old.next(),
            };
            self.waiting.push_back(change);
        }
        if is_first {
            let left = self.book.leftovers().into_iter();
            let left = left.filter(|prefix| next.binary_search(prefix).is_err());
            self.waiting
                .extend(left.map(|prefix| (prefix, Change::Withdrawn)));
        }
    }

    /// Writes a piece of what waits; whether there was any.
    fn write_some(&mut self) -> bool {
        let before = self.refused;
        let mut last = None;
        let piece = self.waiting.len().min(PIECE);
        for _ in 0..piece {
            let Some((prefix, change)) = self.waiting.pop_front() else {
                break;
            };
            if let Err(error) = self.change(prefix, change) {
                self.refused += 1;
                last = Some(error);
            }
        }
        if let Some(error) = last
            && before == 0
        {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                error,
                map = self.name,
                "prefixes of the configuration are not in the kernel"
            );
        }
        piece > 0
    }

    fn change(&mut self, prefix: Prefix, change: Change) -> Result<(), L4Error> {
        let mut writes: Vec<Write> = Vec::new();
        self.book.change(prefix, change, &mut writes);
        let mut result = Ok(());
        for (prefix, until_ns) in writes {
            let key = Key::new(u32::from(prefix.bits()), prefix.address());
            let written = match until_ns {
                Some(until_ns) => self.trie.insert(&key, until_ns, 0),
                None => absent_is_fine(self.trie.remove(&key)),
            };
            if let Err(error) = written {
                self.book.not_written(prefix);
                result = result.and(Err(self.refusal(error)));
            }
        }
        result
    }

    fn refusal(&self, source: MapError) -> L4Error {
        let code = match &source {
            MapError::SyscallError(error) => error.io_error.raw_os_error(),
            _ => None,
        };
        match code {
            Some(libc::ENOSPC) => L4Error::ListFull {
                prefixes_max: self.prefixes_max,
            },
            _ => L4Error::Map {
                action: "write",
                map: self.name,
                source,
            },
        }
    }
}

fn absent_is_fine(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}
