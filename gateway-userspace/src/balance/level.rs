//! One level's members that may be picked, and weighted draws among them.

use super::mix::below;
use super::{Mode, Zone};

/// Who may be picked together.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) priority: u8,
    pub(super) zone: Option<Zone>,
    pub(super) mode: Mode,
    /// Millionths of all traffic.
    pub(super) load: u64,
    /// The same of this level and all above.
    pub(super) until: u64,
    /// In the order of their indices.
    pub(super) entries: Box<[Entry]>,
}

/// A member that may be picked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) index: usize,
    /// Thousandths of a weight of 1.
    pub(super) weight: u32,
    /// The sum of the weights of this entry and all before.
    until: u64,
}

impl Level {
    /// Entries from indices and weights.
    pub(super) fn entries(members: impl Iterator<Item = (usize, u32)>) -> Box<[Entry]> {
        let mut until = 0;
        members
            .map(|(index, weight)| {
                until += u64::from(weight);
                Entry { index, weight, until }
            })
            .collect()
    }

    /// The sum of the weights.
    pub(super) fn weight(&self) -> u64 {
        self.entries.last().map_or(0, |last| last.until)
    }

    /// One by weight, among those that were not tried. O(log n) where none was.
    pub(super) fn draw(&self, bits: u64, tried: &[usize]) -> Option<&Entry> {
        if tried.is_empty() {
            return self.at(below(bits, self.weight()));
        }
        self.draw_from(bits, |entry| !tried.contains(&entry.index))
    }

    /// Two different ones by weight; the second is missing where only one is left.
    pub(super) fn draw_two(&self, bits: [u64; 2], tried: &[usize]) -> Option<(&Entry, Option<&Entry>)> {
        let [one, other] = bits;
        let first = self.draw(one, tried)?;
        if !tried.is_empty() {
            let may = |entry: &Entry| entry.index != first.index && !tried.contains(&entry.index);
            return Some((first, self.draw_from(other, may)));
        }
        if self.entries.len() < 2 {
            return Some((first, None));
        }
        // As if the first were not there.
        let width = u64::from(first.weight);
        let mut point = below(other, self.weight() - width);
        if point >= first.until - width {
            point += width;
        }
        Some((first, self.at(point)))
    }

    /// The entry whose part of the sum of weights holds that point.
    fn at(&self, point: u64) -> Option<&Entry> {
        self.entries
            .get(self.entries.partition_point(|entry| entry.until <= point))
    }

    /// O(n): only where some are left out.
    fn draw_from(&self, bits: u64, may: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        let allowed = || self.entries.iter().filter(|entry| may(entry));
        let sum: u64 = allowed().map(|entry| u64::from(entry.weight)).sum();
        let mut point = below(bits, sum);
        allowed().find(|entry| {
            let weight = u64::from(entry.weight);
            let found = point < weight;
            point = point.saturating_sub(weight);
            found
        })
    }
}
