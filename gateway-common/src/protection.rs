//! What protects VIPs: which lists hold, how many new connections a source or a VIP may begin, and how many flows it may
//! have remembered.
//!
//! Buckets are those of the generic cell rate algorithm (ITU-T I.371): one word says when the bucket would have been full
//! again. Sources share an array of sets of four; how a set that is full takes one more is Space-Saving (Metwally, Agrawal
//! and El Abbadi, ICDT 2005): the newcomer takes the place, and the debt, of the one that owes least. So nobody is rid of
//! a debt by whom he brings along, and whoever comes when debts are paid owes nothing.

use crate::vip::{Address, VipId};
use crate::word::Word;

/// Which lists hold, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Lists(pub u64);

impl Lists {
    /// An IPv4 prefix is denied.
    pub const DENIES_IPV4: Self = Self(1);
    /// An IPv6 prefix is denied.
    pub const DENIES_IPV6: Self = Self(2);
    /// The lists hold for traffic that is for no VIP, too.
    pub const OF_HOST: Self = Self(4);

    /// Whether all bits of `lists` are set.
    #[inline(always)]
    pub const fn has(self, lists: Self) -> bool {
        self.0 & lists.0 == lists.0
    }

    /// With the bits of `lists`, too.
    #[inline(always)]
    pub const fn with(self, lists: Self) -> Self {
        Self(self.0 | lists.0)
    }
}

/// Until when an entry of a list holds that does not expire.
pub const FOREVER_NS: u64 = u64::MAX;

/// A rate and a burst; a token of no time: there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Rate {
    /// After which time another token is there, in nanoseconds.
    pub token_ns: u64,
    /// After which time an empty bucket is full again, in nanoseconds.
    pub burst_ns: u64,
}

impl Rate {
    /// So many a second, and so many at once; no limit, if either is none.
    pub const fn new(per_second: u64, burst: u64) -> Self {
        if per_second == 0 || burst == 0 {
            return Self {
                token_ns: 0,
                burst_ns: 0,
            };
        }
        let token_ns = match 1_000_000_000 / per_second {
            0 => 1,
            token_ns => token_ns,
        };
        Self {
            token_ns,
            burst_ns: token_ns.saturating_mul(burst),
        }
    }
}

/// What protects the VIPs of this node, or one of them. Words that do not hang together: a packet that sees some of them before a change
/// and some after is judged by either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Protection {
    /// Which lists hold.
    pub lists: Lists,
    /// New connections of one source; IPv6 by /64.
    pub source_connections: Rate,
    /// Of them, those that the flow table remembers.
    pub source_flows: Rate,
    /// New connections to one VIP.
    pub vip_connections: Rate,
    /// Of them, those that the flow table remembers.
    pub vip_flows: Rate,
    /// Above which share of a VIP's new connections a source is hot, in parts of [`SHARE_ALL`]; 0: none is.
    pub hot_share: u64,
    /// Of a VIP that has bounds of its own for its sources: what tells their tags from those of other VIPs' sources, so that
    /// they have tokens of their own here. 0: they share with those.
    pub own_sources: u64,
}

impl Protection {
    /// What tells the sources of that VIP from those of others.
    pub const fn sources_of(vip: VipId) -> u64 {
        // An odd number times an odd one: never 0, and no two alike.
        0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(2 * vip.0 as u64 + 1)
    }
}

/// All of a VIP's new connections.
pub const SHARE_ALL: u64 = 1_000;

/// Connections of a source within one window below which it is not hot: a few clients are always most of a few.
pub const HOT_MIN: u32 = 128;

/// Bits of a time in nanoseconds that lie within one window: some 1.07 s.
const WINDOW_BITS: u32 = 30;

/// A bucket of tokens that CPUs share.
///
/// Two of them that find it full again at the same moment may count one token for two; all others are counted each.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Bucket(Word);

impl Bucket {
    /// Takes a token; `false`, if there is none.
    #[inline(always)]
    pub fn take(&self, rate: Rate, now_ns: u64) -> bool {
        if rate.token_ns == 0 {
            return true;
        }
        let full = now_ns.saturating_sub(rate.burst_ns);
        let at = self.0.load();
        if at < full {
            self.0.store(full + rate.token_ns);
            return true;
        }
        if at.wrapping_add(rate.token_ns) > now_ns {
            return false;
        }
        self.0.add(rate.token_ns);
        true
    }

