//! Waiting for what another process does, up to a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks: short against everything that is waited for, long against the cost of looking.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks `probe` until it has an answer or the deadline passes; it is asked at least once.
pub fn wait_until<T>(deadline: Instant, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(PAUSE);
    }
}
