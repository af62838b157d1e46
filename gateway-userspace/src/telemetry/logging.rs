//! The program's own log: `tracing` events to stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

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
pub fn init() -> Result<(), LoggingError> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .map_err(|error| LoggingError::Filter(error.into()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(LoggingError::Twice)
}
