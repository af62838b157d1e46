//! Load on a VIP: what a client sends, and what became of each connection attempt and request.
//!
//! Runs on one thread in the client's namespace. Judging what was allowed to fail is up to whoever reads the journal.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::sync::watch;

pub mod connection;
pub mod flood;
pub mod journal;
pub mod live;
pub mod plain;
pub mod spread;
pub mod steady;

use crate::lab::Lab;
use crate::lab::netns::block_on;
use journal::Journal;

/// A connection attempt outlasts the first two retransmissions of a SYN (after 1 s and 3 s).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A request outlasts the retransmissions that a failover costs.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What is sent while a load runs.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Where to.
    pub target: SocketAddr,
    /// Connections that are kept and used again and again.
    pub kept: u32,
    /// Requests a second on all kept connections together.
    pub requests_per_second: u32,
    /// Connections a second that are opened for one request.
    pub fresh_per_second: u32,
}

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct Load {
    journal: Arc<Journal>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Load {
    /// Starts a load from the client of a lab.
    ///
    /// # Errors
    /// Where its thread cannot be started.
    pub fn start(lab: &Lab, pattern: Pattern) -> Result<Self> {
        let journal = Arc::new(Journal::default());
        let (stop, stopped) = watch::channel(false);
        let written = Arc::clone(&journal);
        let thread = lab
            .client()
            .spawn("load", move || block_on(steady::run(pattern, written, stopped)))?;
        Ok(Self {
            journal,
            stop,
            thread: Some(thread),
        })
    }

    /// What became of everything so far.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The same, to be read from another thread.
    pub fn shared_journal(&self) -> Arc<Journal> {
        Arc::clone(&self.journal)
    }

    /// Stops sending, waits for what is under way, and hands out the whole journal.
    ///
    /// # Errors
    /// Where the load itself failed, not where requests did.
    pub fn stop(mut self) -> Result<Arc<Journal>> {
        self.end()?;
        Ok(Arc::clone(&self.journal))
    }

    fn end(&mut self) -> Result<()> {
        self.stop.send_replace(true);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(anyhow!("the load's thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("load: {error:#}");
        }
    }
}
