//! One request and its answer, as the sweep sees them: who is waited for, and since when.
//!
//! Waits are not timers: bodies say what they wait for, the worker's sweep looks a few times a second, and what is due
//! is left here as a verdict. So an answer that comes at once sets and clears nothing. HTTP/1 has one exchange for the
//! whole connection, HTTP/2 one for each stream.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::ends::Ends;
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
    /// Of the snapshot that decided.
    snapshot: RefCell<Option<Arc<Ends>>>,
    /// Of the endpoint that was asked last.
    endpoint: RefCell<Option<Arc<Ends>>>,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            waits: Cell::new(Waits::Nobody),
            verdict: Cell::new(None),
            waker: RefCell::new(None),
            snapshot: RefCell::new(None),
            endpoint: RefCell::new(None),
        }
    }
}

impl Exchange {
    /// Another request begins on it.
    pub(super) fn begin(&self) {
        self.waits.set(Waits::Nobody);
        self.verdict.set(None);
    }

    /// The request is decided by a snapshot.
    pub(super) fn decided_by(&self, snapshot: &Arc<Ends>) {
        self.snapshot.replace(Some(Arc::clone(snapshot)));
    }

    /// The request is sent to an endpoint.
    pub(super) fn asks(&self, endpoint: &Arc<Ends>) {
        self.endpoint.replace(Some(Arc::clone(endpoint)));
    }

    /// The request has ended: it holds on to nothing.
    pub(super) fn end(&self) {
        self.snapshot.take();
        self.endpoint.take();
    }

    /// The upstream has nothing now; without a limit it may stay so.
    pub(super) fn waits_for_upstream(&self, now: Instant, limit: Option<Duration>, context: &Context<'_>) {
        if let Some(limit) = limit
            && !matches!(self.waits.get(), Waits::Upstream(..))
        {
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
        let due =
            |held: &RefCell<Option<Arc<Ends>>>| held.borrow().as_ref().is_some_and(|ends| ends.is_due(now));
        if due(&self.endpoint) {
            return self.conclude(ProxyError::EndpointRemoved);
        }
        if due(&self.snapshot) {
            return self.conclude(ProxyError::SnapshotOld);
        }
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
        self.conclude(verdict);
    }

    fn conclude(&self, verdict: ProxyError) {
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
    ) -> impl Future<Output = Result<F::Output, ProxyError>> {
        self.waits.set(Waits::Head(until));
        poll_fn(move |context| {
            if let Some(
                verdict @ (ProxyError::Timeout | ProxyError::EndpointRemoved | ProxyError::SnapshotOld),
            ) = self.verdict.get()
            {
                self.verdict.set(None);
                if verdict != ProxyError::Timeout {
                    // The answer that says so depends on nothing that is gone.
                    self.end();
                }
                return Poll::Ready(Err(verdict));
            }
            let polled = future.as_mut().poll(context).map(Ok);
            if polled.is_pending() {
                self.park(context);
            } else {
                self.waits.set(Waits::Nobody);
            }
            polled
        })
    }

    /// What the sweep finds; for those whose future may not be polled for it: a tunnel, and an HTTP/2 stream whose client
    /// takes nothing.
    pub(super) fn poll_verdict(&self, context: &Context<'_>) -> Poll<ProxyError> {
        match self.verdict.get() {
            Some(verdict) => Poll::Ready(verdict),
            None => {
                self.park(context);
                Poll::Pending
            }
        }
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
            assert_eq!(poll_fn(&mut poll).await, Poll::Ready(Err(ProxyError::Timeout)));
        }
        let ready = std::pin::pin!(std::future::ready(7));
        assert_eq!(exchange.head(start, ready).await, Ok(7));
        assert_eq!(exchange.verdict(), None);
    }

    #[test]
    fn what_holds_on_to_something_that_is_gone_ends_when_that_is_due() {
        let start = Instant::now();
        let (endpoint, snapshot) = (Arc::<Ends>::default(), Arc::<Ends>::default());
        for (gone, verdict) in [
            (&snapshot, ProxyError::SnapshotOld),
            (&endpoint, ProxyError::EndpointRemoved),
        ] {
            let exchange = Exchange::default();
            exchange.decided_by(&snapshot);
            exchange.asks(&endpoint);
            gone.by(start + Duration::from_secs(1));
            exchange.check(start, Duration::ZERO);
            assert_eq!(exchange.verdict(), None, "not yet");
            exchange.check(start + Duration::from_secs(1), Duration::ZERO);
            assert_eq!(exchange.verdict(), Some(verdict));
            exchange.begin();
            exchange.end();
            exchange.check(start + Duration::from_secs(2), Duration::ZERO);
            assert_eq!(exchange.verdict(), None, "it holds nothing any more");
        }
        assert_eq!(
            (Arc::strong_count(&endpoint), Arc::strong_count(&snapshot)),
            (1, 1)
        );
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
        exchange.waits_for_upstream(at(0), Some(Duration::from_secs(60)), &context);
        exchange.waits_for_upstream(at(50), Some(Duration::from_secs(60)), &context);
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
