//! A route as one worker sees it: its upstreams, which of them takes a request, and its counters.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, StatusCode};

use super::ResolvedUpstream;
use crate::balance::mix;
use crate::config::snapshot::{
    Failure, Fallback, Faults, Odds, Outcomes, Redirect, Respond, Rewrite, Route, RouteAction, RouteHttp,
};
use crate::filters::{Filter, NamedFilter};
use crate::l7::answers::{Answer, Short};
use crate::l7::attempt::Resends;
use crate::l7::error::ProxyError;
use crate::l7::hash_key;
use crate::l7::metrics::{Metrics, RouteCounters, ShareCounters, UNROUTED};
use crate::l7::mirror::Mirrors;

/// Keeps what a split makes of a key apart from what an upstream's balancer makes of it: else a share would be of a few
/// endpoints alone.
const SPLIT_SALT: u64 = 0x7370_6c69_7400_0001;

/// A route with its counters.
pub(crate) struct ResolvedRoute {
    route: Arc<Route>,
    /// In the order of its shares; empty: the route answers by itself.
    upstreams: Box<[Rc<ResolvedUpstream>]>,
    /// Of each, where there are several.
    shares: Box<[Arc<ShareCounters>]>,
    fallbacks: Vec<Rc<ResolvedUpstream>>,
    mirror: Option<Box<ResolvedMirror>>,
    /// Those of the listener, then its own.
    filters: Box<[Arc<NamedFilter>]>,
    /// Of each of these, the way to the service that it asks.
    authorities: Box<[Option<Rc<Self>>]>,
    resends: Resends,
    pub(in crate::l7) counters: Arc<RouteCounters>,
}

/// `route.mirror`, resolved.
pub(in crate::l7) struct ResolvedMirror {
    pub(in crate::l7) upstream: Rc<ResolvedUpstream>,
    odds: Odds,
    /// Copies under way at that upstream at most, on this node.
    pub(in crate::l7) requests_max: u32,
}

