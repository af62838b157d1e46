//! A cluster in memory: simulated time and network, faults by seed, the same run for the same seed.
//!
//! `GATEWAY_SIMULATION_SEED=n cargo test -p gateway-userspace cluster::simulation` replays one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::lineage::sets_are_sound;
use super::membership::{Action, Event, Membership, TICK};
use super::message::{Heartbeat, Profile, Standing, State};
use super::notice::Notice;
use super::status::NodeStatus;
use super::wire::Replays;
use crate::view::{HISTORY_VIEWS_MAX, Member, Served, View};

/// Nodes, the network between them, and the faults it has.
pub struct Network {
    seed: u64,
    rng: StdRng,
    now: Duration,
    nodes: Vec<Node>,
    in_flight: BTreeMap<Reverse<(Duration, u64)>, (usize, Event)>,
    events: u64,
    cuts: BTreeSet<(usize, usize)>,
    loss: f64,
    delay_ms: u64,
    deaths: Vec<(usize, String)>,
    /// What an attacker on the network has recorded, if there is one.
    recording: Option<Vec<Heartbeat>>,
}

struct Node {
    running: Option<Membership>,
    replays: Replays,
    starts: u32,
    state: State,
    weight: u32,
    serves: Served,
    paused_until: Duration,
    published: Vec<Arc<View>>,
    last_sent: Option<Heartbeat>,
    log: Vec<(Duration, Notice)>,
}

fn address(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(i).unwrap()], 7946))
}

fn incarnation(starts: u32, i: usize) -> u32 {
    starts * 100 + u32::try_from(i).unwrap()
}

impl Network {
    pub fn new(seed: u64, nodes: usize) -> Network {
        let mut network = Network {
            seed,
            rng: StdRng::seed_from_u64(seed),
            now: Duration::from_secs(1),
            nodes: Vec::new(),
            in_flight: BTreeMap::new(),
            events: 0,
            cuts: BTreeSet::new(),
            loss: 0.0,
            delay_ms: 0,
            deaths: Vec::new(),
            recording: None,
        };
        (0..nodes).for_each(|_| network.add_node());
        network
    }

    pub fn add_node(&mut self) {
        self.nodes.push(Node {
            running: None,
            replays: Replays::default(),
            starts: 0,
            state: State::Joining,
            weight: 1,
            serves: Served::All,
            paused_until: Duration::ZERO,
            published: Vec::new(),
            last_sent: None,
            log: Vec::new(),
        });
    }

    /// Starts a node as a new process. Its seeds are the first two nodes.
    pub fn start(&mut self, i: usize) {
        let (now, hash_key) = (self.now, [self.rng.random(), self.rng.random()]);
        let seeds: Vec<SocketAddr> = (0..self.nodes.len().min(2)).map(address).collect();
        let node = &mut self.nodes[i];
        node.starts += 1;
        node.state = State::Joining;
        node.weight = 1;
        node.serves = Served::All;
        node.replays = Replays::default();
        let me = Profile {
            name: format!("n{i}"),
            listen: address(i),
            address: Some([10, 0, 0, u8::try_from(i).unwrap()].into()),
            address_v6: None,
            weight: 1,
            state: State::Joining,
            standing: Standing::Newcomer,
            incarnation: incarnation(node.starts, i),
            serves: Served::All,
        };
        node.running = Some(Membership::new(me, &seeds, hash_key, now));
        let first = now + Duration::from_millis(self.rng.random_range(0..100));
        self.queue(first, i, Event::Tick);
    }

    pub fn crash(&mut self, i: usize) {
        self.nodes[i].running = None;
        self.in_flight
            .retain(|_, (to, event)| *to != i || !matches!(event, Event::Tick));
    }

    pub fn set_state(&mut self, i: usize, state: State) {
        self.nodes[i].state = state;
        self.deliver(i, Event::State(state));
    }

    pub fn set_weight(&mut self, i: usize, weight: u32) {
        self.nodes[i].weight = weight;
        self.deliver(i, Event::Weight(weight));
    }

