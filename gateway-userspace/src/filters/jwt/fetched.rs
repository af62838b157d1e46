//! Keys that an issuer publishes at a URL: the last good set, which workers read and never wait for.
//!
//! Who fetches it is `jwks.rs`, on the control thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Uri;
use tokio::sync::Notify;

use super::Verifier;
use crate::tls::ClientTls;

/// Where a set is published, and how it is had.
#[derive(Clone, Debug, PartialEq)]
pub struct Publisher {
    /// With a host; `http` or `https`.
    pub url: Uri,
    /// How TLS is spoken, for `https`.
    pub tls: Option<Arc<ClientTls>>,
    /// Between two fetches.
    pub refresh: Duration,
}

/// What was fetched.
#[derive(Debug, Default)]
pub struct Fetched {
    set: ArcSwapOption<Vec<Verifier>>,
    is_wanted: AtomicBool,
    wanted: Notify,
}

impl Fetched {
    /// The last good set; `None`: there was none yet.
    pub fn get(&self) -> Option<Arc<Vec<Verifier>>> {
        self.set.load_full()
    }

    /// Another set takes its place.
    pub fn put(&self, set: Vec<Verifier>) {
        self.set.store(Some(Arc::new(set)));
    }

    /// It may be old. However often this is said, it wakes nobody more than once for each fetch.
    pub fn wants_another(&self) {
        if !self.is_wanted() && !self.is_wanted.swap(true, Ordering::Relaxed) {
            self.wanted.notify_one();
        }
    }

    /// Whether somebody said so since the last fetch began.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// A fetch begins: what is wanted from now on may not be in it.
    pub fn begins(&self) {
        self.is_wanted.store(false, Ordering::Relaxed);
    }

    /// Ready when somebody says that it may be old.
    ///
    /// # Cancel safety
    /// What was said meanwhile is kept.
    pub async fn wanted(&self) {
        while !self.is_wanted() {
            self.wanted.notified().await;
        }
    }
}
