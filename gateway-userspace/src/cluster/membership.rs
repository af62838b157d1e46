//! Who is alive, and which view all nodes hold: a pure state machine, `step(event, now) -> actions`.
//!
//! Each node sends each other one a heartbeat every [`TICK`]; one unheard for [`DEATH`] is dead. There is no
//! vote: the live member with the lowest id leads, makes each next view and sends it to all; the others adopt it.
//! Where two views collide, every node resolves it by the same rule over the same data (`judge`), so that
//! all end with one view, bit for bit. After a cut the side with more live members wins, and the other's nodes are
//! taken in again, so that a node that was alone never imposes the view it made alone.
//!
//! Times are `Duration`s since any fixed moment. Sockets and threads: `heartbeat`. Making a view: `lineage`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::lineage::{Digest, Lineage, Relation};
use super::message::{GOSSIP_MAX, Heartbeat, Life, PEERS_MAX, Profile, State};
use super::notice::Notice;
use super::peer::{Hearing, Lifetime, Peer};
use super::status::NodeStatus;
use crate::view::View;

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

/// How long a node makes no view after the cluster refused its last one: long enough that both sides
/// hear each other again, or agree on who is dead.
pub const REFUSED: Duration = Duration::from_millis(300);

/// How long a dead node is still called, so that a healed cut is noticed from both sides. Seeds are called for ever.
pub const FORGET: Duration = Duration::from_secs(24 * 3600);

/// How long a node that left, or an address that nobody answers at, is still called.
pub const FORGET_LEFT: Duration = Duration::from_secs(10);

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

