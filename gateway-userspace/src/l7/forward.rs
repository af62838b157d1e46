//! Balance, attempt, retry, fall back: endpoints are asked until one answers, as long as the request may be sent again.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use http::{Response, header};
use hyper::body::Incoming;
use tokio::time::sleep;

use super::attempt::{Answered, Failed, Outgoing, attempt};
use super::balance::Mode;
use super::error::{ProxyError, Retry};
use super::grpc;
use super::pool::Pool;
use super::record::Record;
use super::resolved::{Action, ResolvedRoute, ResolvedUpstream};
use super::retry::{self, Permit};
use super::worker::Worker;
use crate::config::snapshot::{Failure, Outcomes, Retries};

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
    let Action::Forward(mut upstream) = route.action()? else {
        return Err(ProxyError::NoEndpoint);
    };
    let mut round = Round::default();
    record.goes_to(upstream);
    loop {
        let outcome = match round.pick(worker, upstream) {
            Some(pool) => attempt(worker, pool, route, outgoing, record).await,
            None => Err(Box::new(Failed {
                error: upstream.missing(),
                again: Some(outgoing),
            })),
        };
        let wait;
        (outgoing, wait) = match round.again(upstream, &route.http().retry, outcome) {
            ControlFlow::Continue(next) => next,
            ControlFlow::Break(outcome) => {
                let Some(next) = route.fallbacks().get(usize::from(round.fallbacks)) else {
                    return outcome.map_err(|failed| failed.error);
                };
                match falls_back(route, outcome) {
                    ControlFlow::Break(outcome) => return outcome,
                    ControlFlow::Continue(again) => {
                        upstream.counters.fallbacks.add(1);
                        upstream = next;
                        round = Round {
                            fallbacks: round.fallbacks + 1,
                            ..Round::default()
                        };
                        record.goes_to(upstream);
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
    fallbacks: u16,
    retries: u16,
    /// Endpoints asked since each was asked once; no memory while the first one answers.
    tried: Vec<usize>,
    picked: usize,
    /// Held while a retry is under way, its back-off included.
    permit: Option<Permit>,
}

impl Round {
    /// An endpoint that was not asked, while one is left.
    fn pick<'u>(&mut self, worker: &Worker, upstream: &'u ResolvedUpstream) -> Option<&'u Rc<Pool>> {
        let endpoints = &upstream.endpoints;
        let picked = upstream.turn.pick(endpoints, &self.tried).or_else(|| {
            self.tried.clear();
            upstream.turn.pick(endpoints, &[])
        });
        let (index, mode) = picked?;
        if mode == Mode::Panic {
            worker.counters.panic_picks.add(1);
        }
        self.picked = index;
        endpoints.get(index).map(|endpoint| &endpoint.pool)
    }

    /// The request for another try and the wait before it, if there is to be one after that outcome.
    fn again(
        &mut self,
        upstream: &ResolvedUpstream,
        rules: &Retries,
        mut outcome: Result<Answered, Box<Failed>>,
    ) -> ControlFlow<Result<Answered, Box<Failed>>, (Box<Outgoing>, Duration)> {
        let (is_listed, is_sent, asked) = match &outcome {
            Ok(answered) => {
                let listed = lists(&rules.on, &answered.response);
                (listed, true, retry_after(&answered.response).filter(|_| listed))
            }
            Err(failed) => {
                let listed = failed
                    .error
                    .failure()
                    .is_some_and(|failure| rules.on.has(failure));
                (listed, failed.error.retry() != Retry::Safe, None)
            }
        };
        let may_wait = asked.is_none_or(|wait| wait <= rules.retry_after_max);
        if !is_listed || !may_wait || u32::from(self.retries) >= rules.attempts {
            return ControlFlow::Break(outcome);
        }
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
            self.permit = self.permit.take().or_else(|| upstream.may_retry());
            if self.permit.is_none() {
                *kept = Some(again);
                return ControlFlow::Break(outcome);
            }
        }
        if let Ok(answered) = outcome {
            answered.discard();
        }
        self.tried.push(self.picked);
        let is_another_left = self.tried.len() < upstream.endpoints.len();
        let wait = if !is_sent && is_another_left {
            Duration::ZERO
        } else {
            let backoff = retry::backoff(rules, self.retries.into(), rand::random());
            asked.map_or(backoff, |wait| wait.max(backoff))
        };
        self.retries += 1;
        upstream.counters.retries.add(1);
        ControlFlow::Continue((again, wait))
    }
}

/// Whether that answer is one of those; of gRPC, by the code in its head.
pub(super) fn lists(outcomes: &Outcomes, response: &Response<Incoming>) -> bool {
    outcomes.has_status(response.status())
        || (outcomes.has_any_grpc()
            && grpc::Status::read(response.headers()).is_some_and(|status| outcomes.has_grpc(status.code())))
}

/// How long the upstream asks to be left alone; a date is not looked at, for clocks differ by more than clients wait.
///
/// Source: RFC 9110, section 10.2.3.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    value.parse().ok().map(Duration::from_secs)
}

impl ProxyError {
    /// What it is in the lists of `retry.on` and `fallback_on`.
    pub(super) fn failure(self) -> Option<Failure> {
        match self {
            Self::ConnectFailed | Self::ConnectTimeout | Self::ConnectionLost => Some(Failure::Connect),
            Self::UpstreamClosed => Some(Failure::Reset),
            Self::TryTimeout | Self::Timeout => Some(Failure::Timeout),
            Self::UpstreamProtocol => Some(Failure::BadAnswer),
            Self::NoEndpoint | Self::EndpointUnresolved => Some(Failure::Unavailable),
            _ => None,
        }
    }
}
