//! What the tests behind a router share: a lab whose router may take any node for director, with live connections in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_tests::lab::addresses::{Family, Vip};
use gateway_tests::lab::node::Node;
use gateway_tests::lab::settings::{Announce, Common};
use gateway_tests::lab::wait::wait_until;
use gateway_tests::lab::{Lab, Plan};
use gateway_tests::load::live::{Broken, Live};
use http::Method;

use crate::support::{get, node_of};

/// Connections that live through each change.
pub const CONNECTIONS: u32 = 2_000;

/// Bound of every wait for nodes or traffic to show a change.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the router does while something changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// Goes on as before.
    Still,
    /// Spreads flows in another way, so that most get another director.
    Changes,
}

/// A lab with a router, whose first `running` nodes run; the router sends to the nodes `hops`.
pub fn routed_lab(running: usize, hops: &[usize], common: Common) -> Lab {
    let plan = Plan {
        common: Common {
            announce: Announce::None,
            ..common
        },
        ..Plan::new().expect("the gateway's program")
    };
    let lab = Lab::raise(&plan).expect("a lab with a router");
    set_next_hops(&lab, hops);
    lab.start_first(running).expect("nodes that know each other");
    lab
}

/// Has the router send to these nodes.
pub fn set_next_hops(lab: &Lab, hops: &[usize]) {
    let router = lab.router().expect("a router");
    router.set_next_hops(hops).expect("next hops");
}

/// Packets that a node's kernel program has judged for that reason.
pub fn packets_for(node: &Node, reason: &str) -> u64 {
    let status = node.admin_json(Method::GET, "/v1/status").expect("a status");
    let verdicts = status["dataplane"]["verdicts"].as_array().expect("verdicts");
    let of_reason = verdicts.iter().filter(|verdict| verdict["reason"] == reason);
    of_reason.filter_map(|verdict| verdict["packets"].as_u64()).sum()
}

/// A lab with live connections, in which something changes.
pub struct Scene {
    pub lab: Lab,
    live: Live,
    hash: Hash,
    turns: std::cell::Cell<usize>,
}

impl Scene {
    /// Raises the lab and opens the connections.
    pub fn new(running: usize, hops: &[usize], hash: Hash, common: Common) -> Self {
        let lab = routed_lab(running, hops, common);
        let target = Vip::FlowHash.http(common.families.list().first().copied().unwrap_or(Family::V6));
        let live = Live::start(&lab, target, CONNECTIONS).expect("live connections");
        Self {
            lab,
            live,
            hash,
            turns: std::cell::Cell::new(0),
        }
    }

    /// Node number `index`, from 0.
    pub fn node(&self, index: usize) -> &Node {
        &self.lab.nodes()[index]
    }

    /// Spreads the flows in another way over these nodes, if this scene's router does so.
    pub fn rehash(&self, hops: &[usize]) {
        if self.hash == Hash::Changes {
            self.turns.set(self.turns.get() + 1);
            let router = self.lab.router().expect("a router");
            router.rehash(hops, self.turns.get()).expect("another hash");
        }
    }

    /// Lets each connection be used that many more times.
    pub fn rounds(&self, rounds: u64) {
        self.live.wait_rounds(rounds).expect("connections that go on");
    }

    /// Does something to a node by its admin API.
    pub fn post(&self, index: usize, path: &str) {
        let done = self.node(index).admin_json(Method::POST, path);
        done.expect("an answer that says that it is done");
    }

    /// Drains a node while the router spreads flows anew, and takes it in again.
    pub fn drain_and_undrain(&self, index: usize, hops: &[usize]) {
        self.post(index, "/v1/drain");
        self.rehash(hops);
        self.rounds(3);
        self.rehash(hops);
        self.post(index, "/v1/undrain");
        self.rehash(hops);
    }

    /// Live connections of each node.
    pub fn by_node(&self) -> BTreeMap<Arc<str>, usize> {
        self.live.ledger().by_node()
    }

    /// Waits until a node answers a new connection.
    pub fn wait_for_connections_on(&self, index: usize) {
        let name = self.node(index).name();
        let found = wait_until(Instant::now() + PATIENCE, || {
            let answer = get(&self.lab, Vip::FlowHash.http(Family::V4), "/hello").expect("an answer");
            (node_of(&answer) == name).then_some(())
        });
        assert!(found.is_some(), "{name} gets no new connections");
    }

    /// Waits until as many connections live as at the begin.
    pub fn wait_all_live(&self) {
        let all = usize::try_from(CONNECTIONS).expect("a small number");
        let found = wait_until(Instant::now() + PATIENCE, || {
            (self.by_node().values().sum::<usize>() == all).then_some(())
        });
        assert!(found.is_some(), "not all live: {:?}", self.by_node());
    }

    /// Ends the load; the connections that broke, and what is to be told of the run.
    pub fn end(self, what: &str) -> Vec<Broken> {
        let hash = self.hash;
        let ledger = self.live.end().expect("a load that ran");
        println!(
            "{what}, hash {hash:?}: {} of {CONNECTIONS} broke; {} exchanges, {} handed over, slowest {:?}",
            ledger.broken_count(),
            ledger.exchanges(),
            ledger.handed_over(),
            ledger.slowest()
        );
        let broken = ledger.broken();
        assert_eq!(u64::try_from(broken.len()).ok(), Some(ledger.broken_count()));
        broken
    }
}

/// Fails where any connection broke, and shows how the first ones did.
pub fn assert_none_broken(what: &str, hash: Hash, broken: &[Broken], started: Instant) {
    let first: Vec<_> = broken
        .iter()
        .take(5)
        .map(|one| {
            let at = one.asked.saturating_duration_since(started);
            format!("{} on {:?} asked at {at:?}: {}", one.number, one.node, one.why)
        })
        .collect();
    assert!(
        broken.is_empty(),
        "{what}, hash {hash:?}: {} broke, as {first:#?}",
        broken.len()
    );
}
