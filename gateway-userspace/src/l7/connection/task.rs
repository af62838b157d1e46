//! A connection's task: from the first byte, which tells the protocol, to the farewell.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpStream};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::ending::HandshakeFault;
use super::life::{Life, Order};
use super::{Connection, Ending, Ends, Exchanges, HalfClosed, ending, proxied};
use crate::config::snapshot::Carries;
use crate::inspect::{Input, Inspected};
use crate::l7::client_text::ClientText;
use crate::l7::executor::{Panicked, StreamExecutor, caught};
use crate::l7::resolved::ResolvedListener;
use crate::l7::serve;
use crate::l7::server;
use crate::l7::stream::{ClientStream, First, Raw, Socket, farewell, first};
use crate::l7::tcp;
use crate::l7::transport::Handshake;
use crate::l7::worker::Worker;
use crate::tls::ServerTls;

/// Serves a client until one side has enough.
pub(in crate::l7) fn spawn(
    worker: &Rc<Worker>,
    listener: Rc<ResolvedListener>,
    stream: TcpStream,
    client: SocketAddr,
) {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let counted_for = if listener.proxies().contains(client.ip()) {
        // It is somebody's whom it has yet to name.
        worker.shared.admission.forget(client.ip());
        None
    } else {
        Some(client.ip())
    };
    let age = listener.http().connection_age;
    let now = worker.clock.coarse();
    let connection = Rc::new(Connection {
        peer: client,
        peer_text: ClientText::new(client),
        proxied: OnceCell::new(),
        counted_for: Cell::new(counted_for),
        tls: OnceCell::new(),
        since: now,
        listener: RefCell::new(listener),
        life: Cell::new(Life::new(now, age)),
        order: Cell::new(None),
        cause: Cell::new(None),
        waker: RefCell::new(None),
        requests: Cell::new(0),
        numbered: Cell::new(0),
        half_closed: Cell::new(HalfClosed::No),
        report: Rc::default(),
        tunnel: RefCell::default(),
        exchanges: RefCell::new(Exchanges::None),
        ends: Cell::new(Ends::Open),
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

/// Which protocol it is tells the first byte; until then nothing is held for it. The rest of its way is on the heap,
/// made when it is needed, and given up while the client asks for nothing.
async fn run(connection: &Rc<Connection>, stream: TcpStream) -> Ending {
    let socket = match Socket::new(stream) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, client = %connection.client(), "watching a client's socket; closed");
            return Ending::Unreadable;
        }
    };
    if connection.counted_for.get().is_none()
        && let Some(ending) = Box::pin(introduced(connection, &socket)).await
    {
        return ending;
    }
    if connection.listener.borrow().carries() != Carries::Requests {
        let ending = Box::pin(passed_on(connection, &socket)).await;
        socket.ends();
        return ending;
    }
    let tls = connection.listener.borrow().tls().cloned();
    if let Some(tls) = tls
        && let Some(ending) = Box::pin(shake_hands(connection, &socket, tls)).await
    {
        return ending;
    }
    let ending = serve_by_protocol(connection, &socket).await;
    socket.ends();
    ending
}

/// The header by which a trusted proxy names the client; why the connection ends, if it does.
async fn introduced(connection: &Rc<Connection>, socket: &Rc<Socket>) -> Option<Ending> {
    let introduced = {
        let introduced = pin!(proxied::introduce(connection, socket));
        connection.obey(socket, introduced, |_| Go::End).await
    };
    match introduced {
        Driven::Ended(outcome) => outcome.err(),
        Driven::Finished => Some(connection.finished()),
        Driven::Cut | Driven::Resting => Some(connection.cut()),
    }
}

/// A connection that carries no requests of this program's: it is joined with one to an endpoint.
async fn passed_on(connection: &Rc<Connection>, socket: &Rc<Socket>) -> Ending {
    let passed = {
        let passed = pin!(tcp::pass(connection, socket));
        connection.obey(socket, passed, |_| Go::On).await
    };
    match passed {
        Driven::Ended(ending) => ending,
        Driven::Finished | Driven::Cut | Driven::Resting => connection.cut(),
    }
}

