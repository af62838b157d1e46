//! Which prefixes stand in a trie of the kernel, and until when: pure.
//!
//! The kernel looks for the longest prefix around an address, and for no other. So each entry holds for as long as the
//! longest of all prefixes around it does: the end of a short ban within a long one ends nothing, even where user space is
//! dead when it comes.

use std::collections::BTreeMap;

use gateway_common::prefix::Prefix;
use gateway_common::protection::FOREVER_NS;

/// A list of prefixes with what was written of it.
#[derive(Debug)]
pub(super) struct Book {
    entries: BTreeMap<Prefix, Entry>,
    /// How many prefixes of each length are listed.
    lengths: [u32; 129],
}

impl Default for Book {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            lengths: [0; 129],
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Until when the configuration lists it: for good, or (0) not at all.
    configured_ns: u64,
    /// Until when an order does; 0: none does.
    ordered_ns: u64,
    /// What the kernel was told; 0: it does not have it.
    written_ns: u64,
}

impl Entry {
    /// Until when it is listed; 0: it is not.
    fn listed_ns(&self) -> u64 {
        self.configured_ns.max(self.ordered_ns)
    }
}

/// What happens to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The configuration lists it.
    Configured,
    /// It does no longer.
    Unconfigured,
    /// It is listed until that time beside.
    Ordered(u64),
    /// It is no longer.
    Withdrawn,
}

/// What the kernel is to be told: until when a prefix holds; `None`: it goes.
pub(super) type Write = (Prefix, Option<u64>);

impl Book {
    /// Notes what stands in the kernel and was never listed in this life.
    pub(super) fn found(&mut self, prefix: Prefix, until_ns: u64) {
        self.entries.entry(prefix).or_default().written_ns = until_ns.max(1);
    }

    /// What stands in the kernel and is not listed.
    pub(super) fn leftovers(&self) -> Vec<Prefix> {
        let left = self.entries.iter().filter(|(_, entry)| entry.listed_ns() == 0);
        left.map(|(prefix, _)| *prefix).collect()
    }

    /// Prefixes that stand in the kernel.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether one of a family is among them.
    pub(super) fn has_family(&self, is_ipv4: bool) -> bool {
        let mapped = Prefix::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
        let Some(mapped) = mapped else { return true };
        match is_ipv4 {
            // A prefix of IPv6 that is wide enough has all of IPv4's, too.
            true => self.entries.range(mapped.covered()).next().is_some() || self.widest_around(&mapped),
            false => {
                let (first, last) = (*mapped.covered().start(), *mapped.covered().end());
                let before = self.entries.range(..first).next();
                let behind = self.entries.range(last..).find(|(prefix, _)| **prefix > last);
                before.or(behind).is_some()
            }
        }
    }

    fn widest_around(&self, prefix: &Prefix) -> bool {
        (0..prefix.bits()).any(|bits| self.entries.contains_key(&prefix.with_bits(bits)))
    }

    /// Makes a change, and adds what the kernel is to be told of it.
    pub(super) fn change(&mut self, prefix: Prefix, change: Change, writes: &mut Vec<Write>) {
        let entry = self.entries.entry(prefix).or_default();
        let before = entry.listed_ns();
        match change {
            Change::Configured => entry.configured_ns = FOREVER_NS,
            Change::Unconfigured => entry.configured_ns = 0,
            Change::Ordered(until_ns) => entry.ordered_ns = until_ns,
            Change::Withdrawn => entry.ordered_ns = 0,
        }
        let after = entry.listed_ns();
        let length = usize::from(prefix.bits());
        if let Some(count) = self.lengths.get_mut(length) {
            match (before, after) {
                (0, 1..) => *count += 1,
                (1.., 0) => *count -= 1,
                _ => {}
            }
        }
        // What an earlier life left is its own affair until it is listed, or goes.
        let is_affected = |(other, entry): &(&Prefix, &Entry)| **other == prefix || entry.listed_ns() != 0;
        let affected: Vec<Prefix> = match before == after {
            true => vec![prefix],
            false => {
                let within = self.entries.range(prefix.covered());
                within.filter(is_affected).map(|(other, _)| *other).collect()
            }
        };
        for prefix in affected {
            self.settle(prefix, writes);
        }
    }

    /// The kernel did not take it.
    pub(super) fn not_written(&mut self, prefix: Prefix) {
        if let Some(entry) = self.entries.get_mut(&prefix) {
            entry.written_ns = 0;
        }
    }

    /// Adds what the kernel is to be told of one prefix, if it is not what it knows.
    fn settle(&mut self, prefix: Prefix, writes: &mut Vec<Write>) {
        let until_ns = self.holds_ns(prefix);
        let Some(entry) = self.entries.get_mut(&prefix) else {
            return;
        };
        if entry.written_ns != until_ns {
            writes.push((prefix, (until_ns != 0).then_some(until_ns)));
            entry.written_ns = until_ns;
        }
        if until_ns == 0 {
            self.entries.remove(&prefix);
        }
    }

