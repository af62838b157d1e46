//! Upstreams with the endpoints that they have now: addresses of the file, those that names resolve to, and those that
//! registered.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::balance::Member;
use crate::config::answers::{Answers, Registered};
use crate::config::limits;
use crate::config::loops::{Own, Owner};
use crate::config::metadata::has_all;
use crate::config::settings::{ChannelSettings, Place, SubsetSettings, UpstreamSettings};
use crate::config::snapshot::{Balancing, Endpoint, Missing, Sticky, Subset, Subsets, Upstream};
use crate::registry::{Channel, Registry};

/// What endpoints are made of, beside the upstream's own settings.
pub(super) struct Sources<'s> {
    pub(super) registry: &'s Registry,
    pub(super) answers: &'s Answers,
    pub(super) own: Own<'s>,
}

/// An upstream; of what has no endpoint, the log says so.
pub(super) fn upstream(settings: &UpstreamSettings, sources: &Sources<'_>) -> Upstream {
    let (endpoints, members, missing) = endpoints(settings, sources);
    match missing {
        Missing::Nothing => {}
        Missing::Unresolved => tracing::warn!(
            upstream = settings.name,
            "no endpoint: its names have not been resolved"
        ),
        Missing::Loop => tracing::error!(
            upstream = settings.name,
            "no endpoint: its names resolve to listeners or VIPs of this gateway alone"
        ),
        Missing::Unregistered => tracing::warn!(upstream = settings.name, "no endpoint: none has registered"),
    }
    let subsets = subsets(settings, &endpoints, &members);
    Upstream {
        name: settings.name.clone(),
        subsets,
        balancing: Balancing::new(
            settings.balancer,
            members,
            settings.terms,
            settings.hash_by.clone(),
            settings.slow_start,
        ),
        sticky: settings.sticky.as_ref().map(|sticky| {
            let addresses = endpoints.iter().map(|endpoint| endpoint.address);
            Box::new(Sticky::new(sticky, &settings.name, addresses))
        }),
        guards: settings.guards.clone(),
        limits: settings.limits,
        slow_call: settings.slow_call,
        endpoints,
        missing,
        protocol: settings.protocol,
        tls: settings.tls.as_ref().map(|tls| Arc::clone(&tls.client)),
        mode: settings.mode,
        connect_timeout: settings.connect_timeout,
        idle_per_endpoint: settings.idle_per_endpoint,
        idle_timeout: settings.idle_timeout,
        connection_age: settings.connection_age,
        drain_timeout: settings.drain_timeout,
        h2_connections_max: settings.h2_connections_max,
        h2_streams_max: settings.h2_streams_max,
        health: settings.health.clone(),
        registered_max: settings.registered_max,
        retry_budget: settings.retry_budget,
        failback: settings.failback,
        state: sources.registry.upstream(&settings.name),
    }
}

/// The subsets with their tables; of those that are empty now, as registrations and names may make them, the log says so.
fn subsets(settings: &UpstreamSettings, endpoints: &[Endpoint], members: &[Member]) -> Subsets {
    let subset = |subset: &SubsetSettings| {
        let is_in = |endpoint: &Endpoint| has_all(&endpoint.metadata, &subset.matching);
        if !endpoints.iter().any(is_in) {
            tracing::warn!(
                upstream = settings.name,
                subset = subset.name,
                "the subset has no endpoint now"
            );
        }
        Subset::new(
            &subset.name,
            settings.balancer,
            members,
            &settings.terms,
            |index| endpoints.get(index).is_some_and(is_in),
        )
    };
    Subsets {
        all: settings.subsets.all.iter().map(subset).collect(),
        by: settings.subsets.by.clone(),
        fallback: settings.subsets.fallback,
    }
}

/// In the file's order, those of a name sorted; an address that comes twice is taken once, as it came first.
fn endpoints(settings: &UpstreamSettings, sources: &Sources<'_>) -> (Vec<Endpoint>, Vec<Member>, Missing) {
    let mut taken = HashSet::new();
    let mut endpoints = Vec::new();
    let mut members = Vec::new();
    let mut loops = 0_usize;
    for given in &settings.endpoints {
        let (addresses, host): (Vec<SocketAddr>, Option<Arc<str>>) = match &given.place {
            Place::Address(address) => (vec![*address], None),
            Place::Name(host, port) => {
                let addresses = sources.answers.of(host).iter();
                (
                    addresses.map(|ip| SocketAddr::new(*ip, *port)).collect(),
                    Some(host.strip_suffix('.').map_or_else(|| Arc::clone(host), Arc::from)),
                )
            }
        };
        for address in addresses {
            // Literal addresses were checked with the file.
            let owner = host.as_ref().and_then(|_| sources.own.owner(address));
            if let Some(owner) = owner {
                loops += 1;
                let owner = match owner {
                    Owner::Listener(_) => "a listener of this node",
                    Owner::Vip(_) => "a VIP",
                };
                tracing::warn!(
                    upstream = settings.name,
                    host = host.as_deref(),
                    %address,
                    owner,
                    "left out: its requests would come back here"
                );
                continue;
            }
            if endpoints.len() >= limits::ENDPOINTS_MAX {
                tracing::error!(
                    upstream = settings.name,
                    max = limits::ENDPOINTS_MAX,
                    "its names have more addresses than an upstream takes; the last ones are left out"
                );
                return (endpoints, members, Missing::Nothing);
            }
            if taken.insert(address) {
                endpoints.push(Endpoint {
                    address,
                    host: host.clone(),
                    metadata: Arc::clone(&given.metadata),
                    channels: channels(settings, &given.channels, address),
                    state: sources.registry.endpoint(&settings.name, address),
                });
                members.push(Member {
                    priority: given.priority,
                    zone: given.zone,
                    ..Balancing::member(address, given.weight)
                });
            }
        }
    }
    // Addresses were checked and bounded when they registered; one that the file lists is that one.
    let registered = sources.answers.registered.get(&settings.name);
    for (address, Registered { weight, metadata }) in
        registered.into_iter().flatten().take(settings.registered_max)
    {
        if taken.insert(*address) {
            endpoints.push(Endpoint {
                address: *address,
                host: None,
                metadata: Arc::clone(metadata),
                channels: channels(settings, &[], *address),
                state: sources.registry.endpoint(&settings.name, *address),
            });
            members.push(Balancing::member(*address, *weight));
        }
    }
    let missing = match (endpoints.is_empty(), settings.endpoints.is_empty(), loops) {
        (false, ..) => Missing::Nothing,
        (true, true, _) => Missing::Unregistered,
        (true, false, 0) => Missing::Unresolved,
        (true, false, _) => Missing::Loop,
    };
    (endpoints, members, missing)
}

/// Other ways to an endpoint: its own, else those of its upstream.
fn channels(upstream: &UpstreamSettings, own: &[ChannelSettings], endpoint: SocketAddr) -> Arc<[Channel]> {
    let given = if own.is_empty() { &upstream.channels } else { own };
    let channels = given.iter();
    channels
        .map(|channel| channel.to(endpoint, upstream.protocol, upstream.security()))
        .collect()
}
