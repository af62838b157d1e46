//! The control side of the workers: start, prepare, commit, drain.
//!
//! A change of listeners is made in two steps, so that a configuration whose sockets cannot be opened changes
//! nothing: [`Workers::prepare`] opens what is new, [`Workers::commit`] swaps the snapshot and hands the sockets over.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::bind::{self, BindError};
use super::mailbox::{Drain, Mailbox, NewSocket, Peer};
use super::retired::Retired;
use super::worker;
use crate::config::snapshot::Snapshot;

/// Descriptors that are kept free of connections: listeners, maps, files, checks, the admin API.
const DESCRIPTORS_RESERVED: u64 = 512;
/// Descriptors of a proxied request: the client's connection and the upstream's.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;
/// Connections the node holds at most where no figure is given, whatever the descriptors allow: some 10 kB each.
const CONNECTIONS_MAX: u64 = 262_144;
/// And at least, so that a tiny limit shows as accept errors and not as a stop.
const CONNECTIONS_MIN: u64 = 16;

/// How long a removed listener's sockets may still listen, in all workers: emptying the queue takes 1.5 s, each
/// step a tick more.
const CLOSING_MAX: Duration = Duration::from_secs(5);
/// How long a worker may take to end after a drain's limit, if nothing is wrong with it.
const END_MAX: Duration = Duration::from_secs(2);

/// Whether clients' connections are kept for further requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeping {
    /// They are.
    #[default]
    Kept,
    /// Each ends with its next response (`Connection: close`, GOAWAY); new ones are still accepted. What a node does
    /// that is drained but still runs: clients move on to others, and `Kept` undoes it.
    Ended,
}

/// What became of the requests that were under way when a drain began, or came during it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Requests that ended by themselves.
    pub finished: u64,
    /// Requests that were cut off when the limit was reached.
    pub cut: u64,
}

/// Sockets that are open and listen, but that no worker accepts from yet. Dropping it closes them.
#[derive(Debug)]
pub struct Prepared {
    listeners: Vec<Opened>,
}

#[derive(Debug)]
struct Opened {
    address: SocketAddr,
    local: SocketAddr,
    /// One for each worker.
    sockets: Vec<TcpListener>,
}

/// The worker threads.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    connections_max: usize,
    crew: Vec<Member>,
    /// Where each configured address really listens: the same but for port 0.
    bound: Mutex<HashMap<SocketAddr, SocketAddr>>,
    /// Ports of listeners removed within [`CLOSING_MAX`], and when.
    closing: Mutex<Vec<(u16, Instant)>>,
    /// Snapshots that were in force.
    retired: Retired,
}