    /// Until when a listed prefix holds, by itself or by one around it; 0: it is not listed.
    fn holds_ns(&self, prefix: Prefix) -> u64 {
        let listed = |prefix: &Prefix| self.entries.get(prefix).map_or(0, Entry::listed_ns);
        let own = listed(&prefix);
        if own == 0 || own == FOREVER_NS {
            return own;
        }
        let around = self.lengths.iter().take(usize::from(prefix.bits())).enumerate();
        let around = around.filter(|(_, count)| **count > 0);
        let around = around.map(|(bits, _)| listed(&prefix.with_bits(bits as u8)));
        around.max().unwrap_or(0).max(own)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::config::validate;

    fn prefix(text: &str) -> Prefix {
        validate::prefix(text).unwrap()
    }

    fn change(book: &mut Book, text: &str, change: Change) -> Vec<(String, Option<u64>)> {
        let mut writes = Vec::new();
        book.change(prefix(text), change, &mut writes);
        writes
            .into_iter()
            .map(|(prefix, until)| (prefix.to_string(), until))
            .collect()
    }

    fn row(prefix: &str, until: Option<u64>) -> (String, Option<u64>) {
        (prefix.to_owned(), until)
    }

    #[test]
    fn the_end_of_a_short_ban_within_a_long_one_ends_nothing() {
        let mut book = Book::default();
        let short = change(&mut book, "10.1.0.0/16", Change::Ordered(5));
        assert_eq!(short, [row("10.1.0.0/16", Some(5))]);
        let around = change(&mut book, "10.0.0.0/8", Change::Configured);
        assert_eq!(
            around,
            [
                row("10.0.0.0/8", Some(FOREVER_NS)),
                row("10.1.0.0/16", Some(FOREVER_NS))
            ]
        );
        let gone = change(&mut book, "10.0.0.0/8", Change::Unconfigured);
        assert_eq!(gone, [row("10.0.0.0/8", None), row("10.1.0.0/16", Some(5))]);
        assert_eq!(
            change(&mut book, "10.1.0.0/16", Change::Withdrawn),
            [row("10.1.0.0/16", None)]
        );
        assert_eq!(book.len(), 0);
    }

    #[test]
    fn what_two_list_stays_until_neither_does() {
        let mut book = Book::default();
        assert_eq!(change(&mut book, "10.0.0.0/8", Change::Configured).len(), 1);
        assert_eq!(change(&mut book, "10.0.0.0/8", Change::Ordered(5)), []);
        assert_eq!(
            change(&mut book, "10.0.0.0/8", Change::Unconfigured),
            [row("10.0.0.0/8", Some(5))]
        );
        assert_eq!(
            change(&mut book, "10.0.0.0/8", Change::Withdrawn),
            [row("10.0.0.0/8", None)]
        );
        assert_eq!(change(&mut book, "10.0.0.0/8", Change::Withdrawn), []);
        assert_eq!(book.len(), 0);
    }

    #[test]
    fn what_an_earlier_life_left_goes_unless_it_is_listed() {
        let mut book = Book::default();
        book.found(prefix("10.0.0.0/8"), FOREVER_NS);
        book.found(prefix("10.1.0.0/16"), FOREVER_NS);
        assert_eq!(change(&mut book, "10.0.0.0/8", Change::Configured), []);
        assert_eq!(book.leftovers(), [prefix("10.1.0.0/16")]);
        assert_eq!(
            change(&mut book, "10.1.0.0/16", Change::Withdrawn),
            [row("10.1.0.0/16", None)]
        );
        assert_eq!(book.leftovers(), []);
    }

    #[test]
    fn families_are_told_apart() {
        let mut book = Book::default();
        assert_eq!([book.has_family(true), book.has_family(false)], [false, false]);
        change(&mut book, "0.0.0.0/0", Change::Configured);
        change(&mut book, "255.255.255.255/32", Change::Configured);
        assert_eq!([book.has_family(true), book.has_family(false)], [true, false]);
        change(&mut book, "2001:db8::/32", Change::Configured);
        assert_eq!([book.has_family(true), book.has_family(false)], [true, true]);
        let mut book = Book::default();
        change(&mut book, "2001:db8::/32", Change::Configured);
        assert_eq!([book.has_family(true), book.has_family(false)], [false, true]);
        change(&mut book, "::/0", Change::Configured);
        assert_eq!([book.has_family(true), book.has_family(false)], [true, true]);
    }

    /// The kernel's trie after many changes says of every address what a look at all that is listed says.
    #[test]
    fn the_longest_prefix_says_what_all_around_an_address_say() {
        let mut random = StdRng::seed_from_u64(7);
        let mut book = Book::default();
        let mut trie: BTreeMap<Prefix, u64> = BTreeMap::new();
        let mut listed: BTreeMap<Prefix, [u64; 2]> = BTreeMap::new();
        let mut writes = Vec::new();
        for _ in 0..3_000 {
            let address =
                std::net::Ipv4Addr::new(10, 0, random.random_range(0..4), random.random_range(0..8));
            let prefix = Prefix::new(address.into(), random.random_range(20..=32)).unwrap();
            let own = listed.entry(prefix).or_default();
            let made = match random.random_range(0..5) {
                0 => {
                    own[0] = FOREVER_NS;
                    Change::Configured
                }
                1 | 2 => {
                    own[0] = 0;
                    Change::Unconfigured
                }
                3 => {
                    own[1] = random.random_range(1..100);
                    Change::Ordered(own[1])
                }
                _ => {
                    own[1] = 0;
                    Change::Withdrawn
                }
            };
            book.change(prefix, made, &mut writes);
            for (prefix, until) in writes.drain(..) {
                match until {
                    Some(until) => trie.insert(prefix, until),
                    None => trie.remove(&prefix),
                };
            }
            listed.retain(|_, own| *own != [0, 0]);
            assert_eq!(trie.len(), listed.len());
            assert_eq!(book.len(), listed.len());
            let host = Prefix::new(address.into(), 32).unwrap();
            let longest = trie
                .iter()
                .filter(|(prefix, _)| prefix.covers(&host))
                .max_by_key(|(prefix, _)| prefix.bits());
            let all = listed.iter().filter(|(prefix, _)| prefix.covers(&host));
            let wanted = all.map(|(_, own)| own[0].max(own[1])).max();
            assert_eq!(longest.map(|(_, until)| *until), wanted, "{address}");
        }
    }
}