/// Who wins where two views collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Keep,
    Adopt,
    /// Adopt, though mine was made from theirs: it left out too many that are alive.
    Retract,
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
                self.send_to_all(&mut actions);
            }
            Event::Weight(weight) if weight != self.me.weight => {
                self.me.weight = weight;
                self.lead(now, &mut actions);
                self.send_to_all(&mut actions);
            }
            Event::State(_) | Event::Weight(_) => {}
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
        if late > LATE {
            // What was sent meanwhile may wait in the socket: the time lost is ours.
            for peer in self.peers.values_mut() {
                peer.heard_at = (peer.heard_at + late).min(now);
            }
            actions.push(Action::Notice(Notice::Late { late }));
        } else {
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
        self.peers.retain(|_, peer| {
            let limit = if peer.profile.state == State::Leaving {
                FORGET_LEFT
            } else {
                FORGET
            };
            peer.unheard(now) < limit
        });
        self.addresses
            .retain(|_, learnt_at| now.saturating_sub(*learnt_at) < FORGET_LEFT);
        let led = actions.len();
        self.lead(now, actions);
        if !actions
            .iter()
            .skip(led)
            .any(|action| matches!(action, Action::Send(..)))
        {
            self.send_to_all(actions);
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
        let echoed = heartbeat.echo == Some(self.me.incarnation);
        let full = self.peers.len() >= PEERS_MAX;
        match self.peers.get_mut(&name) {
            None if full => {
                actions.push(Action::Notice(Notice::Full { name }));
                return;
            }
            None => {
                let peer = Peer::new(&heartbeat, now);
                actions.push(Action::Notice(Notice::Heard {
                    name: name.clone(),
                    address: peer.listen(),
                }));
                self.peers.insert(name.clone(), peer);
                // It learns at once that it is heard, and need not wait for a tick.
                self.send(
                    heartbeat.sender.listen,
                    Some(heartbeat.sender.incarnation),
                    None,
                    actions,
                );
            }
            Some(peer) => match peer.lifetime(heartbeat.sender.incarnation) {
                Lifetime::Past => return,
                Lifetime::New if !echoed => {
                    // A new life, or a recording of an old one: only who answers this is alive.
                    self.send(
                        heartbeat.sender.listen,
                        Some(heartbeat.sender.incarnation),
                        None,
                        actions,
                    );
                    return;
                }
                Lifetime::New => {
                    peer.begin_life(&heartbeat, now);
                    actions.push(Action::Notice(Notice::Restarted { name: name.clone() }));
                }
                Lifetime::Current => {
                    let before = (peer.hearing, peer.profile.state);
                    peer.hear(&heartbeat, now);
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
        if let Some(theirs) = heartbeat.lineage.filter(|_| echoed || self.held.is_none()) {
            self.consider(theirs, &heartbeat.live, &name, now, actions);
        }
        self.lead(now, actions);
    }

    /// Notes addresses heard of, within their bound.
    fn learn(&mut self, addresses: &[SocketAddr], now: Duration) {
        for address in addresses.iter().take(GOSSIP_MAX) {
            let known =
                *address == self.me.listen || self.peers.values().any(|peer| peer.listen() == *address);
            if !known && (self.addresses.len() < PEERS_MAX || self.addresses.contains_key(address)) {
                self.addresses.insert(*address, now);
            }
        }
    }

    /// Takes another node's view, or does not.
    fn consider(
        &mut self,
        theirs: Lineage,
        their_live: &[Life],
        from: &str,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let judgement = match &self.held {
            None => Judgement::Adopt,
            Some(held) => judge(
                &held.lineage,
                &theirs,
                &[self.live().as_slice(), their_live].concat(),
            ),
        };
        let fork = self
            .held
            .as_ref()
            .is_some_and(|held| held.lineage.relation(&theirs) == Relation::Fork);
        match judgement {
            Judgement::Keep => return,
            Judgement::Adopt => {}
            Judgement::Retract => self.refused_until = now + REFUSED,
        }
        let (number, given_up) = (theirs.view.number, self.number());
        let from = from.to_owned();
        actions.push(Action::Notice(match judgement {
            Judgement::Retract => Notice::Refused {
                number: given_up,
                from,
            },
            _ if fork => Notice::Merged {
                number,
                given_up,
                from,
            },
            _ => Notice::Adopted { number, from },
        }));
        self.hold(theirs, now, actions);
    }

    fn hold(&mut self, lineage: Lineage, now: Duration, actions: &mut Vec<Action>) {
        self.number_seen = self.number_seen.max(lineage.view.number);
        actions.push(Action::Publish(Arc::new(lineage.view.clone())));
        self.held = Some(Held {
            digest: lineage.digest(),
            lineage,
        });
        self.held_at = now;
    }

    /// Makes the next view, if that is this node's to do and anything is to be changed.
    fn lead(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let may_lead = self.me.state != State::Leaving && now >= self.refused_until && self.leads(now);
        let origin;
        let current = match &self.held {
            _ if !may_lead => return,
            Some(held) => &held.lineage,
            None => {
                origin = Lineage::origin(self.hash_key);
                &origin
            }
        };
        let number = self.number_seen.saturating_add(1);
        let next = Lineage::next(current, &self.serving(), number);
        if next.view.members.is_empty() {
            return;
        }
        let live = self.live();
        let someone_gone = current.members_among(&live) < current.view.members.len();
        let changed = next.view.members != current.view.members;
        let acknowledged = self
            .held
            .as_ref()
            .is_none_or(|held| self.live_peers().all(|peer| peer.digest == Some(held.digest)));
        // A view won against one with a higher number: numbers must not seem to fall for ever.
        let outnumbered = self.held.is_some() && acknowledged && current.view.number < self.number_seen;
        let waited = acknowledged || now.saturating_sub(self.held_at) >= ACKNOWLEDGE;
        if outnumbered || (changed && (someone_gone || waited)) {
            actions.push(Action::Notice(Notice::Made {
                number,
                members: next.view.members.len(),
            }));
            self.hold(next, now, actions);
            self.send_to_all(actions);
        }
    }

    /// Whether this node makes the next view: the live member with the lowest id does, else the lowest name.
    fn leads(&self, now: Duration) -> bool {
        let by_name = || self.live_peers().all(|peer| self.me.name < peer.profile.name);
        let Some(held) = &self.held else {
            let waited = self.seeds.is_empty() || now.saturating_sub(self.started_at) >= BOOTSTRAP;
            let no_view = self
                .peers
                .values()
                .all(|p| p.hearing == Hearing::Silent || p.digest.is_none());
            return waited && no_view && by_name();
        };
        let live = self.live();
        let mut members = held.lineage.view.members.iter();
        match members.find(|m| live.contains(&Life::new(&m.name, m.incarnation))) {
            Some(first) => first.name == self.me.name,
            None => by_name(),
        }
    }

    /// The nodes that the next view is made of.
    ///
    /// A node that holds a fork is not taken in before the fork is resolved: otherwise either side could pull the
    /// other's nodes over, one by one, and the smaller might win.
    fn serving(&self) -> Vec<&Profile> {
        let admissible = |peer: &Peer| match (&self.held, peer.digest) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(held), Some(digest)) => {
                digest == held.digest
                    || held.lineage.ancestry.contains(&digest)
                    || held.lineage.view.member(&peer.profile.name).is_some()
            }
        };
        let peers = self
            .live_peers()
            .filter(|peer| admissible(peer))
            .map(|peer| &peer.profile);
        std::iter::once(&self.me)
            .chain(peers)
            .filter(|profile| matches!(profile.state, State::Ready | State::Draining))
            .collect()
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

    fn number(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.lineage.view.number)
    }

    fn send_to_all(&mut self, actions: &mut Vec<Action>) {
        let mut called = BTreeSet::from([self.me.listen]);
        let mut peers: Vec<_> = self
            .peers
            .values()
            .map(|p| {
                (
                    p.listen(),
                    (p.hearing == Hearing::Heard).then_some(p.profile.incarnation),
                    p.digest,
                )
            })
            .collect();
        // A renamed node has two names at one address: the one that is heard counts.
        peers.sort_by_key(|(_, echo, _)| echo.is_none());
        for (address, echo, digest) in peers {
            if called.insert(address) {
                self.send(address, echo, digest, actions);
            }
        }
        let others: Vec<_> = self.seeds.iter().chain(self.addresses.keys()).copied().collect();
        for address in others {
            if called.insert(address) {
                self.send(address, None, None, actions);
            }
        }
    }

    /// Sends one heartbeat; with the view, unless `digest` says that the receiver holds it already.
    fn send(&mut self, to: SocketAddr, echo: Option<u32>, digest: Option<Digest>, actions: &mut Vec<Action>) {
        self.sequence = self.sequence.saturating_add(1);
        let mut peers: Vec<SocketAddr> = self
            .live_peers()
            .map(Peer::listen)
            .filter(|at| *at != to)
            .collect();
        peers.truncate(GOSSIP_MAX);
        let unknown = self.held.as_ref().filter(|held| Some(held.digest) != digest);
        let heartbeat = Heartbeat {
            sender: self.me.clone(),
            sequence: self.sequence,
            echo,
            peers,
            live: self.live(),
            number_seen: self.number_seen,
            number: self.number(),
            digest: self.held.as_ref().map(|held| held.digest),
            lineage: unknown.map(|held| held.lineage.clone()),
        };
        actions.push(Action::Send(to, Box::new(heartbeat)));
    }
}

/// Which of two views to hold, given the lives that either side is connected with.
///
/// Both sides judge by the union of what both know, so that they come to the same result.
fn judge(mine: &Lineage, theirs: &Lineage, live: &[Life]) -> Judgement {
    let rank = |lineage: &Lineage| (lineage.members_among(live), lineage.view.number, lineage.digest());
    let (my_rank, their_rank) = (rank(mine), rank(theirs));
    match mine.relation(theirs) {
        // A view that keeps under half of those alive was made by a node that hears too little: not followed.
        Relation::Descendant if 2 * their_rank.0 < my_rank.0 => Judgement::Keep,
        Relation::Ancestor if 2 * my_rank.0 < their_rank.0 => Judgement::Retract,
        Relation::Descendant => Judgement::Adopt,
        Relation::Fork if their_rank > my_rank => Judgement::Adopt,
        Relation::Fork | Relation::Ancestor | Relation::Same => Judgement::Keep,
    }
}

#[cfg(test)]
mod tests;
