//! Gives up idle connections as soon as requests elsewhere need their places, where connections are limited.

use std::rc::Rc;
use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_local};

use super::Pool;

/// The task that waits for such requests; it ends with this.
pub(super) struct Watcher(JoinHandle<()>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pool {
    /// Its idle connections are watched from now on, until it has none left.
    pub(super) fn watch(&self) {
        let mut watcher = self.watcher.borrow_mut();
        if watcher.as_ref().is_some_and(|watcher| !watcher.0.is_finished()) {
            return;
        }
        let (idle, state, key) = (Rc::downgrade(&self.idle), Arc::clone(&self.state), self.key());
        let watching = spawn_local(async move {
            loop {
                state.upstream().places_wanted().await;
                let Some(idle) = idle.upgrade() else { return };
                let mut idle = idle.borrow_mut();
                let given_up = state.wanted(key).min(idle.len());
                drop(idle.drain(..given_up));
                if idle.is_empty() {
                    return;
                }
            }
        });
        *watcher = Some(Watcher(watching));
    }
}
