//! Another upstream is asked something before the request goes on: what is known of that is not known of the request.

use tokio::time::Instant;

use super::{Call, Record};
use crate::config::snapshot::Choice;
use crate::registry::Begun;
use crate::resilience::breaker::Outcome;

impl Record {
    /// A question goes out: to the only upstream of its route. The request has not been tried yet.
    pub(in crate::l7) fn begin_aside(&mut self) -> usize {
        self.try_start = Instant::now();
        std::mem::take(&mut self.share)
    }

    /// It was answered, or not: the request begins with its own share of its route.
    pub(in crate::l7) fn end_aside(&mut self, share: usize) {
        self.end_trials(Outcome::Unknown);
        if let Some(upstream) = self.upstream.take()
            && self.tries > 0
        {
            let status = self.upstream_status.map(|status| status.as_u16());
            upstream.counters.count(status, self.first_byte);
        }
        self.share = share;
        self.tries = 0;
        self.try_start = Instant::now();
        (self.endpoint, self.call, self.begun) = (None, Call::Counted, Begun::default());
        (self.key, self.stays_at, self.choice) = (None, None, Choice::Whole);
        (self.seat, self.retrying, self.place) = (None, None, None);
        (self.connect, self.first_byte, self.upstream_status) = (None, None, None);
    }
}
