//! Endpoints that came by themselves: who they are, and when they are forgotten. Pure, no clock of its own.
//!
//! In memory only: after a restart they register anew, with their next renewal.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::Settings;
use crate::config::answers::Registered;
use crate::config::settings::Place;

/// How long an endpoint whose time is over is kept, and shown as failing: an operator sees that it is gone, and one that
/// comes back has its place.
pub const KEPT: Duration = Duration::from_secs(600);

/// All of them.
#[derive(Debug, Default)]
pub struct Registrations {
    /// One more with each change that a snapshot must follow.
    number: u64,
    by_upstream: BTreeMap<String, BTreeMap<SocketAddr, Held>>,
}

#[derive(Debug)]
struct Held {
    says: Registered,
    until: Instant,
}

/// There is no room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Registrations {
    /// Another one after each change that a snapshot must follow.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Adds an endpoint, or renews it.
    ///
    /// # Errors
    /// Where its upstream has `most` already.
    pub fn register(
        &mut self,
        upstream: &str,
        address: SocketAddr,
        says: Registered,
        until: Instant,
        most: usize,
    ) -> Result<(), Full> {
        let endpoints = self.by_upstream.entry(upstream.to_owned()).or_default();
        let known = endpoints.get(&address);
        if known.is_none() && endpoints.len() >= most {
            return Err(Full);
        }
        self.number += u64::from(known.is_none_or(|known| known.says != says));
        endpoints.insert(address, Held { says, until });
        Ok(())
    }

    /// Whether that endpoint came by itself.
    pub fn has(&self, upstream: &str, address: SocketAddr) -> bool {
        let endpoints = self.by_upstream.get(upstream);
        endpoints.is_some_and(|endpoints| endpoints.contains_key(&address))
    }

    /// Takes an endpoint out; whether it was there.
    pub fn remove(&mut self, upstream: &str, address: SocketAddr) -> bool {
        let endpoints = self.by_upstream.get_mut(upstream);
        let is_removed = endpoints.is_some_and(|endpoints| endpoints.remove(&address).is_some());
        self.number += u64::from(is_removed);
        is_removed
    }

    /// Forgets what is gone for [`KEPT`].
    pub fn forget(&mut self, now: Instant) {
        for endpoints in self.by_upstream.values_mut() {
            let before = endpoints.len();
            endpoints.retain(|_, held| now < held.until + KEPT);
            self.number += u64::from(endpoints.len() < before);
        }
    }

    /// Forgets what new settings list themselves, or do not let register. For settings of which a snapshot is made: nothing has to follow.
    pub fn keep(&mut self, settings: &Settings) {
        for (name, endpoints) in &mut self.by_upstream {
            let upstream = settings.upstreams.iter().find(|upstream| upstream.name == *name);
            let most = upstream.map_or(0, |upstream| upstream.registered_max);
            let listed = upstream.map_or(&[][..], |upstream| &upstream.endpoints);
            let is_listed = |address: &SocketAddr| {
                let mut listed = listed.iter();
                listed.any(|one| one.place == Place::Address(*address))
            };
            endpoints.retain(|address, _| !is_listed(address));
            while endpoints.len() > most && endpoints.pop_last().is_some() {}
        }
        self.by_upstream.retain(|_, endpoints| !endpoints.is_empty());
    }

    /// All, as a snapshot takes them.
    pub fn all(&self) -> BTreeMap<String, BTreeMap<SocketAddr, Registered>> {
        let of = |endpoints: &BTreeMap<SocketAddr, Held>| {
            let endpoints = endpoints.iter();
            endpoints
                .map(|(address, held)| (*address, held.says.clone()))
                .collect()
        };
        let all = self.by_upstream.iter();
        all.map(|(name, endpoints)| (name.clone(), of(endpoints)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn changes_are_numbered_places_are_bounded_and_the_gone_are_forgotten() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let address = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let says = |weight| Registered {
            weight,
            metadata: Arc::default(),
        };
        let mut all = Registrations::default();
        assert_eq!(all.register("u", address(1), says(1), at(10), 2), Ok(()));
        assert_eq!(all.number(), 1, "a new one");
        assert_eq!(all.register("u", address(1), says(1), at(20), 2), Ok(()));
        assert_eq!(all.number(), 1, "a renewal is no change");
        assert_eq!(all.register("u", address(1), says(5), at(20), 2), Ok(()));
        assert_eq!(all.number(), 2, "another weight");
        assert_eq!(all.register("u", address(2), says(1), at(700), 2), Ok(()));
        assert_eq!(all.register("u", address(3), says(1), at(20), 2), Err(Full));
        assert_eq!(
            all.register("other", address(3), says(1), at(700), 2),
            Ok(()),
            "its own bound"
        );
        assert_eq!(all.number(), 4);
        all.forget(at(619));
        assert_eq!(all.number(), 4, "gone, and kept for a while");
        all.forget(at(620));
        assert_eq!(all.number(), 5);
        assert_eq!(all.all()["u"], BTreeMap::from([(address(2), says(1))]));
        let canary = Registered {
            metadata: Arc::new([("version".to_owned(), "v2".to_owned())].into()),
            ..says(1)
        };
        assert_eq!(all.register("u", address(2), canary.clone(), at(700), 2), Ok(()));
        assert_eq!(all.number(), 6, "other metadata");
        assert_eq!(all.all()["u"], BTreeMap::from([(address(2), canary)]));
        assert!(all.remove("u", address(2)));
        assert!(!all.remove("u", address(2)), "only once");
        assert_eq!(all.number(), 7);
    }
}
