//! What a node knows of another one.
//!
//! Pure record keeping; the decisions are in `membership`.

use std::net::SocketAddr;
use std::time::Duration;

use super::lineage::Digest;
use super::message::{Echo, Heartbeat, Life, Profile, State};

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
    /// Number of its last heartbeat.
    pub sequence: u64,
    /// What it hears of us.
    pub echo: Option<Echo>,
    /// Number of the view it holds; 0: none.
    pub number: u64,
    /// Digest of the view it holds.
    pub digest: Option<Digest>,
    /// Lives that it is connected with.
    pub live: Vec<Life>,
    past: Vec<u32>,
    /// A life that may have begun, and the number of our heartbeat that it must echo to prove it.
    claim: Option<Echo>,
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
    pub fn new(heartbeat: &Heartbeat, my_incarnation: u32, now: Duration) -> Peer {
        let mut peer = Peer {
            profile: heartbeat.sender.clone(),
            heard_at: now,
            hearing: Hearing::Heard,
            sequence: 0,
            echo: None,
            number: 0,
            digest: None,
            live: Vec::new(),
            past: Vec::new(),
            claim: None,
        };
        peer.hear(heartbeat, my_incarnation, now);
        peer
    }

    /// Takes in what the current life says.
    ///
    /// An echo of another life of ours changes nothing: it greets somebody who is, or was, called like us.
    pub fn hear(&mut self, heartbeat: &Heartbeat, my_incarnation: u32, now: Duration) {
        self.profile = heartbeat.sender.clone();
        self.heard_at = now;
        self.hearing = Hearing::Heard;
        self.sequence = heartbeat.sequence;
        if heartbeat
            .echo
            .is_none_or(|echo| echo.incarnation == my_incarnation)
        {
            self.echo = heartbeat.echo;
        }
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

    /// Whether this heartbeat of a new life answers one that we sent after we first heard of that life.
    ///
    /// If not, it may be late or recorded, and our heartbeat with number `challenge` must be sent for an answer: a life
    /// that is taken for over is never heard again, so no old datagram must be able to end one.
    pub fn is_proven(&mut self, heartbeat: &Heartbeat, my_incarnation: u32, challenge: u64) -> bool {
        let incarnation = heartbeat.sender.incarnation;
        match self.claim.filter(|claim| claim.incarnation == incarnation) {
            Some(claim) => heartbeat
                .echo
                .is_some_and(|echo| echo.incarnation == my_incarnation && echo.sequence >= claim.sequence),
            None => {
                self.claim = Some(Echo {
                    incarnation,
                    sequence: challenge,
                });
                false
            }
        }
    }

    /// Ends the current life and begins that of the heartbeat.
    pub fn begin_life(&mut self, heartbeat: &Heartbeat, my_incarnation: u32, now: Duration) {
        self.past.insert(0, self.profile.incarnation);
        self.past.truncate(PAST_LIVES_MAX);
        self.claim = None;
        self.echo = None;
        self.hear(heartbeat, my_incarnation, now);
    }

    /// Whether both hear each other: a connection that works one way only is as good as none.
    pub fn is_connected(&self, my_incarnation: u32) -> bool {
        self.hearing == Hearing::Heard && self.echo.is_some_and(|echo| echo.incarnation == my_incarnation)
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
