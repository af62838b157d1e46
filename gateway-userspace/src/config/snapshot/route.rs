//! A route: what happens to its requests, and where that fails.

use std::sync::Arc;

use crate::filters::NamedFilter;

use super::{Faults, Mirror, Outcomes, Redirect, Respond, Rewrite, RouteHttp, Split, Upstream};

/// `[[route]]`.
#[derive(Debug)]
pub struct Route {
    /// Unique.
    pub name: String,
    /// What happens to a request.
    pub action: RouteAction,
    /// Which subset of its upstream it goes to: an index. Not of those that it falls back to.
    pub subset: Option<usize>,
    /// What the upstream is asked for instead.
    pub rewrite: Option<Box<Rewrite>>,
    /// What is done to requests on purpose.
    pub fault: Option<Box<Faults>>,
    /// Where copies of requests go.
    pub mirror: Option<Mirror>,
    /// What happens where that fails.
    pub fallback: Fallback,
    /// What its requests pass, in this order.
    pub filters: Vec<Arc<NamedFilter>>,
    /// What holds for its requests.
    pub http: Arc<RouteHttp>,
}

impl Route {
    /// One that does that, and has the defaults for all else.
    pub fn plain(name: String, action: RouteAction) -> Self {
        Self {
            name,
            action,
            subset: None,
            rewrite: None,
            fault: None,
            mirror: None,
            fallback: Fallback::default(),
            filters: Vec::new(),
            http: Arc::default(),
        }
    }
}

/// What a route does.
#[derive(Debug)]
pub enum RouteAction {
    /// Sends the request on.
    Upstream(Arc<Upstream>),
    /// Sends the request on to one of several.
    Split(Split),
    /// Sends the client elsewhere.
    Redirect(Arc<Redirect>),
    /// Answers by itself.
    Respond(Arc<Respond>),
}

impl RouteAction {
    /// Those that requests are sent to, in the order of their shares.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        match self {
            Self::Upstream(upstream) => std::slice::from_ref(upstream),
            Self::Split(split) => &split.upstreams,
            Self::Redirect(_) | Self::Respond(_) => &[],
        }
    }
}

/// `route.fallback`, and `fallback_on`.
#[derive(Debug, Default)]
pub struct Fallback {
    /// After which outcomes.
    pub on: Outcomes,
    /// Asked one after the other.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Answered in the end.
    pub respond: Option<Arc<Respond>>,
}
