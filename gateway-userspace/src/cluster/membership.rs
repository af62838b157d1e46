//! Who is alive, and which view all nodes hold: a pure state machine, `step(event, now) -> actions`.
//!
//! Each node sends each other one a heartbeat every [`TICK`]; one unheard for [`DEATH`] is dead. There is no
//! vote: the live member with the lowest id leads, makes each next view and sends it to all; the others adopt it.
//! Where two views collide, every node resolves it by the same rule over the same data (`judge`), so that
//! all end with one view, bit for bit. After a cut the side with more live members wins, and the other's nodes are
//! taken in again, so that a node that was alone never imposes the view it made alone.
//!
//! Times are `Duration`s since any fixed moment. Sockets and threads: `heartbeat`. Making a view: `lineage`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::lineage::{Digest, Lineage};
use super::message::{Heartbeat, Life, PEERS_MAX, Profile, Standing, State};
use super::notice::Notice;
use super::peer::{Hearing, Lifetime, Peer};
use super::status::NodeStatus;
use crate::view::{Served, View};

mod calling;
mod judging;
mod leading;

use calling::Receiver;

/// Between two heartbeats to a node: five of them fit into [`DEATH`], so that four in a row may be lost.
pub const TICK: Duration = Duration::from_millis(100);

/// Silence after which a node is dead. With one tick until it is noticed and one flight of the new view,
/// nothing is steered to it 0.6 s after its last heartbeat.
pub const DEATH: Duration = Duration::from_millis(500);

/// Lateness of a node's own tick above which it blames itself, not the others, for what it did not hear:
/// half a tick, which a healthy machine never reaches.
pub const LATE: Duration = Duration::from_millis(50);

/// How long a change that is no death waits for all to acknowledge the view before: two heartbeats.
pub const ACKNOWLEDGE: Duration = Duration::from_millis(200);

/// How long a node with seeds waits for an existing view before it makes the first: ten heartbeats.
pub const BOOTSTRAP: Duration = Duration::from_secs(1);

/// How long a node does not make the first view while it hears of one from nodes that do not answer it: far longer
/// than a round trip, and bounded, since they may be recordings.
pub const UNANSWERED: Duration = Duration::from_secs(2);

/// How long a node makes no view after the cluster refused its last one: long enough that both sides
/// hear each other again, or agree on who is dead.
pub const REFUSED: Duration = Duration::from_millis(300);

/// How long a dead node is still called, so that a healed cut is noticed from both sides. Seeds are called for ever.
pub const FORGET: Duration = Duration::from_secs(24 * 3600);

/// How long a node that left is still called: it may say its farewell again.
pub const FORGET_LEFT: Duration = Duration::from_secs(10);

/// How long an address is passed on after its node was last heard, and called where nobody answers: longer than a
/// machine takes to start again, so that nodes find each other even if their common seed dies meanwhile.
pub const GOSSIP: Duration = Duration::from_secs(600);

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Event {
    /// A heartbeat arrived, decrypted, decoded, not replayed.
    Heartbeat(Box<Heartbeat>),
    /// [`TICK`] has passed.
    Tick,
    /// This node is ready for something else now.
    State(State),
    /// This node's share changed.
    Weight(u32),
    /// This node serves other VIPs now.
    Serves(Served),
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send this to that address.
    Send(SocketAddr, Box<Heartbeat>),
    /// All tables follow from this view now.
    Publish(Arc<View>),
    /// Tell the operator.
    Notice(Notice),
}

/// One node's knowledge of its cluster.
#[derive(Debug)]
pub struct Membership {
    me: Profile,
    seeds: Vec<SocketAddr>,
    hash_key: [u64; 2],
    started_at: Duration,
    tick_at: Option<Duration>,
    late_rounds: u32,
    sequence: u64,
    number_seen: u64,
    peers: BTreeMap<String, Peer>,
    /// Learnt from others, with the time: not yet known to be anybody.
    addresses: BTreeMap<SocketAddr, Duration>,
    held: Option<Held>,
    held_at: Duration,
    refused_until: Duration,
}

