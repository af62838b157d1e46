//! One client's connection: its task, its phases, and the limits of each.
//!
//! Limits are not timers: the worker's sweep looks at every connection a few times a second, so that a request sets
//! and clears none. A sweep that wants something of a connection leaves an order and wakes its task.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::{HeaderValue, Version};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::executor::{Panicked, caught};
use super::resolved::{Resolved, ResolvedListener};
use super::serve;
use super::stream::ClientStream;
use super::worker::Worker;

/// From accept to the first byte.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(10);
/// From a head's first byte to its end.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// HTTP/1: between two requests.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// HTTP/2: without a stream.
const H2_IDLE_MAX: Duration = Duration::from_secs(180);
/// The client takes no byte of what we hold.
const STALLED_MAX: Duration = Duration::from_secs(30);
/// From the order to end in order to the cut, where no request is under way: a client that answers no GOAWAY.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// A connection that is to end and has no request is given so long for one, which is answered with
/// `Connection: close`: closing at once would lose a request that is on its way.
const LEAVE_GRACE: Duration = Duration::from_secs(1);

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte came yet.
    Silent,
    /// A head began.
    Head,
    /// A request is under way.
    Busy,
    /// Between requests.
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// That a connection is to end after the response under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    /// Then it is cut.
    pub(crate) by: Option<Instant>,
}

/// What the sweep wants of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    None,
    Finish,
    Cut,
}

/// What a connection's task, its requests and the sweep know of it.
pub(crate) struct Connection {
    pub(super) worker: Rc<Worker>,
    pub(super) client: SocketAddr,
    /// The client's address as X-Forwarded-For says it; cloning it allocates nothing.
    pub(super) forwarded_for: HeaderValue,
    listener: RefCell<Rc<ResolvedListener>>,
    phase: Cell<Phase>,
    since: Cell<Instant>,
    protocol: Cell<Protocol>,
    active: Cell<u32>,
    blocked_since: Cell<Option<Instant>>,
    leave: Cell<Option<(Leave, Instant)>>,
    order: Cell<Order>,
    /// The last order, and when it was given.
    told: Cell<(Order, Instant)>,
    waker: RefCell<Option<Waker>>,
}

/// Serves a client until one side has enough.
pub(super) fn spawn(
    worker: &Rc<Worker>,
    listener: Rc<ResolvedListener>,
    stream: TcpStream,
    client: SocketAddr,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %client, "setting TCP_NODELAY");
    }
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let connection = Rc::new(Connection {
        client,
        forwarded_for: forwarded_for(client.ip()),
        listener: RefCell::new(listener),
        phase: Cell::new(Phase::Silent),
        since: Cell::new(worker.clock.coarse()),
        protocol: Cell::new(Protocol::Http1),
        active: Cell::new(0),
        blocked_since: Cell::new(None),
        leave: Cell::new(None),
        order: Cell::new(Order::None),
        told: Cell::new((Order::None, worker.clock.coarse())),
        waker: RefCell::new(None),
        worker: Rc::clone(worker),
    });
    let id = worker.add(Rc::clone(&connection));
    drop(tokio::task::spawn_local(async move {
        if let Err(Panicked(message)) = caught(run(&connection, stream)).await {
            connection.worker.counters.panics_connection.add(1);
            tracing::error!(place = "connection", message, %client, "a task panicked; its connection ends");
        }
        connection.worker.remove(id);
    }));
}

fn forwarded_for(client: IpAddr) -> HeaderValue {
    let mut text = String::with_capacity(40);
    // Writing to a string cannot fail; an address is a valid value.
    if write!(text, "{client}").is_err() {
        text.clear();
    }
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

async fn run(connection: &Rc<Connection>, stream: TcpStream) {
    let theirs = Rc::clone(connection);
    let service = service_fn(move |request| serve::serve(Rc::clone(&theirs), request));
    let stream = TokioIo::new(ClientStream::new(stream, Rc::clone(connection)));
    let server = connection.worker.server.clone();
    let mut http = pin!(server.serve_connection(stream, service));
    let end = poll_fn(|context| {
        connection.park(context.waker());
        match connection.order.replace(Order::None) {
            Order::None => {}
            Order::Finish => http.as_mut().graceful_shutdown(),
            Order::Cut => return Poll::Ready(None),
        }
        http.as_mut().poll(context).map(Some)
    });
    match end.await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            tracing::debug!(%error, client = %connection.client, "a client's connection ended")
        }
        None => tracing::debug!(client = %connection.client, "a client's connection was cut"),
    }
}

impl Connection {
    /// The listener as this snapshot has it; where it has it no more, as the last one had it.
    pub(super) fn listener(&self, resolved: &Resolved) -> Rc<ResolvedListener> {
        let held = Rc::clone(&self.listener.borrow());
        if held.snapshot == resolved.snapshot.number {
            return held;
        }
        match resolved.listener(held.address()) {
            Some(current) => {
                *self.listener.borrow_mut() = Rc::clone(&current);
                current
            }
            None => held,
        }
    }

