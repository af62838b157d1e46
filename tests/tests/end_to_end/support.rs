//! What all end-to-end tests share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lets one test at a time have a lab of running nodes.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