    pub fn set_served(&mut self, i: usize, serves: Served) {
        self.nodes[i].serves = serves.clone();
        self.deliver(i, Event::Serves(serves));
    }

    pub fn pause(&mut self, i: usize, length: Duration) {
        self.nodes[i].paused_until = self.now + length;
    }

    pub fn cut(&mut self, a: usize, b: usize) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    pub fn heal(&mut self) {
        self.cuts.clear();
    }

    pub fn inject(&mut self, to: usize, heartbeat: Heartbeat) {
        self.deliver(to, Event::Heartbeat(Box::new(heartbeat)));
    }

    /// From now on an attacker records all datagrams; it has no key, but can send them again.
    pub fn record(&mut self) {
        self.recording = Some(Vec::new());
    }

    /// The attacker sends all it has recorded to one node, in order, evenly over this time; whom they were for does
    /// not matter.
    pub fn replay(&mut self, to: usize, time: Duration) {
        let recorded = self.recording.take().unwrap_or_default();
        let count = u32::try_from(recorded.len()).unwrap();
        for (heartbeat, i) in recorded.into_iter().zip(0..) {
            let at = self.now + time * i / count;
            self.queue(at, to, Event::Heartbeat(Box::new(heartbeat)));
        }
    }

    pub fn view(&self, i: usize) -> Option<View> {
        self.nodes[i].running.as_ref().and_then(Membership::view).cloned()
    }

    pub fn nodes(&self, i: usize) -> Vec<NodeStatus> {
        self.nodes[i]
            .running
            .as_ref()
            .map_or_else(Vec::new, |m| m.nodes(self.now))
    }

    pub fn published(&self, i: usize) -> &[Arc<View>] {
        &self.nodes[i].published
    }

    pub fn last_sent(&self, i: usize) -> Option<Heartbeat> {
        self.nodes[i].last_sent.clone()
    }

    /// Who declared whom dead.
    pub fn deaths(&self) -> &[(usize, String)] {
        &self.deaths
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(entry) = self.in_flight.last_entry() {
            let Reverse((at, _)) = *entry.key();
            if at > end {
                break;
            }
            let (to, event) = entry.remove();
            self.now = at;
            let paused_until = self.nodes[to].paused_until;
            if paused_until > at {
                self.queue(paused_until, to, event);
                continue;
            }
            if matches!(event, Event::Tick) && self.nodes[to].running.is_some() {
                let jitter = Duration::from_millis(self.rng.random_range(0..3));
                self.queue(at + TICK + jitter, to, Event::Tick);
            }
            self.deliver(to, event);
        }
        self.now = end;
    }

    fn queue(&mut self, at: Duration, to: usize, event: Event) {
        self.events += 1;
        self.in_flight.insert(Reverse((at, self.events)), (to, event));
    }

    fn deliver(&mut self, i: usize, event: Event) {
        let now = self.now;
        let node = &mut self.nodes[i];
        let Some(membership) = &mut node.running else {
            return;
        };
        if let Event::Heartbeat(heartbeat) = &event
            && node.replays.admit(heartbeat).is_err()
        {
            return;
        }
        for action in membership.step(event, now) {
            match action {
                Action::Send(to, heartbeat) => self.transmit(i, to, *heartbeat),
                Action::Publish(view) => {
                    self.assert_sound(&view);
                    self.nodes[i].published.push(view);
                }
                Action::Notice(notice) => {
                    if let Notice::Died { name, .. } = &notice {
                        self.deaths.push((i, name.clone()));
                    }
                    self.nodes[i].log.push((now, notice));
                }
            }
        }
    }

    fn transmit(&mut self, from: usize, to: SocketAddr, heartbeat: Heartbeat) {
        self.nodes[from].last_sent = Some(heartbeat.clone());
        if let Some(recording) = &mut self.recording {
            recording.push(heartbeat.clone());
        }
        let Some(to) = (0..self.nodes.len()).find(|i| address(*i) == to) else {
            return;
        };
        if self.cuts.contains(&(from, to)) || self.rng.random_bool(self.loss) {
            return;
        }
        let delay = Duration::from_micros(self.rng.random_range(50..=200 + self.delay_ms * 1000));
        self.queue(self.now + delay, to, Event::Heartbeat(Box::new(heartbeat)));
    }

