//! The live line: what each node answers, second by second.
//!
//! On a terminal the line is rewritten in place; elsewhere each second gets a line of its own.

use std::io::{IsTerminal, Write as _, stdout};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::load::Load;
use crate::load::journal::{Record, Step};

/// Between two lines.
const PERIOD: Duration = Duration::from_secs(1);

/// Longest bar: keeps the line of three nodes below 100 columns.
const BAR_COLUMNS: u64 = 12;

/// News that may wait to be printed; there are a dozen in a demo.
const NEWS_MAX: usize = 64;

/// Prints a line a second until it is dropped.
#[derive(Debug)]
pub struct Live {
    news: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    /// Starts to print what `nodes` answer to a load.
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub fn start(load: &Load, nodes: Vec<String>) -> Result<Self> {
        let (news, inbox) = sync_channel(NEWS_MAX);
        let journal = load.shared_journal();
        let mut printer = Printer {
            nodes,
            rewrites: stdout().is_terminal(),
            started: Instant::now(),
        };
        let thread = thread::Builder::new()
            .name("live".into())
            .spawn(move || {
                let mut read = 0;
                loop {
                    let goes_on = printer.wait(&inbox);
                    let records = journal.since(read);
                    read += records.len();
                    printer.line(&records);
                    if !goes_on {
                        printer.keep_line();
                        return;
                    }
                }
            })
            .context("start the live line")?;
        Ok(Self {
            news: Some(news),
            thread: Some(thread),
        })
    }

    /// Prints a line of news between the figures.
    pub fn say(&self, text: impl Into<String>) {
        if let Some(news) = &self.news {
            // Only where the thread is gone, and then there is no one to say it.
            drop(news.send(text.into()));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.news.take());
        if let Some(thread) = self.thread.take() {
            // A broken terminal is no reason to fail.
            drop(thread.join());
        }
    }
}

struct Printer {
    nodes: Vec<String>,
    rewrites: bool,
    started: Instant,
}

impl Printer {
    /// Waits a second, printing news that come in; false where no more will come.
    fn wait(&self, inbox: &Receiver<String>) -> bool {
        let until = Instant::now() + PERIOD;
        loop {
            match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(text) => self.print(&format!("  ── {text}"), "\n"),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn line(&mut self, records: &[Record]) {
        let answered: Vec<_> = records
            .iter()
            .filter(|record| record.step == Step::Request && record.outcome.is_ok())
            .filter_map(|record| record.node.as_ref())
            .collect::<Vec<&Arc<str>>>();
        let failed = records
            .iter()
            .filter(|record| record.step != Step::Idle && record.outcome.is_err())
            .count();
        let counts: Vec<u64> = self
            .nodes
            .iter()
            .map(|node| {
                answered
                    .iter()
                    .filter(|name| name.as_ref() == node.as_str())
                    .count() as u64
            })
            .collect();
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        let mut line = format!("  {:>4} s", self.started.elapsed().as_secs());
        for (node, count) in self.nodes.iter().zip(&counts) {
            let columns = usize::try_from(count * BAR_COLUMNS / most).unwrap_or(0);
            let width = usize::try_from(BAR_COLUMNS).unwrap_or(0);
            line.push_str(&format!("   {node} {count:>5}/s {:<width$}", "█".repeat(columns)));
        }
        line.push_str(&format!("  failed {failed}"));
        self.print(&line, if self.rewrites { "" } else { "\n" });
    }

    /// Lets the next output begin below the last line.
    fn keep_line(&self) {
        if self.rewrites {
            self.print("", "");
        }
    }

    fn print(&self, text: &str, end: &str) {
        let begin = if self.rewrites { "\r\x1b[2K" } else { "" };
        let mut out = stdout().lock();
        // A reader that went away is no reason to fail.
        drop(write!(out, "{begin}{text}{end}").and_then(|()| out.flush()));
    }
}
