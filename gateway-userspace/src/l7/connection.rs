//! One client's connection: its task from the first byte to the farewell, its phases, and the limits of each.
//!
//! Limits are not timers: the worker's sweep looks at every connection a few times a second, so that a request sets
//! and clears none. What is due is decided by `life`; the sweep leaves it as an order and wakes the task.

mod ending;
mod life;
mod proxied;
mod task;

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::Version;
use tokio::time::Instant;

use super::client_text::ClientText;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::resolved::{Resolved, ResolvedListener};
use super::transport::TlsFacts;
use super::tunnel::Tunnel;
use super::worker::Worker;
use crate::inspect::{Refusal, Report, Resume};
use life::{Cause, Life, Order, Protocol};
use proxied::Proxied;

pub(crate) use ending::{Ending, HandshakeFault};
pub(super) use life::Leave;
pub(super) use task::spawn;

/// What a connection's task, its requests and the sweep know of it.
pub(crate) struct Connection {
    pub(super) worker: Rc<Worker>,
    /// Who connected: the client, or a proxy that says who that is.
    peer: SocketAddr,
    peer_text: ClientText,
    /// What a trusted proxy said; empty: the peer is the client.
    proxied: OnceCell<Box<Proxied>>,
    /// Whom the limit of connections counts it for; `None`: it is not known yet.
    counted_for: Cell<Option<IpAddr>>,
    /// What the handshake found; empty: it speaks no TLS.
    tls: OnceCell<TlsFacts>,
    since: Instant,
    listener: RefCell<Rc<ResolvedListener>>,
    life: Cell<Life>,
    order: Cell<Option<Order>>,
    /// Why the last order was given.
    cause: Cell<Option<Cause>>,
    waker: RefCell<Option<Waker>>,
    requests: Cell<u64>,
    /// HTTP/1: of these, since HTTP began, or began anew after a rest.
    numbered: Cell<u64>,
    half_closed: Cell<HalfClosed>,
    /// HTTP/1: what the inspector found.
    pub(super) report: Rc<Report>,
    /// HTTP/1: what the connection becomes once HTTP on it has ended.
    tunnel: RefCell<Option<Box<Tunnel>>>,
    exchanges: RefCell<Exchanges>,
    ends: Cell<Ends>,
}

/// HTTP/1: whether the connection ends with the request that is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Not that anybody said so.
    Open,
    WithThis,
}

/// HTTP/1: the client ended its side while a request was under way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HalfClosed {
    No,
    /// Perhaps it waits for its answer all the same, as netcat does.
    Since(Instant),
    /// It has gone.
    Gone,
}

/// How long a client that ended its side may still wait for its answer; then it counts as gone, and the endpoint is
/// told to stop.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(2);

/// Requests under way.
enum Exchanges {
    /// Nothing came yet.
    None,
    /// One after another.
    Http1(Rc<Exchange>),
    Http2 {
        all: Vec<Rc<Exchange>>,
        /// Made for the stream that hyper is about to spawn.
        next: Option<Rc<Exchange>>,
    },
}

impl Connection {
    /// The listener as this snapshot has it; where it has it no more, as the last one had it.
    pub(super) fn listener(&self, resolved: &Resolved) -> Rc<ResolvedListener> {
        let held = Rc::clone(&self.listener.borrow());
        if held.tag.snapshot == resolved.snapshot.number {
            return held;
        }
        match resolved.listener(held.address()) {
            // One that carries something else serves those that come from now on.
            Some(current) if current.carries() == held.carries() => {
                *self.listener.borrow_mut() = Rc::clone(&current);
                current
            }
            Some(_) | None => held,
        }
    }

    /// The listener, as the last look found it.
    pub(super) fn listens(&self) -> Rc<ResolvedListener> {
        Rc::clone(&self.listener.borrow())
    }

    /// What the handshake found; `None`: the connection speaks no TLS.
    pub(super) fn tls(&self) -> Option<&TlsFacts> {
        self.tls.get()
    }

    /// Who the client is: the peer, or whom a trusted proxy named for this connection.
    pub(super) fn client(&self) -> SocketAddr {
        self.proxied
            .get()
            .map_or(self.peer, |proxied| proxied.ends.client)
    }

    /// The same as text.
    pub(super) fn client_text(&self) -> &ClientText {
        self.proxied
            .get()
            .map_or(&self.peer_text, |proxied| &proxied.text)
    }

    /// The proxy, where one named the client.
    pub(super) fn proxy(&self) -> Option<&str> {
        self.proxied.get().map(|_| self.peer_text.as_str())
    }

    /// What the client connected to, as a trusted proxy named it.
    pub(super) fn named_server(&self) -> Option<SocketAddr> {
        self.proxied.get().map(|proxied| proxied.ends.server)
    }

    /// Whom the limit of connections counts it for.
    pub(super) fn counted_for(&self) -> Option<IpAddr> {
        self.counted_for.get()
    }

