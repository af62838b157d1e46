//! What an upstream's machines decided, as events, with their counters.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::UpstreamState;
use crate::events::{Kind, Told, Volume};
use crate::resilience::breaker::{Change, State};
use crate::resilience::outliers::Action;

impl UpstreamState {
    pub(super) fn tell_breaker(&self, endpoint: Option<SocketAddr>, change: &Change) {
        let Change { from, to, why } = change;
        if *to == State::Open {
            self.openings.fetch_add(1, Ordering::Relaxed);
        }
        self.events.tell(Told {
            kind: Kind::Breaker,
            check: None,
            upstream: &self.name,
            endpoint,
            from: from.name(),
            to: to.name(),
            code: "",
            why: why.to_string(),
            line: "circuit breaker changed",
            volume: Volume::Warn,
        });
    }

    pub(super) fn tell_outlier(&self, action: &Action<SocketAddr>) {
        let told = Told {
            kind: Kind::Ejection,
            check: None,
            upstream: &self.name,
            endpoint: None,
            from: "in",
            to: "ejected",
            code: "",
            why: String::new(),
            line: "endpoint ejected",
            volume: Volume::Warn,
        };
        self.events.tell(match action {
            Action::Eject { key, until, why } => {
                self.ejections.fetch_add(1, Ordering::Relaxed);
                let seconds = until.saturating_sub(self.now()).as_secs_f64().round();
                Told {
                    endpoint: Some(*key),
                    why: format!("{why}; for {seconds} s"),
                    ..told
                }
            }
            Action::Restore { key } => Told {
                endpoint: Some(*key),
                from: "ejected",
                to: "in",
                why: "its ejection is over".to_owned(),
                line: "endpoint is back from its ejection",
                volume: Volume::Info,
                ..told
            },
        });
    }
}
