//! How a request ended, and why.

use super::Record;
use crate::l7::error::ProxyError;
use crate::l7::worker::State;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Not known: what drops the record now is an abort.
    Open,
    Complete,
    Failed(ProxyError),
}

/// Whether its route made it late.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Delay {
    None,
    Injected,
}

impl Record {
    /// Its route makes it late.
    pub(in crate::l7) fn delayed(&mut self) {
        self.delay = Delay::Injected;
    }

    /// The response is whole. A reason that was set before stays.
    pub(in crate::l7) fn complete(&mut self) {
        if self.end == End::Open {
            self.end = End::Complete;
        }
    }

    /// The request failed, for that reason.
    pub(in crate::l7) fn fail(&mut self, error: ProxyError) {
        self.end = End::Failed(error);
        if matches!(
            error,
            ProxyError::ResponseBodyBroken | ProxyError::ResponseStalled
        ) {
            self.answer_broke();
        }
    }

    pub(super) fn failure(&self) -> Option<ProxyError> {
        let is_late = self.delay == Delay::Injected;
        match self.end {
            End::Complete => is_late.then_some(ProxyError::FaultDelay),
            // Nobody was asked yet who could have answered in time.
            End::Failed(ProxyError::Timeout | ProxyError::DeadlineExceeded) if is_late && self.tries == 0 => {
                Some(ProxyError::FaultDelay)
            }
            End::Failed(error) => Some(error),
            End::Open if std::thread::panicking() => Some(ProxyError::Panic),
            End::Open if self.connection.worker.state.get() == State::Cutting => Some(ProxyError::DrainLimit),
            End::Open => {
                let verdict = self.exchange.verdict().or_else(|| self.connection.verdict());
                Some(
                    verdict
                        .or_else(|| self.body_fault())
                        .unwrap_or(ProxyError::ClientClosed),
                )
            }
        }
    }
}
