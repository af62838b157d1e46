//! A snapshot as one worker sees it: every name resolved to this worker's own counters, pools and turns.
//!
//! Built once for each snapshot and worker, so that a request looks nothing up by name. Pools of endpoints that stay
//! are taken over, with their idle connections; those of endpoints that go close when their last request has ended.

mod upstream;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Method};
use tokio::time::Instant;

use super::answers::{Answer, Short};
use super::attempt::Resends;
use super::ends::Ends;
use super::error::ProxyError;
use super::metrics::{Metrics, RouteCounters, UNROUTED};
use super::path::Normal;
use crate::config::snapshot::{
    Failure, Fallback, HttpMode, Listener, ListenerHttp, MergeSlashes, NodeHeader, Outcomes, Respond, Route,
    RouteAction, RouteHttp, Snapshot,
};
use crate::inspect::{Mode, Rules};
use crate::router::Lookup;
use crate::tls::ServerTls;

pub(crate) use upstream::{ResolvedEndpoint, ResolvedUpstream};

/// One worker's view of one snapshot.
pub(crate) struct Resolved {
    pub(super) snapshot: Arc<Snapshot>,
    listeners: Vec<Rc<ResolvedListener>>,
    upstreams: HashMap<String, Rc<ResolvedUpstream>>,
}

/// A listener with its routes.
pub(crate) struct ResolvedListener {
    pub(super) tag: Rc<ListenerTag>,
    listener: Arc<Listener>,
    /// In the order of the router's indices.
    routes: Vec<Rc<ResolvedRoute>>,
}

/// What a request keeps of its listener and snapshot once it is routed: none of their other routes and upstreams.
pub(crate) struct ListenerTag {
    /// Number of the snapshot.
    pub(super) snapshot: u64,
    /// By when the snapshot's requests must have ended.
    pub(super) ends: Arc<Ends>,
    pub(super) name: Box<str>,
    /// Counts what no route takes.
    pub(super) unrouted: Arc<RouteCounters>,
    /// Sent with each response, if it is to be.
    pub(super) node_header: Option<HeaderValue>,
}

/// A route with its counters.
pub(crate) struct ResolvedRoute {
    route: Arc<Route>,
    /// `None`: the route answers by itself.
    upstream: Option<Rc<ResolvedUpstream>>,
    fallbacks: Vec<Rc<ResolvedUpstream>>,
    resends: Resends,
    pub(super) counters: Arc<RouteCounters>,
}

