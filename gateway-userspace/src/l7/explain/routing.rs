//! Which route takes a request, why not the others, and which upstreams of a split.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::Method;
use http::request::Parts;

use super::{Listening, Taken, Walk};
use crate::config::snapshot::{MergeSlashes, RouteAction};
use crate::explain::others::{Known, Wanted, others};
use crate::filters::{Filter, cors};
use crate::l7::admit::{Found, Look};
use crate::l7::error::ProxyError;
use crate::l7::hash_key;
use crate::l7::resolved::ResolvedRoute;
use crate::router::{RouteIndex, Slashes};

impl Walk<'_> {
    /// Which route takes it, and why not the others; `None`: none takes it.
    pub(super) fn route(
        &mut self,
        by: Listening<'_>,
        look: Look<'_>,
        (merged, unmerged): (&str, Option<&str>),
        found: &Found<'_>,
    ) -> Option<Taken> {
        let Look { host, head, facts } = look;
        self.tell_path(head, merged);
        let preflight = cors::preflight(head);
        let routes = &by.listener.routes;
        let index = found.as_ref().ok().and_then(|(found, _)| {
            let mut names = routes.iter().map(|route| route.name.as_str());
            names.position(|name| name == found.name())
        });
        let method = match (found, preflight) {
            (Ok((route, _)), Some(asked_for)) if has_cors(route) => {
                self.told
                    .note("preflight", format!("of a browser, for {asked_for}"));
                asked_for
            }
            _ => head.method.clone(),
        };
        let settings = self.of.settings.listeners.iter();
        let mut settings = settings.filter(|settings| settings.name == by.listener.name);
        let settings = settings
            .next()
            .map_or(&[][..], |settings| settings.routes.as_slice());
        let known: Vec<Known<'_>> = settings
            .iter()
            .zip(routes)
            .map(|(settings, compiled)| Known {
                route: settings,
                slashes: match compiled.http.merge_slashes {
                    MergeSlashes::On => Slashes::Merged,
                    MergeSlashes::Off => Slashes::Kept,
                },
            })
            .collect();
        let wanted = Wanted {
            host,
            merged,
            unmerged,
            method: &method,
            facts,
        };
        self.others = others(&known, index, wanted, self.of.places);
        let (route, path) = match found {
            Ok((route, path)) => (route, path),
            Err(error) => {
                let says = match (error, by.resolved.allowed(host, head.uri.path(), facts)) {
                    (ProxyError::MethodNotAllowed, Some(allow)) => {
                        let allow = allow.to_str().unwrap_or_default();
                        format!("none takes {}; with this path there are {allow}", head.method)
                    }
                    _ => "none takes the request".to_owned(),
                };
                self.told.note("route", says);
                return None;
            }
        };
        let at = self.of.places.named("route", route.name());
        self.route = Some(route.name().to_owned());
        let index = index.unwrap_or(usize::MAX);
        // A route of this listener.
        let compiled = routes.get(index).map(Arc::clone)?;
        let matched = known.get(index).map(matched).unwrap_or_default();
        self.told
            .step("route", format!("\"{}\"{matched}", route.name()), &at);
        for (name, value) in by.listener.router.parameters(RouteIndex(index), path) {
            self.told.note("parameter", format!("{name} = {value}"));
        }
        Some(Taken {
            route: Rc::clone(route),
            compiled,
            at,
        })
    }

    fn tell_path(&mut self, head: &Parts, merged: &str) {
        let query = head
            .uri
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        if merged == head.uri.path() {
            self.told.note("path", format!("{merged}{query}"));
        } else {
            self.told.note(
                "path",
                format!("{merged}{query}, asked for as {}", head.uri.path()),
            );
        }
    }

    /// Which upstreams of a split may take it, and of how many requests in a thousand.
    pub(super) fn shares(&mut self, taken: &Taken, head: &Parts, client: IpAddr) -> Vec<(usize, u16)> {
        let RouteAction::Split(split) = &taken.compiled.action else {
            return vec![(0, 1_000)];
        };
        let at = taken.at.key("split");
        if hash_key::key(&split.by, head, client).is_some() {
            let share = taken.route.share(head, client);
            let name = split
                .upstreams
                .get(share)
                .map_or("", |upstream| upstream.name.as_str());
            let says = format!("{} leads to \"{name}\"", split.by);
            self.told.step("split", says, &at.index(share));
            return vec![(share, 1_000)];
        }
        let mut counts = vec![0_u16; split.upstreams.len()];
        for point in 0..1_000 {
            let share = split.shares.of(point * (u64::MAX / 1_000));
            counts.get_mut(share).into_iter().for_each(|count| *count += 1);
        }
        let shares: Vec<(usize, u16)> = counts
            .into_iter()
            .enumerate()
            .filter(|(_, count)| *count > 0)
            .collect();
        let named = shares.iter().filter_map(|(share, count)| {
            let name = &split.upstreams.get(*share)?.name;
            Some(format!("\"{name}\" ({:.1}%)", f64::from(*count) / 10.0))
        });
        let says = format!("by chance: {}", named.collect::<Vec<_>>().join(", "));
        self.told.step("split", says, &at);
        shares
    }
}

fn has_cors(route: &ResolvedRoute) -> bool {
    let mut filters = route.filters().iter();
    filters.any(|named| matches!(named.filter, Filter::Cors(_)))
}

/// What a route takes, in one line.
fn matched(known: &Known<'_>) -> String {
    let route = known.route;
    let methods: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
    let hosts: Vec<String> = route.hosts.iter().map(ToString::to_string).collect();
    let mut text = format!(": {} of {}", route.path, hosts.join(", "));
    if !methods.is_empty() {
        text.push_str(&format!(", {}", methods.join(", ")));
    }
    if !route.conditions.is_empty() {
        text.push_str(&format!(", {}", route.conditions));
    }
    text
}
