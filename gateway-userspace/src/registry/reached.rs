//! Limits that were reached: counted each time, told once when it begins and once when it is over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::UpstreamState;
use crate::events::{Kind, Told, Volume};
use crate::resilience::limits::{Limit, Limited};

/// A limit is taken to be reached until it was not for so long: so that one that is reached now and then is two events,
/// not thousands.
const CALM: Duration = Duration::from_secs(10);

/// What was reached of one upstream, its endpoints included.
#[derive(Debug, Default)]
pub struct Reached([Times; 4]);

#[derive(Debug, Default)]
struct Times {
    times: AtomicU64,
    /// In milliseconds of [`UpstreamState::now`].
    last_ms: AtomicU64,
    /// 1: the event of its beginning was told, that of its end not yet.
    told: AtomicU8,
}

impl UpstreamState {
    /// A limit kept something back.
    pub fn limited(&self, limited: Limited) {
        let Some(of) = self.reached.0.get(limited.limit.index()) else {
            return;
        };
        of.times.fetch_add(1, Ordering::Relaxed);
        of.last_ms.store(self.now_ms(), Ordering::Relaxed);
        if of.told.load(Ordering::Relaxed) == 0 && of.told.swap(1, Ordering::Relaxed) == 0 {
            self.tell_limit(
                limited.limit,
                limited.endpoint,
                ("free", "reached"),
                limited.to_string(),
            );
        }
    }

    /// Times that this limit, of the whole or of an endpoint, kept something back.
    pub fn times_limited(&self, limit: Limit) -> u64 {
        let of = self.reached.0.get(limit.index());
        of.map_or(0, |of| of.times.load(Ordering::Relaxed))
    }

    /// Time passed.
    pub(super) fn calm_down(&self) {
        for (limit, of) in Limit::ALL.into_iter().zip(&self.reached.0) {
            if of.told.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let calm_ms = self.now_ms().saturating_sub(of.last_ms.load(Ordering::Relaxed));
            if u128::from(calm_ms) >= CALM.as_millis() && of.told.swap(0, Ordering::Relaxed) == 1 {
                let why = format!("not reached for {} s", CALM.as_secs());
                self.tell_limit(limit, None, ("reached", "free"), why);
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX)
    }

    fn tell_limit(
        &self,
        limit: Limit,
        endpoint: Option<SocketAddr>,
        (from, to): (&'static str, &'static str),
        why: String,
    ) {
        self.events.tell(Told {
            kind: Kind::Limit,
            check: None,
            upstream: &self.name,
            endpoint,
            from,
            to,
            code: limit.name(),
            why: format!("{}: {why}", limit.name()),
            line: "limit of an upstream",
            volume: Volume::Warn,
        });
    }
}
