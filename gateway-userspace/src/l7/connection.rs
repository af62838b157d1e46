//! One client's connection: its task from the first byte to the farewell, its phases, and the limits of each.
//!
//! Limits are not timers: the worker's sweep looks at every connection a few times a second, so that a request sets
//! and clears none. What is due is decided by `life`; the sweep leaves it as an order and wakes the task.

mod ending;
mod life;

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::{HeaderValue, Version};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::error::ProxyError;
use super::exchange::Exchange;
use super::executor::{Panicked, StreamExecutor, caught};
use super::resolved::{Resolved, ResolvedListener};
use super::serve;
use super::server;
use super::stream::{ClientStream, First, Raw, Socket, farewell, first};
use super::tunnel::Tunnel;
use super::worker::Worker;
use crate::inspect::{Input, Inspected, Refusal, Report, Resume};
use life::{Cause, Life, Order, Protocol};

pub(crate) use ending::Ending;
pub(super) use life::Leave;

/// What a connection's task, its requests and the sweep know of it.
pub(crate) struct Connection {
    pub(super) worker: Rc<Worker>,
    pub(super) client: SocketAddr,
    /// The same as log lines have it.
    pub(super) client_text: Box<str>,
    /// The client's address as X-Forwarded-For says it; cloning it allocates nothing.
    pub(super) forwarded_for: HeaderValue,
    since: Instant,
    listener: RefCell<Rc<ResolvedListener>>,
    life: Cell<Life>,
    order: Cell<Option<Order>>,
    /// Why the last order was given.
    cause: Cell<Option<Cause>>,
    waker: RefCell<Option<Waker>>,
    requests: Cell<u64>,
    half_closed: Cell<HalfClosed>,
    /// HTTP/1: what the inspector found.
    pub(super) report: Rc<Report>,
    /// HTTP/1: what the connection becomes once HTTP on it has ended.
    tunnel: RefCell<Option<Box<Tunnel>>>,
    exchanges: RefCell<Exchanges>,
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
    /// One after another.
    Http1(Rc<Exchange>),
    Http2 {
        all: Vec<Rc<Exchange>>,
        /// Made for the stream that hyper is about to spawn.
        next: Option<Rc<Exchange>>,
    },
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
    let age = listener.http().connection_age;
    let now = worker.clock.coarse();
    let connection = Rc::new(Connection {
        client,
        client_text: client.to_string().into(),
        forwarded_for: forwarded_for(client.ip()),
        since: now,
        listener: RefCell::new(listener),
        life: Cell::new(Life::new(now, age)),
        order: Cell::new(None),
        cause: Cell::new(None),
        waker: RefCell::new(None),
        requests: Cell::new(0),
        half_closed: Cell::new(HalfClosed::No),
        report: Rc::default(),
        tunnel: RefCell::default(),
        exchanges: RefCell::new(Exchanges::Http1(Rc::default())),
        worker: Rc::clone(worker),
    });
    let id = worker.add(Rc::clone(&connection));
    drop(tokio::task::spawn_local(async move {
        let ending = match caught(run(&connection, stream)).await {
            Ok(ending) => ending,
            Err(Panicked(message)) => {
                connection.worker.counters.panics_connection.add(1);
                tracing::error!(place = "connection", message, %client, "a task panicked; its connection ends");
                Ending::Panic
            }
        };
        if connection.requests.get() == 0 {
            ending::write(&connection, ending);
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

/// Which protocol it is tells the first byte; until then nothing is held for it. The rest of its way is on the heap,
/// made when it is needed.
async fn run(connection: &Rc<Connection>, stream: TcpStream) -> Ending {
    let socket = Socket::new(stream);
    let begun = {
        let begun = pin!(first(&socket, connection));
        connection.obey(begun, |_| {}).await
    };
    match begun {
        Some(First::Http1(bytes)) => Box::pin(http1(connection, &socket, bytes)).await,
        Some(First::Http2(bytes)) => Box::pin(http2(connection, &socket, bytes)).await,
        Some(First::Ended(bytes)) if bytes.is_empty() => Ending::Empty,
        Some(First::Ended(_)) => Ending::Truncated,
        None => connection.cut(),
    }
}

async fn http1(connection: &Rc<Connection>, socket: &Rc<Socket>, bytes: Vec<u8>) -> Ending {
    let (rules, builder) = {
        let listener = connection.listener.borrow();
        (listener.rules(), server::http1(listener.http()))
    };
    let theirs = Rc::clone(connection);
    let service = service_fn(move |request| {
        let exchange = theirs.exchange();
        exchange.begin();
        serve::serve(Rc::clone(&theirs), exchange, request)
    });
    let stream = ClientStream::new(Rc::clone(socket), Rc::clone(connection));
    let stream = Inspected::server(stream, bytes, rules, Rc::clone(&connection.report));
    let mut http = builder.serve_connection(TokioIo::new(stream), service);
    let ended = {
        let http = Pin::new(&mut http);
        connection.obey(http, |http| http.graceful_shutdown()).await
    };
    let stream = http.into_parts().io.into_inner();
    let input = stream.input();
    let (_, held) = stream.into_inner();
    if let Some(tunnel) = connection.tunnel.take() {
        let client = Raw(Rc::clone(socket));
        let tunnel = pin!(tunnel.run(client, held));
        return match connection.obey(tunnel, |_| {}).await {
            Some(()) => connection.finished(),
            None => connection.cut(),
        };
    }
    match ended {
        Some(Ok(())) => {
            if input == Input::Owed {
                farewell(socket).await;
            }
            if connection.report.cut_heads() > 0 {
                return Ending::Truncated;
            }
            connection.finished()
        }
        Some(Err(error)) => {
            tracing::debug!(%error, client = %connection.client, "a client's connection ended");
            if error.is_parse() && !error.is_incomplete_message() {
                // The inspector lets nothing pass that hyper cannot read: hyper answered by itself.
                connection.worker.counters.unreadable.add(1);
                farewell(socket).await;
                return Ending::Unreadable;
            }
            if input == Input::Owed {
                farewell(socket).await;
            }
            Ending::Truncated
        }
        None => connection.cut(),
    }
}

async fn http2(connection: &Rc<Connection>, socket: &Rc<Socket>, bytes: Vec<u8>) -> Ending {
    connection.change(Life::http2);
    connection.exchanges.replace(Exchanges::Http2 {
        all: Vec::new(),
        next: None,
    });
    let builder = server::http2(
        connection.listener.borrow().http(),
        StreamExecutor(Rc::clone(connection)),
    );
    let theirs = Rc::clone(connection);
    let service = service_fn(move |request| {
        let exchange = theirs.begin_stream();
        serve::serve(Rc::clone(&theirs), exchange, request)
    });
    let stream = ClientStream::new(Rc::clone(socket), Rc::clone(connection));
    let stream = Inspected::server_http2(stream, bytes, Rc::clone(&connection.report));
    let ended = {
        let http = pin!(builder.serve_connection(TokioIo::new(stream), service));
        connection.obey(http, |http| http.graceful_shutdown()).await
    };
    match ended {
        Some(Ok(())) => {
            // Frames that it sent meanwhile (WINDOW_UPDATE) would turn the end into a reset.
            farewell(socket).await;
            connection.finished()
        }
        Some(Err(error)) => {
            tracing::debug!(%error, client = %connection.client, "a client's connection ended");
            farewell(socket).await;
            match connection.report.flood() {
                Some(flood) => Ending::Flood(flood),
                None => Ending::Unreadable,
            }
        }
        None => connection.cut(),
    }
}

impl Connection {
    /// Drives a future as the sweep orders; `None`: it was cut.
    async fn obey<F: Future>(
        &self,
        mut future: Pin<&mut F>,
        mut finish: impl FnMut(Pin<&mut F>),
    ) -> Option<F::Output> {
        poll_fn(|context| {
            self.park(context.waker());
            match self.order.take() {
                None => {}
                Some(Order::Finish) => finish(future.as_mut()),
                Some(Order::Cut) => {
                    tracing::debug!(client = %self.client, "a client's connection was cut");
                    return Poll::Ready(None);
                }
            }
            future.as_mut().poll(context).map(Some)
        })
        .await
    }

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

    /// A request's head is read. What the inspector put in place of a head that it refused is told apart.
    pub(super) fn begin(&self, version: Version) -> Option<Refusal> {
        self.requests.set(self.requests.get() + 1);
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
        self.report.refusal_of(self.requests.get() - 1)
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
        let is_under_way = self.active() > 0 || self.report.heads() > self.requests.get();
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
            Exchanges::Http2 { .. } => Rc::default(),
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
            Exchanges::Http1(_) => None,
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
        let Some((order, cause)) = due else { return };
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
