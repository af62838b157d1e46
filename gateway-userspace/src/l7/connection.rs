//! One client's connection: its task, its phases, and the limits of each.
//!
//! Limits are not timers: the worker's sweep looks at every connection a few times a second, so that a request sets
//! and clears none. What is due is decided by `life`; the sweep leaves it as an order and wakes the task.

mod life;

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

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
use life::{Cause, Life, Order, Protocol};

pub(super) use life::Leave;

/// What a connection's task, its requests and the sweep know of it.
pub(crate) struct Connection {
    pub(super) worker: Rc<Worker>,
    pub(super) client: SocketAddr,
    /// The client's address as X-Forwarded-For says it; cloning it allocates nothing.
    pub(super) forwarded_for: HeaderValue,
    listener: RefCell<Rc<ResolvedListener>>,
    life: Cell<Life>,
    order: Cell<Option<Order>>,
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
        life: Cell::new(Life::new(worker.clock.coarse())),
        order: Cell::new(None),
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
        match connection.order.take() {
            None => {}
            Some(Order::Finish) => http.as_mut().graceful_shutdown(),
            Some(Order::Cut) => return Poll::Ready(None),
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

    fn change(&self, change: impl FnOnce(&mut Life, Instant)) {
        let mut life = self.life.get();
        change(&mut life, self.worker.clock.coarse());
        self.life.set(life);
    }

    /// Requests under way.
    pub(super) fn active(&self) -> u32 {
        self.life.get().active()
    }

    /// A request's head is read.
    pub(super) fn begin(&self, version: Version) {
        let protocol = if version == Version::HTTP_2 {
            Protocol::Http2
        } else {
            Protocol::Http1
        };
        self.change(|life, _| life.begin(protocol));
    }

    /// A request's response ended, or never will.
    pub(super) fn end(&self) {
        self.change(Life::end);
    }

    /// Bytes came from the client.
    pub(super) fn received(&self, bytes: &[u8]) {
        self.change(|life, now| life.received(bytes, now));
    }

    /// Whether the client takes what we write.
    pub(super) fn writes(&self, outcome: Poll<()>) {
        self.change(|life, now| life.writes(outcome, now));
    }

    /// Whether responses say `Connection: close`.
    pub(super) fn is_leaving(&self) -> bool {
        self.life.get().is_leaving() || self.worker.leave().is_some()
    }

    /// It is to end after the response under way.
    pub(super) fn leave(&self, leave: Leave) {
        self.change(|life, now| life.leave(leave, now));
    }

    /// Looks at all limits; called by the sweep.
    pub(super) fn check(&self, now: Instant, node: Option<Leave>) {
        let mut life = self.life.get();
        let due = life.check(now, node);
        self.life.set(life);
        let Some((order, cause)) = due else { return };
        if cause == Cause::Limit {
            self.worker.counters.timed_out.add(1);
        }
        self.order.set(Some(order));
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
