//! What a node knows of another one.
//!
//! Pure record keeping; the decisions are in `membership`.

use std::net::SocketAddr;
use std::time::Duration;

use super::lineage::Digest;
use super::message::{Heartbeat, Life, Profile, State};

/// Earlier lives remembered for each node, so that late or repeated heartbeats of theirs are not taken for a new life.
const PAST_LIVES_MAX: usize = 16;

/// Another node.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What it last said of itself.
    pub profile: Profile,
    /// When it was last heard.
    pub heard_at: Duration,
    /// Whether it is heard at all.
    pub hearing: Hearing,
    /// The incarnation that it hears of us.
    pub echo: Option<u32>,
    /// Number of the view it holds; 0: none.
    pub number: u64,
    /// Digest of the view it holds.
    pub digest: Option<Digest>,
    /// Lives that it is connected with.
    pub live: Vec<Life>,
    past: Vec<u32>,
}

/// Whether a node is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// Within the death time.
    Heard,
    /// Not for the death time.
    Silent,
}

/// What an incarnation means for a node that is known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The life that is known.
    Current,
    /// One that is over: nothing it says counts any more.
    Past,
    /// One not heard of before.
    New,
}

impl Peer {
    /// A node heard for the first time.
    pub fn new(heartbeat: &Heartbeat, now: Duration) -> Peer {
        let mut peer = Peer {
            profile: heartbeat.sender.clone(),
            heard_at: now,
            hearing: Hearing::Heard,
            echo: None,
            number: 0,
            digest: None,
            live: Vec::new(),
            past: Vec::new(),
        };
        peer.hear(heartbeat, now);
        peer
    }

    /// Takes in what the current life says.
    pub fn hear(&mut self, heartbeat: &Heartbeat, now: Duration) {
        self.profile = heartbeat.sender.clone();
        self.heard_at = now;
        self.hearing = Hearing::Heard;
        self.echo = heartbeat.echo;
        self.number = heartbeat.number;
        self.digest = heartbeat.digest;
        self.live.clone_from(&heartbeat.live);
    }

    /// Which life of this node that is.
    pub fn lifetime(&self, incarnation: u32) -> Lifetime {
        if incarnation == self.profile.incarnation {
            Lifetime::Current
        } else if self.past.contains(&incarnation) {
            Lifetime::Past
        } else {
            Lifetime::New
        }
    }

    /// Ends the current life and begins that of the heartbeat.
    pub fn begin_life(&mut self, heartbeat: &Heartbeat, now: Duration) {
        self.past.insert(0, self.profile.incarnation);
        self.past.truncate(PAST_LIVES_MAX);
        self.hear(heartbeat, now);
    }

    /// Whether both hear each other: a connection that works one way only is as good as none.
    pub fn is_connected(&self, my_incarnation: u32) -> bool {
        self.hearing == Hearing::Heard && self.echo == Some(my_incarnation)
    }

    /// Whether it is connected and means to stay.
    pub fn is_live(&self, my_incarnation: u32) -> bool {
        self.is_connected(my_incarnation) && self.profile.state != State::Leaving
    }

    /// How long nothing was heard of it.
    pub fn unheard(&self, now: Duration) -> Duration {
        now.saturating_sub(self.heard_at)
    }

    /// Where it gets its heartbeats.
    pub fn listen(&self) -> SocketAddr {
        self.profile.listen
    }
}
