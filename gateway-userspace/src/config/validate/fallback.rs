//! `route.fallback` and `fallback_on`: what is done where a route's upstream fails.

use std::sync::Arc;

use super::actions;
use super::keys;
use super::names::{Names, Resolution};
use crate::config::given;
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::UpstreamSettings;
use crate::config::snapshot::{Outcomes, Respond};

/// What a route says of it.
#[derive(Debug, Default)]
pub struct Ladder {
    /// Asked one after the other.
    pub upstreams: Vec<Arc<UpstreamSettings>>,
    /// Answered in the end.
    pub respond: Option<Respond>,
    /// After which outcomes.
    pub on: Outcomes,
}

/// Checks the ladder: names, one protocol, nothing twice, an answer last.
pub fn fallback(
    route: &given::Route,
    upstreams: &[Arc<UpstreamSettings>],
    names: &Names,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Ladder {
    let mut ladder = Ladder {
        on: Outcomes::of(&limits::FALLBACK_ON),
        ..Ladder::default()
    };
    if let Some(words) = &route.fallback_on {
        ladder.on = keys::outcomes(words, &path.key("fallback_on"), problems);
        if route.fallback.is_none() && !problems.is_known_below(&path.key("fallback")) {
            let remedy = "add fallback = [ { … } ], or remove it";
            problems.add(&path.key("fallback_on"), "the route has no fallback", remedy);
        }
    }
    let find = |name: &String| upstreams.iter().find(|upstream| upstream.name == *name);
    let first = route.upstream.as_ref().and_then(find);
    let path = path.key("fallback");
    let answers_itself = route.redirect.is_some() || route.respond.is_some();
    if route.fallback.is_some() && route.upstream.is_none() && answers_itself {
        problems.add(&path, "the route asks no upstream that could fail", "remove it");
    }
    for (index, rung) in route.fallback.iter().flatten().enumerate() {
        let path = path.index(index);
        if ladder.respond.is_some() {
            problems.add(
                &path,
                "comes after an answer, which is always given",
                "write the answer last",
            );
        }
        match (&rung.upstream, &rung.respond) {
            (Some(name), None) => {
                let path = path.key("upstream");
                if names.resolves(name, &path, problems) != Resolution::Found {
                    continue;
                }
                let Some(upstream) = find(name) else { continue };
                let mut before = first.into_iter().chain(&ladder.upstreams);
                if before.any(|other| other.name == *name) {
                    problems.add(
                        &path,
                        format!("\"{name}\" is asked already"),
                        "name another upstream",
                    );
                } else {
                    ladder.upstreams.push(Arc::clone(upstream));
                }
            }
            (None, Some(given)) => ladder.respond = actions::respond(given, &path.key("respond"), problems),
            (Some(_), Some(_)) => {
                let remedy = "keep one of upstream and respond";
                problems.add(&path.key("respond"), "the fallback has upstream already", remedy);
            }
            (None, None) if problems.is_known_below(&path) => {}
            (None, None) => {
                let remedy = "add upstream = \"NAME\", or respond = { status = 503, body = \"…\" }";
                problems.add(&path, "the fallback does nothing", remedy);
            }
        }
    }
    ladder
}
