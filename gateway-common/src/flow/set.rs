//! How flows lie in a flow table: an array of sets of [`WAYS`] cells, of which a flow's hash picks one.
//!
//! An array is looked up in line, a hash map by a call that costs more than all the rest of a packet's way. A set that is
//! full forgets a flow, which goes on by slot, previous owner and socket; so the table has more cells than flows are
//! asked for ([`sets_v4`]), and one command says what is lost at which load: `cargo xtask bench l4`.
//!
//! All CPUs share the table, and nothing is locked: what of a flow arrives at another CPU, after a change of receive
//! queues, finds its entry. A cell is its key's words and one word of data, and each word of the key is stored with the
//! data mixed into it. Who reads a cell while it is written, or after two have written it at once, takes key and data from
//! different writers, and then the key does not match: the flow is not known for one packet, and never goes to a node that
//! another flow's entry names. Source: Hyatt and Mann, "A lockless transposition-table implementation for parallel
//! search", 2002.

use super::{FlowEntry, FlowKey, FlowPhase};
use crate::headers::halves;
use crate::node::NodeId;

/// Cells of a set: four of IPv4 lie on two lines of the cache.
pub const WAYS: usize = 4;

/// Words of an IPv4 cell: addresses, ports and time, data.
pub const CELL_WORDS_V4: usize = 3;

/// Words of an IPv6 cell: two for each address, ports and time, data.
pub const CELL_WORDS_V6: usize = 6;

/// Words of a set of IPv4 flows, 96 bytes.
pub const SET_WORDS_V4: usize = WAYS * CELL_WORDS_V4;

/// Words of a set of IPv6 flows, 192 bytes.
pub const SET_WORDS_V6: usize = WAYS * CELL_WORDS_V6;

/// A tick of the time in a cell is that power of two of nanoseconds: 4.2 ms, and 208 days until the time comes round.
///
/// Phases end after seconds. What comes round is an entry that nobody asked for in half a year: at worst a packet takes
/// the way of a flow that has ended, to a node that then sends it on by its slot.
const TICK_SHIFT: u32 = 22;

/// Sets of IPv4 flows where so many flows are to be remembered: two cells for each, so that one of 40 is forgotten when
/// all of them are there.
pub const fn sets_v4(flows: u32) -> u32 {
    at_least_one(flows.div_ceil(WAYS as u32 / 2))
}

/// Sets of IPv6 flows: one cell for each, for they are twice as long.
pub const fn sets_v6(flows: u32) -> u32 {
    at_least_one(flows.div_ceil(WAYS as u32))
}

const fn at_least_one(sets: u32) -> u32 {
    if sets == 0 { 1 } else { sets }
}

/// Which of so many sets a flow of that hash is in.
#[inline(always)]
pub const fn set_of(hash: u64, sets: u32) -> u32 {
    (((hash >> 32) * sets as u64) >> 32) as u32
}

/// The words of one set; each is read and written whole.
pub trait Words {
    /// Reads a word.
    fn load(&self, index: usize) -> u64;

    /// Writes a word.
    fn store(&self, index: usize, word: u64);
}

/// The words of a flow's key in a cell of that size, without data; the last has the ports, and room for the time.
pub trait Key<const KEY_WORDS: usize> {
    /// The words.
    fn words(&self) -> [u64; KEY_WORDS];
}

impl Key<2> for FlowKey {
    #[inline(always)]
    fn words(&self) -> [u64; 2] {
        [
            u64::from(self.source.ipv4()) << 32 | u64::from(self.destination.ipv4()),
            ports(self),
        ]
    }
}

impl Key<5> for FlowKey {
    #[inline(always)]
    fn words(&self) -> [u64; 5] {
        let [[a, b], [c, d]] = [self.source.halves(), self.destination.halves()];
        [a, b, c, d, ports(self)]
    }
}

#[inline(always)]
const fn ports(key: &FlowKey) -> u64 {
    (key.port_word() as u64) << 32
}

/// What a set knows of a flow.
#[inline(always)]
pub fn find<W: Words, const KEY_WORDS: usize>(
    set: &W,
    key: &[u64; KEY_WORDS],
    now_ns: impl Fn() -> u64,
) -> Option<FlowEntry> {
    for way in 0..WAYS {
        if let Some((data, time)) = matching(set, way, key) {
            return Some(entry(data, time, now_ns));
        }
    }
    None
}

/// Remembers a flow in a set: in its own cell, else an empty one, else that of a flow that has ended, else one that the
/// hash picks.
#[inline(always)]
pub fn put<W: Words, const KEY_WORDS: usize>(
    set: &W,
    key: &[u64; KEY_WORDS],
    new: FlowEntry,
    hash: u64,
    now_ns: u64,
) {
    let mut free = None;
    for way in 0..WAYS {
        if matching(set, way, key).is_some() {
            return write(set, way, key, new);
        }
        if free.is_none() && is_free(set, way, KEY_WORDS, now_ns) {
            free = Some(way);
        }
    }
    let way = match free {
        Some(way) => way,
        None => hash as usize % WAYS,
    };
    write(set, way, key, new);
}

/// Forgets all flows of a set that has cells of so many words.
pub fn clear<W: Words>(set: &W, cell_words: usize) {
    for way in 0..WAYS {
        set.store(way * cell_words + cell_words - 1, 0);
    }
}

