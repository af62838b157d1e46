//! Which packets are told of while somebody traces, and what is told of each.
//!
//! What is asked for lies in one map ([`Traces`]), what is told goes through a ring buffer ([`PacketEvent`]), what is counted
//! is counted by each CPU for itself ([`TraceCount`]). While nobody traces, all of that is one word, which is zero. A trace
//! that nobody renews ends by itself.

use crate::flow::FlowKey;
use crate::forward::Notes;
use crate::node::NodeId;
use crate::parse::Matter;
use crate::protection::{Bucket, Rate};
use crate::verdict::Verdict;
use crate::vip::{Address, VipId};

/// Traces that run at once: each costs a few nanoseconds a packet.
pub const TRACES_MAX: usize = 4;

/// Bytes of a frame's start that are told: Ethernet with two tags, an outer IPv6 header with GUE, and an inner one with a TCP
/// header and all its options take 186.
pub const HEAD_BYTES: usize = 256;

/// The same in words of eight bytes.
pub const HEAD_WORDS: usize = HEAD_BYTES / 8;

/// How many numbers a packet may draw.
const NUMBERS: u64 = 1 << 32;

/// A trace: which packets it wants, and how many of them.
///
/// Words that do not hang together: a packet that sees some of them before a change and some after is told or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Trace {
    /// When it ends unless it is renewed, in nanoseconds since the boot; 0: there is none.
    pub until_ns: u64,
    /// A packet that draws a number below this one is sampled.
    pub drawn_below: u64,
    /// How many packets each CPU tells.
    pub rate: Rate,
    /// Bits of an address that count.
    pub mask: [u64; 2],
    /// What they must be.
    pub prefix: [u64; 2],
    /// Number of the VIP that is wanted; [`Trace::ANY_VIP`]: packets for any and for none.
    pub vip: u64,
}

impl Trace {
    /// Whatever a packet is for.
    pub const ANY_VIP: u64 = 0;
    /// No packet is for it.
    pub const NO_VIP: u64 = u64::MAX;

    /// Below which number packets are sampled, if one of so many is.
    pub const fn drawn_below(one_of: u32) -> u64 {
        match one_of {
            0 | 1 => NUMBERS,
            // Rounded up: one of 2^32 - 1 is one number, not none.
            one_of => NUMBERS.div_ceil(one_of as u64),
        }
    }

    /// How many packets are told a second, and a tenth of that at once.
    pub const fn rate(per_second: u64) -> Rate {
        let at_once = per_second / 10;
        Rate::new(per_second, if at_once == 0 { 1 } else { at_once })
    }

    /// Whether it runs.
    #[inline(always)]
    pub const fn runs(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }

    /// Whether it wants a packet: by its VIP, and by an address of the packet or of the flow that it is about.
    #[inline(always)]
    pub fn wants(&self, event: &PacketEvent) -> bool {
        if self.vip != Self::ANY_VIP && self.vip != event.vip.0 as u64 {
            return false;
        }
        self.has(&event.source)
            || self.has(&event.destination)
            || self.has(&event.flow.source)
            || self.has(&event.flow.destination)
    }

    #[inline(always)]
    fn has(&self, address: &Address) -> bool {
        let [a, b] = address.halves();
        ((a & self.mask[0]) ^ self.prefix[0]) | ((b & self.mask[1]) ^ self.prefix[1]) == 0
    }

    /// Whether a packet that it wants is told, by the number that it drew and by how many were told already; and counts it.
    #[inline(always)]
    pub fn takes(&self, drawn: u64, bucket: &Bucket, count: &mut TraceCount, now_ns: u64) -> bool {
        count.seen += 1;
        if drawn >= self.drawn_below {
            return false;
        }
        count.sampled += 1;
        if !bucket.take(self.rate, now_ns) {
            count.limited += 1;
            return false;
        }
        true
    }
}

