//! What nodes tell each other, as plain data.
//!
//! How it is encrypted and bounded on the wire is `wire`'s business, what follows from it `membership`'s.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::lineage::{Digest, Hasher, Lineage};
use crate::view::Served;

/// Bytes of a node's name: a DNS label, so that a name can also be a host's; it bounds the datagram.
pub const NAME_BYTES_MAX: usize = 63;

/// Nodes that one node keeps count of, itself aside.
///
/// Twice the members of a view: those in it, and as many that left, wait, or were renamed.
pub const PEERS_MAX: usize = 128;

/// Addresses of other nodes that one heartbeat passes on: as many as a view has members.
pub const GOSSIP_MAX: usize = 64;

/// What a node is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Starting: it learns the view, and gets no connections yet.
    Joining,
    /// Takes its share of new connections.
    Ready,
    /// Takes no new connections, finishes its old ones, still passes packets on.
    Draining,
    /// About to stop: it leaves the view at once, without being waited for.
    Leaving,
}

/// Whether a node has been in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Not in this life: nothing can be steered to it.
    Newcomer,
    /// In this life it held a view that it was in: it may have connections, and get packets of them.
    Member,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Unique in the cluster; at most [`NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// Where it listens for heartbeats.
    pub listen: SocketAddr,
    /// Where encapsulated IPv4 packets reach it.
    pub address: Option<Ipv4Addr>,
    /// Where encapsulated IPv6 packets reach it.
    pub address_v6: Option<Ipv6Addr>,
    /// Its share of new connections while it is ready.
    pub weight: u32,
    /// What it is ready for.
    pub state: State,
    /// Whether it is kept while it drains: a node that never served is not taken in for that.
    pub standing: Standing,
    /// The life of its sockets: another number after each start.
    pub incarnation: u32,
    /// Which VIPs it serves.
    pub serves: Served,
}

impl Profile {
    /// The life this profile speaks of.
    pub fn life(&self) -> Life {
        Life::new(&self.name, self.incarnation)
    }
}

/// One life of one node, as a short token: a hash of its name and incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Life(pub u64);

impl Life {
    /// The token of this node's life of that incarnation.
    pub fn new(name: &str, incarnation: u32) -> Life {
        let mut hasher = Hasher::default();
        hasher.text(name);
        hasher.number(u64::from(incarnation));
        Life(hasher.finish())
    }
}

/// The last that one node heard of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// Its life.
    pub incarnation: u32,
    /// The number of its last heartbeat.
    pub sequence: u64,
}

/// One heartbeat, made for one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who sends it.
    pub sender: Profile,
    /// Grows with each heartbeat of this life, whoever gets it.
    pub sequence: u64,
    /// What the sender hears of the receiver; `None`: nothing.
    ///
    /// It makes a connection that works one way only look dead from both ends, and proves that this
    /// heartbeat was sent after one that the receiver sent.
    pub echo: Option<Echo>,
    /// Where nodes that the sender hears can be reached; at most [`GOSSIP_MAX`].
    pub peers: Vec<SocketAddr>,
    /// Lives that the sender is connected with both ways, its own among them, leaving ones not; sorted.
    pub live: Vec<Life>,
    /// The highest view number the sender ever saw.
    pub number_seen: u64,
    /// Number of the view the sender holds; 0: none yet.
    pub number: u64,
    /// Digest of the view the sender holds.
    pub digest: Option<Digest>,
    /// That view, entire, unless the receiver is known to hold it: this keeps heartbeats within one frame.
    pub lineage: Option<Lineage>,
}
