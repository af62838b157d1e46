//! Counters of connections that were passed on: by route, which counts them once they have ended, and by upstream.

use std::time::Duration;

use super::{RouteCounters, UpstreamCounters};
use crate::l7::error::ProxyError;

/// How a connection that was passed on ended.
pub(in crate::l7) const RESULTS: [&str; 2] = ["ok", "failed"];

/// Where its bytes went.
pub(in crate::l7) const DIRECTIONS: [&str; 2] = ["in", "out"];

impl RouteCounters {
    /// Counts a connection that was passed on and ended.
    pub(crate) fn passed_on(&self, failure: Option<ProxyError>, bytes_in: u64, bytes_out: u64) {
        let [well, badly] = &self.connections;
        match failure {
            None => well.add(1),
            Some(_) => badly.add(1),
        }
        let [upward, downward] = &self.bytes;
        upward.add(bytes_in);
        downward.add(bytes_out);
    }
}

impl UpstreamCounters {
    /// Counts a connection that it was to take; `connect`: how long that took, if one of its endpoints did.
    pub(crate) fn passed_on(&self, connect: Option<Duration>) {
        let [taken, not_taken] = &self.connections;
        match connect {
            Some(_) => taken.add(1),
            None => not_taken.add(1),
        }
    }
}
