//! The part of a request's way that waits for nobody: its head is read, finds its route, and becomes what the upstream is
//! to get.
//!
//! It exists once, for requests (`serve`) and for explanations of them (`explain`): what is explained cannot come in another
//! order than what happens. They differ in whom they tell on the way, a [`Witness`], and in what they do afterwards.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use tokio::time::Instant;

use super::answers::Short;
use super::attempt::{Resends, is_idempotent};
use super::body::{Bounds, Conversion};
use super::deadline::{self, Deadline};
use super::error::ProxyError;
use super::grpc::web;
use super::headers::{self, Peer, Seen, TraceId};
use super::host::Host;
use super::mirror::Mirrors;
use super::path::{self, Normal};
use super::resolved::{Action, ResolvedListener, ResolvedRoute};
use super::switch::{self, Switch};
use super::target;
use crate::config::snapshot::{EncodedSlash, Expect, GrpcWeb, Scheme, UpstreamProtocol};
use crate::filters::cors;
use crate::router::{Certificate, Facts};

/// By what a request comes.
#[derive(Clone, Copy)]
pub(super) struct By<'b> {
    pub(super) listener: &'b ResolvedListener,
    /// That the client speaks with us.
    pub(super) scheme: Scheme,
    /// Who the client is by its certificate.
    pub(super) certificate: Option<Certificate<'b>>,
    /// When its head was read.
    pub(super) start: Instant,
}

/// What follows a head.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Nothing,
    Body,
}

/// How the client's host and path are looked up.
#[derive(Clone, Copy)]
pub(super) struct Look<'l> {
    pub(super) host: &'l str,
    pub(super) head: &'l Parts,
    pub(super) facts: &'l Facts<'l>,
}

/// What a lookup came to: the route, and the form of the path that it saw.
pub(super) type Found<'p> = Result<(Rc<ResolvedRoute>, Cow<'p, str>), ProxyError>;

