//! `[[upstream]]`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::balancing;
use super::channels::{self, Of};
use super::health;
use super::names::Names;
use super::sticky::{self, DefaultKey};
use super::subsets;
use super::tls;
use crate::balance::Zone;
use crate::config::given::{self, Given, Place, ProxyHeader};
use crate::config::limits;
use crate::config::loops::{Own, Owner};
use crate::config::path::KeyPath;
use crate::config::precedence::{time, time_or_none};
use crate::config::problem::Problems;
use crate::config::settings::{EndpointSettings, UpstreamSettings};
use crate::config::snapshot::{Cluster, HttpMode, UpstreamProtocol, Vip};
use crate::proxy_protocol;
use crate::resilience::budget::Budget;
use crate::tls::Security;

/// `[[upstream]]`.
pub fn upstreams(
    given: &Given,
    cluster: Option<&Cluster>,
    problems: &mut Problems<'_>,
) -> Vec<Arc<UpstreamSettings>> {
    let default_key = match (cluster, &given.cluster) {
        (Some(cluster), _) => DefaultKey::Cluster(&cluster.key),
        (None, Some(_)) => DefaultKey::Broken,
        (None, None) => DefaultKey::Missing,
    };
    let mut names = Names::new("upstream");
    let zone = given.node.as_ref().and_then(|node| node.zone.as_ref());
    let mut upstreams = Vec::new();
    for (index, upstream) in given.upstream.iter().flatten().enumerate() {
        let path = KeyPath::top("upstream").index(index);
        let name = names.declare(upstream.name.as_ref(), &path.key("name"), problems);
        let protocol = upstream.protocol.unwrap_or(UpstreamProtocol::Http1);
        let tls = tls::upstream(upstream.tls.as_ref(), &path.key("tls"), problems);
        let security = security(upstream);
        let endpoints = endpoints(upstream, zone, &path.key("endpoints"), problems);
        let channels = {
            let given = upstream.channels.as_ref();
            channels::channels(
                given,
                Of::Upstream,
                protocol,
                security,
                &path.key("channels"),
                problems,
            )
        };
        let failback = channels::failback(upstream, &path, problems);
        let health = { health::health(upstream.health.as_ref(), protocol, &path.key("health"), problems) };
        let registered_max = health::registered_max(upstream, &health, &path, problems);
        let (balancer, hash_by) = balancing::balancer(upstream, &path, problems);
        let terms = balancing::terms(upstream, zone, &path, problems);
        let subsets = subsets::subsets(upstream, &path, problems);
        let sticky = sticky::sticky(upstream, default_key, &path, problems);
        let guards = balancing::guards(upstream, &path, problems);
        let slow_call = upstream
            .circuit_breaker
            .as_ref()
            .and_then(|given| time_or_none(given.slow_call, None));
        let Some(name) = name else { continue };
        upstreams.push(Arc::new(UpstreamSettings {
            name,
            balancer,
            hash_by,
            terms,
            subsets,
            sticky,
            slow_start: time(upstream.slow_start, Duration::ZERO),
            guards,
            limits: balancing::under_way(upstream.limits.as_ref(), &path.key("limits"), problems),
            slow_call,
            protocol,
            proxy_header: upstream.proxy_protocol.map(|header| match header {
                ProxyHeader::V1 => proxy_protocol::Version::V1,
                ProxyHeader::V2 => proxy_protocol::Version::V2,
            }),
            tls,
            connect_timeout: time(upstream.connect_timeout, limits::CONNECT_TIMEOUT),
            mode: upstream.mode.unwrap_or(HttpMode::Strict),
            idle_per_endpoint: upstream.idle_per_endpoint.unwrap_or(limits::IDLE_PER_ENDPOINT),
            idle_timeout: time(upstream.idle_timeout, limits::IDLE_TIMEOUT),
            connection_age: time_or_none(upstream.connection_age, None),
            drain_timeout: time(upstream.drain_timeout, limits::DRAIN_TIMEOUT),
            h2_connections_max: upstream.h2_connections_max.unwrap_or(limits::H2_CONNECTIONS_MAX),
            h2_streams_max: upstream.h2_streams_max.unwrap_or(limits::H2_UPSTREAM_STREAMS_MAX),
            endpoints,
            channels,
            failback,
            health,
            registered_max,
            retry_budget: retry_budget(upstream.retry_budget.as_ref()),
        }));
    }
    check_names(&upstreams, problems);
    upstreams
}

fn security(upstream: &given::Upstream) -> Security {
    match upstream.tls {
        Some(_) => Security::Tls,
        None => Security::Plain,
    }
}

fn retry_budget(given: Option<&given::RetryBudget>) -> Budget {
    let share = given.and_then(|given| given.share).unwrap_or(limits::RETRY_SHARE);
    Budget {
        // Its bounds, 0 to 1, were checked.
        share_per_mille: (share * 1000.0).round() as u32,
        retries_min: given.and_then(|given| given.min).unwrap_or(limits::RETRY_MIN),
    }
}

