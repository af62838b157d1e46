//! Limits that were reached: counted each time, told once when it begins and once when it is over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::UpstreamState;
use crate::events::{Kind, Told, Volume};
use crate::resilience::limits::{Limit, Limited};

/// A limit is taken to be reached until it was not for so long: so that one that is reached now and then is two events,
/// not thousands.
pub(super) const CALM: Duration = Duration::from_secs(10);

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
    pub(super) fn calm_down(&self, calm: Duration) {
        for (limit, of) in Limit::ALL.into_iter().zip(&self.reached.0) {
            if of.told.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let calm_ms = self.now_ms().saturating_sub(of.last_ms.load(Ordering::Relaxed));
            if u128::from(calm_ms) >= calm.as_millis() && of.told.swap(0, Ordering::Relaxed) == 1 {
                let why = format!("not reached for {} s", calm.as_secs());
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

#[cfg(test)]
mod tests {
    use crate::events::Events;
    use crate::registry::Registry;

    use super::*;

    #[test]
    fn a_limit_that_is_reached_often_is_one_event_and_one_more_when_it_is_over() {
        let events = Events::default();
        let registry = Registry::new(events.clone());
        let upstream = registry.upstream("users");
        let endpoint = "192.0.2.1:80".parse().unwrap();
        let limited = |limit, endpoint| Limited {
            limit,
            max: 5,
            endpoint,
        };
        for _ in 0..100 {
            upstream.limited(limited(Limit::Requests, Some(endpoint)));
        }
        upstream.limited(limited(Limit::Pending, None));
        upstream.calm_down(CALM);
        upstream.calm_down(Duration::ZERO);
        upstream.calm_down(Duration::ZERO);
        upstream.limited(limited(Limit::Requests, None));
        assert_eq!(upstream.times_limited(Limit::Requests), 101);
        assert_eq!(upstream.times_limited(Limit::Connections), 0);
        let told = events.kept();
        let told: Vec<_> = told
            .iter()
            .map(|event| {
                (
                    event.why.split(':').next().unwrap(),
                    event.endpoint,
                    event.to.as_str(),
                )
            })
            .collect();
        let expected = [
            ("requests", Some(endpoint), "reached"),
            ("pending", None, "reached"),
            ("pending", None, "free"),
            ("requests", None, "free"),
            ("requests", None, "reached"),
        ];
        assert_eq!(told, expected);
    }
}
