//! A record is told of its request's way as it goes.

use std::net::IpAddr;
use std::rc::Rc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri};

use super::Record;
use crate::inspect::Refusal;
use crate::l7::admit::Witness;
use crate::l7::deadline::Deadline;
use crate::l7::grpc::web;
use crate::l7::headers::{self, Peer, TraceId};
use crate::l7::host::Host;
use crate::l7::resolved::ResolvedRoute;

impl Witness for Record {
    fn shadowed(&mut self) {
        self.connection.worker.counters.noted(Refusal::UnderscoreShadow);
    }

    fn host(&mut self, host: &Host) {
        self.host = Some(host.value.clone());
    }

    fn fits(&self, host: &str) -> bool {
        self.connection.tls().is_none_or(|tls| tls.fits(host))
    }

    /// The peer or, where that is trusted, whom it vouches for.
    fn client(&mut self, headers: &HeaderMap) -> (Peer, IpAddr) {
        let address = self.connection.client.ip();
        let listener = self.connection.listens();
        let trusted = &listener.http().trusted_proxies;
        let peer = Peer::new(address, trusted);
        if peer == Peer::Trusted {
            self.client = Some(headers::client_address(headers, address, trusted));
        }
        (peer, Record::client(self))
    }

    /// The path that is matched and forwarded.
    fn target(&mut self, uri: &Uri) {
        self.path = uri.path_and_query().cloned();
    }

    /// Which of its upstreams the split says, or chance.
    fn routed(&mut self, route: &Rc<ResolvedRoute>, head: &Parts) -> usize {
        self.share = route.share(head, Record::client(self));
        self.route = Some(Rc::clone(route));
        self.share
    }

    fn web(&mut self, call: web::Call) {
        self.web = Some(call);
    }

    fn deadline(&mut self, deadline: Option<Deadline>) {
        self.deadline = deadline;
    }

    fn forwarded_for(&self) -> HeaderValue {
        self.connection.client_text.forwarded_for()
    }

    fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    fn traced(&mut self, trace: Option<TraceId>) {
        self.trace = trace;
    }
}
