//! One worker: a thread, its runtime, and all that only this thread touches.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::TcpListener;
use slab::Slab;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Shared;
use super::accept::{self, Listening};
use super::clock::Clock;
use super::connection::{Connection, Leave};
use super::handshakes::Handshakes;
use super::mailbox::{Drain, Mailbox, NewSocket, Orders, Peer};
use super::metrics::WorkerCounters;
use super::request_ids::RequestIds;
use super::resolved::{Attic, Owner, Resolved};
use super::workers::{Drained, Keeping};
use crate::config::snapshot::Snapshot;
use crate::telemetry::access_log::LineBuffer;

/// How often limits of connections and pools are looked at; they are exact within one such step.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
/// How long connections of a removed listener may take to end.
const LISTENER_DRAIN_MAX: Duration = Duration::from_secs(30);

/// Between two looks at how late tasks run, while there are connections.
const DELAY_INTERVAL: Duration = Duration::from_millis(20);

/// What a worker is made from.
pub(super) struct Plan {
    pub(super) index: usize,
    /// Workers of the node.
    pub(super) workers: usize,
    /// All workers of the node, this one among them.
    pub(super) peers: Arc<[Peer]>,
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Arc<Mailbox>,
}

/// Sockets that are seen to before the kernel is asked for more.
///
/// What an upstream sent lies in its connection's buffer until the task that waits for it runs, after all sockets of one
/// answer of the kernel: of 64 kB each, a few dozen no longer fit into a processor's second cache.
const EVENTS_PER_TICK: usize = 16;

/// Starts the thread and waits until it has its runtime, so that a failure is the caller's.
///
/// A runtime of tasks that stay on their thread: tokio's `LocalRuntime`, which schedules a task once where a `LocalSet`
/// in a common runtime schedules it twice.
pub(super) fn spawn(plan: Plan) -> io::Result<JoinHandle<()>> {
    let (made, is_made) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(format!("worker-{}", plan.index))
        .spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().max_io_events_per_tick(EVENTS_PER_TICK);
            match builder.build_local(LocalOptions::default()) {
                Ok(runtime) => {
                    // The other side waits for it.
                    drop(made.send(Ok(())));
                    run(runtime, plan);
                }
                Err(error) => drop(made.send(Err(error))),
            }
        })?;
    match is_made.recv() {
        Ok(made) => made.map(|()| thread),
        Err(_) => Err(io::Error::other("a worker ended before it began")),
    }
}

fn run(runtime: LocalRuntime, plan: Plan) {
    let mailbox = Arc::clone(&plan.mailbox);
    let worker = Rc::new(Worker::new(plan));
    let (before, drain) = runtime.block_on(worker.live(&mailbox));
    // What is still there is cut off: each request's record ends with its task, and sees this.
    worker.state.set(State::Cutting);
    let cut = worker.active_requests();
    let finished = worker.counters.ended.get().saturating_sub(before);
    // With all tasks, which drop sockets and timers of it.
    drop(runtime);
    worker.connections.borrow_mut().clear();
    worker.log.hand_over();
    if drain.done.send(Drained { finished, cut }).is_err() {
        tracing::debug!(finished, cut, "a worker ended and nobody waited for it");
    }
}

/// What the worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Serving,
    /// The limit of a drain.
    Draining(Instant),
    Cutting,
}

/// All that belongs to one worker's thread.
pub(crate) struct Worker {
    owner: Rc<Owner>,
    pub(super) peers: Arc<[Peer]>,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<WorkerCounters>,
    pub(super) log: LineBuffer,
    pub(super) request_ids: RequestIds,
    pub(super) clock: Clock,
    pub(super) state: Cell<State>,
    keeping: Cell<Keeping>,
    resolved: RefCell<Rc<Resolved>>,
    listening: RefCell<Vec<Rc<Listening>>>,
    connections: RefCell<Slab<Rc<Connection>>>,
    pub(super) handshakes: Handshakes,
    /// A connection or a listener is gone.
    pub(super) gone: Notify,
    /// The first connection of several came.
    busy: Notify,
}

