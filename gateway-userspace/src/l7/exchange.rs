//! One request and its answer, as the sweep sees them: who is waited for, and since when.
//!
//! Waits are not timers: bodies say what they wait for, the worker's sweep looks a few times a second, and what is due
//! is left here as a verdict. So an answer that comes at once sets and clears nothing. HTTP/1 has one exchange for the
//! whole connection, HTTP/2 one for each stream.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::error::ProxyError;

/// Who has to do something before the response's body goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Nobody,
    /// The response's head is to be there by then.
    Head(Instant),
    /// The upstream is to say more within the limit.
    Upstream(Instant, Duration),
    /// The client is to take what it was given.
    Client(Instant),
}

/// What tells whether a client takes what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// HTTP/1: writes to the connection.
    Connection,
    /// HTTP/2: that the stream's body is asked for more.
    Stream,
}

/// What passes between a response's body, the task that sends it, and the sweep.
#[derive(Debug)]
pub(super) struct Exchange {
    waits: Cell<Waits>,
    verdict: Cell<Option<ProxyError>>,
    waker: RefCell<Option<Waker>>,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            waits: Cell::new(Waits::Nobody),
            verdict: Cell::new(None),
            waker: RefCell::new(None),
        }
    }
}

impl Exchange {
    /// Another request begins on it.
    pub(super) fn begin(&self) {
        self.waits.set(Waits::Nobody);
        self.verdict.set(None);
    }

    /// The upstream has nothing now.
    pub(super) fn waits_for_upstream(&self, now: Instant, limit: Duration, context: &Context<'_>) {
        if !matches!(self.waits.get(), Waits::Upstream(..)) {
            self.waits.set(Waits::Upstream(now, limit));
        }
        self.park(context);
    }

    /// The client was given something. Whether it takes it tells in HTTP/1 the connection, which is one with it.
    pub(super) fn gives(&self, now: Instant, pace: Pace) {
        self.waits.set(match pace {
            Pace::Connection => Waits::Nobody,
            Pace::Stream => Waits::Client(now),
        });
    }

    /// The response is whole, or will never be.
    pub(super) fn waits_for_nobody(&self) {
        self.waits.set(Waits::Nobody);
    }

    /// What the sweep found.
    pub(super) fn verdict(&self) -> Option<ProxyError> {
        self.verdict.get()
    }

    /// Looks whether somebody was waited for too long.
    pub(super) fn check(&self, now: Instant, stalled_timeout: Duration) {
        let (since, limit, verdict) = match self.waits.get() {
            Waits::Nobody => return,
            Waits::Head(until) => (until, Duration::ZERO, ProxyError::Timeout),
            Waits::Upstream(since, limit) => (since, limit, ProxyError::ResponseStalled),
            Waits::Client(since) => (since, stalled_timeout, ProxyError::ClientStalled),
        };
        if now
            .checked_duration_since(since)
            .is_none_or(|waited| waited < limit)
        {
            return;
        }
        self.waits.set(Waits::Nobody);
        self.verdict.set(Some(verdict));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits for a response's head, until about that time: the sweep's steps are exact enough for seconds.
    ///
    /// # Cancel safety
    /// That of the future.
    pub(super) fn head<F: Future>(
        &self,
        until: Instant,
        mut future: Pin<&mut F>,
    ) -> impl Future<Output = Option<F::Output>> {
        self.waits.set(Waits::Head(until));
        poll_fn(move |context| {
            if self.verdict.get() == Some(ProxyError::Timeout) {
                self.verdict.set(None);
                return Poll::Ready(None);
            }
            let polled = future.as_mut().poll(context).map(Some);
            if polled.is_pending() {
                self.park(context);
            } else {
                self.waits.set(Waits::Nobody);
            }
            polled
        })
    }

    /// Until the client was waited for too long: a stream whose window is closed is not polled, so its task must end
    /// it.
    pub(super) fn poll_client_stalled(&self, context: &Context<'_>) -> Poll<()> {
        if self.verdict.get() == Some(ProxyError::ClientStalled) {
            return Poll::Ready(());
        }
        self.park(context);
        Poll::Pending
    }

    fn park(&self, context: &Context<'_>) {
        let mut parked = self.waker.borrow_mut();
        match &mut *parked {
            Some(held) if held.will_wake(context.waker()) => {}
            held => *held = Some(context.waker().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_head_that_is_late_is_given_up_and_may_be_waited_for_again() {
        let start = Instant::now();
        let exchange = Exchange::default();
        let mut never = std::pin::pin!(std::future::pending::<()>());
        for until in [start + Duration::from_secs(5), start + Duration::from_secs(9)] {
            let mut wait = std::pin::pin!(exchange.head(until, never.as_mut()));
            let mut poll = |context: &mut Context<'_>| Poll::Ready(wait.as_mut().poll(context));
            assert!(poll_fn(&mut poll).await.is_pending());
            exchange.check(until - Duration::from_millis(1), Duration::ZERO);
            assert!(poll_fn(&mut poll).await.is_pending(), "not yet");
            exchange.check(until, Duration::ZERO);
            assert_eq!(poll_fn(&mut poll).await, Poll::Ready(None));
        }
        let ready = std::pin::pin!(std::future::ready(7));
        assert_eq!(exchange.head(start, ready).await, Some(7));
        assert_eq!(exchange.verdict(), None);
    }

    #[test]
    fn who_is_waited_for_too_long_is_to_blame() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let context = Context::from_waker(Waker::noop());
        let stalled = Duration::from_secs(30);
        let exchange = Exchange::default();
        exchange.check(at(1000), stalled);
        assert_eq!(exchange.verdict(), None, "nobody is waited for");
        exchange.waits_for_upstream(at(0), Duration::from_secs(60), &context);
        exchange.waits_for_upstream(at(50), Duration::from_secs(60), &context);
        exchange.check(at(59), stalled);
        assert_eq!(exchange.verdict(), None, "not yet");
        exchange.check(at(60), stalled);
        assert_eq!(
            exchange.verdict(),
            Some(ProxyError::ResponseStalled),
            "since the first wait"
        );
        exchange.begin();
        exchange.gives(at(60), Pace::Stream);
        exchange.gives(at(80), Pace::Stream);
        exchange.check(at(109), stalled);
        assert_eq!(exchange.verdict(), None, "each frame that is taken begins anew");
        exchange.check(at(110), stalled);
        assert_eq!(exchange.verdict(), Some(ProxyError::ClientStalled));
    }
}
