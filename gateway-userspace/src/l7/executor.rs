//! Tasks of one thread, whose panics end only themselves.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::connection::Connection;
use super::exchange::Exchange;

/// Runs the streams of one HTTP/2 connection on the worker's own thread.
#[derive(Clone)]
pub(super) struct StreamExecutor(pub(super) Rc<Connection>);

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        let connection = Rc::clone(&self.0);
        // Hyper hands a stream over right after it asked the service for its answer.
        let exchange = connection.take_stream();
        drop(tokio::task::spawn_local(StreamTask {
            // On the heap: a task copies what it holds several times.
            stream: caught(Box::pin(future)),
            exchange,
            connection,
        }));
    }
}

pin_project! {
    /// One stream. Not an async block: that would hold the future twice, as what it captured and pinned.
    struct StreamTask<F> {
        #[pin]
        stream: Caught<F>,
        exchange: Option<Rc<Exchange>>,
        connection: Rc<Connection>,
    }
}

impl<F: Future> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let task = self.project();
        match task.stream.poll(context) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(Panicked(message))) => {
                task.connection.worker.counters.panics_stream.add(1);
                tracing::error!(
                    place = "stream",
                    message,
                    "a task panicked; its stream ends, the connection goes on"
                );
            }
            // What can tell the client has done so when it was polled just now; where the client's window is closed
            // nothing was, and the task ends: dropping a stream resets it.
            Poll::Pending => match task.exchange {
                Some(exchange) => drop(ready!(exchange.poll_verdict(context))),
                None => return Poll::Pending,
            },
        }
        if let Some(exchange) = task.exchange {
            task.connection.end_stream(exchange);
        }
        Poll::Ready(())
    }
}

/// A panic, with its message.
#[derive(Debug)]
pub(super) struct Panicked(pub(super) String);

/// Runs a future; a panic in it becomes an error, and the future is to be dropped.
///
/// # Errors
/// It panicked.
pub(super) fn caught<F: Future>(future: F) -> Caught<F> {
    Caught { future }
}

pin_project! {
    /// See [`caught`]. Not an async function: that would hold the future twice, as its argument and pinned.
    pub(super) struct Caught<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        // Unwind safety: after a panic the future is only dropped, never polled again.
        match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(payload) => Poll::Ready(Err(Panicked(message(payload.as_ref())))),
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without text").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error_with_its_message() {
        assert_eq!(caught(async { 7 }).await.unwrap(), 7);
        let panicked = caught(async { panic!("at {}", "night") }).await.unwrap_err();
        assert_eq!(panicked.0, "at night");
    }
}