impl Worker {
    fn new(plan: Plan) -> Self {
        let counters = plan.peers.get(plan.index).map(|peer| Arc::clone(&peer.counters));
        let counters = counters.unwrap_or_default();
        let snapshot = plan.shared.snapshot.load_full();
        let ends = plan.shared.snapshots.ends(snapshot.number);
        let owner = Rc::new(Owner {
            worker: plan.index,
            workers: plan.workers,
            metrics: Arc::clone(&plan.shared.metrics),
            attic: Rc::<Attic>::default(),
        });
        let resolved = Resolved::new(snapshot, ends, None, &owner);
        Self {
            owner,
            peers: plan.peers,
            log: LineBuffer::new(Arc::clone(&plan.shared.access_log)),
            request_ids: RequestIds::new(plan.index),
            clock: Clock::default(),
            state: Cell::new(State::Serving),
            keeping: Cell::default(),
            resolved: RefCell::new(Rc::new(resolved)),
            listening: RefCell::default(),
            connections: RefCell::default(),
            handshakes: Handshakes::default(),
            gone: Notify::new(),
            busy: Notify::new(),
            counters,
            shared: plan.shared,
        }
    }

    /// Until a drain has ended; returns the requests that had ended when it began.
    async fn live(self: &Rc<Self>, mailbox: &Mailbox) -> (u64, Drain) {
        let this = Rc::clone(self);
        drop(tokio::task::spawn_local(async move { this.log.run().await }));
        let this = Rc::clone(self);
        drop(tokio::task::spawn_local(
            async move { this.measure_delay().await },
        ));
        let attic = Rc::clone(&self.owner.attic);
        drop(tokio::task::spawn_local(async move { attic.clear().await }));
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drain: Option<(u64, Drain)> = None;
        let mut sooner = None;
        loop {
            tokio::select! {
                orders = mailbox.take() => {
                    // Kept: the order to cut may be taken before the drain that it cuts.
                    sooner = orders.sooner.or(sooner);
                    if let Some(order) = self.obey(orders) {
                        let before = drain.take().map_or(self.counters.ended.get(), |(before, _)| before);
                        drain = Some((before, order));
                    }
                    if let (Some(until), Some((_, order))) = (sooner, drain.as_mut()) {
                        order.until = until;
                    }
                }
                now = sweep.tick() => self.sweep(now),
                () = self.gone.notified() => {}
            }
            drain = match drain {
                Some((before, order)) if self.is_empty() || order.until <= Instant::now() => {
                    return (before, order);
                }
                other => other,
            };
        }
    }

    fn obey(self: &Rc<Self>, orders: Orders) -> Option<Drain> {
        for socket in orders.sockets {
            self.listen(socket);
        }
        for handed in orders.handed {
            accept::take_over(self, handed);
        }
        if let Some(next) = orders.snapshot {
            self.follow(&next);
        }
        if let Some(keeping) = orders.keeping {
            self.keeping.set(keeping);
        }
        let drain = orders.drain?;
        self.state.set(State::Draining(drain.until));
        for listening in self.listening.borrow().iter() {
            listening.close();
        }
        self.sweep(Instant::now());
        Some(drain)
    }

