//! The cluster: who is alive, which view all nodes hold, and who answers for the floating addresses.
//!
//! In reading order: `message` (what nodes say), `wire` (how it travels), `membership` (what follows from it),
//! `lineage` (how views are made), `heartbeat` (the thread), `announce` (floating addresses). It knows nothing of L4 and L7: views come out of it,
//! the node's own state and weight go in.

pub mod announce;
pub mod arp;
mod collect;
pub mod heartbeat;
pub mod lineage;
pub mod membership;
pub mod message;
pub mod ndp;
pub mod notice;
mod peer;
pub mod status;
pub mod wait;
pub mod wire;

#[cfg(test)]
mod simulation;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::watch;

use crate::config::snapshot;
use crate::view::{Served, View};
use heartbeat::{Course, Driver, Shared, Wanted};
use membership::Membership;
pub use message::State;
pub use status::NodeStatus;
use wire::{DropCount, Wire};

/// Why this node cannot take part in its cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The heartbeat port cannot be had.
    #[error("listening for heartbeats on {listen}: {remedy}")]
    Bind {
        /// `cluster.listen`.
        listen: SocketAddr,
        /// What to do about it.
        remedy: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Other nodes would not know where to send their heartbeats.
    #[error(
        "[cluster] listen = \"{listen}\" names no address of this node: give it one, \
         or set [node] address (IPv4) or address_v6 (IPv6)"
    )]
    NoAddress {
        /// `cluster.listen`.
        listen: SocketAddr,
    },
    /// The name does not fit heartbeats.
    #[error(
        "[node] name = \"{name}\": a name in a cluster has 1 to {} bytes",
        message::NAME_BYTES_MAX
    )]
    Name {
        /// `node.name`.
        name: String,
    },
    /// The process has reached a limit of the system.
    #[error("starting the heartbeat thread: raise the limits on processes and open files")]
    Thread(#[source] std::io::Error),
}

/// The handle to this node's part in the cluster.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
    listen: SocketAddr,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Cluster {
    /// Starts taking part, as [`State::Joining`]: the node learns the view and is seen, but serves nothing yet.
    ///
    /// The receiver holds [`View::unknown`] (number 0, no members) until there is a view. Numbers of views grow, but for
    /// one case: a node that was cut off takes back the views it made alone and adopts one with a lower number.
    ///
    /// # Errors
    /// If the port is taken, the address is not this machine's, or the node cannot be told from others.
    pub fn start(
        config: &snapshot::Cluster,
        node: &snapshot::Node,
        serves: Served,
        incarnation: u32,
    ) -> Result<(Cluster, watch::Receiver<Arc<View>>), ClusterError> {
        if !wire::is_name(&node.name) {
            return Err(ClusterError::Name {
                name: node.name.clone(),
            });
        }
        let socket = bind(config.listen)?;
        let bound = socket
            .local_addr()
            .map_err(|error| bind_error(config.listen, error))?;
        let listen = reachable(bound, node).ok_or(ClusterError::NoAddress {
            listen: config.listen,
        })?;
        let me = message::Profile {
            name: node.name.clone(),
            listen,
            address: node.address,
            address_v6: node.address_v6,
            weight: node.weight,
            state: State::Joining,
            standing: message::Standing::Newcomer,
            incarnation,
            serves: serves.clone(),
        };
        let epoch = Instant::now();
        let (waker, woken) = wait::waker().map_err(ClusterError::Thread)?;
        let wanted = Wanted {
            state: State::Joining,
            weight: node.weight,
            serves,
            course: Course::Run,
        };
        let shared = Arc::new(Shared::new(wanted, waker));
        let (views, receiver) = watch::channel(Arc::new(View::unknown()));
        let driver = Driver {
            socket,
            wire: Wire::new(&config.key),
            membership: Membership::new(me, &config.seeds, rand::random(), epoch.elapsed()),
            epoch,
            shared: Arc::clone(&shared),
            woken,
            views,
        };
        let thread = std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || driver.run())
            .map_err(ClusterError::Thread)?;
        let cluster = Cluster {
            shared,
            listen,
            thread: Mutex::new(Some(thread)),
        };
        Ok((cluster, receiver))
    }

    /// Says to all nodes, at once, what this one is ready for.
    pub fn set_state(&self, state: State) {
        self.shared.want(|wanted| wanted.state = state);
    }

    /// Says to all nodes, at once, which share this one takes while it is ready; 0 takes it out like a drain.
    pub fn set_weight(&self, weight: u32) {
        self.shared.want(|wanted| wanted.weight = weight);
    }

    /// Says to all nodes, at once, which VIPs this one serves: their tables give it connections of those alone.
    pub fn set_served(&self, serves: Served) {
        self.shared.want(|wanted| wanted.serves = serves);
    }

    /// All nodes known, this one first, as of the last tick (100 ms); empty before the first.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.shared.nodes()
    }

    /// Datagrams that were not heard, by reason.
    pub fn drops(&self) -> Vec<DropCount> {
        self.shared.drops.all()
    }

    /// Where other nodes reach this one; the port is real where `listen` asked for port 0.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Whether the heartbeat thread runs. If it does not, and nobody called [`Cluster::stop`], it has panicked: other
    /// nodes take this one for dead, and the receiver of views gets no more of them (its `changed` fails at once).
    pub fn is_running(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Leaves: says so to all nodes several times, and ends the thread. Takes some 60 ms; further calls do nothing.
    pub fn stop(&self) {
        self.shared.want(|wanted| wanted.course = Course::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the heartbeat thread had panicked: other nodes took this one for dead");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Adds the metrics of the view; names begin with `gateway_`.
pub fn register_metrics(
    registry: &mut prometheus_client::registry::Registry,
    views: watch::Receiver<Arc<View>>,
) {
    registry.register_collector(Box::new(collect::Views(views)));
}

fn bind(listen: SocketAddr) -> Result<UdpSocket, ClusterError> {
    let socket = UdpSocket::bind(listen).map_err(|error| bind_error(listen, error))?;
    socket
        .set_nonblocking(true)
        .map_err(|error| bind_error(listen, error))?;
    Ok(socket)
}

fn bind_error(listen: SocketAddr, source: std::io::Error) -> ClusterError {
    let remedy = match source.kind() {
        ErrorKind::AddrInUse => {
            "another program has this port, perhaps a gateway that still runs: stop it, or change [cluster] listen"
        }
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address: correct [cluster] listen, or add the address first"
        }
        ErrorKind::PermissionDenied => {
            "ports below 1024 want CAP_NET_BIND_SERVICE: grant it, or change [cluster] listen"
        }
        _ => "the system refuses the socket: see the cause, and correct [cluster] listen",
    };
    ClusterError::Bind {
        listen,
        remedy,
        source,
    }
}

/// Where others reach a socket that is bound here.
fn reachable(bound: SocketAddr, node: &snapshot::Node) -> Option<SocketAddr> {
    let v4 = || node.address.map(IpAddr::V4);
    let v6 = || node.address_v6.map(IpAddr::V6);
    let address = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => v4()?,
        IpAddr::V6(ip) if ip.is_unspecified() => v6().or_else(v4)?,
        specific => specific,
    };
    Some(SocketAddr::new(address, bound.port()))
}

#[cfg(test)]
mod tests;
