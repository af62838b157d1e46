//! A snapshot as one worker sees it: every name resolved to this worker's own counters, pools and turns.
//!
//! Built once for each snapshot and worker, so that a request looks nothing up by name. Pools of endpoints that stay
//! are taken over, with their idle connections; those of endpoints that go close when their last request has ended.

mod route;
mod upstream;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Method};
use tokio::time::Instant;

use super::ends::Ends;
use super::error::ProxyError;
use super::metrics::{Metrics, RouteCounters, UNROUTED};
use super::path::Normal;
use crate::config::snapshot::{
    Carries, HttpMode, Listener, ListenerHttp, MergeSlashes, Networks, NodeHeader, Route, Snapshot,
};
use crate::inspect::{Mode, Rules};
use crate::router::{Facts, Lookup};
use crate::tls::ServerTls;

use route::RouteOf;

pub(crate) use route::ResolvedRoute;
pub(super) use route::{Action, ResolvedMirror};
pub(crate) use upstream::{ResolvedEndpoint, ResolvedUpstream};

/// One worker's view of one snapshot.
pub(crate) struct Resolved {
    pub(super) snapshot: Arc<Snapshot>,
    listeners: Vec<Rc<ResolvedListener>>,
    pub(super) upstreams: HashMap<String, Rc<ResolvedUpstream>>,
}

/// A listener with its routes.
pub(crate) struct ResolvedListener {
    pub(super) tag: Rc<ListenerTag>,
    listener: Arc<Listener>,
    /// In the order of the router's indices.
    routes: Vec<Rc<ResolvedRoute>>,
    /// Stands for a route where none takes a request, so that this passes the listener's filters; `None`: there are none.
    unrouted: Option<Rc<ResolvedRoute>>,
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
        let routed = routed.flat_map(|route| {
            let mirror = route.mirror.as_ref().map(|mirror| &mirror.upstream);
            route.action.upstreams().iter().chain(mirror)
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
            let by = RouteOf {
                listener: (&listener.name, &listener.filters),
                worker,
                metrics,
            };
            let route = |route: &Arc<Route>| Rc::new(ResolvedRoute::new(route, &upstreams, by));
            Rc::new(ResolvedListener {
                routes: listener.routes.iter().map(route).collect(),
                unrouted: (!listener.filters.is_empty())
                    .then(|| Rc::new(ResolvedRoute::of_nobody(&upstreams, by))),
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

    /// Closes idle connections that `next` has no use for, and gives requests at endpoints that it has no more a time to end
    /// by. Where a certificate is renewed they may go on.
    pub(super) fn replaced_by(&self, next: &Self, now: Instant) {
        let staying = next.upstreams.values().flat_map(|upstream| &upstream.endpoints);
        let staying = staying.flat_map(ResolvedEndpoint::pools);
        let staying: HashSet<_> = staying.map(Rc::as_ptr).collect();
        for (name, upstream) in &self.upstreams {
            for pool in upstream.endpoints.iter().flat_map(ResolvedEndpoint::pools) {
                if staying.contains(&Rc::as_ptr(pool)) {
                    continue;
                }
                pool.retire();
                let heir = next.upstreams.get(name);
                let mut heirs = heir.iter().flat_map(|heir| &heir.endpoints);
                let renewed = heirs.any(|heir| heir.pools().any(|heir| heir.renews(pool)));
                if !renewed {
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

    /// What its connections carry.
    pub(super) fn carries(&self) -> Carries {
        self.listener.carries
    }

    /// Whose headers of the PROXY protocol are believed.
    pub(super) fn proxies(&self) -> &Networks {
        &self.listener.proxies
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

    /// Which route takes a request, and the form of its path that was matched. A browser's preflight goes to the route of
    /// the method that it asks for, if that has `cors`.
    ///
    /// # Errors
    /// [`ProxyError::NoRoute`], [`ProxyError::MethodNotAllowed`].
    pub(super) fn route<'p>(
        &self,
        host: &str,
        path: Normal<'p>,
        method: &Method,
        facts: &Facts<'_>,
        preflight: Option<Method>,
    ) -> Result<(Rc<ResolvedRoute>, Cow<'p, str>), ProxyError> {
        let find = |method: &Method| {
            let router = &self.listener.router;
            match router.find_either(host, &path.merged, path.unmerged.as_deref(), method, facts) {
                Lookup::Found(index) => self.routes.get(index.0).ok_or(ProxyError::NoRoute),
                Lookup::MethodNotAllowed => Err(ProxyError::MethodNotAllowed),
                Lookup::NotFound => Err(ProxyError::NoRoute),
            }
        };
        let asked_for = preflight.and_then(|method| find(&method).ok());
        let route = match asked_for.filter(|route| route.has_cors()) {
            Some(route) => route,
            None => find(method)?,
        };
        let matched = match (route.http().merge_slashes, path.unmerged) {
            (MergeSlashes::Off, Some(unmerged)) => unmerged,
            _ => path.merged,
        };
        Ok((Rc::clone(route), matched))
    }

    /// What takes requests that no route takes, as far as the listener's filters go.
    pub(super) fn unrouted(&self) -> Option<&Rc<ResolvedRoute>> {
        self.unrouted.as_ref()
    }

    /// What `Allow` says beside a 405.
    pub(super) fn allowed(&self, host: &str, path: &str, facts: &Facts<'_>) -> Option<HeaderValue> {
        let methods = self.listener.router.allowed(host, path, facts);
        let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
        HeaderValue::from_str(&names.join(", ")).ok()
    }
}