/// TLS, in its turn; why the connection ends, if it does.
async fn shake_hands(
    connection: &Rc<Connection>,
    socket: &Rc<Socket>,
    tls: Arc<ServerTls>,
) -> Option<Ending> {
    let worker = &connection.worker;
    let handshake = {
        let handshake = pin!(async {
            // Whoever waits here is no cost but memory; the sweep ends it with `first_byte_timeout`.
            let _turn = worker.handshakes.turn(tls.handshakes_max).await;
            socket.secure(&tls).await
        });
        connection.obey(socket, handshake, |_| Go::End).await
    };
    match handshake {
        Driven::Ended(Handshake::Done(facts, kind)) => {
            worker.counters.shook_hands(kind);
            drop(connection.tls.set(facts));
            None
        }
        Driven::Ended(Handshake::Failed(error)) => {
            tracing::debug!(%error, client = %connection.client(), "a TLS handshake failed");
            Some(Ending::Handshake(HandshakeFault::of(&error)))
        }
        Driven::Finished => Some(connection.finished()),
        Driven::Cut | Driven::Resting => Some(connection.cut()),
    }
}

async fn serve_by_protocol(connection: &Rc<Connection>, socket: &Rc<Socket>) -> Ending {
    loop {
        let begun = {
            let begun = pin!(first(socket, connection));
            connection.obey(socket, begun, |_| Go::End).await
        };
        let bytes = match begun {
            Driven::Ended(First::Http1(bytes)) => bytes,
            Driven::Ended(First::Http2(bytes)) if connection.requests.get() == 0 => {
                return Box::pin(http2(connection, socket, bytes)).await;
            }
            Driven::Ended(First::Http2(bytes)) => bytes,
            Driven::Ended(First::Ended(bytes)) if bytes.is_empty() => return Ending::Empty,
            Driven::Ended(First::Ended(_)) => return Ending::Truncated,
            Driven::Finished => return connection.finished(),
            Driven::Cut | Driven::Resting => return connection.cut(),
        };
        if let Some(ending) = http1(connection, socket, bytes).await {
            return ending;
        }
    }
}

/// HTTP/1 until the connection ends, or (`None`) rests. What lives across an await is part of every connection's task,
/// silent ones among them: hyper and all that it is made of is in a box, and what is rare is, too.
async fn http1(connection: &Rc<Connection>, socket: &Rc<Socket>, bytes: Vec<u8>) -> Option<Ending> {
    connection.exchanges.replace(Exchanges::Http1(Rc::default()));
    connection.report.begin();
    connection.numbered.set(0);
    let mut http = {
        let theirs = Rc::clone(connection);
        let service = service_fn(move |request: Request<Incoming>| {
            let exchange = theirs.exchange();
            exchange.begin();
            serve::serve(Rc::clone(&theirs), exchange, Box::new(request))
        });
        let listener = connection.listener.borrow();
        let stream = ClientStream::new(Rc::clone(socket), Rc::clone(connection));
        let stream = Inspected::server(stream, bytes, listener.rules(), Rc::clone(&connection.report));
        Box::new(server::http1(listener.http()).serve_connection(TokioIo::new(stream), service))
    };
    let ended = {
        let http = Pin::new(&mut *http);
        connection
            .obey(socket, http, |http| {
                http.graceful_shutdown();
                Go::On
            })
            .await
    };
    let (is_read, input, held) = {
        let parts = (*http).into_parts();
        let stream = parts.io.into_inner();
        (parts.read_buf.is_empty(), stream.input(), stream.into_inner().1)
    };
    if let Some(tunnel) = connection.tunnel.take() {
        let client = Raw(Rc::clone(socket));
        let mut tunnel = Box::pin(tunnel.run(client, held));
        return Some(match connection.obey(socket, tunnel.as_mut(), |_| Go::On).await {
            Driven::Ended(()) => connection.finished(),
            _ => connection.cut(),
        });
    }
    if matches!(ended, Driven::Resting) && is_read && input == Input::Whole {
        connection.exchanges.replace(Exchanges::None);
        connection.worker.counters.rests.add(1);
        return None;
    }
    Some(last_words(connection, socket, ended, input).await)
}

