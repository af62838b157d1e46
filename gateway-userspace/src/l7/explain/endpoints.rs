//! Which endpoint of an upstream would get a request: the balancer of one worker, asked many times where chance or turns
//! decide, with what is known of the endpoints now. No trial call is taken, and no place.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use http::request::Parts;
use serde_json::Value;

use crate::balance::{Intake, Member};
use crate::config::Places;
use crate::config::path::KeyPath;
use crate::config::snapshot::{Choice, Endpoint, HashBy, Upstream};
use crate::explain::Trail;
use crate::explain::request::Candidate;
use crate::l7::error::ProxyError;
use crate::l7::hash_key;
use crate::l7::resolved::ResolvedUpstream;
use crate::l7::sticky;
use crate::registry::{Gate, Readiness};
use crate::resilience::limits::{Limit, UNLIMITED};

/// Picks that are made to see who gets which share: to half a per cent.
const PICKS: usize = 10_000;
/// Endpoints that are looked at for all these picks together: a tenth of a second.
const LOOKS_MAX: usize = 10_000_000;

/// Who gets a request.
pub(super) struct Picked {
    /// `None`: chance, or whose turn it is, decides.
    pub(super) endpoint: Option<SocketAddr>,
    /// Every endpoint of the upstream.
    pub(super) candidates: Vec<Candidate>,
}

/// What a request brings to an upstream.
struct Entered {
    choice: Choice,
    key: Option<u64>,
    /// The endpoint that its cookie names.
    stays_at: Option<usize>,
}

/// Asks an upstream whom it would give a request to, as `forward` enters it; its cookie is taken out of the head.
///
/// # Errors
/// Why nobody would be asked.
pub(super) fn ask(
    told: &mut Trail<'_>,
    upstream: &Rc<ResolvedUpstream>,
    subset: Option<usize>,
    head: &mut Parts,
    client: IpAddr,
) -> Result<Picked, ProxyError> {
    let of = &upstream.upstream;
    let at = told.places().named("upstream", &of.name);
    let entered = Entered {
        choice: of.subsets.choose(subset, &head.headers),
        key: hash_key::key(&of.balancing.by, head, client),
        stays_at: of
            .sticky
            .as_ref()
            .and_then(|sticky| sticky::take(&mut head.headers, sticky)),
    };
    tell_upstream(told, of, &entered, &at);
    may_enter(told, of, &at)?;
    if of.state.has_trials() {
        told.step(
            "breaker",
            "an endpoint is half-open: some requests are its trial calls, whoever is picked",
            &at.key("circuit_breaker"),
        );
    }
    if let (Some(index), Some(sticky)) = (entered.stays_at, &of.sticky) {
        let address = of.endpoints.get(index).map(|endpoint| endpoint.address);
        let says = match (upstream.admits(entered.choice, index), address) {
            (Some(_), Some(address)) => {
                told.step(
                    "sticky",
                    format!("the cookie {} names {address}", sticky.cookie()),
                    &at.key("sticky"),
                );
                let mut counts = vec![0; of.endpoints.len()];
                counts.get_mut(index).into_iter().for_each(|count| *count = 1);
                return Ok(Picked {
                    endpoint: Some(address),
                    candidates: candidates(told.places(), upstream, &entered, &counts, &at),
                });
            }
            (None, Some(address)) => format!("names {address}, which cannot be used now"),
            (_, None) => "names nobody".to_owned(),
        };
        let says = format!("the cookie {} {says}", sticky.cookie());
        told.step("sticky", says, &at.key("sticky"));
    }
    let counts = counts(upstream, &entered)?;
    let mut picked = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let endpoint = match (picked.next(), picked.next()) {
        (Some((index, _)), None) => of.endpoints.get(index).map(|endpoint| endpoint.address),
        _ => None,
    };
    Ok(Picked {
        endpoint,
        candidates: candidates(told.places(), upstream, &entered, &counts, &at),
    })
}

fn tell_upstream(told: &mut Trail<'_>, of: &Upstream, entered: &Entered, at: &KeyPath) {
    let mut says = format!("\"{}\", by {}", of.name, of.balancing.plan.balancer().name());
    match (&of.balancing.by, entered.key) {
        (HashBy::Nothing, _) => {}
        (by, Some(_)) => says.push_str(&format!(" of {by}")),
        (by, None) => says.push_str(&format!(" of {by}, which the request lacks")),
    }
    told.step("upstream", says, at);
    match entered.choice {
        Choice::Whole => {}
        Choice::Nobody => told.step("subset", "none has that value", &at.key("subset_by")),
        Choice::Subset(index) => {
            if let Some(subset) = of.subsets.all.get(index) {
                let place = told.places().named_in(at, "subsets", &subset.name);
                told.step("subset", format!("\"{}\"", subset.name), &place);
            }
        }
    }
}