#[derive(Debug)]
struct Member {
    mailbox: Arc<Mailbox>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts as many threads as the snapshot asks for. They accept nothing before the first [`Workers::commit`].
    ///
    /// Raises the soft limit of open files to the hard one, as each connection takes two.
    ///
    /// # Errors
    /// A thread or its runtime could not be made, the limits not be read, or more connections are asked for than
    /// files may be open.
    pub fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let snapshot = shared.snapshot.load_full();
        let connections_max = connections_max(raise_descriptors()?, snapshot.node.connections_max)?;
        Self::start_with(shared, snapshot.node.workers.max(1), connections_max)
    }

    pub(super) fn start_with(shared: Arc<Shared>, count: usize, connections_max: usize) -> io::Result<Self> {
        let per_client_max = shared.snapshot.load().node.connections_per_client_max;
        shared.admission.limit(connections_max, per_client_max);
        // Made first, so that those already started end where a later one cannot be.
        let mut this = Self {
            shared: Arc::clone(&shared),
            connections_max,
            crew: Vec::with_capacity(count),
            bound: Mutex::default(),
            closing: Mutex::default(),
            retired: Retired::default(),
        };
        let peer = |_| Peer {
            mailbox: Arc::default(),
            counters: shared.metrics.add_worker(),
        };
        let peers: Arc<[Peer]> = (0..count).map(peer).collect();
        for (index, peer) in peers.iter().enumerate() {
            let mailbox = Arc::clone(&peer.mailbox);
            let plan = worker::Plan {
                index,
                workers: count,
                peers: Arc::clone(&peers),
                shared: Arc::clone(&shared),
                mailbox: Arc::clone(&mailbox),
            };
            let thread = worker::spawn(plan)?;
            this.crew.push(Member { mailbox, thread });
        }
        tracing::info!(workers = count, connections_max, "workers started");
        Ok(this)
    }

    /// Opens the sockets of all listeners that are new in `next`, one for each worker, and touches nothing else.
    ///
    /// A listener is known by its address: under another name it stays open.
    ///
    /// # Errors
    /// A socket that cannot be opened, or a port that another program has, be it with `SO_REUSEPORT`; all others of
    /// this call are closed again.
    pub fn prepare(&self, next: &Snapshot) -> Result<Prepared, BindError> {
        let bound = self.bound();
        let is_ours = |port: u16| bound.values().any(|local| local.port() == port) || self.is_closing(port);
        // All before the first is opened: those of one port may overlap (`0.0.0.0` and an address).
        for listener in &next.listeners {
            if !bound.contains_key(&listener.address) && !is_ours(listener.address.port()) {
                bind::probe(listener)?;
            }
        }
        let mut listeners = Vec::new();
        for listener in &next.listeners {
            if bound.contains_key(&listener.address) {
                continue;
            }
            let (sockets, local) = bind::open(listener, self.crew.len())?;
            listeners.push(Opened {
                address: listener.address,
                local,
                sockets,
            });
        }
        Ok(Prepared { listeners })
    }

    /// Puts `next` in force: the next request is decided by it; new sockets are accepted from, removed ones are
    /// emptied and closed, and their connections end after the requests under way.
    ///
    /// `prepared` must come from [`Workers::prepare`] with the same snapshot, with no other commit between.
    pub fn commit(&self, prepared: Prepared, next: Arc<Snapshot>) {
        if next.node.workers != self.crew.len() {
            tracing::warn!(
                running = self.crew.len(),
                configured = next.node.workers,
                "another number of workers takes effect at the next start"
            );
        }
        self.shared
            .admission
            .limit(self.connections_max, next.node.connections_per_client_max);
        let old = self.shared.snapshot.swap(Arc::clone(&next));
        if !Arc::ptr_eq(&old, &next) {
            self.retired.push(old);
        }
        self.shared.metrics.follow(&next);
        let mut shares: Vec<Vec<NewSocket>> = self.crew.iter().map(|_| Vec::new()).collect();
        let mut bound = self.bound();
        bound.retain(|address, local| {
            let stays = next.listeners.iter().any(|listener| listener.address == *address);
            if !stays {
                self.closes(local.port());
            }
            stays
        });
        for Opened {
            address,
            local,
            sockets,
        } in prepared.listeners
        {
            bound.insert(address, local);
            for (share, socket) in shares.iter_mut().zip(sockets) {
                share.push(NewSocket { address, socket });
            }
        }
        drop(bound);
        for (member, sockets) in self.crew.iter().zip(shares) {
            member.mailbox.post(|orders| {
                orders.sockets.extend(sockets);
                orders.snapshot = Some(Arc::clone(&next));
            });
        }
    }

    /// Takes out the snapshots that no worker has any part of, for the caller to drop where time does not matter.
    pub fn left_behind(&self) -> Vec<Arc<Snapshot>> {
        self.retired.left_behind(self.shared.snapshot.load_full())
    }

    /// Says whether clients' connections are kept; holds until it is said otherwise.
    pub fn keep_connections(&self, keeping: Keeping) {
        for member in &self.crew {
            member.mailbox.post(|orders| orders.keeping = Some(keeping));
        }
    }

    /// Where a configured address really listens: what port 0 became.
    pub fn local_address(&self, configured: SocketAddr) -> Option<SocketAddr> {
        self.bound().get(&configured).copied()
    }

    /// Worker threads that ended though nobody stopped them: a fault in this program, which makes the node unready.
    pub fn dead(&self) -> usize {
        self.crew
            .iter()
            .filter(|member| member.thread.is_finished())
            .count()
    }

    /// Takes the threads out, to drain them while the rest of the node goes on; what stays behind has none.
    ///
    /// `None` the second time.
    pub fn take(&mut self) -> Option<Workers> {
        if self.crew.is_empty() {
            return None;
        }
        Some(Workers {
            shared: Arc::clone(&self.shared),
            connections_max: self.connections_max,
            crew: std::mem::take(&mut self.crew),
            bound: Mutex::new(std::mem::take(&mut *self.bound())),
            closing: Mutex::default(),
            retired: Retired::default(),
        })
    }

    /// What cuts a drain short that is under way.
    pub fn cutter(&self) -> Cutter {
        Cutter {
            mailboxes: self
                .crew
                .iter()
                .map(|member| Arc::clone(&member.mailbox))
                .collect(),
        }
    }

    /// Stops: accepts what is queued and nothing more, ends idle connections, lets requests under way finish until
    /// `limit`, then cuts them off. All threads have ended when it returns, and all log lines are handed over.
    ///
    /// # Cancel safety
    /// Dropped, the workers go on draining and end at the limit.
    pub async fn drain(mut self, limit: Duration) -> Drained {
        let crew = std::mem::take(&mut self.crew);
        let until = Instant::now() + limit;
        let ends: Vec<_> = crew.iter().map(|member| member.end(until)).collect();
        let mut sum = Drained::default();
        for (member, end) in crew.into_iter().zip(ends) {
            match timeout_at(until + END_MAX, end).await {
                Ok(Ok(drained)) => {
                    sum.finished += drained.finished;
                    sum.cut += drained.cut;
                    // It said that it is done: what is left of it takes no time.
                    if member.thread.join().is_err() {
                        tracing::error!("a worker panicked at its end");
                    }
                }
                Ok(Err(_)) | Err(_) => {
                    tracing::error!("a worker did not end when it was told to; it is left behind")
                }
            }
        }
        sum
    }

    fn closes(&self, port: u16) {
        let mut closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        closing.retain(|(closed, since)| *closed != port && since.elapsed() < CLOSING_MAX);
        closing.push((port, Instant::now()));
    }

    /// Whether sockets of ours may still listen on that port though their listener is gone.
    fn is_closing(&self, port: u16) -> bool {
        let mut closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        closing.retain(|(_, since)| since.elapsed() < CLOSING_MAX);
        closing.iter().any(|(closed, _)| *closed == port)
    }

    fn bound(&self) -> MutexGuard<'_, HashMap<SocketAddr, SocketAddr>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts a drain short.
