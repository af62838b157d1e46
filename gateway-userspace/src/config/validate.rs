//! Does it make sense? Names, references, addresses that fit each other, and what one key asks of another.
//!
//! Types, bounds and required keys were checked by `shape`; where it found something, the value is absent here and
//! nobody complains a second time. One file for each kind of table; the order is that of [`Settings`].

mod acme;
mod actions;
mod added;
mod balancing;
mod certificate;
mod channels;
mod cluster;
mod connections;
mod dataplane;
mod fallback;
mod fault;
mod filters;
mod health;
mod keys;
mod listeners;
mod matching;
mod mirror;
mod names;
mod node;
mod patterns;
mod protection;
mod routes;
mod split;
mod sticky;
mod subsets;
mod tls;
mod trace;
mod upstreams;

pub use added::added;
pub use filters::renewed as renewed_filter;
pub use node::admin_listen;
pub use protection::parse as prefix;
pub use tls::read_ticket_keys;

use std::sync::Arc;

use super::given::Given;
use super::path::KeyPath;
use super::problem::Problems;
use super::settings::Settings;
use super::surroundings::Surroundings;

/// Resolves what is given; what is wrong with it stands in `problems` afterwards.
///
/// `None` only where there are problems.
pub fn validate(given: &Given, surroundings: &Surroundings, problems: &mut Problems<'_>) -> Option<Settings> {
    let node = node::node(given, surroundings, problems);
    let admin = node::admin(given, surroundings, problems);
    let dataplane = dataplane::dataplane(given, problems);
    let protection = Arc::new(protection::protection(given, problems));
    let trace = trace::trace(given, problems);
    let vips = dataplane::vips(given, problems);
    let dns_servers = node::dns_servers(given, problems);
    let cluster = cluster::cluster(given, problems);
    let upstreams = upstreams::upstreams(given, cluster.as_ref(), problems);
    keys::defaults(given, problems);
    let mut listeners = listeners::listeners(given, surroundings, problems);
    let ticket_keys = tls::ticket_keys(given, problems);
    let acme = acme::acme(given, &listeners, surroundings, problems);
    let routes = routes::routes(given, &upstreams, &mut listeners, problems);
    connections::serve(given, &listeners, problems);
    connections::headers(given, &routes, &listeners, problems);
    listeners::serve_all_vips(given, &vips, &listeners, problems);
    upstreams::lead_elsewhere(given, &vips, problems);

    if given.listener.is_none() && given.vip.is_none() && given.node.is_some() {
        let remedy = "add a [[listener]] with a [[route]] for L7, or [dataplane] with a [[vip]] for steering";
        problems.add(
            &KeyPath::top("listener"),
            "there is neither a listener nor a VIP: nothing would run",
            remedy,
        );
    }
    if problems.count() > 0 {
        return None;
    }
    let source = problems.document().file().to_owned();
    let text = problems.document().text().into();
    let (node, admin) = (node?, admin?);
    Some(Settings {
        source,
        text,
        node,
        admin,
        dataplane,
        protection,
        trace,
        cluster,
        dns_servers,
        ticket_keys,
        acme,
        vips,
        listeners,
        routes,
        kept: Arc::default(),
        upstreams,
    })
}
