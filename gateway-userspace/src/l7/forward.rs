//! Balance, attempt, retry, fall back: endpoints are asked until one answers, as long as the request may be sent again.

mod dial;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use http::Response;
use hyper::body::Incoming;
use tokio::time::sleep;

use super::attempt::{Answered, Failed, Outgoing, attempt};
use super::error::{ProxyError, Retry};
use super::faults::inject;
use super::grpc;
use super::hash_key;
use super::mirror::{self, Mirrors};
use super::pool::{Pool, Try};
use super::record::Record;
use super::resolved::{Action, ResolvedRoute, ResolvedUpstream};
use super::seats;
use super::sticky;
use super::worker::Worker;
use crate::balance::{Mode, Pick};
use crate::config::limits;
use crate::config::snapshot::{Choice, Failure, Outcomes, Retries};
use crate::registry::{Blame, Gate, Readiness};
use crate::resilience::backoff::Wait;
use crate::resilience::limits::{Limit, Limited, Permit};
use crate::retry_after::retry_after;

pub(super) use dial::dial;

/// Asks the route's upstream, another endpoint with each try; then those that it falls back to.
///
/// # Errors
/// Why the last one failed.
pub(super) async fn forward(
    worker: &Worker,
    route: &ResolvedRoute,
    mut outgoing: Box<Outgoing>,
    record: &mut Record,
) -> Result<Answered, ProxyError> {
    let Action::Forward(mut upstream) = route.action(record.share)? else {
        return Err(ProxyError::NoEndpoint);
    };
    if let Some(faults) = route.faults() {
        Box::pin(inject(faults, &outgoing.head.headers, record)).await?;
    }
    let mut round = Round::default();
    enter(upstream, route.subset(), &mut outgoing, record);
    if outgoing.mirrors == Mirrors::Yes
        && let Some(mirror) = route.mirror()
    {
        mirror::send(mirror, &outgoing, record.client(), route.http().timeout);
    }
    loop {
        let outcome = match round.pick(worker, upstream, record) {
            Ok(pool) => attempt(worker, pool, route, outgoing, record).await,
            Err(error) => Err(Failed::new(error, Some(outgoing))),
        };
        let wait;
        (outgoing, wait) = match round.again(upstream, record.choice, &route.http().retry, outcome) {
            ControlFlow::Continue(next) => next,
            ControlFlow::Break(outcome) => {
                let behind = usize::from(round.fallbacks);
                let Some((position, next)) = route.next_fallback(record.share, behind) else {
                    return outcome.map_err(|failed| failed.error);
                };
                match falls_back(route, outcome) {
                    ControlFlow::Break(outcome) => return outcome,
                    ControlFlow::Continue(mut again) => {
                        upstream.counters.fallbacks.add(1);
                        upstream = next;
                        round = Round {
                            fallbacks: u8::try_from(position + 1).unwrap_or(u8::MAX),
                            ..Round::default()
                        };
                        enter(upstream, None, &mut again, record);
                        (again, Duration::ZERO)
                    }
                }
            }
        };
        if !wait.is_zero() {
            Box::pin(sleep(wait)).await;
        }
    }
}

/// It is that upstream's turn.
fn enter(
    upstream: &Rc<ResolvedUpstream>,
    subset: Option<usize>,
    outgoing: &mut Outgoing,
    record: &mut Record,
) {
    record.goes_to(upstream);
    record.choice = upstream.upstream.subsets.choose(subset, &outgoing.head.headers);
    record.key = hash_key::key(&upstream.upstream.balancing.by, &outgoing.head, record.client());
    record.stays_at = match &upstream.upstream.sticky {
        Some(sticky) => sticky::take(&mut outgoing.head.headers, sticky),
        None => None,
    };
}

/// The request for the next upstream, if that outcome leads there.
fn falls_back(
    route: &ResolvedRoute,
    outcome: Result<Answered, Box<Failed>>,
) -> ControlFlow<Result<Answered, ProxyError>, Box<Outgoing>> {
    let on = &route.fallback().on;
    match outcome {
        Ok(mut answered) if lists(on, &answered.response) => match answered.again.take() {
            Some(again) => {
                answered.discard();
                ControlFlow::Continue(again)
            }
            None => ControlFlow::Break(Ok(answered)),
        },
        Ok(answered) => ControlFlow::Break(Ok(answered)),
        Err(failed) => match (failed.error.failure(), failed.again) {
            (Some(failure), Some(again)) if on.has(failure) => ControlFlow::Continue(again),
            _ => ControlFlow::Break(Err(failed.error)),
        },
    }
}