    #[inline(always)]
    fn at_ns(&self) -> u64 {
        self.0.load()
    }
}

/// Connections in the window of time that runs.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Window(Word);

impl Window {
    /// Counts one, and says how many there were in this window.
    #[inline(always)]
    pub fn count(&self, now_ns: u64) -> u32 {
        let window = now_ns >> WINDOW_BITS << 32;
        let word = self.0.load();
        if word & !u64::from(u32::MAX) != window {
            self.0.store(window + 1);
            return 1;
        }
        self.0.add(1);
        (word as u32).wrapping_add(1)
    }
}

/// What is known of one source.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Source {
    tag: Word,
    /// Its new connections.
    pub connections: Bucket,
    /// Those of them that are remembered.
    pub flows: Bucket,
    /// Those of the window that runs.
    pub window: Window,
}

/// Sources that fall together.
#[derive(Debug, Default)]
#[repr(C)]
pub struct SourceSet([Source; SOURCES_IN_SET]);

/// Sources of one set.
pub const SOURCES_IN_SET: usize = 4;

/// Sets of sources, a power of two: 262,144 sources at 32 bytes are 8 MB.
pub const SOURCE_SETS: u32 = 65_536;

/// Words of a [`SourceSet`].
pub const SOURCE_SET_WORDS: usize = size_of::<SourceSet>() / size_of::<u64>();

/// Words of [`VipBuckets`].
pub const VIP_BUCKETS_WORDS: usize = size_of::<VipBuckets>() / size_of::<u64>();

impl From<[u64; SOURCE_SET_WORDS]> for SourceSet {
    /// As it stands in the kernel's map.
    fn from(words: [u64; SOURCE_SET_WORDS]) -> Self {
        let set = Self::default();
        for (source, words) in set.0.iter().zip(words.chunks_exact(4)) {
            if let [tag, connections, flows, window] = words {
                source.tag.store(*tag);
                source.connections.0.store(*connections);
                source.flows.0.store(*flows);
                source.window.0.store(*window);
            }
        }
        set
    }
}

impl From<[u64; VIP_BUCKETS_WORDS]> for VipBuckets {
    /// As they stand in the kernel's map.
    fn from([connections, flows, window, zero]: [u64; VIP_BUCKETS_WORDS]) -> Self {
        let buckets = Self {
            zero,
            ..Self::default()
        };
        buckets.connections.0.store(connections);
        buckets.flows.0.store(flows);
        buckets.window.0.store(window);
        buckets
    }
}

impl SourceSet {
    /// The source with that tag; where it has no place yet, it gets that of the one that owes least, and its debt.
    #[inline(always)]
    pub fn source(&self, tag: u64) -> &Source {
        let [first, second, third, fourth] = &self.0;
        let mut least = first;
        for source in [first, second, third, fourth] {
            if source.tag.load() == tag {
                return source;
            }
            if source.owes() < least.owes() {
                least = source;
            }
        }
        least.tag.store(tag);
        least.window.0.store(0);
        least
    }
}

impl Source {
    #[inline(always)]
    fn owes(&self) -> u64 {
        self.connections.at_ns().max(self.flows.at_ns())
    }
}

/// What is known of the new connections to one VIP.
#[derive(Debug, Default)]
#[repr(C)]
pub struct VipBuckets {
    /// Its new connections.
    pub connections: Bucket,
    /// Those of them that are remembered.
    pub flows: Bucket,
    /// Those of the window that runs.
    pub window: Window,
    /// Zero: a power of two is found by a shift.
    pub zero: u64,
}

/// Whose buckets an address takes from: its own; of IPv6, those of its /64, which one subscriber has.
///
/// Keyed, so that nobody knows whom he shares a set with; and no better than that, for whoever can forge a sender need not
/// share a set with it. The steps are those of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), with the key before and
/// between them: a tenth of what SipHash costs.
#[inline(always)]
pub fn source_tag(key: [u64; 2], address: &Address) -> u64 {
    let [high, low] = address.halves();
    let word = if address.is_ipv4() { low } else { high };
    let mixed = (word ^ key[0]).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 29 ^ key[1]).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// The set in which a tag has its place.
#[inline(always)]
pub const fn source_set(tag: u64) -> u32 {
    (tag >> 32) as u32 & (SOURCE_SETS - 1)
}

#[cfg(test)]
mod tests;
