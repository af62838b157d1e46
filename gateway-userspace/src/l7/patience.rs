//! Waiting for something that may never come, with one timer for any number of waits.
//!
//! The timer is made at the first wait and never moved while it runs: where it fires too early, because something came
//! meanwhile, it is set anew. So progress costs nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How long somebody waits.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            waiting_since: None,
            timer: None,
        }
    }

    /// Something came.
    pub(super) fn progress(&mut self) {
        self.waiting_since = None;
    }

    /// Nothing came; ready once that was so for too long.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let Some(due) = since.checked_add(self.limit) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_the_whole_limit() {
        let second = Duration::from_secs(1);
        let mut patience = Patience::new(10 * second);
        for _ in 0..3 {
            let early = timeout(9 * second, poll_fn(|context| patience.poll(context))).await;
            assert!(early.is_err(), "not before the limit");
            patience.progress();
        }
        let start = Instant::now();
        poll_fn(|context| patience.poll(context)).await;
        assert_eq!(start.elapsed().as_secs(), 10);
    }
}
