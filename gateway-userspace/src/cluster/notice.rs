//! What membership tells the operator.
//!
//! Each is one log line; `Display` is its text. Levels are chosen where they are logged, in `heartbeat`.

use std::net::SocketAddr;
use std::time::Duration;

use super::message::State;

/// Something worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// Another node is heard, for the first time or again.
    #[error("node {name} at {address} is heard")]
    Heard {
        /// Its name.
        name: String,
        /// Where it listens.
        address: SocketAddr,
    },
    /// Another node was not heard for too long.
    #[error("node {name} is dead: nothing heard for {} ms", unheard.as_millis())]
    Died {
        /// Its name.
        name: String,
        /// For how long.
        unheard: Duration,
    },
    /// A node that said it would leave is silent now.
    #[error("node {name} has left")]
    Gone {
        /// Its name.
        name: String,
    },
    /// Another node runs as a new process.
    #[error("node {name} has restarted: its life {ended} is over, life {begun} begins")]
    Restarted {
        /// Its name.
        name: String,
        /// The incarnation that was.
        ended: u32,
        /// The incarnation that is.
        begun: u32,
    },
    /// Another node is ready for something else now.
    #[error("node {name} is now {state:?}")]
    StateChanged {
        /// Its name.
        name: String,
        /// Its new state.
        state: State,
    },
    /// This node, as the leader, made a view.
    #[error("made view {number} with {members} members")]
    Made {
        /// Its number.
        number: u64,
        /// How many serve.
        members: usize,
    },
    /// This node took over another's view.
    #[error("adopted view {number} from {from}")]
    Adopted {
        /// Its number.
        number: u64,
        /// From whom.
        from: String,
    },
    /// After a cut, this node gave up the view of its side.
    #[error("after a cut: gave up view {given_up} for view {number} of {from}")]
    Merged {
        /// The number that holds now.
        number: u64,
        /// The number that held here.
        given_up: u64,
        /// From whom.
        from: String,
    },
    /// The others did not follow a view of this node, since it left out too many.
    #[error("view {number} was not followed and is taken back: {from} hears more nodes than this one does")]
    Refused {
        /// The number taken back.
        number: u64,
        /// Who hears more.
        from: String,
    },
    /// Another node has this one's name.
    #[error("the node at {address} has this node's name: give one of them another [node] name")]
    NameTaken {
        /// Where the other listens.
        address: SocketAddr,
    },
    /// More nodes than are kept count of.
    #[error("node {name} is not heard: this cluster is full")]
    Full {
        /// Its name.
        name: String,
    },
    /// This node's own timer was late: it suspects nobody this time.
    #[error("own heartbeat late by {} ms: this machine or process was held up", late.as_millis())]
    Late {
        /// By how much.
        late: Duration,
    },
}