/// What a route does, resolved.
pub(super) enum Action<'r> {
    Forward(&'r Rc<ResolvedUpstream>),
    Respond(&'r Arc<Respond>),
}

impl Resolved {
    pub(super) fn new(
        snapshot: Arc<Snapshot>,
        ends: Arc<Ends>,
        before: Option<&Self>,
        worker: usize,
        workers: usize,
        metrics: &Metrics,
    ) -> Self {
        let mut upstreams = HashMap::new();
        let routed = snapshot.listeners.iter().flat_map(|listener| &listener.routes);
        let routed = routed.filter_map(|route| match &route.action {
            RouteAction::Upstream(upstream) => Some(upstream),
            RouteAction::Respond(_) => None,
        });
        for upstream in snapshot.upstreams.iter().chain(routed) {
            if !upstreams.contains_key(&upstream.name) {
                let held = before.and_then(|before| before.upstreams.get(&upstream.name));
                let counters = metrics.upstream(&upstream.name, worker);
                let resolved =
                    ResolvedUpstream::new(upstream, held.map(Rc::as_ref), counters, worker, workers);
                upstreams.insert(upstream.name.clone(), Rc::new(resolved));
            }
        }
        let node_header = match snapshot.node.node_header {
            NodeHeader::Sent => HeaderValue::from_str(&snapshot.node.name).ok(),
            NodeHeader::Omitted => None,
        };
        let listeners = snapshot.listeners.iter().map(|listener| {
            let route = |route: &Arc<Route>| {
                Rc::new(ResolvedRoute {
                    upstream: match &route.action {
                        RouteAction::Upstream(upstream) => upstreams.get(&upstream.name).cloned(),
                        RouteAction::Respond(_) => None,
                    },
                    fallbacks: route
                        .fallback
                        .upstreams
                        .iter()
                        .filter_map(|rung| upstreams.get(&rung.name).cloned())
                        .collect(),
                    resends: resends(route),
                    counters: metrics.route(&listener.name, &route.name, worker),
                    route: Arc::clone(route),
                })
            };
            Rc::new(ResolvedListener {
                routes: listener.routes.iter().map(route).collect(),
                tag: Rc::new(ListenerTag {
                    snapshot: snapshot.number,
                    ends: Arc::clone(&ends),
                    name: listener.name.as_str().into(),
                    unrouted: metrics.route(&listener.name, UNROUTED, worker),
                    node_header: node_header.clone(),
                }),
                listener: Arc::clone(listener),
            })
        });
        Self {
            listeners: listeners.collect(),
            upstreams,
            snapshot,
        }
    }

    /// Gives the requests at endpoints that `next` has no more a time to end by.
    pub(super) fn replaced_by(&self, next: &Self, now: Instant) {
        let staying = next.upstreams.values().flat_map(|upstream| &upstream.endpoints);
        let staying = staying.flat_map(ResolvedEndpoint::pools);
        let staying: HashSet<_> = staying.map(Rc::as_ptr).collect();
        for upstream in self.upstreams.values() {
            for pool in upstream.endpoints.iter().flat_map(ResolvedEndpoint::pools) {
                if !staying.contains(&Rc::as_ptr(pool)) {
                    pool.ends.by(now + upstream.upstream.drain_timeout);
                }
            }
        }
    }

    /// The listener at a configured address.
    pub(super) fn listener(&self, address: SocketAddr) -> Option<Rc<ResolvedListener>> {
        let found = self
            .listeners
            .iter()
            .find(|held| held.listener.address == address);
        found.cloned()
    }

    /// Closes what was idle for too long.
    pub(super) fn evict(&self, now: Instant) {
        for upstream in self.upstreams.values() {
            for pool in upstream.endpoints.iter().flat_map(ResolvedEndpoint::pools) {
                pool.evict(now);
            }
        }
    }
}

impl ResolvedListener {
    /// As configured: what tells listeners apart.
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// How TLS is spoken there; `None`: it is not.
    pub(super) fn tls(&self) -> Option<&Arc<ServerTls>> {
        self.listener.tls.as_ref()
    }

    /// How HTTP is read there.
    pub(super) fn http(&self) -> &ListenerHttp {
        &self.listener.http
    }

    /// What the inspector is to hold requests to.
    pub(super) fn rules(&self) -> Rules {
        let http = &self.listener.http;
        Rules {
            mode: match http.mode {
                HttpMode::Strict => Mode::Strict,
                HttpMode::Lenient => Mode::Lenient,
                HttpMode::Monitor => Mode::Monitor,
            },
            head_bytes_max: http.head_bytes_max,
            fields_max: http.fields_max,
            target_bytes_max: http.target_bytes_max,
        }
    }

    /// Which route takes a request, and the form of its path that was matched.
    ///
    /// # Errors
    /// [`ProxyError::NoRoute`], [`ProxyError::MethodNotAllowed`].
    pub(super) fn route<'p>(
        &self,
        host: &str,
        path: Normal<'p>,
        method: &Method,
    ) -> Result<(Rc<ResolvedRoute>, Cow<'p, str>), ProxyError> {
        let found = self
            .listener
            .router
            .find_either(host, &path.merged, path.unmerged.as_deref(), method);
        let route = match found {
            Lookup::Found(index) => self.routes.get(index.0).ok_or(ProxyError::NoRoute)?,
            Lookup::MethodNotAllowed => return Err(ProxyError::MethodNotAllowed),
            Lookup::NotFound => return Err(ProxyError::NoRoute),
        };
        let matched = match (route.route.http.merge_slashes, path.unmerged) {
            (MergeSlashes::Off, Some(unmerged)) => unmerged,
            _ => path.merged,
        };
        Ok((Rc::clone(route), matched))
    }

    /// What `Allow` says beside a 405.
    pub(super) fn allowed(&self, host: &str, path: &str) -> Option<HeaderValue> {
        let methods = self.listener.router.allowed(host, path);
        let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
        HeaderValue::from_str(&names.join(", ")).ok()
    }
}

impl ResolvedRoute {
    pub(super) fn name(&self) -> &str {
        &self.route.name
    }

    /// Which subset of its upstream it goes to.
    pub(super) fn subset(&self) -> Option<usize> {
        self.route.subset
    }

    /// Upstreams that are asked where its own fails.
    pub(super) fn fallbacks(&self) -> &[Rc<ResolvedUpstream>] {
        &self.fallbacks
    }

    /// After what, and what is answered in the end.
    pub(super) fn fallback(&self) -> &Fallback {
        &self.route.fallback
    }

    /// What a client gets for that failure.
    pub(super) fn degraded(&self, error: ProxyError) -> Answer {
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
    pub(super) fn resends(&self) -> Resends {
        self.resends
    }

    /// Whether gRPC calls, which are POST, may be sent again.
    pub(super) fn resends_calls(&self) -> bool {
        self.route.http.retry.on.has_any_grpc()
            || (!self.fallbacks.is_empty() && self.route.fallback.on.has_any_grpc())
    }

    /// What holds for its requests.
    pub(super) fn http(&self) -> &RouteHttp {
        &self.route.http
    }

    /// What is to be done.
    ///
    /// # Errors
    /// [`ProxyError::NoEndpoint`]: cannot be, as every upstream of a route was resolved with it.
    pub(super) fn action(&self) -> Result<Action<'_>, ProxyError> {
        match (&self.route.action, &self.upstream) {
            (RouteAction::Respond(respond), _) => Ok(Action::Respond(respond)),
            (RouteAction::Upstream(_), Some(upstream)) => Ok(Action::Forward(upstream)),
            (RouteAction::Upstream(_), None) => Err(ProxyError::NoEndpoint),
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
