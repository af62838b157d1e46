//! What an explanation is told by [`admit`](crate::l7::admit::admit), and what it says of it.

use std::net::IpAddr;
use std::rc::Rc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri};

use super::asked::Asked;
use super::{Listening, Taken, Walk};
use crate::config::path::KeyPath;
use crate::l7::admit::{Found, Look, Witness};
use crate::l7::deadline::Deadline;
use crate::l7::grpc::web;
use crate::l7::headers::{self, Peer, TraceId};
use crate::l7::host::Host;
use crate::l7::path::Normal;
use crate::l7::resolved::ResolvedRoute;
use crate::tls::Chosen;

/// The request's way as far as it is told.
pub(super) struct Told<'w, 's> {
    walk: &'w mut Walk<'s>,
    by: Listening<'w>,
    asked: &'w Asked,
    /// The certificate of the connection.
    chosen: Option<Chosen>,
    request_id: HeaderValue,
    client: IpAddr,
    /// The path that is looked up: merged, and with its rows of slashes, where it has some.
    path: (String, Option<String>),
    taken: Option<Taken>,
    shares: Vec<(usize, u16)>,
}

impl<'w, 's> Told<'w, 's> {
    pub(super) fn new(
        walk: &'w mut Walk<'s>,
        by: Listening<'w>,
        asked: &'w Asked,
        chosen: Option<Chosen>,
    ) -> Self {
        Self {
            walk,
            by,
            asked,
            chosen,
            request_id: HeaderValue::from_static("explained"),
            client: asked.client,
            path: (String::new(), None),
            taken: None,
            shares: Vec::new(),
        }
    }

    /// The route that takes it, which of its upstreams of how many requests in a thousand, and who asks.
    pub(super) fn into_parts(self) -> (Option<Taken>, Vec<(usize, u16)>, IpAddr) {
        (self.taken, self.shares, self.client)
    }
}

impl Witness for Told<'_, '_> {
    fn shadowed(&mut self) {}

    fn host(&mut self, host: &Host) {
        self.walk.told.note("host", host.name());
    }

    fn fits(&self, host: &str) -> bool {
        match (&self.by.listener.tls, self.chosen) {
            (Some(tls), Some(chosen)) => tls.choice.fits(chosen, host),
            _ => true,
        }
    }

    fn bad_path(&mut self, says: &str) {
        self.walk.told.note("path", says);
    }

    fn client(&mut self, headers: &HeaderMap) -> (Peer, IpAddr) {
        let address = self.asked.client;
        let trusted = &self.by.resolved.http().trusted_proxies;
        let peer = Peer::new(address, trusted);
        if peer == Peer::Untrusted {
            self.walk.told.note("client", address.to_string());
            return (peer, address);
        }
        self.client = headers::client_address(headers, address, trusted);
        let own = self.by.at.key("trusted_proxies");
        let at = match self.walk.of.places.value(&own) {
            Some(_) => own,
            None => KeyPath::top("defaults").key("trusted_proxies"),
        };
        let says = format!("{}, as the trusted proxy {address} says", self.client);
        self.walk.told.step("client", says, &at);
        (peer, self.client)
    }

    fn looks_up(&mut self, path: &Normal<'_>) {
        let unmerged = path.unmerged.as_deref().map(str::to_owned);
        self.path = (path.merged.to_string(), unmerged);
    }

    fn looked_up(&mut self, look: Look<'_>, found: &Found<'_>) {
        let (merged, unmerged) = &self.path;
        let path = (merged.as_str(), unmerged.as_deref());
        self.taken = self.walk.route(self.by, look, path, found);
    }

    fn target(&mut self, _: &Uri) {}

    fn routed(&mut self, route: &Rc<ResolvedRoute>, head: &Parts) -> usize {
        self.shares = match &self.taken {
            Some(taken) => self.walk.shares(taken, head, self.client),
            None => vec![(route.share(head, self.client), 1_000)],
        };
        self.shares.first().map_or(0, |(share, _)| *share)
    }

    fn web(&mut self, _: web::Call) {
        self.walk.calls = true;
        let says = "a call of gRPC-Web, which the upstream gets as one of gRPC";
        self.walk.told.note("grpc-web", says);
    }

    fn deadline(&mut self, _: Option<Deadline>) {}

    fn forwarded_for(&self) -> HeaderValue {
        // An address is a value of fields.
        HeaderValue::from_str(&self.asked.client.to_string()).unwrap_or(HeaderValue::from_static(""))
    }

    fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    fn traced(&mut self, _: Option<TraceId>) {}

    fn rewrote_host(&mut self, _: &ResolvedRoute) {
        if let Some(taken) = &self.taken {
            self.walk.rewritten_host(taken);
        }
    }
}
