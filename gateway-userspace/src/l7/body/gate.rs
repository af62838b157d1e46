//! What holds a body back until the upstream wants it (`expect = "forward"`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;

/// How long a body waits for the upstream's word where `expect = "forward"` (RFC 9110, section 10.1.1: not for ever).
pub(super) const EXPECT_MAX: Duration = Duration::from_secs(1);

/// What holds a body back until the upstream wants it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    /// The upstream said 100, or its final word.
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether it did; whoever asks is woken when it does.
    pub(super) fn is_open(&self, context: &Context<'_>) -> bool {
        self.waker.register(context.waker());
        self.open.load(Ordering::Acquire)
    }
}
