//! A request's way walked without a request: the functions of `serve`, `filter` and `forward`, in their order, with a note
//! of what each decided.
//!
//! Nothing is sent. No counter, token or place is taken, and no password is verified; a worker's part of the snapshot is
//! made for the one question, so that its turns and random numbers are nobody else's. That what is explained is what
//! happens is checked by `tests/explained.rs`, which asks both.

mod asked;
mod endpoints;
mod forwarding;
mod listen;
mod passing;
mod routing;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Method};
use tokio::time::Instant;

use self::asked::Asked;
use self::listen::Listen;
use super::answers::Short;
use super::attempt::Resends;
use super::body::Bounds;
use super::deadline;
use super::error::ProxyError;
use super::headers::{self, Peer, Seen};
use super::host::Host;
use super::path;
use super::resolved::{Action, Owner, Resolved, ResolvedListener, ResolvedRoute};
use super::switch;
use super::target;
use crate::config::Places;
use crate::config::path::KeyPath;
use crate::config::settings::Settings;
use crate::config::snapshot::{EncodedSlash, Expect, Listener, Route, Scheme, Snapshot, UpstreamProtocol};
use crate::explain::request::{CANDIDATES_MAX, Candidate, Explained, Fate, Other, Question, Verdict};
use crate::explain::{Trail, Unanswerable};
use crate::inspect::{RequestInspector, Step};
use crate::tls::{Chosen, ClientAuth};

/// Whose answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The file's alone: nothing is known of endpoints.
    File,
    /// The running node's.
    Node,
}

/// What decides.
#[derive(Clone, Copy, Debug)]
pub struct Of<'s> {
    /// The configuration.
    pub settings: &'s Settings,
    /// The same, compiled.
    pub snapshot: &'s Arc<Snapshot>,
    /// Where it stands in its file.
    pub places: &'s Places,
    /// Whose it is.
    pub source: Source,
}

/// Says what would become of a request, and why.
///
/// Takes some milliseconds for a large configuration: not for a worker.
///
/// # Errors
/// The question cannot be read, or leaves open which listener is meant.
pub fn request(of: Of<'_>, question: &Question) -> Result<Explained, Unanswerable> {
    let asked = Asked::read(question)?;
    let listen = listen::choose(of.snapshot, &asked, question.listener.as_deref())?;
    let mut walk = Walk {
        of,
        told: Trail::new(of.places),
        others: (Vec::new(), 0),
        candidates: Vec::new(),
        route: None,
    };
    let mut verdict = match listen {
        Listen::Nobody(port) => {
            walk.told.note("listener", format!("none accepts on port {port}"));
            let mut verdict = Verdict::new(Fate::Refused, "nobody accepts the connection");
            verdict.reason = Some("no-listener".to_owned());
            verdict
        }
        Listen::By(listener) => walk.through(listener, &asked, question.sni.as_deref()),
    };
    verdict.route = walk.route;
    walk.candidates
        .sort_by_key(|candidate| std::cmp::Reverse(candidate.per_mille));
    let candidates_left_out = walk.candidates.len().saturating_sub(CANDIDATES_MAX);
    walk.candidates.truncate(CANDIDATES_MAX);
    Ok(Explained {
        config: of.snapshot.source.display().to_string(),
        snapshot: (of.source == Source::Node).then_some(of.snapshot.number),
        verdict,
        steps: walk.told.into_steps(),
        others: walk.others.0,
        others_left_out: walk.others.1,
        candidates: walk.candidates,
        candidates_left_out,
    })
}

/// One request on its way.
struct Walk<'s> {
    of: Of<'s>,
    told: Trail<'s>,
    others: (Vec<Other>, usize),
    candidates: Vec<Candidate>,
    /// The route that took it.
    route: Option<String>,
}

/// The listener that it came by.
#[derive(Clone, Copy)]
struct Listening<'l> {
    listener: &'l Arc<Listener>,
    resolved: &'l ResolvedListener,
    at: &'l KeyPath,
}

/// Who asks.
#[derive(Clone, Copy)]
struct Who {
    client: IpAddr,
    peer: Peer,
}