/// What a route does, resolved.
pub(in crate::l7) enum Action<'r> {
    Forward(&'r Rc<ResolvedUpstream>),
    Redirect(&'r Redirect),
    Respond(&'r Arc<Respond>),
}

/// Whose a route is.
#[derive(Clone, Copy)]
pub(super) struct RouteOf<'r> {
    /// Its listener's name and filters.
    pub(super) listener: (&'r str, &'r [Arc<NamedFilter>]),
    pub(super) worker: usize,
    pub(super) metrics: &'r Metrics,
}

impl ResolvedRoute {
    pub(super) fn new(
        route: &Arc<Route>,
        upstreams: &HashMap<String, Rc<ResolvedUpstream>>,
        of: RouteOf<'_>,
    ) -> Self {
        let (listener, filters) = of.listener;
        let share = |name: &str| of.metrics.share((listener, &route.name, name), of.worker);
        let filters: Box<[_]> = filters.iter().chain(&route.filters).cloned().collect();
        let counters = of.metrics.route(listener, &route.name, of.worker);
        let authority = |named: &Arc<NamedFilter>| {
            let upstream = upstreams.get(named.filter.authority()?)?;
            Some(Rc::new(Self::to_authority(&route.name, upstream, &counters)))
        };
        Self {
            authorities: filters.iter().map(authority).collect(),
            upstreams: route
                .action
                .upstreams()
                .iter()
                .filter_map(|upstream| upstreams.get(&upstream.name).cloned())
                .collect(),
            shares: match &route.action {
                RouteAction::Split(split) => split.upstreams.iter().map(|one| share(&one.name)).collect(),
                _ => Box::default(),
            },
            fallbacks: route
                .fallback
                .upstreams
                .iter()
                .filter_map(|rung| upstreams.get(&rung.name).cloned())
                .collect(),
            mirror: route.mirror.as_ref().and_then(|mirror| {
                Some(Box::new(ResolvedMirror {
                    upstream: upstreams.get(&mirror.upstream.name).cloned()?,
                    odds: mirror.odds,
                    requests_max: mirror.requests_max,
                }))
            }),
            filters,
            resends: resends(route),
            counters,
            route: Arc::clone(route),
        }
    }

    /// What stands for a route where none takes a request: the listener's filters, and nothing behind them.
    pub(super) fn of_nobody(upstreams: &HashMap<String, Rc<ResolvedUpstream>>, of: RouteOf<'_>) -> Self {
        // Never given: the request's refusal is.
        let nothing = RouteAction::Respond(Arc::new(Respond {
            status: StatusCode::NOT_FOUND,
            body: Vec::new(),
            content_type: HeaderValue::from_static(""),
            retry_after: None,
        }));
        let route = Arc::new(Route::plain(UNROUTED.to_owned(), nothing));
        Self::new(&route, upstreams, of)
    }

    /// The way to a service that is asked about requests of the route of that name: without filters, and with the retries
    /// that are the default.
    fn to_authority(name: &str, upstream: &Rc<ResolvedUpstream>, counters: &Arc<RouteCounters>) -> Self {
        let action = RouteAction::Upstream(Arc::clone(&upstream.upstream));
        let route = Arc::new(Route::plain(name.to_owned(), action));
        Self {
            upstreams: Box::new([Rc::clone(upstream)]),
            shares: Box::default(),
            fallbacks: Vec::new(),
            mirror: None,
            filters: Box::default(),
            authorities: Box::default(),
            resends: resends(&route),
            counters: Arc::clone(counters),
            route,
        }
    }

    pub(in crate::l7) fn name(&self) -> &str {
        &self.route.name
    }

    /// Which of its upstreams takes a request: that of the client, by what the split goes by, else by chance.
    pub(in crate::l7) fn share(&self, head: &Parts, client: IpAddr) -> usize {
        let RouteAction::Split(split) = &self.route.action else {
            return 0;
        };
        let key = hash_key::key(&split.by, head, client).map(|key| mix(key ^ SPLIT_SALT));
        split.shares.of(key.unwrap_or_else(rand::random))
    }

    /// What counts the requests of that share, where there are several.
    pub(in crate::l7) fn share_counters(&self, share: usize) -> Option<&ShareCounters> {
        self.shares.get(share).map(Arc::as_ref)
    }

    /// Which subset of its upstream it goes to.
    pub(in crate::l7) fn subset(&self) -> Option<usize> {
        self.route.subset
    }

    /// The next upstream that is asked where that of a share fails, of those behind so many; with its place among them. One
    /// that has the share is not asked a second time.
    pub(in crate::l7) fn next_fallback(
        &self,
        share: usize,
        behind: usize,
    ) -> Option<(usize, &Rc<ResolvedUpstream>)> {
        let asked = self.upstreams.get(share);
        let is_asked = |next: &Rc<ResolvedUpstream>| asked.is_some_and(|asked| Rc::ptr_eq(asked, next));
        let mut rest = self.fallbacks.iter().enumerate().skip(behind);
        rest.find(|(_, next)| !is_asked(next))
    }

    /// After what, and what is answered in the end.
    pub(in crate::l7) fn fallback(&self) -> &Fallback {
        &self.route.fallback
    }

    /// Where copies of its requests go.
    pub(in crate::l7) fn mirror(&self) -> Option<&ResolvedMirror> {
        self.mirror.as_deref()
    }

    /// Whether the next request is copied: chance has it.
    pub(in crate::l7) fn mirrors(&self) -> Mirrors {
        match &self.mirror {
            Some(mirror) if mirror.odds.hit(mirror.upstream.random()) => Mirrors::Yes,
            _ => Mirrors::No,
        }
    }

    /// What is done to its requests on purpose.
    pub(in crate::l7) fn faults(&self) -> Option<&Faults> {
        self.route.fault.as_deref()
    }

    /// What a client gets for that failure.
    pub(in crate::l7) fn degraded(&self, error: ProxyError) -> Answer {
        if error == ProxyError::FaultAbort
            && let Some((respond, _)) = self.faults().and_then(|faults| faults.abort.as_ref())
        {
            let respond = Arc::clone(respond);
            return Answer::Short(Short::Degraded { respond, error });
        }
        let fallback = &self.route.fallback;
        let listed = error == ProxyError::UpstreamStatus
            || error.failure().is_some_and(|failure| fallback.on.has(failure));
        match &fallback.respond {
            Some(respond) if listed => Answer::Short(Short::Degraded {
                respond: Arc::clone(respond),
                error,
            }),
            _ => error.into(),
        }
    }

    /// Whether requests are kept to be sent again after they were sent.
    pub(in crate::l7) fn resends(&self) -> Resends {
        self.resends
    }

    /// Whether gRPC calls, which are POST, may be sent again.
    pub(in crate::l7) fn resends_calls(&self) -> bool {
        self.route.http.retry.on.has_any_grpc()
            || (!self.fallbacks.is_empty() && self.route.fallback.on.has_any_grpc())
    }

    /// What its requests pass, in this order.
    pub(in crate::l7) fn filters(&self) -> &[Arc<NamedFilter>] {
        &self.filters
    }

    /// The way to the service that the filter of that position asks.
    pub(in crate::l7) fn authority(&self, filter: usize) -> Option<&Rc<Self>> {
        self.authorities.get(filter)?.as_ref()
    }

    pub(super) fn has_cors(&self) -> bool {
        self.filters
            .iter()
            .any(|named| matches!(named.filter, Filter::Cors(_)))
    }

    /// What the upstream is asked for instead of what the client asks for.
    pub(in crate::l7) fn rewrite(&self) -> Option<&Rewrite> {
        self.route.rewrite.as_deref()
    }

    /// What holds for its requests.
    pub(in crate::l7) fn http(&self) -> &RouteHttp {
        &self.route.http
    }

    /// What is to be done with a request of that share.
    ///
    /// # Errors
    /// [`ProxyError::NoEndpoint`]: cannot be, as every upstream of a route was resolved with it.
    pub(in crate::l7) fn action(&self, share: usize) -> Result<Action<'_>, ProxyError> {
        match &self.route.action {
            RouteAction::Redirect(redirect) => Ok(Action::Redirect(redirect)),
            RouteAction::Respond(respond) => Ok(Action::Respond(respond)),
            RouteAction::Upstream(_) | RouteAction::Split(_) => {
                let upstream = self.upstreams.get(share);
                upstream.map(Action::Forward).ok_or(ProxyError::NoEndpoint)
            }
        }
    }
}

/// Whether an outcome that comes after sending leads to another try.
fn resends(route: &Route) -> Resends {
    let retry = &route.http.retry;
    let (after_retry, after_fallback) = (
        retry.attempts > 0 && retry.on.has_any_after_sending(),
        !route.fallback.upstreams.is_empty() && route.fallback.on.has_any_after_sending(),
    );
    // A time-out alone ends no try where there is none.
    let only_timeout = retry.on == Outcomes::of(&[Failure::Connect, Failure::Timeout]);
    let retries = after_retry && !(only_timeout && route.http.try_timeout.is_none());
    if retries || after_fallback {
        Resends::Yes
    } else {
        Resends::No
    }
}
