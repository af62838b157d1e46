//! A try from its beginning to how it ended, for what guards and balances its upstream: each is counted once, as soon as its outcome is known.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use tokio::time::Instant;

use super::{Call, IsCall, Record};
use crate::l7::grpc;
use crate::l7::pool::Pool;
use crate::registry::{Trying, UpstreamState};
use crate::resilience::breaker::Outcome;

impl Record {
    /// Another try, at that endpoint.
    pub(in crate::l7) fn tries(&mut self, pool: &Rc<Pool>) {
        self.exchange.asks(&pool.ends);
        self.endpoint = Some(Rc::clone(pool));
        if self.tries > 0 {
            self.try_start = Instant::now();
        }
        self.call = Call::Open;
        self.begun = pool.state.begins();
        self.tries += 1;
    }

    /// The next try is a trial call.
    pub(in crate::l7) fn is_on_trial(&mut self, upstream: &Arc<UpstreamState>, trying: Trying) {
        self.trials.push((Arc::clone(upstream), trying));
    }

    /// The upstream's response head came.
    ///
    /// Of gRPC, the outcome is in the trailers, unless the head has it.
    pub(in crate::l7) fn answered(&mut self, status: StatusCode, is_call: IsCall) {
        let now = Instant::now();
        self.first_byte = Some(now - self.start);
        self.upstream_status = Some(status);
        let slow_call = self
            .upstream
            .as_ref()
            .and_then(|upstream| upstream.upstream.slow_call);
        let outcome = if status.is_server_error() {
            Outcome::Failed
        } else if slow_call.is_some_and(|slow| now - self.try_start > slow) {
            Outcome::Slow
        } else {
            Outcome::Passed
        };
        if is_call == IsCall::No || outcome == Outcome::Failed {
            self.call_ended(outcome);
        }
    }

    /// The endpoint failed.
    pub(in crate::l7) fn endpoint_failed(&mut self) {
        if self.call == Call::Failed {
            return;
        }
        if let Some(pool) = &self.endpoint {
            pool.failed();
        }
        self.call_ended(Outcome::Failed);
    }

    /// A call's outcome is known: machines, and balancers that go by latency, are told.
    pub(super) fn call_ended(&mut self, outcome: Outcome) {
        self.call = match outcome {
            Outcome::Failed => Call::Failed,
            _ => Call::Counted,
        };
        let (Some(pool), Some(upstream)) = (&self.endpoint, &self.upstream) else {
            return;
        };
        pool.state.count(pool.endpoint, self.begun, outcome);
        if let Some(ewma) = upstream.upstream.balancing.ewma {
            let took_us = u32::try_from(self.try_start.elapsed().as_micros()).unwrap_or(u32::MAX);
            let now_ms = u64::try_from(upstream.upstream.state.now().as_millis()).unwrap_or(u64::MAX);
            let word = pool.state.latency.load(Ordering::Relaxed);
            let word = match outcome {
                Outcome::Failed => ewma.observe_failure(word, now_ms, took_us),
                _ => ewma.observe(word, now_ms, took_us),
            };
            // Another worker's sample may be lost, which does no harm.
            pool.state.latency.store(word, Ordering::Relaxed);
        }
        self.end_trials(outcome);
    }

    /// The answer broke off after its head: the call failed, though it was counted already.
    pub(in crate::l7) fn answer_broke(&mut self) {
        match self.call {
            Call::Open => self.call_ended(Outcome::Failed),
            Call::Counted => {
                self.call = Call::Failed;
                if let Some(pool) = &self.endpoint {
                    pool.state.spoil(pool.endpoint, self.begun);
                }
            }
            Call::Failed => {}
        }
    }

    /// The answer is whole. One to a gRPC call that never said how it went is a failure, where its status does not tell
    /// otherwise.
    pub(in crate::l7) fn ended(&mut self, is_call: IsCall) {
        if is_call == IsCall::No || self.call != Call::Open {
            return;
        }
        let status = self.upstream_status.unwrap_or_default();
        if grpc::Status::of_http(status).is_failure() {
            self.endpoint_failed();
        } else {
            self.call_ended(Outcome::Passed);
        }
    }

    pub(super) fn end_trials(&mut self, outcome: Outcome) {
        for (upstream, trying) in self.trials.drain(..) {
            let asked = self.endpoint.as_ref();
            let asked = asked.filter(|pool| Some(pool.endpoint) == trying.endpoint());
            upstream.trial_ended(&trying, asked.map(|pool| &*pool.state), outcome);
        }
    }

    /// The head of a call's answer says how it went, where there is nothing behind it.
    pub(in crate::l7) fn head_says(&mut self, status: Option<grpc::Status>) {
        match status {
            Some(status) if status.is_failure() => self.endpoint_failed(),
            Some(_) => self.call_ended(Outcome::Passed),
            None => {}
        }
    }

    /// How gRPC says that it went; some of it is the endpoint's failure.
    pub(in crate::l7) fn grpc_status(&mut self, status: Option<grpc::Status>) {
        self.grpc_status = status;
        match status {
            Some(status) if status.is_failure() && self.call == Call::Open => self.endpoint_failed(),
            Some(_) if self.call == Call::Open => self.call_ended(Outcome::Passed),
            _ => {}
        }
    }
}