fn endpoints(
    upstream: &given::Upstream,
    own_zone: Option<&String>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Vec<EndpointSettings> {
    let mut endpoints: Vec<EndpointSettings> = Vec::new();
    for (index, endpoint) in upstream.endpoints.iter().flatten().enumerate() {
        let own = path.index(index);
        let metadata = subsets::metadata(endpoint.metadata.as_ref(), &own.key("metadata"), problems);
        let path = own.key("address");
        let Some(place) = &endpoint.address else { continue };
        let channels = channels::channels(
            endpoint.channels.as_ref(),
            Of::Endpoint(place),
            upstream.protocol.unwrap_or(UpstreamProtocol::Http1),
            security(upstream),
            &own.key("channels"),
            problems,
        );
        match place {
            Place::Address(address) if address.ip().is_unspecified() || address.ip().is_multicast() => {
                let remedy = "write the address of the machine that serves";
                problems.add(
                    &path,
                    format!("nobody can be connected to at {}", address.ip()),
                    remedy,
                );
            }
            Place::Address(address) if address.port() == 0 => problems.add(
                &path,
                format!("{address} has no port"),
                "write a port from 1 to 65535",
            ),
            place if endpoints.iter().any(|other| other.place == *place) => {
                let remedy = "remove one; give the other a higher weight if it is to take more";
                problems.add(
                    &path,
                    format!("{place} is an endpoint of this upstream already"),
                    remedy,
                );
            }
            Place::Address(_) | Place::Name(..) => {}
        }
        endpoints.push(EndpointSettings {
            place: place.clone(),
            weight: endpoint.weight.unwrap_or(limits::WEIGHT),
            priority: endpoint.priority.unwrap_or(0),
            zone: if endpoint.zone.as_ref() == own_zone {
                Zone::Local
            } else {
                Zone::Other
            },
            metadata: Arc::new(metadata),
            channels,
        });
    }
    endpoints
}

/// Host names of all upstreams together.
fn check_names(upstreams: &[Arc<UpstreamSettings>], problems: &mut Problems<'_>) {
    let endpoints = upstreams.iter().flat_map(|upstream| &upstream.endpoints);
    let names: HashSet<&str> = endpoints
        .filter_map(|endpoint| match &endpoint.place {
            Place::Name(host, _) => Some(&**host),
            Place::Address(_) => None,
        })
        .collect();
    if names.len() > limits::NAMES_MAX {
        problems.add(
            &KeyPath::top("upstream"),
            format!("{} host names in all are too many", names.len()),
            format!("use at most {}", limits::NAMES_MAX),
        );
    }
}

/// An endpoint that is a listener of this configuration, or a VIP, would send requests in circles.
pub fn lead_elsewhere(given: &Given, vips: &[Vip], problems: &mut Problems<'_>) {
    let listeners = given.listener.iter().flatten();
    let node = given.node.as_ref();
    let own = Own {
        node: [
            node.and_then(|node| node.address).map(Into::into),
            node.and_then(|node| node.address_v6).map(Into::into),
        ],
        listeners: listeners.filter_map(|listener| listener.address).collect(),
        vips,
    };
    let upstreams = given.upstream.iter().flatten().enumerate();
    for (index, upstream) in upstreams {
        let path = KeyPath::top("upstream").index(index).key("endpoints");
        for (index, endpoint) in upstream.endpoints.iter().flatten().enumerate() {
            let path = path.index(index);
            let first = match &endpoint.address {
                Some(Place::Address(address)) => Some((*address, path.key("address"))),
                Some(Place::Name(..)) | None => None,
            };
            let channels = endpoint.channels.iter().flatten().enumerate();
            let others = channels.filter_map(|(index, channel)| {
                let ip = first.as_ref().map(|(address, _)| address.ip());
                let (address, key) = match (channel.address, channel.port, ip) {
                    (Some(address), ..) => (address, "address"),
                    (None, Some(port), Some(ip)) => (SocketAddr::new(ip, port), "port"),
                    _ => return None,
                };
                Some((address, path.key("channels").index(index).key(key)))
            });
            for (address, path) in first.clone().into_iter().chain(others) {
                leads_elsewhere(given, &own, address, &path, problems);
            }
        }
    }
}

fn leads_elsewhere(
    given: &Given,
    own: &Own<'_>,
    address: SocketAddr,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) {
    let Some(owner) = own.owner(address) else { return };
    let whose = match owner {
        Owner::Listener(position) => {
            let listeners = given.listener.iter().flatten().enumerate();
            let mut listeners = listeners.filter(|(_, listener)| listener.address.is_some());
            listeners
                .nth(position)
                .map(|(index, listener)| {
                    let path = KeyPath::top("listener").index(index);
                    let line = problems.document().line(&path.key("address"));
                    let name = listener.name.as_deref().unwrap_or_default();
                    format!("listener \"{name}\" (line {line}) of this node")
                })
                .unwrap_or_default()
        }
        Owner::Vip(name) => format!("VIP \"{name}\""),
    };
    problems.add(
        path,
        format!("{address} is {whose}: its requests would come back here"),
        "write the address of the server behind it, or remove the endpoint",
    );
}