/// Who is told what is found out on the way, in its order; and knows what only he can.
pub(super) trait Witness {
    /// A field was dropped that would have shadowed one of ours.
    fn shadowed(&mut self);
    /// The host can be read.
    fn host(&mut self, host: &Host);
    /// Whether the client would have got the same certificate, had it asked for that host.
    fn fits(&self, host: &str) -> bool;
    /// The path cannot be read.
    fn bad_path(&mut self, _says: &str) {}
    /// Whether the peer is believed, and who the client is then.
    fn client(&mut self, headers: &HeaderMap) -> (Peer, IpAddr);
    /// That path is to be looked up.
    fn looks_up(&mut self, _path: &Normal<'_>) {}
    /// That came of it.
    fn looked_up(&mut self, _look: Look<'_>, _found: &Found<'_>) {}
    /// The target has its one form.
    fn target(&mut self, uri: &Uri);
    /// That route takes it; which of its upstreams, the witness says.
    fn routed(&mut self, route: &Rc<ResolvedRoute>, head: &Parts) -> usize;
    /// It is a call of a browser.
    fn web(&mut self, call: web::Call);
    /// By then it must have ended.
    fn deadline(&mut self, deadline: Option<Deadline>);
    /// The peer's address, as a field has it.
    fn forwarded_for(&self) -> HeaderValue;
    /// What the request is called.
    fn request_id(&self) -> &HeaderValue;
    /// What a trace calls it.
    fn traced(&mut self, trace: Option<TraceId>);
    /// The host has become that of the route, if it names one.
    fn rewrote_host(&mut self, _route: &ResolvedRoute) {}
}

/// A request that may go on, to the filters.
pub(super) struct Admission {
    /// That takes it; where none does, what stands for it at its listener.
    pub(super) route: Rc<ResolvedRoute>,
    /// As the upstream is to get it, but for its path.
    pub(super) head: Parts,
    pub(super) protocol: UpstreamProtocol,
    pub(super) switch: Switch,
    pub(super) conversion: Conversion,
    pub(super) bounds: Bounds,
    pub(super) resends: Resends,
    pub(super) mirrors: Mirrors,
    /// Who answers `Expect: 100-continue`.
    pub(super) expect: Expect,
    /// What is answered once the filters let it pass, without an upstream.
    pub(super) own: Option<Box<Short>>,
}

/// Reads, routes and rewrites a request's head.
///
/// # Errors
/// The short way out: a refusal, or an answer of our own that no filter is to see.
pub(super) fn admit<W: Witness>(
    by: By<'_>,
    mut head: Parts,
    rest: Rest,
    seen: Seen,
    witness: &mut W,
) -> Result<Admission, Short> {
    let By {
        listener,
        scheme: own_scheme,
        ..
    } = by;

    // Admit: what can be read in two ways goes no further.
    if head.version == Version::HTTP_2
        && headers::check_http2(&head.headers, seen, listener.http())? == headers::Lenience::Used
    {
        witness.shadowed();
    }
    let asked = switch::asked(&mut head, seen)?;
    let host = Host::read(&head.uri, &head.headers, head.version)?;
    witness.host(&host);
    if !witness.fits(host.name()) {
        return Err(ProxyError::Misdirected.into());
    }
    let path = path::normalise(head.uri.path()).map_err(|fault| {
        witness.bad_path(&fault.to_string());
        ProxyError::from(fault)
    })?;
    let encoded_slash = path.encoded_slash;
    if path.merged == "*" && head.method != Method::OPTIONS {
        witness.bad_path("* is for OPTIONS alone");
        return Err(ProxyError::PathBad.into());
    }

    // An authority that looks whether a name leads here is no client: no redirect and no filter is for it.
    let challenges = listener.challenges();
    if let Some(answer) = challenges.and_then(|all| all.answer(&head.method, host.name(), &path.merged)) {
        return Err(Short::Challenge(answer));
    }

    // Route. What none takes passes the filters of the listener all the same, where there are any.
    let (peer, client) = witness.client(&head.headers);
    let facts = Facts {
        headers: &head.headers,
        query: head.uri.query(),
        client,
        claims: peer.claims(),
        certificate: by.certificate,
    };
    witness.looks_up(&path);
    let look = Look {
        host: host.name(),
        head: &head,
        facts: &facts,
    };
    let unrouted = listener.unrouted().map(|route| (route, path.merged.clone()));
    let found = listener.route(look.host, path, &head.method, &facts, cors::preflight(&head));
    witness.looked_up(look, &found);
    let (route, path, refusal) = match (found, unrouted) {
        (Ok((route, path)), _) => (route, path, None),
        (Err(error), unrouted) => {
            let allow = (error == ProxyError::MethodNotAllowed)
                .then(|| listener.allowed(look.host, head.uri.path(), &facts))
                .flatten();
            let refusal = Short::Refused { error, allow };
            match unrouted {
                Some((route, path)) => (Rc::clone(route), path, Some(refusal)),
                None => return Err(refusal),
            }
        }
    };
    if let Cow::Owned(path) = path {
        head.uri = target::with_path(&head.uri, path)?;
        witness.target(&head.uri);
    }
    let rules = route.http();
    let (protocol, own) = match refusal {
        Some(refusal) => (UpstreamProtocol::Http1, Some(refusal)),
        None => {
            let share = witness.routed(&route, &head);
            if encoded_slash == path::Presence::Present && rules.encoded_slash == EncodedSlash::Refuse {
                return Err(ProxyError::PathEncodedSlash.into());
            }
            match route.action(share)? {
                Action::Forward(upstream) => (upstream.protocol(), None),
                // These go no further than the filters, which see them in the words of this one.
                Action::Redirect(redirect) => {
                    let scheme = headers::client_scheme(&head.headers, peer, own_scheme);
                    let redirected = target::redirected(redirect, scheme, &host.value, &head.uri)?;
                    (UpstreamProtocol::Http1, Some(redirected))
                }
                Action::Respond(respond) => (UpstreamProtocol::Http1, Some(Short::Own(Arc::clone(respond)))),
            }
        }
    };
    let own = match own {
        Some(own) if route.filters().is_empty() => return Err(own),
        own => own.map(Box::new),
    };

    // Rewrite.
    let mut switch = match rest {
        Rest::Nothing => asked.allowed_by(&rules.upgrades)?,
        Rest::Body => Switch::None,
    };
    let expect = if rules.expect == Expect::Forward
        && protocol == UpstreamProtocol::Http1
        && head.version == Version::HTTP_11
        && head.headers.contains_key(header::EXPECT)
    {
        Expect::Forward
    } else {
        Expect::Answer
    };
    let call = match rules.grpc_web {
        GrpcWeb::Translated => web::Call::read(&head.method, &head.headers),
        GrpcWeb::Passed => None,
    };
    if let Some(call) = call {
        call.to_grpc(&mut head.headers);
        witness.web(call);
    }
    let (conversion, deadline) = deadline::terms(&mut head, by.start, rules, peer)?;
    witness.deadline(deadline);
    let hop = headers::Hop {
        peer,
        client: witness.forwarded_for(),
        scheme: own_scheme.as_str(),
        host: &host.value,
        request_id: witness.request_id(),
        via: headers::via(head.version),
        expect,
    };
    let trace = headers::to_upstream(&mut head.headers, seen, hop)?;
    witness.traced(trace);
    if call.is_some() {
        head.headers
            .insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let resends = match conversion {
        Conversion::Grpc if route.resends_calls() => Resends::Yes,
        _ => Resends::No,
    };
    let mirrors = match switch {
        Switch::None => route.mirrors(),
        Switch::To(_) => Mirrors::No,
    };
    let keeps = match (mirrors, resends) {
        (Mirrors::No, Resends::No) if !is_idempotent(&head.method) => Resends::No,
        _ => Resends::Yes,
    };
    let mut bounds = Bounds::new(rules, conversion, keeps, listener.http().stalled_timeout);
    bounds.text = call.and_then(|call| call.decoder());
    if bounds.exceeded_by(&head.headers) {
        return Err(ProxyError::BodyTooLarge.into());
    }
    let host = target::host(&mut head.headers, route.rewrite(), host.value);
    witness.rewrote_host(&route);
    target::address(&mut head, host, protocol)?;
    head.extensions.clear();
    switch.ask_upstream(&mut head, protocol)?;
    Ok(Admission {
        route,
        head,
        protocol,
        switch,
        conversion,
        bounds,
        resends,
        mirrors,
        expect,
        own,
    })
}