    fn listen(self: &Rc<Self>, new: NewSocket) {
        let socket = TcpListener::from_std(new.socket);
        // SAFETY: the listener has one descriptor, which it closes when it is dropped, by whoever has it then.
        let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        let socket = match watched {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, address = %new.address, "handing a listening socket to a worker; it accepts nothing");
                return;
            }
        };
        let listening = Rc::new(Listening::new(new.address, &self.resolved()));
        self.listening.borrow_mut().push(Rc::clone(&listening));
        drop(tokio::task::spawn_local(accept::run(
            Rc::clone(self),
            listening,
            socket,
        )));
    }

    /// Closes listeners that the snapshot has no more, and takes the snapshot at once: idle pools of endpoints
    /// that are gone must not wait for a request.
    fn follow(&self, next: &Snapshot) {
        for listening in self.listening.borrow().iter() {
            match next
                .listeners
                .iter()
                .find(|listener| listener.address == listening.address)
            {
                None => {
                    listening.close();
                    self.leave_listener(listening.address);
                }
                Some(listener) => listening.retune(listener.segment_bytes_max),
            }
        }
        let resolved = self.resolved();
        for listening in self.listening.borrow().iter() {
            // What it held of the old snapshot is not to wait for the next connection.
            drop(listening.listener(&resolved));
        }
    }

    /// Who was let in by other terms of TLS, or for something else than is carried now, has to come again.
    fn keep_terms(&self, held: &Resolved, next: &Snapshot) {
        for next in &next.listeners {
            let held = held.listener(next.address);
            let same = match (held.as_ref().and_then(|held| held.tls()), &next.tls) {
                (None, None) => true,
                (Some(held), Some(next)) => held.has_terms_of(next),
                _ => held.is_none(),
            };
            let carries_same = held.is_none_or(|held| held.carries() == next.carries);
            if !same || !carries_same {
                self.leave_listener(next.address);
            }
        }
    }

    /// The snapshot in force, as this worker sees it. Called once for each request.
    pub(super) fn resolved(&self) -> Rc<Resolved> {
        let current = self.shared.snapshot.load();
        let held = Rc::clone(&self.resolved.borrow());
        if Arc::ptr_eq(&current, &held.snapshot) {
            return held;
        }
        let current = arc_swap::Guard::into_inner(current);
        let next = Rc::new(Resolved::new(
            Arc::clone(&current),
            self.shared.snapshots.ends(current.number),
            Some(&held),
            &self.owner,
        ));
        held.replaced_by(&next, Instant::now());
        *self.resolved.borrow_mut() = Rc::clone(&next);
        // Here and not when the worker is told of the snapshot: a request may see it first.
        self.keep_terms(&held, &next.snapshot);
        next
    }

    pub(super) fn add(&self, connection: Rc<Connection>) -> usize {
        let mut connections = self.connections.borrow_mut();
        if connections.is_empty() {
            self.busy.notify_one();
        }
        self.counters.accepted.add(1);
        self.counters.open.add(1);
        connections.insert(connection)
    }

    pub(super) fn remove(&self, id: usize) {
        let removed = self.connections.borrow_mut().try_remove(id);
        if let Some(connection) = removed {
            self.counters.open.less();
            self.shared.admission.leave(connection.counted_for());
        }
        self.gone.notify_one();
    }

    /// Looks how late a task runs that is due: what any other task may have to wait.
    async fn measure_delay(&self) {
        loop {
            if self.connections.borrow().is_empty() {
                self.busy.notified().await;
            }
            let due = Instant::now() + DELAY_INTERVAL;
            sleep_until(due).await;
            self.counters.delayed(due.elapsed());
        }
    }

    /// A listener's socket is closed: its connections are to end.
    pub(super) fn closed(&self, listening: &Rc<Listening>) {
        self.listening
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, listening));
        let is_back = self
            .listening
            .borrow()
            .iter()
            .any(|other| other.address == listening.address);
        if !is_back {
            // Those that were in its queue.
            self.leave_listener(listening.address);
        }
        self.gone.notify_one();
    }

    fn leave_listener(&self, address: SocketAddr) {
        let by = Some(Instant::now() + LISTENER_DRAIN_MAX);
        for (_, connection) in self.connections.borrow().iter() {
            if connection.address() == address {
                connection.leave(Leave { by });
            }
        }
    }

    /// Whether connections are to end after the response under way, and by when.
    pub(super) fn leave(&self) -> Option<Leave> {
        match (self.state.get(), self.keeping.get()) {
            (State::Draining(by), _) => Some(Leave { by: Some(by) }),
            (_, Keeping::Ended) => Some(Leave { by: None }),
            _ => None,
        }
    }

    fn sweep(&self, now: Instant) {
        self.clock.read(now);
        let resolved = Rc::clone(&self.resolved.borrow());
        for (_, connection) in self.connections.borrow().iter() {
            // What waits between requests holds no old snapshot, and keeps to the limits of the new one.
            drop(connection.listener(&resolved));
            connection.check(now, self.leave());
        }
        resolved.evict(now);
        let old = self.shared.snapshots.check(resolved.snapshot.number, now);
        self.counters.old_snapshots.set(old as u64);
    }

    fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty() && self.listening.borrow().is_empty()
    }

    fn active_requests(&self) -> u64 {
        self.connections
            .borrow()
            .iter()
            .map(|(_, connection)| u64::from(connection.active()))
            .sum()
    }
}
