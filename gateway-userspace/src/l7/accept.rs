//! Accepting from one listening socket, from its first connection to the last one in its queue.
//!
//! Closing is done in three steps, for what a closed socket still had in its queue is reset (`tcp_migrate_req` is 0):
//! go on accepting until nobody came for a while; let no new handshake begin; accept what was in handshake.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use mio::net::TcpListener;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::admission::Full;
use super::bind;
use super::connection;
use super::mailbox::{Handed, Peer};
use super::resolved::{Resolved, ResolvedListener};
use super::worker::Worker;

/// First pause after an accept that failed; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause after an accept that failed.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// Closing: nobody came for so long.
const QUIET: Duration = Duration::from_millis(100);
/// Closing: where somebody always comes, new handshakes are refused after this.
const OPEN_MAX: Duration = Duration::from_secs(1);
/// Closing: handshakes that began before may take so long after the last one ended, and twice this in all.
const HANDSHAKE: Duration = Duration::from_millis(250);

/// Connections that a worker may have above a quarter more than the mean.
const SHARE_SLACK: u64 = 16;

/// A listening socket that this worker accepts from.
pub(super) struct Listening {
    /// As configured: its identity.
    pub(super) address: SocketAddr,
    /// As the last snapshot that had it: who stands in the queue of a removed listener is served by that.
    listener: RefCell<Option<Rc<ResolvedListener>>>,
    segment_bytes_max: Cell<Option<u16>>,
    closing: Cell<Closing>,
    changed: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Asked,
}

impl Listening {
    pub(super) fn new(address: SocketAddr, resolved: &Resolved) -> Self {
        Self {
            address,
            listener: RefCell::new(resolved.listener(address)),
            segment_bytes_max: Cell::new(None),
            closing: Cell::new(Closing::No),
            changed: Notify::new(),
        }
    }

    /// What its connections are served by.
    pub(super) fn listener(&self, resolved: &Resolved) -> Option<Rc<ResolvedListener>> {
        let mut held = self.listener.borrow_mut();
        if let Some(current) = resolved.listener(self.address) {
            *held = Some(current);
        }
        held.clone()
    }

    /// Asks [`run`] to empty the queue and end.
    pub(super) fn close(&self) {
        self.closing.set(Closing::Asked);
        self.changed.notify_one();
    }

    /// Asks [`run`] to give new connections that segment size; it was set before the socket listened, too.
    pub(super) fn retune(&self, segment_bytes_max: Option<u16>) {
        if segment_bytes_max.is_some()
            && self.segment_bytes_max.replace(segment_bytes_max) != segment_bytes_max
        {
            self.changed.notify_one();
        }
    }
}

/// Accepts until the listener is closed and its queue is empty.
pub(super) async fn run(worker: Rc<Worker>, listening: Rc<Listening>, socket: AsyncFd<TcpListener>) {
    let mut pause = PAUSE_MIN;
    while listening.closing.get() == Closing::No {
        let admission = &worker.shared.admission;
        if !admission.has_room() {
            worker.counters.full.add(1);
            while !admission.has_room() && listening.closing.get() == Closing::No {
                // A bound on the wait: `gone` wakes one listener of several, and not those of other workers.
                drop(tokio::time::timeout(PAUSE_MAX, worker.gone.notified()).await);
            }
        }
        tokio::select! {
            biased;
            () = listening.changed.notified() => retune(&listening, socket.get_ref()),
            accepted = accept(&socket) => take(&worker, &listening, accepted, &mut pause).await,
        }
    }
    empty(&worker, &listening, &socket, Instant::now() + OPEN_MAX, QUIET).await;
    if let Err(error) = bind::refuse_new(socket.get_ref()) {
        tracing::warn!(%error, address = %listening.address, "closing a listener: connections that begin now may be reset");
    }
    empty(
        &worker,
        &listening,
        &socket,
        Instant::now() + 2 * HANDSHAKE,
        HANDSHAKE,
    )
    .await;
    drop(socket);
    worker.closed(&listening);
}