    /// Every view ever published is one that tables can be made from.
    fn assert_sound(&self, view: &View) {
        let seed = self.seed;
        assert!(
            view.members.windows(2).all(|w| w[0].id < w[1].id),
            "seed {seed}: {view:?}"
        );
        let names: BTreeSet<_> = view.members.iter().map(|m| &m.name).collect();
        assert_eq!(names.len(), view.members.len(), "seed {seed}: {view:?}");
        assert!(
            view.members.iter().any(|m| m.weight > 0),
            "seed {seed}: somebody serves: {view:?}"
        );
        assert!(view.history.len() <= HISTORY_VIEWS_MAX, "seed {seed}: {view:?}");
        assert!(sets_are_sound(view), "seed {seed}: {view:?}");
        let mut distinct = vec![view.shares()];
        for shares in &view.history {
            assert!(
                !shares.0.is_empty() && !distinct.contains(shares),
                "seed {seed}: {view:?}"
            );
            distinct.push(shares.clone());
        }
    }

    /// Whether a node held a view, in this life, that it was in.
    fn has_served(&self, i: usize) -> bool {
        let (node, name) = (&self.nodes[i], format!("n{i}"));
        let member = |view: &Arc<View>| view.member(&name).map(|m| m.incarnation);
        node.published
            .iter()
            .any(|view| member(view) == Some(incarnation(node.starts, i)))
    }

    /// All running nodes hold one view, and it has exactly those that serve, with their lives and weights.
    pub fn assert_agreed(&self, when: &str) {
        let running: Vec<usize> = (0..self.nodes.len())
            .filter(|i| self.nodes[*i].running.is_some())
            .collect();
        let stays = |i: &&usize| self.nodes[**i].state != State::Leaving;
        let serving: Vec<usize> = running
            .iter()
            .filter(stays)
            .copied()
            .filter(|i| self.nodes[*i].state != State::Joining)
            .collect();
        if serving.is_empty() {
            return;
        }
        let members = |i: &&usize| self.nodes[**i].state == State::Ready || self.has_served(**i);
        let anyone_ready = serving.iter().any(|i| self.nodes[*i].state == State::Ready);
        let explain = || {
            let mut text = format!(
                "{when}; replay: GATEWAY_SIMULATION_SEED={} cargo test -p gateway-userspace cluster::simulation\n",
                self.seed
            );
            for i in &running {
                text += &format!("n{i} {:?} {:#?}\n", self.nodes[*i].state, self.view(*i));
                for (at, notice) in self.nodes[*i].log.iter().rev().take(40).rev() {
                    text += &format!("  {:>6} ms {notice}\n", at.as_millis());
                }
            }
            text
        };
        for i in running.iter().filter(stays) {
            assert!(
                self.view(*i) == self.view(serving[0]),
                "views differ {}",
                explain()
            );
        }
        let Some(view) = self.view(serving[0]) else {
            panic!("no view {}", explain())
        };
        let mut expected: Vec<(String, u32, u32, Served)> = serving
            .iter()
            .filter(members)
            .map(|i| {
                let node = &self.nodes[*i];
                let weight = if node.state == State::Ready || !anyone_ready {
                    node.weight
                } else {
                    0
                };
                (
                    format!("n{i}"),
                    weight,
                    incarnation(node.starts, *i),
                    node.serves.clone(),
                )
            })
            .collect();
        let served = |m: &Member| match view.set(m.serves) {
            Some(set) => Served::These(set.to_vec()),
            None => Served::All,
        };
        let mut held: Vec<(String, u32, u32, Served)> = view
            .members
            .iter()
            .map(|m| (m.name.clone(), m.weight, m.incarnation, served(m)))
            .collect();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        held.sort_by(|a, b| a.0.cmp(&b.0));
        assert!(
            expected == held,
            "wrong members: expected {expected:?}, {}",
            explain()
        );
    }
}

mod runs;
