//! Tasks of one thread, whose panics end only themselves.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use super::metrics::WorkerCounters;

/// Runs hyper's tasks (the streams of HTTP/2) on the worker's own thread.
#[derive(Clone, Debug)]
pub(super) struct LocalExecutor {
    pub(super) counters: Arc<WorkerCounters>,
}

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        let counters = Arc::clone(&self.counters);
        drop(tokio::task::spawn_local(async move {
            if let Err(Panicked(message)) = caught(future).await {
                counters.panics_stream.add(1);
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
