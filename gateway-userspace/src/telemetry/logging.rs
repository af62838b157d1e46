//! The program's own log: `tracing` events to stderr.
//!
//! A thread of its own writes them: whoever logs, workers and heartbeats among them, never waits for a terminal or
//! a pipe that takes nothing. What does not fit meanwhile is dropped and counted.

use std::io::{IsTerminal, Write};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Lines that wait to be written: a burst of seconds, some 2 MB at 200 bytes each.
const LINES_MAX: usize = 8192;

/// Keeps the log running. Dropped, it writes what waits, for at most about a second; hold it until the program ends.
#[derive(Debug)]
#[must_use = "dropped at once, nothing more is logged"]
pub struct LogGuard {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let lines = self.dropped.dropped_lines();
        if lines > 0 {
            tracing::warn!(lines, "the log was not taken in time; lines were dropped");
        }
    }
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `RUST_LOG` is not a filter.
    #[error("reading RUST_LOG: it is not a filter; write for example `info` or `gateway::l7=debug,info`")]
    Filter(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another subscriber is installed already.
    #[error("setting up the log: another subscriber is installed; call this once, before anything is logged")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sends events to stderr: `RUST_LOG`, else `info`; colours only on a terminal.
///
/// # Errors
/// `RUST_LOG` cannot be read, or this was called before.
pub fn init() -> Result<LogGuard, LoggingError> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .map_err(|error| LoggingError::Filter(error.into()))?;
    let (writer, guard) = writer(std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(writer)
        .try_init()
        .map_err(LoggingError::Twice)?;
    Ok(guard)
}

fn writer(out: impl Write + Send + 'static) -> (NonBlocking, LogGuard) {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .thread_name("log")
        .finish(out);
    let dropped = writer.error_counter();
    (
        writer,
        LogGuard {
            dropped,
            _writer: guard,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Takes nothing before it is told to, and tells what it took.
    struct Stuck {
        go: Receiver<()>,
        taken: Sender<Vec<u8>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Never sent: its end says that all may pass.
            assert!(self.go.recv().is_err());
            self.taken.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whoever_logs_does_not_wait_and_the_guard_writes_what_was_held() {
        let (go, told) = channel();
        let (taken, lines) = channel();
        let (mut writer, guard) = writer(Stuck { go: told, taken });
        let more = LINES_MAX + 100;
        for _ in 0..more {
            writer.write_all(b"line\n").unwrap();
        }
        let dropped = guard.dropped.dropped_lines();
        assert!((1..=100).contains(&dropped), "{dropped}");
        drop(go);
        drop(guard);
        drop(writer);
        assert_eq!(lines.iter().count() + dropped, more);
    }
}
