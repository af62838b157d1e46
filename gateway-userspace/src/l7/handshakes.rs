//! Turns for TLS handshakes, which cost a hundred requests each: a burst of them must not hold up what is under way.

use std::cell::Cell;

use tokio::sync::Notify;

/// The handshakes of one worker.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    under_way: Cell<usize>,
    freed: Notify,
}

/// The right to make one; given back when it is dropped.
pub(super) struct Turn<'h>(&'h Handshakes);

impl Handshakes {
    /// Waits until fewer than `most` are under way; in the order of asking.
    ///
    /// # Cancel safety
    /// The turn goes to the next.
    pub(super) async fn turn(&self, most: usize) -> Turn<'_> {
        while self.under_way.get() >= most {
            self.freed.notified().await;
        }
        self.under_way.set(self.under_way.get() + 1);
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Handshakes { under_way, freed } = self.0;
        under_way.set(under_way.get().saturating_sub(1));
        freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn so_many_are_under_way_and_the_next_follow_in_order() {
        let handshakes = Handshakes::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut turns: Vec<_> = (0..4).map(|_| Box::pin(handshakes.turn(2))).collect();
        let mut polled = Vec::new();
        for turn in &mut turns {
            polled.push(turn.as_mut().poll(&mut context));
        }
        let held: Vec<bool> = polled.iter().map(Poll::is_ready).collect();
        assert_eq!(held, [true, true, false, false]);
        // One that gives up while it waits holds nobody up.
        drop(turns.remove(2));
        drop(polled.remove(0));
        let mut last = pin!(turns.remove(2));
        let held = last.as_mut().poll(&mut context);
        assert!(held.is_ready());
        assert_eq!(handshakes.under_way.get(), 2);
    }
}
