//! Packets of the data plane as they pass, for `gateway trace`: what is asked for and what is told, as plain data.
//!
//! `l4/trace.rs` has the kernel tell them, `admin/trace.rs` streams them. One JSON text a line: a [`Packet`], [`Progress`] once
//! a second, and [`End`] as the last line of a stream that the node ends.

use bytes::Bytes;
use gateway_common::prefix::Prefix;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Which packets are told, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Those with an address of it, as sender, receiver or client; `None`: all.
    pub address: Option<Prefix>,
    /// Those for the VIP of that name; `None`: for any and for none.
    pub vip: Option<String>,
    /// One of so many, drawn by chance.
    pub sample: u32,
    /// Packets that each core tells a second at most.
    pub rate: u32,
}

/// What a reader asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which packets.
    pub wish: Wish,
    /// Bytes of each frame's start that are told; `None`: none.
    pub snap: Option<usize>,
    /// After so many packets it is over; `None`: it goes on.
    pub count: Option<u64>,
}

/// A packet and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// When, in UTC (RFC 3339, nanoseconds).
    pub time: String,
    /// What was done: `pass`, `drop`, `decapsulate`, `send`, `answer-echo` or `answer-too-big`.
    pub verdict: String,
    /// Why; the name of its counter.
    pub reason: String,
    /// Its VIP; absent: it is for none, or was dropped before that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// As in `tcp`, `udp`, `icmp`; the number of another one, or of another EtherType as in `0x0806`.
    pub protocol: String,
    /// Who sent it: address and port, address, or hardware address. Of a packet that a node put something around, the one
    /// inside.
    pub source: String,
    /// Who is to get it.
    pub destination: String,
    /// Of a TCP segment, as tcpdump writes them: `S`, `S.`, `P.`, `F.`, `R`, `.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<String>,
    /// Of an ICMP error: the flow that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Bytes of the frame as it came.
    pub bytes: u32,
    /// The interface that it came in by.
    pub interface: String,
    /// The node that sent it; absent: no node did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Times that it had been sent from node to node when it came.
    pub hops: u16,
    /// This node.
    pub node: String,
    /// The node that it is sent to; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The frame's first bytes as they came, in base64, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
}

/// How many packets there were since a trace began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// That it wants.
    pub seen: u64,
    /// Of these, those that were drawn.
    pub sampled: u64,
    /// Of these, those that its rate kept back.
    pub limited: u64,
    /// Of the others, those that were lost: the kernel's buffer was full, or the reader too slow.
    pub lost: u64,
}

/// A line that only counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// So far.
    pub counts: Counts,
}

/// The last line of a stream that the node ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Why, for people.
    pub end: String,
    /// All in all.
    pub counts: Counts,
}

/// A trace that runs; it ends when this is dropped.
pub struct Running {
    /// Packets, each a line of JSON; over, once as many were told as were asked for.
    pub lines: mpsc::Receiver<Bytes>,
    /// Counts them.
    pub counting: Box<dyn Counting>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

/// Counts the packets of a trace.
pub trait Counting: Send {
    /// Since it began.
    fn counts(&self) -> Counts;
}
