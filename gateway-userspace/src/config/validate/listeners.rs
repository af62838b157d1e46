//! `[[listener]]`, and that every TCP VIP port has one.

use std::net::SocketAddr;

use super::connections;
use super::filters::{self, Scope};
use super::keys;
use super::names::Names;
use super::node::admin_listen;
use super::tls;
use crate::config::given::{self, Given, ListenerProtocol};
use crate::config::limits;
use crate::config::loops::serves;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::ListenerSettings;
use crate::config::snapshot::{AdminListen, Carries, ListenerHttp, RouteHttp, Transport, Vip};
use crate::config::surroundings::Surroundings;

/// `[[listener]]`, without routes yet.
pub fn listeners(
    given: &Given,
    surroundings: &Surroundings,
    problems: &mut Problems<'_>,
) -> Vec<ListenerSettings> {
    let path = KeyPath::top("listener");
    let mut names = Names::new("listener");
    let upstreams = Names::of_upstreams(given);
    let mut taken: Vec<(SocketAddr, KeyPath)> = Vec::new();
    let mut listeners = Vec::new();
    let (mut http, mut route_http) = (ListenerHttp::default(), RouteHttp::default());
    if let Some(defaults) = &given.defaults {
        http = defaults.listener_keys().over(&http);
        route_http = defaults.route_keys().over(&route_http);
    }
    let admin = given
        .admin
        .as_ref()
        .and_then(|admin| admin.listen.as_deref())
        .unwrap_or(limits::ADMIN_LISTEN);
    for (index, listener) in given.listener.iter().flatten().enumerate() {
        let path = path.index(index);
        let name = names.declare(listener.name.as_ref(), &path.key("name"), problems);
        let (http_keys, route_keys) = (listener.listener_keys(), listener.route_keys());
        keys::listener_keys(&http_keys, &path, problems);
        keys::route_keys(&route_keys, &path, problems);
        let filters = listener.filters.as_deref();
        let filters = filters::filters(filters, Scope::Listener, &upstreams, &path, problems);
        let tls = tls::listener(listener, &path, surroundings, problems);
        let carries = carries(listener);
        if carries != Carries::Requests {
            connections::listener(listener, &path, problems);
        }
        let from = listener
            .proxy_protocol
            .as_ref()
            .and_then(|given| given.from.as_deref());
        let from_path = path.key("proxy_protocol").key("from");
        let proxies = keys::networks(from.unwrap_or_default(), &from_path, problems);
        let Some(address) = listener.address else { continue };
        let path = path.key("address");
        if problems.is_known_at(&path) {
            continue;
        }
        if address.port() == 0 {
            problems.add(
                &path,
                format!("{address} has no port"),
                "write a port from 1 to 65535",
            );
        }
        if address.ip().is_multicast() {
            problems.add(
                &path,
                format!("{} takes no connections", address.ip()),
                "write an address of this machine",
            );
        }
        if let Some((other, first)) = taken.iter().find(|(other, _)| collide(*other, address)) {
            let line = problems.document().line(first);
            let fault = format!("{address} is taken already by {first} (line {line}: {other})");
            problems.add(
                &path,
                fault,
                "write another address or port, or remove one; [::] takes IPv4 as well",
            );
        }
        if matches!(admin_listen(admin), Ok(AdminListen::Tcp(admin)) if serves(address, admin)) {
            let fault = format!("{address} is where the admin API listens ({admin})");
            problems.add(&path, fault, "write another port here or for admin.listen");
        }
        taken.push((address, path));
        listeners.extend(name.map(|name| ListenerSettings {
            name,
            address,
            carries,
            proxies,
            tls,
            http: http_keys.over(&http),
            route_http: route_keys.over(&route_http),
            filters,
            routes: Vec::new(),
        }));
    }
    listeners
}

/// What the connections of a listener carry.
pub fn carries(listener: &given::Listener) -> Carries {
    match listener.protocol {
        None | Some(ListenerProtocol::Http | ListenerProtocol::Https) => Carries::Requests,
        Some(ListenerProtocol::Tcp) => Carries::Bytes,
        Some(ListenerProtocol::TlsPassthrough) => Carries::Tls,
    }
}

/// Whether two listening addresses are the same, or one says what the other says with more words.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let are_wildcards = one.ip().is_unspecified() && other.ip().is_unspecified();
    one == other || (one.port() == other.port() && are_wildcards)
}

/// The kernel passes on only what somebody accepts: a VIP's TCP port without a listener would refuse every client.
pub fn serve_all_vips(
    given: &Given,
    vips: &[Vip],
    listeners: &[ListenerSettings],
    problems: &mut Problems<'_>,
) {
    // What is missing may be what is wrong.
    if problems.is_known_below(&KeyPath::top("listener")) || problems.is_known_below(&KeyPath::top("vip")) {
        return;
    }
    let ports = |index: usize| given.vip.as_ref()?.get(index)?.ports.as_ref();
    for (index, vip) in vips
        .iter()
        .enumerate()
        .filter(|(_, vip)| vip.protocol == Transport::Tcp)
    {
        for (position, port) in ports(index).into_iter().flatten().enumerate() {
            let address = SocketAddr::new(vip.address, *port);
            if listeners.iter().any(|listener| serves(listener.address, address)) {
                continue;
            }
            let wildcard = if vip.address.is_ipv4() { "0.0.0.0" } else { "[::]" };
            let path = KeyPath::top("vip").index(index).key("ports").index(position);
            let fault = format!("no listener accepts on {address}");
            let remedy =
                format!("add a [[listener]] with address = \"{wildcard}:{port}\", or remove the port");
            problems.add(&path, fault, remedy);
        }
    }
}
