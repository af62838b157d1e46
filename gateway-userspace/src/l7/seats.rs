//! Who takes a request where its upstream's limits allow it: an endpoint at its own limit is passed over while another
//! has room.

use std::sync::atomic::Ordering;

use super::error::ProxyError;
use super::pool::{Seat, Try};
use super::record::Record;
use super::resolved::ResolvedUpstream;
use crate::registry::{Gate, Readiness};
use crate::resilience::limits::{Limit, Limited, UNLIMITED};

/// Counts the request at its upstream, once for all its tries there.
///
/// # Errors
/// As many are under way as may.
pub(super) fn enter(upstream: &ResolvedUpstream, record: &mut Record) -> Result<(), ProxyError> {
    let max = upstream.upstream.limits.whole.requests;
    if max == UNLIMITED || record.place.is_some() {
        return Ok(());
    }
    record.place = upstream.upstream.state.requests.try_acquire(max);
    if record.place.is_some() {
        return Ok(());
    }
    upstream.upstream.state.limited(Limited {
        limit: Limit::Requests,
        max,
        endpoint: None,
    });
    Err(ProxyError::UpstreamOverloaded)
}

/// A place at that endpoint.
///
/// # Errors
/// It has no room.
pub(super) fn sit(
    upstream: &ResolvedUpstream,
    index: usize,
    which: Try,
    record: &mut Record,
) -> Result<usize, ProxyError> {
    let endpoint = upstream.endpoints.get(index).ok_or(ProxyError::NoEndpoint)?;
    match Seat::take(endpoint.taken(), &upstream.upstream.limits.endpoint, which) {
        Ok((seat, retrying)) => {
            (record.seat, record.retrying) = (Some(seat), retrying);
            Ok(index)
        }
        Err(limited) => {
            upstream.upstream.state.limited(limited);
            Err(ProxyError::UpstreamOverloaded)
        }
    }
}

/// A place at another endpoint than `full`, which was picked and has no room: one that is well and was not tried, of
/// the first priority that has one, the least busy.
///
/// Looks at each endpoint, which happens only above a limit.
///
/// # Errors
/// None has room.
pub(super) fn elsewhere(
    upstream: &ResolvedUpstream,
    full: usize,
    tried: &[usize],
    which: Try,
    record: &mut Record,
) -> Result<usize, ProxyError> {
    let limits = &upstream.upstream.limits.endpoint;
    let choice = record.choice;
    let members = upstream
        .endpoints
        .iter()
        .zip(&upstream.upstream.balancing.members);
    let mut others: Vec<_> = members
        .enumerate()
        .filter_map(|(index, (endpoint, member))| {
            let state = &endpoint.pool.state;
            let active = state.active.load(Ordering::Relaxed);
            let is_well = state.readiness() != Readiness::Failing
                && !state.is_ejected()
                && matches!(state.gate(), Gate::Share(1..));
            let is_taken = upstream.takes_new(choice, index);
            (index != full && is_taken && is_well && active < limits.requests)
                .then(|| (tried.contains(&index), member.priority, active, index))
        })
        .collect();
    others.sort_unstable();
    others
        .into_iter()
        .find_map(|(.., index)| {
            let endpoint = upstream.endpoints.get(index)?;
            let (seat, retrying) = Seat::take(endpoint.taken(), limits, which).ok()?;
            (record.seat, record.retrying) = (Some(seat), retrying);
            Some(index)
        })
        .ok_or(ProxyError::UpstreamOverloaded)
}
