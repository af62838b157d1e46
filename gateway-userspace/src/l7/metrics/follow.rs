//! Which series there are: those of the routes and upstreams that a snapshot has.

use std::collections::{HashMap, HashSet};

use super::{Metrics, OVERFLOW, SERIES_MAX, UNROUTED};
use crate::config::snapshot::{Route, RouteAction, Snapshot};

impl Metrics {
    /// Forgets routes that the snapshot has no more, so that their number stays bounded by the configuration's, and makes
    /// cells for those that are new, so that they are told before their first request.
    ///
    /// Workers may wait for one of the locks: what takes long is done before.
    pub(in crate::l7) fn follow(&self, snapshot: &Snapshot) {
        let upstreams: HashSet<&str> = snapshot
            .upstreams
            .iter()
            .map(|upstream| upstream.name.as_str())
            .collect();
        self.upstreams()
            .retain(|name, _| name == OVERFLOW || upstreams.contains(name.as_str()));
        let all = || {
            let listeners = snapshot.listeners.iter();
            listeners.flat_map(|listener| {
                listener
                    .routes
                    .iter()
                    .map(|route| (listener.name.as_str(), route))
            })
        };
        let known: HashMap<(&str, &str), &Route> = all()
            .map(|(listener, route)| ((listener, route.name.as_str()), route.as_ref()))
            .collect();
        let is_split = |of: &(String, String, String)| match known.get(&(of.0.as_str(), of.1.as_str())) {
            Some(route) => match &route.action {
                RouteAction::Split(split) => split.upstreams.iter().any(|one| one.name == of.2),
                _ => false,
            },
            None => false,
        };
        self.shares().retain(|of, _| of.0 == OVERFLOW || is_split(of));
        let mut routes = self.routes();
        routes.retain(|(listener, route), _| {
            let is_listener = || snapshot.listeners.iter().any(|l| l.name == *listener);
            known.contains_key(&(listener.as_str(), route.as_str()))
                || (route == UNROUTED && is_listener())
                || listener == OVERFLOW
        });
        for (listener, route) in all() {
            if routes.len() >= SERIES_MAX {
                break;
            }
            routes
                .entry((listener.to_owned(), route.name.clone()))
                .or_default();
        }
    }
}
