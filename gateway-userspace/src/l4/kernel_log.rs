//! What the kernel program logs while somebody debugs: aya-log's records, handed to `tracing`.

use std::os::fd::{AsRawFd, RawFd};

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Level of the program's log that is handed to the loader: nothing below it is even built.
pub fn level() -> u8 {
    if tracing::enabled!(target: "xdp", tracing::Level::DEBUG) {
        aya_log::Level::Debug as u8
    } else {
        0
    }
}

/// Records of the kernel program, become events of the target `xdp`.
#[derive(Clone, Copy, Debug)]
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: "xdp", "{}", record.args());
    }

    fn flush(&self) {}
}

struct Source(EbpfLogger<ToTracing>);

impl AsRawFd for Source {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Follows the log of a loaded object for as long as the runtime runs, if anybody debugs.
pub fn follow(object: &mut Ebpf) {
    if level() == 0 {
        return;
    }
    let source = match EbpfLogger::init_with_logger(object, ToTracing) {
        // SAFETY: the logger owns its descriptor, and lives in the `AsyncFd` until both are dropped.
        Ok(logger) => unsafe { AsyncFd::register_with_interest(Source(logger), Interest::READABLE) },
        Err(error) => return tracing::warn!(%error, "the kernel program's log cannot be read"),
    };
    let mut source = match source {
        Ok(source) => source,
        Err(error) => return tracing::warn!(%error, "the kernel program's log cannot be read"),
    };
    tokio::spawn(async move {
        while let Ok(mut guard) = source.readable_mut().await {
            guard.get_inner_mut().0.flush();
            guard.clear_ready();
        }
    });
}