/// The next connection. Tokio's listener would have epoll watch it at once for all there is; it has its own way.
async fn accept(socket: &AsyncFd<TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, client) = socket.async_io(Interest::READABLE, TcpListener::accept).await?;
    Ok((stream.into(), client))
}

/// Accepts until nobody came for `quiet`, or `end`.
async fn empty(
    worker: &Rc<Worker>,
    listening: &Rc<Listening>,
    socket: &AsyncFd<TcpListener>,
    end: Instant,
    quiet: Duration,
) {
    let mut pause = PAUSE_MIN;
    loop {
        let until = end.min(Instant::now() + quiet);
        let Ok(accepted) = timeout_at(until, accept(socket)).await else {
            return;
        };
        take(worker, listening, accepted, &mut pause).await;
    }
}

fn retune(listening: &Listening, socket: &TcpListener) {
    let Some(bytes) = listening.segment_bytes_max.get() else {
        return;
    };
    if let Err(error) = bind::set_segment_bytes_max(socket, bytes) {
        tracing::warn!(%error, address = %listening.address, bytes, "setting the segment size of new connections");
    }
}

async fn take(
    worker: &Rc<Worker>,
    listening: &Rc<Listening>,
    accepted: io::Result<(TcpStream, SocketAddr)>,
    pause: &mut Duration,
) {
    match accepted {
        Ok((stream, client)) => {
            *pause = PAUSE_MIN;
            if let Err(Full) = worker.shared.admission.enter(client.ip()) {
                worker.counters.client_full.add(1);
                tracing::debug!(%client, "a client has its most connections; closed");
                return;
            }
            match hand_over(worker, listening, stream, client) {
                None => {}
                Some(stream) => match listening.listener(&worker.resolved()) {
                    Some(listener) => connection::spawn(worker, listener, stream, client),
                    None => turn_away(worker, listening.address, client),
                },
            }
        }
        // The client gave up while it stood in the queue.
        Err(error) if is_of_connection(&error) => worker.counters.accept_errors.add(1),
        Err(error) => {
            if *pause == PAUSE_MIN {
                tracing::warn!(%error, address = %listening.address, "accepting; trying again after a pause");
            }
            worker.counters.accept_errors.add(1);
            sleep(*pause).await;
            *pause = (*pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Gives a connection to the worker with the fewest, if this one has far more than its share; else it comes back.
fn hand_over(
    worker: &Worker,
    listening: &Listening,
    stream: TcpStream,
    client: SocketAddr,
) -> Option<TcpStream> {
    let open = |peer: &Peer| peer.counters.open.get();
    let all: u64 = worker.peers.iter().map(open).sum();
    let workers = worker.peers.len() as u64;
    let mine = worker.counters.open.get();
    // 1.25 times the mean, and 16: without a division by what may be 0.
    if mine.saturating_sub(SHARE_SLACK).saturating_mul(4 * workers) <= all.saturating_mul(5) {
        return Some(stream);
    }
    let Some(least) = worker.peers.iter().min_by_key(|peer| open(peer)) else {
        return Some(stream);
    };
    let handed = Handed {
        address: listening.address,
        client,
        stream,
    };
    match least.mailbox.hand(handed) {
        Ok(()) => {
            worker.counters.handed_over.add(1);
            None
        }
        Err(back) => Some(back.stream),
    }
}

/// Serves a connection that another worker accepted.
pub(super) fn take_over(worker: &Rc<Worker>, handed: Handed) {
    let Handed {
        address,
        client,
        stream,
    } = handed;
    match worker.resolved().listener(address) {
        Some(listener) => connection::spawn(worker, listener, stream, client),
        None => turn_away(worker, address, client),
    }
}

/// Its listener came and went between two looks of this worker.
fn turn_away(worker: &Worker, address: SocketAddr, client: SocketAddr) {
    tracing::warn!(%address, %client, "a connection that no snapshot has routes for; closed");
    worker.shared.admission.leave(Some(client.ip()));
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