/// How HTTP/1 on a connection ended; what the client still sends is read, lest it lose its answer.
async fn last_words(
    connection: &Connection,
    socket: &Socket,
    ended: Driven<hyper::Result<()>>,
    input: Input,
) -> Ending {
    match ended {
        Driven::Ended(Ok(())) => {
            if input == Input::Owed {
                Box::pin(farewell(socket)).await;
            }
            if connection.report.cut_heads() > 0 {
                return Ending::Truncated;
            }
            connection.finished()
        }
        Driven::Ended(Err(error)) => {
            tracing::debug!(%error, client = %connection.client(), "a client's connection ended");
            if error.is_parse() && !error.is_incomplete_message() {
                // The inspector lets nothing pass that hyper cannot read: hyper answered by itself.
                connection.worker.counters.unreadable.add(1);
                Box::pin(farewell(socket)).await;
                return Ending::Unreadable;
            }
            if input == Input::Owed {
                Box::pin(farewell(socket)).await;
            }
            Ending::Truncated
        }
        Driven::Resting => {
            Box::pin(farewell(socket)).await;
            connection.finished()
        }
        Driven::Finished | Driven::Cut => connection.cut(),
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
    let service = service_fn(move |request: Request<Incoming>| {
        let exchange = theirs.begin_stream();
        serve::serve(Rc::clone(&theirs), exchange, Box::new(request))
    });
    let stream = ClientStream::new(Rc::clone(socket), Rc::clone(connection));
    let stream = Inspected::server_http2(stream, bytes, Rc::clone(&connection.report));
    let ended = {
        let http = pin!(builder.serve_connection(TokioIo::new(stream), service));
        connection
            .obey(socket, http, |http| {
                http.graceful_shutdown();
                Go::On
            })
            .await
    };
    match ended {
        Driven::Ended(Ok(())) => {
            // Frames that it sent meanwhile (WINDOW_UPDATE) would turn the end into a reset.
            Box::pin(farewell(socket)).await;
            connection.finished()
        }
        Driven::Ended(Err(error)) => {
            tracing::debug!(%error, client = %connection.client(), "a client's connection ended");
            Box::pin(farewell(socket)).await;
            match connection.report.flood() {
                Some(flood) => Ending::Flood(flood),
                None => Ending::Unreadable,
            }
        }
        Driven::Finished | Driven::Cut | Driven::Resting => connection.cut(),
    }
}

impl Connection {
    /// Drives a future as the sweep orders; `finish` is told that it is to end in order.
    async fn obey<F: Future>(
        &self,
        socket: &Socket,
        mut future: Pin<&mut F>,
        mut finish: impl FnMut(Pin<&mut F>) -> Go,
    ) -> Driven<F::Output> {
        poll_fn(|context| {
            self.park(context.waker());
            match self.order.take() {
                None => {}
                Some(Order::Rest) => return Poll::Ready(Driven::Resting),
                Some(Order::Finish) => match finish(future.as_mut()) {
                    Go::On => {}
                    Go::End => return Poll::Ready(Driven::Finished),
                },
                Some(Order::Cut) => {
                    tracing::debug!(client = %self.client(), "a client's connection was cut");
                    return Poll::Ready(Driven::Cut);
                }
            }
            let polled = future.as_mut().poll(context).map(Driven::Ended);
            if polled.is_pending() {
                socket.pauses();
            }
            polled
        })
        .await
    }
}

/// What becomes of a future that is to end in order.
enum Go {
    /// It goes on to its end.
    On,
    /// It has nothing to finish.
    End,
}

/// How a future was driven.
enum Driven<T> {
    Ended(T),
    Finished,
    Cut,
    Resting,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_a_silent_connection_holds_stays_small() {
        // With tokio's own some 300 bytes, a task is below the 1 kB where the allocator's quick way ends.
        let bytes = size(run);
        assert!(bytes <= 640, "{bytes}");
    }
}
