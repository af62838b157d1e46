//! What the control side tells a worker: the latest wish, never a queue.
//!
//! A later order replaces or extends an earlier one that the worker did not take yet, so the box is bounded by the
//! listeners of the snapshots that were committed since the worker's last look.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::metrics::WorkerCounters;
use super::workers::{Drained, Keeping};
use crate::config::snapshot::Snapshot;

/// Connections that a worker may be given before it took the last ones.
const HANDED_MAX: usize = 256;

/// A socket that a worker is to accept from.
#[derive(Debug)]
pub(super) struct NewSocket {
    /// The listener's address as configured: its identity.
    pub(super) address: SocketAddr,
    pub(super) socket: TcpListener,
}

/// A connection that another worker accepted and has too many of.
#[derive(Debug)]
pub(super) struct Handed {
    /// Of its listener, as configured.
    pub(super) address: SocketAddr,
    pub(super) client: SocketAddr,
    pub(super) stream: TcpStream,
}

/// A worker as the others know it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) counters: Arc<WorkerCounters>,
}

/// The end of a worker.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) until: Instant,
    pub(super) done: oneshot::Sender<Drained>,
}

/// All that a worker was told and has not done.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) sockets: Vec<NewSocket>,
    /// At most [`HANDED_MAX`].
    pub(super) handed: Vec<Handed>,
    /// Sockets that are not among its listeners are closed.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) keeping: Option<Keeping>,
    pub(super) drain: Option<Drain>,
    /// The drain under way ends at this time instead.
    pub(super) sooner: Option<Instant>,
}

/// Between the control side and one worker.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    orders: Mutex<Orders>,
    filled: Notify,
}

impl Mailbox {
    /// Changes the orders and wakes the worker.
    pub(super) fn post(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        self.filled.notify_one();
    }

    /// Gives a connection to this worker; back if it has not taken those before.
    pub(super) fn hand(&self, handed: Handed) -> Result<(), Handed> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.handed.len() >= HANDED_MAX {
            return Err(handed);
        }
        orders.handed.push(handed);
        drop(orders);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for orders and takes them all.
    ///
    /// # Cancel safety
    /// None is lost.
    pub(super) async fn take(&self) -> Orders {
        self.filled.notified().await;
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