/// The route that takes a request.
struct Taken {
    route: Rc<ResolvedRoute>,
    compiled: Arc<Route>,
    at: KeyPath,
    /// The path that it saw.
    path: String,
}

impl Walk<'_> {
    fn through(&mut self, listener: &Arc<Listener>, asked: &Asked, sni: Option<&str>) -> Verdict {
        let at = self.of.places.named("listener", &listener.name);
        let says = format!("\"{}\" on {}", listener.name, listener.address);
        self.told.step("listener", says, &at);
        let snapshot = Arc::clone(self.of.snapshot);
        let resolved = Resolved::new(snapshot, Arc::default(), None, &Owner::alone());
        // It was taken from this snapshot.
        let Some(resolved) = resolved.listener(listener.address) else {
            return refused(ProxyError::NoRoute);
        };
        let listening = Listening {
            listener,
            resolved: &resolved,
            at: &at,
        };
        let walked = self.walk(listening, asked, sni);
        walked.unwrap_or_else(refused)
    }

    /// As `serve` does it.
    fn walk(&mut self, by: Listening<'_>, asked: &Asked, sni: Option<&str>) -> Result<Verdict, ProxyError> {
        // Admit.
        let chosen = self.tls(by, asked, sni);
        self.inspect(by, asked)?;
        let mut head = asked.head()?;
        let seen = Seen::scan(&head.headers);
        let switch = switch::asked(&mut head, seen)?;
        let host = Host::read(&head.uri, &head.headers, head.version)?;
        self.told.note("host", host.name());
        if let (Some(tls), Some(chosen)) = (&by.listener.tls, chosen)
            && !tls.choice.fits(chosen, host.name())
        {
            return Err(ProxyError::Misdirected);
        }
        let path = path::normalise(head.uri.path()).map_err(|fault| {
            self.told.note("path", fault.to_string());
            ProxyError::from(fault)
        })?;
        let encoded_slash = path.encoded_slash;
        if path.merged == "*" && head.method != Method::OPTIONS {
            self.told.note("path", "* is for OPTIONS alone");
            return Err(ProxyError::PathBad);
        }

        // Route.
        let who = self.who(by, asked.client, &head);
        let taken = self.route(by, &head, host.name(), path, who)?;
        if taken.path != head.uri.path() {
            head.uri = target::with_path(&head.uri, taken.path.clone())?;
        }
        let shares = self.shares(&taken, &head, who.client);
        let rules = taken.route.http();
        if encoded_slash == path::Presence::Present && rules.encoded_slash == EncodedSlash::Refuse {
            return Err(ProxyError::PathEncodedSlash);
        }
        let own_scheme = match by.listener.tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        };
        let share = shares.first().map_or(0, |(share, _)| *share);
        let (protocol, own) = match taken.route.action(share)? {
            Action::Forward(upstream) => (upstream.protocol(), None),
            Action::Redirect(redirect) => {
                let scheme = headers::client_scheme(&head.headers, who.peer, own_scheme);
                let redirected = target::redirected(redirect, scheme, &host.value, &head.uri)?;
                (UpstreamProtocol::Http1, Some(redirected))
            }
            Action::Respond(respond) => (UpstreamProtocol::Http1, Some(Short::Own(Arc::clone(respond)))),
        };
        if let Some(own) = &own
            && taken.route.filters().is_empty()
        {
            return Ok(self.answered(own, &taken));
        }

        // Rewrite.
        let mut switch = switch.allowed_by(&rules.upgrades)?;
        let (conversion, _) = deadline::terms(&mut head, Instant::now(), rules, who.peer)?;
        let client = HeaderValue::from_str(&asked.client.to_string()).map_err(|_| ProxyError::HostBad)?;
        let hop = headers::Hop {
            peer: who.peer,
            client,
            scheme: own_scheme.as_str(),
            host: &host.value,
            request_id: &HeaderValue::from_static("explained"),
            via: headers::via(head.version),
            expect: Expect::Answer,
        };
        headers::to_upstream(&mut head.headers, seen, hop)?;
        let stalled = by.resolved.http().stalled_timeout;
        if Bounds::new(rules, conversion, Resends::No, stalled).exceeded_by(&head.headers) {
            return Err(ProxyError::BodyTooLarge);
        }
        let host = target::host(&mut head.headers, taken.route.rewrite(), host.value);
        self.rewritten_host(&taken);
        target::address(&mut head, host, protocol)?;
        head.extensions.clear();
        switch.ask_upstream(&mut head, protocol)?;

        // Filter.
        if let Some(verdict) = self.filter(by, &taken, &mut head, who.client)? {
            return Ok(verdict);
        }
        if let Some(own) = own {
            return Ok(self.answered(&own, &taken));
        }

        // Rewrite: filters see the path that was asked for.
        let rewritten = taken
            .route
            .rewrite()
            .and_then(|rewrite| rewrite.path.of(head.uri.path()));
        if let Some(path) = rewritten {
            self.rewritten_path(&taken, &path);
            head.uri = target::with_path(&head.uri, path)?;
        }

        // Forward.
        self.beside(&taken, &head);
        self.forward(&taken, &shares, &head, who.client)
    }

    /// The certificate that the client gets.
    fn tls(&mut self, by: Listening<'_>, asked: &Asked, sni: Option<&str>) -> Option<Chosen> {
        let Some(tls) = &by.listener.tls else {
            if sni.is_some() {
                self.told.note(
                    "tls",
                    "the listener speaks none: the name of the handshake says nothing",
                );
            }
            return None;
        };
        let name = sni.or(asked.name()).map(str::to_ascii_lowercase);
        let chosen = tls.choice.choose(name.as_deref());
        let pair = tls.choice.pairs().get(chosen.index());
        let names = pair
            .map(|pair| pair.facts.dns_names.join(", "))
            .unwrap_or_default();
        let asked_for = name.map_or_else(|| "no name".to_owned(), |name| format!("\"{name}\""));
        let says = format!("{asked_for} is asked for: the certificate of {names}");
        let at = by.at.key("certificates").index(chosen.index());
        self.told.step("tls", says, &at);
        let settings = self.of.settings.listeners.iter();
        let mut settings = settings.filter(|settings| settings.name == by.listener.name);
        let wanted = settings.next().and_then(|settings| settings.tls.as_ref());
        if wanted.is_some_and(|tls| tls.server.client_auth == ClientAuth::Required) {
            self.told.step(
                "tls",
                "the client's certificate is taken to be good",
                &by.at.key("tls").key("client_auth"),
            );
        }
        Some(chosen)
    }

    /// What the inspector says of the head as it comes over the wire.
    fn inspect(&mut self, by: Listening<'_>, asked: &Asked) -> Result<(), ProxyError> {
        match RequestInspector::new(by.resolved.rules()).step(&asked.bytes()) {
            Step::Refuse(refusal) | Step::Break(refusal) => Err(ProxyError::Refused(refusal)),
            Step::Pass(_) | Step::Wait | Step::Hold | Step::Last => Ok(()),
        }
    }

    /// Who asks, as trusted proxies make it out.
    fn who(&mut self, by: Listening<'_>, address: IpAddr, head: &Parts) -> Who {
        let trusted = &by.resolved.http().trusted_proxies;
        let peer = Peer::new(address, trusted);
        if peer == Peer::Untrusted {
            self.told.note("client", address.to_string());
            return Who {
                client: address,
                peer,
            };
        }
        let client = headers::client_address(&head.headers, address, trusted);
        let own = by.at.key("trusted_proxies");
        let at = match self.of.places.value(&own) {
            Some(_) => own,
            None => KeyPath::top("defaults").key("trusted_proxies"),
        };
        let says = format!("{client}, as the trusted proxy {address} says");
        self.told.step("client", says, &at);
        Who { client, peer }
    }
}

fn refused(error: ProxyError) -> Verdict {
    let mut verdict = Verdict::new(Fate::Refused, error.to_string());
    verdict.status = Some(error.status().as_u16());
    verdict.reason = Some(error.reason().to_owned());
    verdict
}

#[cfg(test)]
mod tests;
