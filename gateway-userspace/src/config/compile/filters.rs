//! Filters from their settings, joined with what outlives them.

use std::sync::Arc;

use crate::filters::api_key::ApiKey;
use crate::filters::basic_auth::BasicAuth;
use crate::filters::jwt::Jwt;
use crate::filters::jwt::fetched::Publisher;
use crate::filters::rate_limit::{self, Key, RateLimit};
use crate::filters::{Filter, FilterSettings, Identity, NamedFilter, Owner, Settings};
use crate::registry::Registry;

/// Those of one route or listener.
pub(crate) fn filters(all: &[FilterSettings], owner: &Owner, registry: &Registry) -> Vec<Arc<NamedFilter>> {
    let one = |settings: &FilterSettings| {
        let id = Identity {
            owner: owner.clone(),
            name: settings.name.clone(),
        };
        Arc::new(NamedFilter {
            filter: filter(&settings.kind, &id, registry),
            counts: registry.filter(&id),
            id,
        })
    };
    all.iter().map(one).collect()
}

fn filter(settings: &Settings, id: &Identity, registry: &Registry) -> Filter {
    match settings {
        Settings::Headers(headers) => Filter::Headers(headers.clone()),
        Settings::Addresses(addresses) => Filter::Addresses(addresses.clone()),
        Settings::Cors(cors) => Filter::Cors(Box::new(cors.clone())),
        Settings::BasicAuth(settings) => {
            Filter::BasicAuth(Box::new(BasicAuth::new(settings, registry.verified(id))))
        }
        Settings::ApiKey(settings) => Filter::ApiKey(Box::new(ApiKey::new(settings))),
        Settings::BodyLimit(limit) => Filter::BodyLimit(*limit),
        Settings::ForwardAuth(settings) => Filter::ForwardAuth(Box::new(settings.clone())),
        Settings::Compression(settings) => Filter::Compression(Box::new(settings.clone())),
        Settings::Jwt(settings) => {
            let cell = |publisher: &Publisher| registry.fetched(id, &publisher.url.to_string());
            Filter::Jwt(Box::new(Jwt::new(settings, cell)))
        }
        Settings::RateLimit(settings) => Filter::RateLimit(Box::new(rate_limit(settings, id, registry))),
    }
}

fn rate_limit(settings: &rate_limit::Settings, id: &Identity, registry: &Registry) -> RateLimit {
    let keys_max = match settings.key {
        Key::Route => 1,
        _ => settings.keys_max,
    };
    RateLimit::new(settings.clone(), registry.buckets(id, keys_max))
}
