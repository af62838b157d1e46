//! A packet that is explained: the question, and what is answered.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Step, Unanswerable};
use crate::config::snapshot::Transport;

/// `POST /v1/explain/packet`: a client's packet, as it comes to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The client.
    pub from: SocketAddr,
    /// The VIP.
    pub to: SocketAddr,
    /// The transport.
    pub protocol: Transport,
    /// Of TCP, what kind of segment.
    pub flags: Flags,
}

/// What a segment is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flags {
    /// It opens a connection.
    #[default]
    Syn,
    /// It is of one that is open.
    Ack,
}

impl Question {
    /// Whether there can be such a packet.
    ///
    /// # Errors
    /// Its addresses are of different families, or a port is 0.
    pub fn check(&self) -> Result<(), Unanswerable> {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let (from, to) = (canonical(self.from), canonical(self.to));
        let is_v4 = |address: SocketAddr| matches!(address.ip(), IpAddr::V4(_));
        if is_v4(from) != is_v4(to) {
            return Err(Unanswerable(format!(
                "{from} and {to} are addresses of different families: give two of IPv4, or two of IPv6"
            )));
        }
        match [from, to].iter().find(|address| address.port() == 0) {
            Some(address) => Err(Unanswerable(format!(
                "{address} has no port: give one from 1 to 65535"
            ))),
            None => Ok(()),
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The node that was asked: where the packet comes in.
    pub node: String,
    /// Number of the view in force.
    pub view: u64,
    /// Number of the snapshot in force.
    pub snapshot: u64,
    /// What was decided.
    pub verdict: Verdict,
    /// What the decision asked, in its order, and what it was answered.
    pub steps: Vec<Step>,
}

/// What was decided for a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// `pass` (the stack of this node gets it), `send` (another node does), `answer` (its sender does), or `drop`.
    pub action: String,
    /// Why: the name of the counter that such a packet raises.
    pub reason: String,
    /// The same for people.
    pub says: String,
    /// The node that it is sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its VIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
}