/// The flows of a set that has cells of so many words, of that protocol, with their entries: for tests and tools.
pub fn all_v4<W: Words>(set: &W, protocol: u16, now_ns: u64) -> impl Iterator<Item = (FlowKey, FlowEntry)> {
    (0..WAYS).filter_map(move |way| {
        let (words, data, time) = unmixed::<W, 2>(set, way)?;
        let key = FlowKey {
            source: crate::vip::Address::from_ipv4((words[0] >> 32) as u32),
            destination: crate::vip::Address::from_ipv4(words[0] as u32),
            ports: halves::split((words[1] >> 32) as u32),
            protocol,
            zero: 0,
        };
        Some((key, entry(data, time, || now_ns)))
    })
}

/// The same of IPv6.
pub fn all_v6<W: Words>(set: &W, protocol: u16, now_ns: u64) -> impl Iterator<Item = (FlowKey, FlowEntry)> {
    (0..WAYS).filter_map(move |way| {
        let ([a, b, c, d, ports], data, time) = unmixed::<W, 5>(set, way)?;
        let key = FlowKey {
            source: crate::vip::Address::from_halves([a, b]),
            destination: crate::vip::Address::from_halves([c, d]),
            ports: halves::split((ports >> 32) as u32),
            protocol,
            zero: 0,
        };
        Some((key, entry(data, time, || now_ns)))
    })
}

fn unmixed<W: Words, const KEY_WORDS: usize>(set: &W, way: usize) -> Option<([u64; KEY_WORDS], u64, u32)> {
    let at = way * (KEY_WORDS + 1);
    let data = set.load(at + KEY_WORDS);
    let words: [u64; KEY_WORDS] = core::array::from_fn(|index| set.load(at + index) ^ mixed(data));
    (data != 0).then(|| (words, data, words[KEY_WORDS - 1] as u32))
}

/// Data and time of a cell, if it is that flow's.
#[inline(always)]
fn matching<W: Words, const KEY_WORDS: usize>(
    set: &W,
    way: usize,
    key: &[u64; KEY_WORDS],
) -> Option<(u64, u32)> {
    let at = way * (KEY_WORDS + 1);
    let data = set.load(at + KEY_WORDS);
    let mix = mixed(data);
    // Ports differ first: clients are behind few addresses, and VIPs are few.
    let last = set.load(at + KEY_WORDS - 1) ^ mix;
    let mut different = (last ^ key[KEY_WORDS - 1]) >> 32;
    for (index, word) in key.iter().enumerate().take(KEY_WORDS - 1) {
        different |= set.load(at + index) ^ mix ^ word;
    }
    (different == 0 && data != 0).then_some((data, last as u32))
}

/// Whether a cell is empty, or its flow has ended.
#[inline(always)]
fn is_free<W: Words>(set: &W, way: usize, key_words: usize, now_ns: u64) -> bool {
    let at = way * (key_words + 1);
    let data = set.load(at + key_words);
    if data == 0 {
        return true;
    }
    if phase(data) == FlowPhase::OPEN {
        return false;
    }
    let last = set.load(at + key_words - 1) ^ mixed(data);
    !entry(data, last as u32, || now_ns).is_live(now_ns)
}

#[inline(always)]
fn write<W: Words, const KEY_WORDS: usize>(set: &W, way: usize, key: &[u64; KEY_WORDS], new: FlowEntry) {
    let at = way * (KEY_WORDS + 1);
    let data = packed(new);
    let mix = mixed(data);
    for (index, word) in key.iter().enumerate().take(KEY_WORDS - 1) {
        set.store(at + index, word ^ mix);
    }
    let time = (new.since_ns >> TICK_SHIFT) as u32;
    set.store(at + KEY_WORDS - 1, (key[KEY_WORDS - 1] | u64::from(time)) ^ mix);
    set.store(at + KEY_WORDS, data);
}

/// Node, phase and incarnation in a word, which is zero for nobody alone.
#[inline(always)]
const fn packed(entry: FlowEntry) -> u64 {
    (entry.incarnation as u64) << 32 | (entry.phase.0 as u64) << 16 | entry.node.0 as u64
}

#[inline(always)]
const fn phase(data: u64) -> FlowPhase {
    FlowPhase((data >> 16) as u16)
}

/// Spreads what differs in two words of data over all bits, so that no difference of addresses makes up for it.
#[inline(always)]
const fn mixed(data: u64) -> u64 {
    data.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The entry of a cell. The time is in whole ticks, and no later than now.
#[inline(always)]
fn entry(data: u64, time: u32, now_ns: impl Fn() -> u64) -> FlowEntry {
    FlowEntry {
        node: NodeId(data as u16),
        phase: phase(data),
        incarnation: (data >> 32) as u32,
        since_ns: since_ns(time, now_ns),
    }
}

#[inline(always)]
fn since_ns(time: u32, now_ns: impl Fn() -> u64) -> u64 {
    // Of a connection that is open nobody asks.
    if time == 0 {
        return 0;
    }
    let now = now_ns() >> TICK_SHIFT;
    // Another CPU's clock may be ahead by a tick.
    let age = (now as u32).wrapping_sub(time);
    let age = if age > u32::MAX / 2 { 0 } else { age };
    now.saturating_sub(u64::from(age)) << TICK_SHIFT
}

#[cfg(test)]
mod tests;