/// Whether the upstream as a whole may be asked.
fn may_enter(told: &mut Trail<'_>, of: &Upstream, at: &KeyPath) -> Result<(), ProxyError> {
    let max = of.limits.whole.requests;
    let now = of.under_way(Limit::Requests);
    if max != UNLIMITED && now >= max {
        told.step(
            "limits",
            format!("{now} requests are under way, of {max}"),
            &at.key("limits").key("requests"),
        );
        return Err(ProxyError::UpstreamOverloaded);
    }
    let at = at.key("circuit_breaker");
    match of.state.gate() {
        Gate::Share(1_000) => Ok(()),
        Gate::Share(share) => {
            let says = format!("closes slowly: lets {share} of 1000 requests through");
            told.step("breaker", says, &at);
            Ok(())
        }
        Gate::Trials => {
            told.step("breaker", "is half-open: lets a few trial calls through", &at);
            Ok(())
        }
        Gate::Shut => {
            told.step("breaker", "is open", &at);
            Err(ProxyError::BreakerOpen)
        }
    }
}

/// How often each endpoint is picked.
///
/// # Errors
/// Nobody is.
fn counts(upstream: &ResolvedUpstream, entered: &Entered) -> Result<Vec<usize>, ProxyError> {
    let endpoints = upstream.endpoints.len();
    let picks = (LOOKS_MAX / endpoints.max(1)).clamp(1, PICKS);
    let mut counts = vec![0_usize; endpoints];
    for _ in 0..picks {
        let pick = upstream.pick(entered.choice, entered.key, &[]);
        let pick = pick.ok_or_else(|| upstream.missing())?;
        if let Some(count) = counts.get_mut(pick.index) {
            *count += 1;
        }
    }
    Ok(counts)
}

fn candidates(
    places: &Places,
    upstream: &ResolvedUpstream,
    entered: &Entered,
    counts: &[usize],
    at: &KeyPath,
) -> Vec<Candidate> {
    let of = &upstream.upstream;
    let sum = counts.iter().sum::<usize>().max(1);
    let all = of.endpoints.iter().zip(&of.balancing.members).zip(counts);
    all.enumerate()
        .map(|(index, ((endpoint, member), count))| {
            let state = &endpoint.state;
            Candidate {
                upstream: of.name.clone(),
                endpoint: endpoint.address,
                weight: member.weight,
                priority: member.priority,
                readiness: readiness(of, endpoint).to_owned(),
                ejected: state.is_ejected(),
                breaker: match state.gate() {
                    Gate::Share(1_000) => None,
                    Gate::Share(share) => Some(format!("ramping ({share} of 1000)")),
                    Gate::Trials => Some("half-open".to_owned()),
                    Gate::Shut => Some("open".to_owned()),
                },
                active: state.active.load(Ordering::Relaxed),
                per_mille: u16::try_from(count * 1_000 / sum).unwrap_or(1_000),
                says: why_not(upstream, entered, index, (endpoint, member), *count),
                place: place(places, endpoint, at),
            }
        })
        .collect()
}

fn readiness(of: &Upstream, endpoint: &Endpoint) -> &'static str {
    if of.health.is_empty() {
        return "unchecked";
    }
    match endpoint.state.readiness() {
        Readiness::Unknown => "unknown",
        Readiness::Ready => "ready",
        Readiness::Failing => "failing",
    }
}

/// Why an endpoint gets nothing, or less than it was picked for.
fn why_not(
    upstream: &ResolvedUpstream,
    entered: &Entered,
    index: usize,
    (endpoint, member): (&Endpoint, &Member),
    count: usize,
) -> Option<String> {
    let state = &endpoint.state;
    let max = upstream.upstream.limits.endpoint.requests;
    let active = state.active.load(Ordering::Relaxed);
    let says = if count > 0 {
        if active < max {
            return None;
        }
        "is full: passed over while another has room"
    } else if !upstream.takes(entered.choice, index) {
        "is not of the subset"
    } else if member.intake == Intake::Sessions {
        "has weight 0: takes no new requests"
    } else if state.is_ejected() {
        "is ejected: its requests failed"
    } else if state.readiness() == Readiness::Failing {
        "fails its checks"
    } else if matches!(state.gate(), Gate::Shut | Gate::Trials) {
        "has a breaker that is not closed"
    } else if entered.stays_at.is_some() || (entered.key.is_some() && state.readiness() != Readiness::Unknown)
    {
        "is not whose key or cookie it is"
    } else if state.readiness() == Readiness::Unknown && !upstream.upstream.health.is_empty() {
        "is not checked yet, and others are ready; or stands behind them"
    } else {
        "is not needed: others come first"
    };
    Some(says.to_owned())
}

/// Where the file has the endpoint, or the name that it came from; none where it registered.
fn place(places: &Places, endpoint: &Endpoint, at: &KeyPath) -> Option<crate::config::Place> {
    let list = at.key("endpoints");
    let is_it = |table: &Value| {
        let text = table.get("address").and_then(Value::as_str).unwrap_or_default();
        match &endpoint.host {
            None => text.parse::<SocketAddr>().ok() == Some(endpoint.address),
            Some(host) => text.rsplit_once(':').is_some_and(|(name, port)| {
                name.trim_end_matches('.').eq_ignore_ascii_case(host)
                    && port.parse::<u16>().ok() == Some(endpoint.address.port())
            }),
        }
    };
    let found = places.entry(&list, is_it);
    (found != list).then(|| places.place(&found))
}