    /// It carries no requests: it is one exchange itself, from now until it ends.
    pub(super) fn is_one(&self) -> Rc<Exchange> {
        let exchange = Rc::<Exchange>::default();
        self.exchanges.replace(Exchanges::Http1(Rc::clone(&exchange)));
        self.requests.set(self.requests.get() + 1);
        self.change(|life, _| life.begin(Protocol::Http1));
        exchange
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

    /// A request's head is read. What the inspector put in place of a head that it refused is told apart.
    pub(super) fn begin(&self, version: Version) -> Option<Refusal> {
        self.requests.set(self.requests.get() + 1);
        self.numbered.set(self.numbered.get() + 1);
        if version == Version::HTTP_2 {
            self.change(|life, _| life.begin(Protocol::Http2));
            return None;
        }
        self.change(|life, _| life.begin(Protocol::Http1));
        let noted = self.report.take_noted();
        if !noted.is_empty() {
            for refusal in noted.iter() {
                self.worker.counters.noted(refusal);
            }
        }
        self.report.refusal_of(self.numbered.get() - 1)
    }

    /// How the head began that was refused.
    pub(super) fn start_line(&self) -> Option<Box<str>> {
        self.report.refused().map(|refused| refused.start_line.into())
    }

    /// A request's response ended, or never will.
    pub(super) fn end(&self) {
        self.change(Life::end);
    }

    /// Bytes came from the client.
    pub(super) fn received(&self) {
        self.change(Life::received);
    }

    /// The client sends nothing more; pending: HTTP is not to know yet, for it would give the request up.
    pub(super) fn ended(&self) -> Poll<()> {
        // Hyper reads on before it asks the service, so a request may have passed that has not begun.
        let is_under_way = self.active() > 0 || self.report.heads() > self.numbered.get();
        let is_waiting = is_under_way && matches!(&*self.exchanges.borrow(), Exchanges::Http1(_));
        match self.half_closed.get() {
            _ if !is_waiting => Poll::Ready(()),
            HalfClosed::Gone => Poll::Ready(()),
            HalfClosed::Since(_) => Poll::Pending,
            HalfClosed::No => {
                self.half_closed
                    .set(HalfClosed::Since(self.worker.clock.coarse()));
                Poll::Pending
            }
        }
    }

    /// Whether the client takes what we write.
    pub(super) fn writes(&self, outcome: Poll<()>) {
        self.change(|life, now| life.writes(outcome, now));
    }

    /// HTTP/1: the request that is under way is the last, as the client or we have said.
    pub(super) fn ends_with_this(&self) {
        self.ends.set(Ends::WithThis);
    }

    /// Whether what is written now ends the last response. If that is wrong, it is sent a little later.
    pub(super) fn says_its_last(&self) -> bool {
        self.ends.get() == Ends::WithThis && self.active() == 0
    }

    /// Whether responses say `Connection: close`.
    pub(super) fn is_leaving(&self) -> bool {
        self.life.get().is_leaving() || self.worker.leave().is_some()
    }

    /// It is to end after the response under way.
    pub(super) fn leave(&self, leave: Leave) {
        self.change(|life, now| life.leave(leave, now));
    }

    /// HTTP/1: the connection becomes a tunnel once the 101 is written.
    pub(super) fn becomes(&self, tunnel: Box<Tunnel>) {
        self.report.resume(Resume::Tunnel);
        self.tunnel.replace(Some(tunnel));
    }

    /// HTTP/1: the one exchange.
    fn exchange(&self) -> Rc<Exchange> {
        match &*self.exchanges.borrow() {
            Exchanges::Http1(exchange) => Rc::clone(exchange),
            Exchanges::None | Exchanges::Http2 { .. } => Rc::default(),
        }
    }

    fn begin_stream(&self) -> Rc<Exchange> {
        let exchange = Rc::<Exchange>::default();
        if let Exchanges::Http2 { all, next } = &mut *self.exchanges.borrow_mut() {
            all.push(Rc::clone(&exchange));
            *next = Some(Rc::clone(&exchange));
        }
        exchange
    }

    /// The exchange of the stream that is spawned now.
    pub(super) fn take_stream(&self) -> Option<Rc<Exchange>> {
        match &mut *self.exchanges.borrow_mut() {
            Exchanges::Http2 { next, .. } => next.take(),
            Exchanges::None | Exchanges::Http1(_) => None,
        }
    }

    pub(super) fn end_stream(&self, exchange: &Rc<Exchange>) {
        if let Exchanges::Http2 { all, .. } = &mut *self.exchanges.borrow_mut() {
            all.retain(|other| !Rc::ptr_eq(other, exchange));
        }
    }

    /// Looks at all limits; called by the sweep.
    pub(super) fn check(&self, now: Instant, node: Option<Leave>) {
        let listener = self.listener.borrow();
        let limits = listener.http();
        match &*self.exchanges.borrow() {
            Exchanges::None => {}
            Exchanges::Http1(exchange) => exchange.check(now, limits.stalled_timeout),
            Exchanges::Http2 { all, .. } => {
                for exchange in all {
                    exchange.check(now, limits.stalled_timeout);
                }
            }
        }
        if let HalfClosed::Since(since) = self.half_closed.get()
            && now.saturating_duration_since(since) >= HALF_CLOSED_MAX
        {
            self.half_closed.set(HalfClosed::Gone);
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
        let mut life = self.life.get();
        let due = life.check(now, node, limits);
        self.life.set(life);
        let Some((order, cause)) = due else {
            let holds = matches!(&*self.exchanges.borrow(), Exchanges::Http1(_));
            if holds && life.may_rest(now) {
                self.order.set(Some(Order::Rest));
                if let Some(waker) = self.waker.borrow_mut().take() {
                    waker.wake();
                }
            }
            return;
        };
        if cause != Cause::Leave {
            self.worker.counters.timed_out.add(1);
        }
        self.order.set(Some(order));
        self.cause.set(Some(cause));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Why its requests are cut off, if they are.
    pub(super) fn verdict(&self) -> Option<ProxyError> {
        match self.cause.get() {
            Some(Cause::Stalled) => Some(ProxyError::ClientStalled),
            Some(Cause::Leave) if self.life.get().is_cut() => Some(ProxyError::DrainLimit),
            _ => None,
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