    /// The listener's address as configured.
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.borrow().address()
    }

    /// Requests under way.
    pub(super) fn active(&self) -> u32 {
        self.active.get()
    }

    /// A request's head is read.
    pub(super) fn begin(&self, version: Version) {
        if version == Version::HTTP_2 {
            self.protocol.set(Protocol::Http2);
        }
        self.active.set(self.active.get() + 1);
        self.phase.set(Phase::Busy);
    }

    /// A request's response ended, or will never.
    pub(super) fn end(&self) {
        let active = self.active.get().saturating_sub(1);
        self.active.set(active);
        if active == 0 {
            self.enter(Phase::Idle);
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.worker.clock.coarse());
    }

    /// Bytes came from the client.
    pub(super) fn received(&self, bytes: &[u8]) {
        match self.phase.get() {
            Phase::Busy | Phase::Head => {}
            // The preface of HTTP/2: such a connection has no head of its own, and may be opened in advance.
            Phase::Silent if bytes.starts_with(b"PRI") => {
                self.protocol.set(Protocol::Http2);
                self.enter(Phase::Idle);
            }
            // Pings and the like.
            Phase::Idle if self.protocol.get() == Protocol::Http2 => {}
            Phase::Silent | Phase::Idle => self.enter(Phase::Head),
        }
    }

    /// Whether the client takes what we write.
    pub(super) fn writes(&self, outcome: Poll<()>) {
        match outcome {
            Poll::Ready(()) => self.blocked_since.set(None),
            Poll::Pending if self.blocked_since.get().is_none() => {
                self.blocked_since.set(Some(self.worker.clock.coarse()));
            }
            Poll::Pending => {}
        }
    }

    /// Whether responses say `Connection: close`.
    pub(super) fn is_leaving(&self) -> bool {
        self.leave.get().is_some() || self.worker.leave().is_some()
    }

    /// It is to end after the response under way.
    pub(super) fn leave(&self, leave: Leave) {
        if self.leave.get().is_none() {
            self.leave.set(Some((leave, Instant::now())));
        }
    }

    /// Looks at all limits; called by the sweep.
    pub(super) fn check(&self, now: Instant, worker_leaves: Option<Leave>) {
        let waited = now.saturating_duration_since(self.since.get());
        let limit = match (self.phase.get(), self.protocol.get()) {
            (Phase::Silent, _) => FIRST_BYTE_MAX,
            (Phase::Head, _) => HEAD_MAX,
            (Phase::Idle, Protocol::Http1) => IDLE_MAX,
            (Phase::Idle, Protocol::Http2) => H2_IDLE_MAX,
            (Phase::Busy, _) => Duration::MAX,
        };
        let told = match self.told.get() {
            (Order::Finish, since) => now.saturating_duration_since(since).min(waited),
            _ => Duration::ZERO,
        };
        if self.phase.get() == Phase::Idle && told >= FINISH_MAX {
            return self.tell(Order::Cut, now);
        }
        let stalled = self
            .blocked_since
            .get()
            .is_some_and(|since| now.saturating_duration_since(since) >= STALLED_MAX);
        if waited >= limit || stalled {
            self.worker.counters.timed_out.add(1);
            // An idle connection ends in order; from a slow one nothing is to be expected.
            return self.tell(
                if self.phase.get() == Phase::Idle {
                    Order::Finish
                } else {
                    Order::Cut
                },
                now,
            );
        }
        if let Some(leave) = worker_leaves {
            self.leave(leave);
        }
        // The latest word on the limit counts: a drain comes after a listener's removal, or the other way round.
        let by = worker_leaves.and_then(|leave| leave.by);
        if let Some((leave, since)) = self.leave.get() {
            self.check_leave(now, earliest(leave.by, by), since);
        }
    }

    fn check_leave(&self, now: Instant, by: Option<Instant>, since: Instant) {
        if by.is_some_and(|by| now >= by) {
            return self.tell(Order::Cut, now);
        }
        let grace_is_over = now.saturating_duration_since(since) >= LEAVE_GRACE;
        match (self.phase.get(), self.protocol.get()) {
            // GOAWAY refuses nothing that was sent before it: no grace is needed.
            (Phase::Busy | Phase::Idle, Protocol::Http2) | (Phase::Busy, _) => self.tell(Order::Finish, now),
            (Phase::Idle, Protocol::Http1) if grace_is_over => self.tell(Order::Finish, now),
            (Phase::Silent, _) if grace_is_over => self.tell(Order::Cut, now),
            (Phase::Idle | Phase::Silent | Phase::Head, _) => {}
        }
    }

    fn tell(&self, order: Order, now: Instant) {
        let told = self.told.get().0;
        if told == order || told == Order::Cut {
            return;
        }
        self.told.set((order, now));
        self.order.set(order);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn park(&self, waker: &Waker) {
        let mut parked = self.waker.borrow_mut();
        match &mut *parked {
            Some(held) if held.will_wake(waker) => {}
            held => *held = Some(waker.clone()),
        }
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