/// The tries of one request at one upstream.
#[derive(Default)]
struct Round {
    /// Upstreams that failed before it.
    fallbacks: u8,
    /// Other ways to the same endpoint that were taken since it was picked.
    ways: u8,
    retries: u16,
    /// Endpoints asked since each was asked once; no memory while the first one answers.
    tried: Vec<usize>,
    /// One of at most `limits::ENDPOINTS_MAX`.
    picked: u32,
    /// Held while a retry is under way, its back-off included.
    permit: Option<Permit>,
}

impl Round {
    /// An endpoint that was not asked, while one is left: that of the client's cookie, then one with trial calls.
    ///
    /// # Errors
    /// Why nobody may be asked.
    fn pick<'u>(
        &mut self,
        worker: &Worker,
        upstream: &'u ResolvedUpstream,
        record: &mut Record,
    ) -> Result<&'u Rc<Pool>, ProxyError> {
        seats::enter(upstream, record)?;
        if self.ways > 0 {
            let picked = usize::try_from(self.picked).ok();
            let endpoint = picked.and_then(|index| upstream.endpoints.get(index));
            return Ok(endpoint.ok_or(ProxyError::NoEndpoint)?.taken());
        }
        let state = &upstream.upstream.state;
        match state.gate() {
            Gate::Share(1_000) => {}
            Gate::Share(share) if upstream.random() % 1_000 < u64::from(share) => {}
            Gate::Trials => {
                record.is_on_trial(state, state.try_whole().ok_or(ProxyError::BreakerOpen)?);
            }
            Gate::Share(_) | Gate::Shut => return Err(ProxyError::BreakerOpen),
        }
        let which = match self.permit {
            Some(_) => Try::Again,
            None => Try::First,
        };
        let index = match self.stays(upstream, record) {
            Some(pick) => self.seated(worker, upstream, pick, which, record)?,
            None => match self.on_trial(upstream, record) {
                Some(index) => seats::sit(upstream, index, which, record)?,
                None => {
                    let pick = upstream.pick(record.choice, record.key, &self.tried);
                    let pick = pick.or_else(|| {
                        self.tried.clear();
                        upstream.pick(record.choice, record.key, &[])
                    });
                    let pick = pick.ok_or_else(|| upstream.missing())?;
                    self.seated(worker, upstream, pick, which, record)?
                }
            },
        };
        self.picked = u32::try_from(index).unwrap_or(u32::MAX);
        let endpoint = upstream.endpoints.get(index).ok_or(ProxyError::NoEndpoint)?;
        Ok(endpoint.taken())
    }

    /// A place at the endpoint that was picked, else, where that has none, at another.
    fn seated(
        &self,
        worker: &Worker,
        upstream: &ResolvedUpstream,
        pick: Pick,
        which: Try,
        record: &mut Record,
    ) -> Result<usize, ProxyError> {
        if pick.mode == Mode::Panic {
            worker.counters.panic_picks.add(1);
        }
        seats::sit(upstream, pick.index, which, record)
            .or_else(|_| seats::elsewhere(upstream, pick.index, &self.tried, which, record))
    }

    /// The endpoint that the client's cookie names, if it may be asked and was not.
    fn stays(&self, upstream: &ResolvedUpstream, record: &Record) -> Option<Pick> {
        let named = record.stays_at.filter(|index| !self.tried.contains(index))?;
        upstream.admits(record.choice, named)
    }

    /// An endpoint whose breaker wants to know whether it is well again; that of the client's cookie before others.
    fn on_trial(&self, upstream: &ResolvedUpstream, record: &mut Record) -> Option<usize> {
        let state = &upstream.upstream.state;
        if !state.has_trials() {
            return None;
        }
        // What checks or ejection keep out is not asked to find out whether its breaker may close.
        let may = |address: &SocketAddr, wanted: &dyn Fn(usize) -> bool| {
            let position = upstream.position(*address);
            let index = position.filter(|index| wanted(*index) && !self.tried.contains(index));
            index
                .and_then(|index| upstream.endpoints.get(index))
                .map(|endpoint| &endpoint.pool.state)
                .is_some_and(|state| {
                    let is_free =
                        state.active.load(Ordering::Relaxed) < upstream.upstream.limits.endpoint.requests;
                    state.readiness() != Readiness::Failing && !state.is_ejected() && is_free
                })
        };
        let choice = record.choice;
        let named = record.stays_at.and_then(|named| {
            let is_named = |index| index == named && upstream.takes(choice, index);
            state.try_endpoint(|address| may(address, &is_named))
        });
        let takes_new = |index| upstream.takes_new(choice, index);
        let (address, trying) = named.or_else(|| state.try_endpoint(|address| may(address, &takes_new)))?;
        record.is_on_trial(state, trying);
        upstream.position(address)
    }

    /// The request for another try and the wait before it, if there is to be one after that outcome.
    fn again(
        &mut self,
        upstream: &ResolvedUpstream,
        choice: Choice,
        rules: &Retries,
        mut outcome: Result<Answered, Box<Failed>>,
    ) -> ControlFlow<Result<Answered, Box<Failed>>, (Box<Outgoing>, Duration)> {
        // It was the way that failed: the endpoint is asked over the one that is taken now. No load that multiplies, for
        // what comes after this request takes that way at once.
        if let Err(failed) = &mut outcome
            && failed.blame == Blame::Channel
            && usize::from(self.ways) < limits::CHANNELS_MAX
            && let Some(again) = failed.again.take()
        {
            self.ways += 1;
            upstream.counters.reroutes.add(1);
            return ControlFlow::Continue((again, Duration::ZERO));
        }
        self.ways = 0;
        let (is_listed, is_sent, asked) = match &outcome {
            Ok(answered) => {
                let listed = lists(&rules.on, &answered.response);
                (
                    listed,
                    true,
                    retry_after(answered.response.headers(), SystemTime::now).filter(|_| listed),
                )
            }
            Err(failed) => {
                let listed = failed
                    .error
                    .failure()
                    .is_some_and(|failure| rules.on.has(failure));
                (listed, failed.error.retry() != Retry::Safe, None)
            }
        };
        if !is_listed || u32::from(self.retries) >= rules.attempts {
            return ControlFlow::Break(outcome);
        }
        let Wait::For(backoff) = rules.backoff.wait(self.retries.into(), rand::random(), asked) else {
            return ControlFlow::Break(outcome);
        };
        let kept = match &mut outcome {
            Ok(answered) => &mut answered.again,
            Err(failed) => &mut failed.again,
        };
        let Some(again) = kept.take() else {
            return ControlFlow::Break(outcome);
        };
        // Of what was not sent the upstream knows nothing: it is no load that could multiply.
        if is_sent {
            // What this request holds already it may go on with.
            self.permit = self.permit.take().or_else(|| may_retry(upstream));
            if self.permit.is_none() {
                *kept = Some(again);
                return ControlFlow::Break(outcome);
            }
        }
        if let Ok(answered) = outcome {
            answered.discard();
        }
        self.tried.extend(usize::try_from(self.picked));
        let is_another_left = self.tried.len() < upstream.takers(choice);
        let wait = if !is_sent && is_another_left {
            Duration::ZERO
        } else {
            backoff
        };
        self.retries += 1;
        upstream.counters.retries.add(1);
        ControlFlow::Continue((again, wait))
    }
}