/// All traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Traces {
    /// The highest `drawn_below` of those that run; 0: none does. Read once for each packet.
    pub drawn_below: u64,
    /// Each in its place, which is its bit in [`PacketEvent::traces`].
    pub each: [Trace; TRACES_MAX],
}

/// What one CPU counts of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TraceCount {
    /// Packets that it wants.
    pub seen: u64,
    /// Of these, those that were drawn.
    pub sampled: u64,
    /// Of these, those that its rate kept back.
    pub limited: u64,
    /// Of the others, those for which the ring buffer had no room.
    pub lost: u64,
}

/// What is told of a packet. Its layout changes with the version of the maps ([`crate::abi::ABI_VERSION`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PacketEvent {
    /// When it was decided, in nanoseconds since the boot.
    pub at_ns: u64,
    /// Who sent the packet; of one that a node put something around, the one inside; unset, if it could not be read.
    pub source: Address,
    /// Who is to get it.
    pub destination: Address,
    /// The flow that it is about; without protocol, if that could not be read.
    pub flow: FlowKey,
    /// Bytes of the frame, as it came.
    pub frame_bytes: u32,
    /// Index of the interface that it came in by.
    pub interface: u32,
    /// A bit for each trace that wants it.
    pub traces: u16,
    /// [`crate::verdict::Action`], as a number.
    pub action: u16,
    /// [`crate::verdict::Reason`], as a number.
    pub reason: u16,
    /// Its VIP, as far as it got.
    pub vip: VipId,
    /// The node that it goes to, if to another one.
    pub node: NodeId,
    /// The node that sent it; nobody: a client did.
    pub sender: NodeId,
    /// Times that it had been sent from node to node when it came.
    pub hops: u16,
    /// What the packet carries; 0, if it could not be read.
    pub protocol: u16,
    /// [`Matter`], as a number.
    pub matter: u16,
    /// Control bits of a TCP segment.
    pub flags: u16,
    /// Zero: the struct has no padding.
    pub zero: [u16; 2],
    /// The frame's first bytes, as they came; what lies behind its end is of no meaning.
    pub head: [[u16; 4]; HEAD_WORDS],
}

impl Default for PacketEvent {
    fn default() -> Self {
        Self {
            at_ns: 0,
            source: Address::default(),
            destination: Address::default(),
            flow: FlowKey::default(),
            frame_bytes: 0,
            interface: 0,
            traces: 0,
            action: 0,
            reason: 0,
            vip: VipId(0),
            node: NodeId::NOBODY,
            sender: NodeId::NOBODY,
            hops: 0,
            protocol: 0,
            matter: 0,
            flags: 0,
            zero: [0; 2],
            head: [[0; 4]; HEAD_WORDS],
        }
    }
}

impl PacketEvent {
    /// Takes over what a decision noted. Notes of an earlier one must have been forgotten ([`Notes::forget`]).
    #[inline(always)]
    pub fn note(&mut self, notes: &Notes) {
        let (packet, about) = (notes.packet(), notes.about());
        self.source = packet.source;
        self.destination = packet.destination;
        self.protocol = packet.protocol as u16;
        self.flow = about.flow;
        self.matter = about.matter as u16;
        self.flags = about.flags.0 as u16;
        let (sender, hops) = notes.came_from();
        self.sender = sender;
        self.hops = hops;
    }

    /// Takes over what was decided.
    #[inline(always)]
    pub fn decide(&mut self, verdict: &Verdict) {
        self.action = verdict.action as u16;
        self.reason = verdict.reason as u16;
        self.vip = verdict.vip;
        self.node = verdict.node;
    }

    /// What the packet says about its flow; `None`: it is about none that could be read.
    pub fn matter(&self) -> Option<Matter> {
        let is = |matter: &&Matter| **matter as u16 == self.matter && self.flow.protocol != 0;
        Matter::ALL.iter().find(is).copied()
    }

    /// Bytes of the head that are the frame's.
    pub fn captured_bytes(&self) -> usize {
        (self.frame_bytes as usize).min(HEAD_BYTES)
    }
}

#[cfg(test)]
mod tests;
