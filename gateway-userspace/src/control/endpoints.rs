//! Endpoints that speak for themselves: renewals of pushed heartbeats, registrations, and their ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::controller::Controller;
use crate::admin::ApiError;
use crate::admin::endpoints::{Place, Renewal, Renewed, Withdrawn};
use crate::admin::status::NodeState;
use crate::config::answers::Registered;
use crate::config::limits;
use crate::config::settings::UpstreamSettings;

impl Controller {
    /// An endpoint renews itself; one that the configuration does not list registers.
    ///
    /// # Errors
    /// There is no such upstream, it takes no such endpoint, or what is asked for is out of bounds.
    pub(super) fn renew(&mut self, place: &Place, renewal: &Renewal) -> Result<Renewed, ApiError> {
        let upstream = self.upstream_settings(place)?;
        let (ttl, ttl_text) = (renewal.ttl, humantime::format_duration(renewal.ttl).to_string());
        let ttl_max = upstream.health.pushed().map(|pushed| pushed.ttl_max);
        let ttl_max = ttl_max.ok_or_else(|| not_pushed(place))?;
        if ttl < limits::TTL_MIN || ttl > ttl_max {
            let (least, most) = (limits::TTL_MIN, ttl_max);
            return Err(ApiError::Invalid(format!(
                "ttl must be \"{}\" to \"{}\", not \"{ttl_text}\".",
                humantime::format_duration(least),
                humantime::format_duration(most)
            )));
        }
        let listed = self.listed(place);
        let weight = match listed {
            Some(weight) => weight,
            None => self.register(&upstream, place, renewal)?,
        };
        self.parts.checks.renew(&place.upstream, place.address, ttl);
        Ok(Renewed {
            upstream: place.upstream.clone(),
            address: place.address,
            weight,
            ttl: ttl_text,
        })
    }

    /// An endpoint goes: one that registered is forgotten, one that is listed fails until it renews itself.
    ///
    /// # Errors
    /// There is no such endpoint, or its heartbeat is not pushed.
    pub(super) fn withdraw(&mut self, place: &Place) -> Result<Withdrawn, ApiError> {
        let upstream = self.upstream_settings(place)?;
        if upstream.health.pushed().is_none() {
            return Err(not_pushed(place));
        }
        let is_registered = self.registrations.remove(&place.upstream, place.address);
        if !is_registered && self.listed(place).is_none() {
            let (address, upstream) = (place.address, &place.upstream);
            return Err(ApiError::NotFound(format!(
                "{address} is no endpoint of upstream \"{upstream}\"."
            )));
        }
        self.parts.checks.withdraw(&place.upstream, place.address);
        Ok(Withdrawn {
            upstream: place.upstream.clone(),
            address: place.address,
        })
    }

    fn register(
        &mut self,
        upstream: &UpstreamSettings,
        place: &Place,
        renewal: &Renewal,
    ) -> Result<u32, ApiError> {
        let (address, name, most) = (place.address, &place.upstream, upstream.registered_max);
        if most == 0 {
            return Err(ApiError::Conflict(format!(
                "{address} is not listed among the endpoints of upstream \"{name}\", and [upstream.registration] is \
                 missing there."
            )));
        }
        let weight = renewal.weight.unwrap_or(limits::WEIGHT);
        if !(limits::ENDPOINT_WEIGHT_MIN..=limits::WEIGHT_MAX).contains(&weight) {
            let (least, most) = (limits::ENDPOINT_WEIGHT_MIN, limits::WEIGHT_MAX);
            return Err(ApiError::Invalid(format!(
                "weight must be {least} to {most}, not {weight}."
            )));
        }
        if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
            return Err(ApiError::Invalid(format!(
                "Nobody can be connected to at {address}."
            )));
        }
        if self.parts.settings.own().owner(address).is_some() {
            return Err(ApiError::Invalid(format!(
                "{address} is a listener or a VIP of this gateway: its requests would come back here."
            )));
        }
        let until = Instant::now() + renewal.ttl;
        let says = Registered {
            weight,
            metadata: Arc::new(renewal.metadata.clone()),
        };
        let registered = self.registrations.register(name, address, says, until, most);
        registered.map_err(|_| {
            ApiError::Conflict(format!(
                "Upstream \"{name}\" has {most} registered endpoints, which is its registration.endpoints_max."
            ))
        })?;
        Ok(weight)
    }

    /// The weight of an endpoint that the configuration lists, by itself or by a name.
    fn listed(&self, place: &Place) -> Option<u32> {
        let is_registered = self.registrations.has(&place.upstream, place.address);
        let snapshot = self.snapshot();
        let upstream = snapshot.upstreams.iter().find(|u| u.name == place.upstream)?;
        let is_here = |address: SocketAddr| address == place.address;
        let mut endpoints = upstream.endpoints.iter().zip(&upstream.balancing.members);
        let (_, member) = endpoints.find(|(endpoint, _)| is_here(endpoint.address))?;
        (!is_registered).then_some(member.weight)
    }

    fn upstream_settings(&self, place: &Place) -> Result<Arc<UpstreamSettings>, ApiError> {
        if self.state == NodeState::Leaving {
            return Err(ApiError::Conflict("The node is stopping.".to_owned()));
        }
        let upstreams = &self.parts.settings.upstreams;
        let found = upstreams.iter().find(|upstream| upstream.name == place.upstream);
        found
            .cloned()
            .ok_or_else(|| ApiError::NotFound(format!("There is no upstream \"{}\".", place.upstream)))
    }

    /// Puts endpoints that came or went in force.
    pub(super) async fn follow_registrations(&mut self) {
        self.registrations.forget(Instant::now());
        if self.registrations.number() != self.registered {
            self.renew_snapshot("endpoints that registered or went").await;
        }
    }
}

fn not_pushed(place: &Place) -> ApiError {
    let name = &place.upstream;
    ApiError::Conflict(format!(
        "Upstream \"{name}\" takes no pushed heartbeats: its health.heartbeat is not pushed."
    ))
}