/// The right to one more retry of a request that was sent already; exact for the node.
fn may_retry(upstream: &ResolvedUpstream) -> Option<Permit> {
    let live = upstream.endpoints.iter().fold(0_u32, |sum, endpoint| {
        sum.saturating_add(endpoint.pool.state.active.load(Ordering::Relaxed))
    });
    let state = &upstream.upstream.state;
    let (budget, max) = (
        upstream.upstream.retry_budget.limit(live),
        upstream.upstream.limits.whole.retries,
    );
    let permit = state.usage.retries.try_acquire(budget.min(max));
    if permit.is_none() {
        upstream.counters.retries_denied.add(1);
        if max <= budget {
            state.limited(Limited {
                limit: Limit::Retries,
                max,
                endpoint: None,
            });
        }
    }
    permit
}

/// Whether that answer is one of those; of gRPC, by the code in its head.
pub(super) fn lists(outcomes: &Outcomes, response: &Response<Incoming>) -> bool {
    outcomes.has_status(response.status())
        || (outcomes.has_any_grpc()
            && grpc::Status::read(response.headers()).is_some_and(|status| outcomes.has_grpc(status.code())))
}

impl ProxyError {
    /// What it is in the lists of `retry.on` and `fallback_on`.
    pub(super) fn failure(self) -> Option<Failure> {
        match self {
            Self::ConnectFailed | Self::ConnectTimeout | Self::UpstreamTlsFailed | Self::ConnectionLost => {
                Some(Failure::Connect)
            }
            Self::UpstreamClosed => Some(Failure::Reset),
            Self::TryTimeout | Self::Timeout => Some(Failure::Timeout),
            Self::UpstreamProtocol => Some(Failure::BadAnswer),
            Self::NoEndpoint
            | Self::EndpointUnresolved
            | Self::BreakerOpen
            | Self::UpstreamOverloaded
            | Self::SwitchUnsupported => Some(Failure::Unavailable),
            _ => None,
        }
    }
}
