//! A connection that is passed on: endpoints are asked until one takes it, by the same picks, limits and breakers as
//! requests. Nothing of it was sent before, so that any other endpoint may be asked after one that fails.

use std::rc::Rc;
use std::time::Duration;

use http::request::Parts;
use tokio::time::sleep;

use super::Round;
use crate::config::limits;
use crate::config::snapshot::Retries;
use crate::l7::error::{Fault, ProxyError};
use crate::l7::hash_key;
use crate::l7::pool::{Dialled, Pool};
use crate::l7::record::Record;
use crate::l7::resolved::{Action, ResolvedRoute, ResolvedUpstream};
use crate::l7::worker::Worker;
use crate::proxy_protocol::{self, Ends};
use crate::registry::Blame;
use crate::resilience::backoff::Wait;

/// Asks the route's upstream, another endpoint with each try. `head` is a request that says nothing.
///
/// # Errors
/// Why the last one failed.
///
/// # Cancel safety
/// An attempt is given up.
pub(in crate::l7) async fn dial(
    worker: &Worker,
    route: &ResolvedRoute,
    head: &Parts,
    ends: Option<Ends>,
    record: &mut Record,
) -> Result<Dialled, ProxyError> {
    let Action::Forward(upstream) = route.action(record.share)? else {
        return Err(ProxyError::NoEndpoint);
    };
    record.goes_to(upstream);
    record.choice = upstream.upstream.subsets.choose(route.subset(), &head.headers);
    record.key = hash_key::key(&upstream.upstream.balancing.by, head, record.client());
    let header = upstream.upstream.proxy_header;
    let greeting = header.map(|version| proxy_protocol::header(version, ends));
    let greeting = greeting.unwrap_or_default();
    let mut round = Round::default();
    loop {
        let (error, blame) = match round.pick(worker, upstream, record) {
            Ok(pool) => match attempt(pool, &greeting, record).await {
                Ok(dialled) => return Ok(dialled),
                Err(failed) => failed,
            },
            Err(error) => (error, Blame::Endpoint),
        };
        let rules = &route.http().retry;
        let Some(wait) = round.once_more(upstream, rules, error, blame, record) else {
            return Err(error);
        };
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

/// Asks that endpoint; the record is told how it went.
async fn attempt(
    pool: &Rc<Pool>,
    greeting: &[u8],
    record: &mut Record,
) -> Result<Dialled, (ProxyError, Blame)> {
    record.tries(pool);
    // It has one, but where the same endpoint is asked over another way.
    let seat = record.seat.take().filter(|seat| seat.is_at(pool));
    let Some(seat) = seat.or_else(|| pool.seat()) else {
        return Err((ProxyError::UpstreamOverloaded, Blame::Endpoint));
    };
    match seat.dial(greeting).await {
        Ok((dialled, time)) => {
            record.connected(time);
            record.joined();
            Ok(dialled)
        }
        Err(error) => {
            let blame = pool.blame(error);
            // To be busy is no failure.
            let is_failure = error.fault() == Fault::Upstream && error != ProxyError::UpstreamOverloaded;
            if blame == Blame::Endpoint && is_failure {
                record.endpoint_failed();
            }
            Err((error, blame))
        }
    }
}

impl Round {
    /// The wait before another try, if there is to be one after that failure, of which the endpoint knows nothing: so it is
    /// no load that could multiply, and takes nothing of the upstream's budget.
    fn once_more(
        &mut self,
        upstream: &ResolvedUpstream,
        rules: &Retries,
        error: ProxyError,
        blame: Blame,
        record: &Record,
    ) -> Option<Duration> {
        if blame == Blame::Channel && usize::from(self.ways) < limits::CHANNELS_MAX {
            self.ways += 1;
            upstream.counters.reroutes.add(1);
            return Some(Duration::ZERO);
        }
        self.ways = 0;
        let is_listed = error.failure().is_some_and(|failure| rules.on.has(failure));
        if !is_listed || u32::from(self.retries) >= rules.attempts {
            return None;
        }
        let Wait::For(backoff) = rules.backoff.wait(self.retries.into(), rand::random(), None) else {
            return None;
        };
        self.tried.extend(usize::try_from(self.picked));
        let is_another_left = self.tried.len() < upstream.takers(record.choice);
        self.retries += 1;
        upstream.counters.retries.add(1);
        Some(if is_another_left { Duration::ZERO } else { backoff })
    }
}