/// The view a node holds.
#[derive(Debug)]
struct Held {
    lineage: Lineage,
    digest: Digest,
}

impl Membership {
    /// A node at its start. `hash_key` is used only if this node makes the cluster's first view.
    pub fn new(me: Profile, seeds: &[SocketAddr], hash_key: [u64; 2], now: Duration) -> Membership {
        Membership {
            seeds: seeds.iter().copied().filter(|seed| *seed != me.listen).collect(),
            me,
            hash_key,
            started_at: now,
            tick_at: None,
            late_rounds: 0,
            sequence: 0,
            number_seen: 0,
            peers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            held: None,
            held_at: now,
            refused_until: now,
        }
    }

    /// The one way in: takes an event and says what follows from it.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Heartbeat(heartbeat) => self.heartbeat(*heartbeat, now, &mut actions),
            Event::Tick => self.tick(now, &mut actions),
            Event::State(state) if state != self.me.state => {
                self.me.state = state;
                self.lead(now, &mut actions);
                self.send_to_all(now, &mut actions);
            }
            Event::Weight(weight) if weight != self.me.weight => {
                self.me.weight = weight;
                self.lead(now, &mut actions);
                self.send_to_all(now, &mut actions);
            }
            Event::Serves(serves) if serves != self.me.serves => {
                self.me.serves = serves;
                self.lead(now, &mut actions);
                self.send_to_all(now, &mut actions);
            }
            Event::State(_) | Event::Weight(_) | Event::Serves(_) => {}
        }
        actions
    }

    /// The view this node holds.
    pub fn view(&self) -> Option<&View> {
        self.held.as_ref().map(|held| &held.lineage.view)
    }

    /// All nodes this one knows, itself first.
    pub fn nodes(&self, now: Duration) -> Vec<NodeStatus> {
        let mine = NodeStatus::of_self(&self.me, self.number());
        let others = self
            .peers
            .values()
            .map(|peer| NodeStatus::of_peer(peer, self.me.incarnation, now));
        std::iter::once(mine).chain(others).collect()
    }

    fn tick(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let late = self
            .tick_at
            .map_or(Duration::ZERO, |at| now.saturating_sub(at + TICK));
        self.tick_at = Some(now);
        self.late_rounds = if late > LATE {
            self.late_rounds.saturating_add(1)
        } else {
            0
        };
        if late > LATE {
            // What was sent meanwhile may wait in the socket: the time lost is ours.
            for peer in self.peers.values_mut() {
                peer.heard_at = (peer.heard_at + late).min(now);
            }
            actions.push(Action::Notice(Notice::Late { late }));
        }
        // A machine that is always late must still notice a death, if later.
        if self.late_rounds != 1 {
            self.bury(now, actions);
        }
        self.peers.retain(|_, peer| {
            let limit = if peer.profile.state == State::Leaving {
                FORGET_LEFT
            } else {
                FORGET
            };
            peer.unheard(now) < limit
        });
        self.addresses
            .retain(|_, learnt_at| now.saturating_sub(*learnt_at) < GOSSIP);
        let led = actions.len();
        self.lead(now, actions);
        if !actions
            .iter()
            .skip(led)
            .any(|action| matches!(action, Action::Send(..)))
        {
            self.send_to_all(now, actions);
        }
    }

    /// Takes those for dead that were not heard for too long.
    fn bury(&mut self, now: Duration, actions: &mut Vec<Action>) {
        for peer in self.peers.values_mut() {
            let unheard = peer.unheard(now);
            if peer.hearing == Hearing::Heard && unheard >= DEATH {
                peer.hearing = Hearing::Silent;
                let name = peer.profile.name.clone();
                actions.push(Action::Notice(match peer.profile.state {
                    State::Leaving => Notice::Gone { name },
                    _ => Notice::Died { name, unheard },
                }));
            }
        }
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat, now: Duration, actions: &mut Vec<Action>) {
        let name = heartbeat.sender.name.clone();
        if name == self.me.name {
            if heartbeat.sender.incarnation != self.me.incarnation
                && heartbeat.sender.listen != self.me.listen
            {
                actions.push(Action::Notice(Notice::NameTaken {
                    address: heartbeat.sender.listen,
                }));
            }
            return;
        }
        self.number_seen = self.number_seen.max(heartbeat.number_seen).max(heartbeat.number);
        let echoed = heartbeat
            .echo
            .is_some_and(|echo| echo.incarnation == self.me.incarnation);
        let challenge = self.sequence.saturating_add(1);
        let full = self.peers.len() >= PEERS_MAX;
        match self.peers.get_mut(&name) {
            None if full => {
                actions.push(Action::Notice(Notice::Full { name }));
                return;
            }
            None => {
                let peer = Peer::new(&heartbeat, self.me.incarnation, now);
                actions.push(Action::Notice(Notice::Heard {
                    name: name.clone(),
                    address: peer.listen(),
                }));
                self.peers.insert(name.clone(), peer);
                self.send(Receiver::greeted(&heartbeat), now, actions);
            }
            Some(peer) => match peer.lifetime(heartbeat.sender.incarnation) {
                Lifetime::Past => return,
                Lifetime::New if !peer.is_proven(&heartbeat, self.me.incarnation, challenge) => {
                    // A new life, or a recording of an old one: only who answers this is alive.
                    self.send(Receiver::greeted(&heartbeat), now, actions);
                    return;
                }
                Lifetime::New => {
                    let (ended, begun) = (peer.profile.incarnation, heartbeat.sender.incarnation);
                    peer.begin_life(&heartbeat, self.me.incarnation, now);
                    actions.push(Action::Notice(Notice::Restarted {
                        name: name.clone(),
                        ended,
                        begun,
                    }));
                }
                Lifetime::Current => {
                    let before = (peer.hearing, peer.profile.state);
                    peer.hear(&heartbeat, self.me.incarnation, now);
                    if before.0 == Hearing::Silent {
                        let address = peer.listen();
                        actions.push(Action::Notice(Notice::Heard {
                            name: name.clone(),
                            address,
                        }));
                    }
                    if before.1 != heartbeat.sender.state {
                        let state = heartbeat.sender.state;
                        actions.push(Action::Notice(Notice::StateChanged {
                            name: name.clone(),
                            state,
                        }));
                    }
                }
            },
        }
        self.learn(&heartbeat.peers, now);
        // Only who answers this life of ours is believed: after a start, any recording would pass for the present.
        if let Some(theirs) = heartbeat.lineage.filter(|_| echoed) {
            self.consider(theirs, &heartbeat.live, &name, now, actions);
        }
        self.lead(now, actions);
    }

    fn hold(&mut self, lineage: Lineage, now: Duration, actions: &mut Vec<Action>) {
        self.number_seen = self.number_seen.max(lineage.view.number);
        if lineage.has(&self.me) {
            self.me.standing = Standing::Member;
        }
        actions.push(Action::Publish(Arc::new(lineage.view.clone())));
        self.held = Some(Held {
            digest: lineage.digest(),
            lineage,
        });
        self.held_at = now;
    }

    fn live_peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers
            .values()
            .filter(|peer| peer.is_live(self.me.incarnation))
    }

    /// Lives this node is connected with both ways, its own too; sorted.
    fn live(&self) -> Vec<Life> {
        let mine = (self.me.state != State::Leaving).then(|| self.me.life());
        let mut live: Vec<Life> = mine
            .into_iter()
            .chain(self.live_peers().map(|p| p.profile.life()))
            .collect();
        live.sort_unstable();
        live
    }

    fn digest(&self) -> Option<Digest> {
        self.held.as_ref().map(|held| held.digest)
    }

    fn number(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.lineage.view.number)
    }
}

#[cfg(test)]
mod tests;
