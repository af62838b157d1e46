//! A connection that is passed on, as a record: one line, one reason, and counters of its own.

use std::rc::Rc;

use http::{HeaderValue, Request};

use super::Record;
use crate::l7::connection::Connection;
use crate::l7::exchange::Exchange;
use crate::l7::headers::Seen;
use crate::resilience::breaker::Outcome;

impl Record {
    /// A connection is to be passed on; `name` is what the client of a handshake asks for.
    pub(in crate::l7) fn of_connection(
        connection: &Rc<Connection>,
        exchange: Rc<Exchange>,
        name: Option<&str>,
    ) -> Box<Self> {
        let nothing = Request::new(());
        let seen = Seen::scan(nothing.headers());
        let mut record = Self::begin(connection, exchange, &nothing, seen);
        record.version = None;
        record.start_line = Some("-".into());
        record.host = name.and_then(|name| HeaderValue::from_str(name).ok());
        record
    }

    /// The endpoint took the connection: that is all that its health can be told by, and that took so long.
    pub(in crate::l7) fn joined(&mut self) {
        let slow_call = self
            .upstream
            .as_ref()
            .and_then(|upstream| upstream.upstream.slow_call);
        let is_slow = slow_call.is_some_and(|slow| self.try_start.elapsed() > slow);
        // A place among retries is for those under way: this one has ended well.
        self.retrying = None;
        self.call_ended(if is_slow { Outcome::Slow } else { Outcome::Passed });
    }
}
