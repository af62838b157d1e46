//! Membership as plain data: what every node must know to compute the same tables.
//!
//! Views are made by `cluster` and turned into tables by `l4`; this file knows neither.

use std::net::{Ipv4Addr, Ipv6Addr};

use gateway_common::node::NodeId;
use serde::{Deserialize, Serialize};

use crate::config::snapshot::Node;

mod served;

pub use served::{FINGERPRINTS_MAX, Fingerprint, SETS_MAX, Served, SetId, VIPS_ADVERTISED_MAX, keys};

/// Earlier views that a view carries, so that a node that just joined knows them too.
pub const HISTORY_VIEWS_MAX: usize = 4;

/// Numbered membership and weights; all tables follow from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Grows by at least one with every change, on every node but one that was cut off: it takes back the views that it
    /// made alone, and with them their numbers. So tell views apart by `!=`, not by `<`. 0: no view yet.
    pub number: u64,
    /// Secret that keys the steering hash: made once with the cluster, never changed. Where two clusters that were
    /// begun apart meet, the smaller one takes over the larger one's.
    pub hash_key: [u64; 2],
    /// Sorted by id.
    pub members: Vec<Member>,
    /// Earlier distinct (members, weights, sets), the latest first; at most [`HISTORY_VIEWS_MAX`].
    pub history: Vec<Shares>,
    /// The distinct sets of VIPs that members and history refer to by [`SetId`]; each is sorted, and so are they. At most
    /// [`SETS_MAX`], with [`FINGERPRINTS_MAX`] fingerprints in all: whoever serves a set beyond that counts as serving all.
    pub sets: Vec<Vec<Fingerprint>>,
}

/// One node of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Given by the view that took the node in; not reused while the history names it.
    pub id: NodeId,
    /// Unique in the cluster.
    pub name: String,
    /// Where encapsulated IPv4 packets reach it.
    pub address: Option<Ipv4Addr>,
    /// Where encapsulated IPv6 packets reach it.
    pub address_v6: Option<Ipv6Addr>,
    /// Share of new connections; 0 while it drains.
    pub weight: u32,
    /// The life of its sockets: another number after each start.
    pub incarnation: u32,
    /// Which VIPs it serves.
    pub serves: SetId,
}

/// Who had which share of which VIPs: all that tables are computed from. Sorted by id; weights of 0 are left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shares(pub Vec<Share>);

/// One node's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Share {
    /// Whose.
    pub id: NodeId,
    /// At least 1.
    pub weight: u32,
    /// Of which VIPs.
    pub serves: SetId,
}

impl View {
    /// What a node holds before it knows any view: number 0, and nobody serves.
    pub fn unknown() -> View {
        View {
            number: 0,
            hash_key: [0, 0],
            members: Vec::new(),
            history: Vec::new(),
            sets: Vec::new(),
        }
    }

    /// The view of a node without a cluster. Its hash key is random: nobody has to agree with it.
    pub fn alone(node: &Node, incarnation: u32) -> View {
        let member = Member {
            id: NodeId(1),
            name: node.name.clone(),
            address: node.address,
            address_v6: node.address_v6,
            weight: node.weight,
            incarnation,
            serves: SetId::ALL,
        };
        View {
            number: 1,
            hash_key: rand::random(),
            members: vec![member],
            history: Vec::new(),
            sets: Vec::new(),
        }
    }

    /// The shares of this view.
    pub fn shares(&self) -> Shares {
        Shares(
            self.members
                .iter()
                .filter(|m| m.weight > 0)
                .map(|m| Share {
                    id: m.id,
                    weight: m.weight,
                    serves: m.serves,
                })
                .collect(),
        )
    }

    /// The set of that number; `None`: all VIPs.
    pub fn set(&self, id: SetId) -> Option<&[Fingerprint]> {
        let index = usize::from(id.0).checked_sub(1)?;
        self.sets.get(index).map(Vec::as_slice)
    }

    /// Whether a member serves the VIP of that fingerprint.
    pub fn serves(&self, member: &Member, fingerprint: Fingerprint) -> bool {
        let set = self.set(member.serves);
        set.is_none_or(|set| set.binary_search(&fingerprint).is_ok())
    }

    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.name == name)
    }
}
