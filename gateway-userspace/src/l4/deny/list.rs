//! One list of prefixes, as its map in the kernel is brought to what the configuration and orders list.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapData, MapError};
use gateway_common::prefix::Prefix;
use gateway_common::vip::Address;

use super::book::{Book, Change, Write};
use crate::l4::{L4Error, bpf};

/// Changes between two looks for orders: some milliseconds.
const PIECE: usize = 4_096;
/// Writes from which on one call for all of them takes less than one for each.
const BATCH_MIN: usize = 8;

/// Prefixes, and until when they hold.
pub(super) type Trie = LpmTrie<MapData, Address, u64>;

/// A list of prefixes: its map, what is written of it, and what waits.
pub(super) struct List {
    name: &'static str,
    trie: Trie,
    /// The same map, for batches.
    descriptor: OwnedFd,
    pub(super) book: Book,
    prefixes_max: u32,
    /// What the configuration lists, whether it is written or waits.
    configured: Arc<[Prefix]>,
    waiting: VecDeque<(Prefix, Change)>,
    /// Prefixes that the kernel did not take.
    pub(super) refused: usize,
}

impl List {
    /// Over that map and a descriptor of it, with room for so many prefixes.
    pub(super) fn new(name: &'static str, (trie, descriptor): (Trie, OwnedFd), prefixes_max: u32) -> Self {
        Self {
            name,
            trie,
            descriptor,
            book: Book::default(),
            prefixes_max,
            configured: Arc::from([]),
            waiting: VecDeque::new(),
            refused: 0,
        }
    }

    /// Changes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Reads what an earlier life left.
    pub(super) fn read(&mut self) {
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
    pub(super) fn configure(&mut self, next: &Arc<[Prefix]>, is_first: bool) {
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
    pub(super) fn write_some(&mut self) -> bool {
        let piece = self.waiting.len().min(PIECE);
        let mut writes: Vec<Write> = Vec::new();
        for (prefix, change) in self.waiting.drain(..piece) {
            self.book.change(prefix, change, &mut writes);
        }
        let before = self.refused;
        let (refused, last) = self.write(&writes);
        self.refused += refused;
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

    /// Makes a change at once.
    pub(super) fn change(&mut self, prefix: Prefix, change: Change) -> Result<(), L4Error> {
        let mut writes: Vec<Write> = Vec::new();
        self.book.change(prefix, change, &mut writes);
        match self.write(&writes) {
            (_, Some(error)) => Err(error),
            (_, None) => Ok(()),
        }
    }

    /// Carries out writes in their order: how many the kernel refused, and why it did the last of them.
    fn write(&mut self, writes: &[Write]) -> (usize, Option<L4Error>) {
        let mut refused = Vec::new();
        let is_alike = |one: &Write, next: &Write| one.1.is_some() == next.1.is_some();
        for run in writes.chunk_by(is_alike) {
            // A batch may end early; the rest goes one by one, each with what the kernel says of it.
            for (prefix, until_ns) in run.iter().skip(self.put(run)) {
                let key = Key::new(u32::from(prefix.bits()), prefix.address());
                let written = match until_ns {
                    Some(until_ns) => self.trie.insert(&key, until_ns, 0),
                    None => absent_is_fine(self.trie.remove(&key)),
                };
                if let Err(error) = written {
                    refused.push((*prefix, error));
                }
            }
        }
        let count = refused.len();
        let mut last = None;
        for (prefix, error) in refused {
            self.book.not_written(prefix);
            last = Some(self.refusal(error));
        }
        (count, last)
    }

    /// Writes what is to be listed of a run as one batch; how much of it was.
    fn put(&self, run: &[Write]) -> usize {
        let listed = run
            .iter()
            .filter_map(|(prefix, until_ns)| Some((prefix, (*until_ns)?)));
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (prefix, until_ns) in listed {
            // As the kernel has a key of a trie: its length, then its bytes.
            keys.extend(u32::from(prefix.bits()).to_ne_bytes());
            keys.extend(prefix.address().halves().into_iter().flat_map(u64::to_ne_bytes));
            values.extend(until_ns.to_ne_bytes());
        }
        let count = values.len() / size_of::<u64>();
        if count < BATCH_MIN {
            return 0;
        }
        match bpf::write_all(self.descriptor.as_fd(), count, &keys, &values) {
            Ok(()) => count,
            Err(unwritten) => unwritten.written,
        }
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
