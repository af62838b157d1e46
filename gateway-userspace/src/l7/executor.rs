//! Tasks of one thread, whose panics end only themselves.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::connection::Connection;

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
        drop(tokio::task::spawn_local(async move {
            let mut stream = pin!(caught(future));
            let outcome = match &exchange {
                None => stream.await.map(drop),
                // Dropping the stream resets it.
                Some(exchange) => {
                    let mut stalled = pin!(exchange.client_stalled());
                    poll_fn(|context| {
                        if stalled.as_mut().poll(context).is_ready() {
                            return Poll::Ready(Ok(()));
                        }
                        stream.as_mut().poll(context).map(|outcome| outcome.map(drop))
                    })
                    .await
                }
            };
            if let Some(exchange) = exchange {
                connection.end_stream(&exchange);
            }
            if let Err(Panicked(message)) = outcome {
                connection.worker.counters.panics_stream.add(1);
                tracing::error!(
                    place = "stream",
                    message,
                    "a task panicked; its stream ends, the connection goes on"
                );
            }
        }));
    }
}

/// A panic, with its message.
#[derive(Debug)]
pub(super) struct Panicked(pub(super) String);

/// Runs a future; a panic in it becomes an error, and the future is dropped.
///
/// # Errors
/// It panicked.
pub(super) async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // Unwind safety: after a panic the future is only dropped, never polled again.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(payload) => Poll::Ready(Err(Panicked(message(payload.as_ref())))),
        }
    })
    .await
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