#[derive(Debug)]
pub struct Cutter {
    mailboxes: Vec<Arc<Mailbox>>,
}

impl Cutter {
    /// Requests under way are cut off now; [`Workers::drain`] returns, and counts them.
    pub fn cut(&self) {
        for mailbox in &self.mailboxes {
            mailbox.post(|orders| orders.sooner = Some(Instant::now()));
        }
    }
}

impl Member {
    fn end(&self, until: Instant) -> oneshot::Receiver<Drained> {
        let (done, end) = oneshot::channel();
        self.mailbox
            .post(|orders| orders.drain = Some(Drain { until, done }));
        end
    }
}

/// Without [`Workers::drain`] the threads end at once, and cut what is under way.
impl Drop for Workers {
    fn drop(&mut self) {
        for member in &self.crew {
            drop(member.end(Instant::now()));
        }
    }
}

/// Raises the soft limit of open files to the hard one; returns what holds now.
fn raise_descriptors() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= hard {
        return Ok(soft);
    }
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => Ok(hard),
        Err(error) => {
            tracing::warn!(%error, soft, hard, "raising the limit of open files; the soft limit stays");
            Ok(soft)
        }
    }
}

/// # Errors
/// The descriptors do not suffice for what is asked for.
fn connections_max(descriptors: u64, asked: Option<usize>) -> io::Result<usize> {
    let fits = descriptors.saturating_sub(DESCRIPTORS_RESERVED) / DESCRIPTORS_PER_CONNECTION;
    let fits = fits.clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
    let fits = usize::try_from(fits).unwrap_or(usize::MAX);
    match asked {
        None => Ok(fits),
        Some(asked) => {
            let needed = (asked as u64)
                .saturating_mul(DESCRIPTORS_PER_CONNECTION)
                .saturating_add(DESCRIPTORS_RESERVED);
            if needed > descriptors {
                return Err(io::Error::other(format!(
                    "node.connections_max = {asked} needs {needed} open files (two a connection, {DESCRIPTORS_RESERVED} \
                     for the rest), but the limit is {descriptors}; raise it (LimitNOFILE in the unit, ulimit -Hn) or \
                     write {fits} at most"
                )));
            }
            Ok(asked)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_open_files() {
        let rows = [
            (20_000, None, Some(9_744)),
            (100, None, Some(16)),
            (10_000_000, None, Some(262_144)),
            (20_000, Some(9_744), Some(9_744)),
            (20_000, Some(9_745), None),
            (20_000, Some(10), Some(10)),
        ];
        for (descriptors, asked, expected) in rows {
            let got = connections_max(descriptors, asked);
            assert_eq!(
                got.as_ref().ok(),
                expected.as_ref(),
                "{descriptors} for {asked:?}"
            );
            if let Err(error) = got {
                let text = error.to_string();
                assert!(text.contains("9744") && text.contains("LimitNOFILE"), "{text}");
            }
        }
    }
}
