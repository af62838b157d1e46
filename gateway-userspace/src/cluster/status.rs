//! What `gateway nodes` shows of each node.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::{Profile, State};
use super::peer::Peer;

/// One node, as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Where it listens for heartbeats.
    pub listen: SocketAddr,
    /// Where encapsulated IPv4 packets reach it.
    pub address: Option<Ipv4Addr>,
    /// Where encapsulated IPv6 packets reach it.
    pub address_v6: Option<Ipv6Addr>,
    /// Its share while it is ready.
    pub weight: u32,
    /// What it is ready for.
    pub state: State,
    /// Heard, and hearing this node.
    pub alive: bool,
    /// Milliseconds since it was last heard; 0 for the node that answers.
    pub last_heard_ms: u64,
    /// Number of the view it holds; 0: none yet.
    pub view_number: u64,
    /// The life of its sockets.
    pub incarnation: u32,
}

impl NodeStatus {
    /// The node that answers.
    pub(super) fn of_self(me: &Profile, view_number: u64) -> NodeStatus {
        NodeStatus {
            name: me.name.clone(),
            listen: me.listen,
            address: me.address,
            address_v6: me.address_v6,
            weight: me.weight,
            state: me.state,
            alive: true,
            last_heard_ms: 0,
            view_number,
            incarnation: me.incarnation,
        }
    }

    /// Another node.
    pub(super) fn of_peer(peer: &Peer, my_incarnation: u32, now: Duration) -> NodeStatus {
        NodeStatus {
            alive: peer.is_connected(my_incarnation),
            last_heard_ms: u64::try_from(peer.unheard(now).as_millis()).unwrap_or(u64::MAX),
            ..NodeStatus::of_self(&peer.profile, peer.number)
        }
    }
}
