//! A request's way walked without a request: `admit` and the functions of `filter` and `forward`, in their order, with a
//! note of what each decided.
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
mod told;

use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use tokio::time::Instant;

use self::asked::Asked;
use self::listen::Listen;
use self::passing::Standing;
use self::told::Told;
use super::admit::{self, Admission, Rest};
use super::connection::{Ending, HandshakeFault};
use super::error::ProxyError;
use super::grpc;
use super::headers::Seen;
use super::resolved::{Owner, Resolved, ResolvedListener, ResolvedRoute};
use super::target;
use crate::config::Places;
use crate::config::path::KeyPath;
use crate::config::settings::Settings;
use crate::config::snapshot::{Listener, Route, Scheme, Snapshot};
use crate::explain::request::{CANDIDATES_MAX, Candidate, Explained, Fate, Other, Question, Verdict};
use crate::explain::{Trail, Unanswerable};
use crate::inspect::{RequestInspector, Step};
use crate::tls::{Chosen, ClientAuth, ClientCertificate};

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
        holder: None,
        calls: false,
        route: None,
    };
    let mut verdict = match listen {
        Listen::Nobody(port) => {
            walk.told.note("listener", format!("none accepts on port {port}"));
            let mut verdict = Verdict::new(Fate::Refused, "nobody accepts the connection");
            verdict.reason = Some("no-listener".to_owned());
            verdict
        }
        Listen::By(listener) => walk.through(listener, &asked, question),
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
    /// Who the client is by the certificate that it shows to that listener.
    holder: Option<ClientCertificate>,
    /// Whether it is a gRPC call, or one of gRPC-Web that is translated.
    calls: bool,
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

/// The route that takes a request.
struct Taken {
    route: Rc<ResolvedRoute>,
    compiled: Arc<Route>,
    at: KeyPath,
}

impl Walk<'_> {
    fn through(&mut self, listener: &Arc<Listener>, asked: &Asked, question: &Question) -> Verdict {
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
        self.holder = self.holder(listening, question.certificate.as_ref());
        let walked = self.walk(listening, asked, question.sni.as_deref());
        let mut verdict = walked.unwrap_or_else(refused);
        if let (true, Some(_), Some(status)) = (self.calls, &verdict.reason, verdict.status) {
            // As `answers` has it: a client of gRPC gets failures in its own words.
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            verdict.grpc_status = Some(grpc::Status::of_http(status).code());
            verdict.status = Some(StatusCode::OK.as_u16());
        }
        verdict
    }

    /// As `serve` does it.
    fn walk(&mut self, by: Listening<'_>, asked: &Asked, sni: Option<&str>) -> Result<Verdict, ProxyError> {
        let chosen = match self.tls(by, asked, sni) {
            Ok(chosen) => chosen,
            Err(verdict) => return Ok(*verdict),
        };
        self.inspect(by, asked)?;
        let head = asked.head()?;
        let seen = Seen::scan(&head.headers);
        self.calls = grpc::is_call(&head.method, &head.headers);
        let holder = self.holder.clone();
        let judged = admit::By {
            listener: by.resolved,
            scheme: match by.listener.tls {
                Some(_) => Scheme::Https,
                None => Scheme::Http,
            },
            certificate: holder.as_ref().map(ClientCertificate::facts),
            start: Instant::now(),
        };
        let mut told = Told::new(self, by, asked, chosen);
        let admitted = admit::admit(judged, head, Rest::Nothing, seen, &mut told);
        let (taken, shares, client) = told.into_parts();
        let Admission {
            route,
            mut head,
            mut bounds,
            own,
            ..
        } = match admitted {
            Ok(admission) => admission,
            Err(short) => return Ok(self.answered(&short, taken.as_ref())),
        };

        // Filter.
        let at = taken.as_ref().map_or(by.at, |taken| &taken.at);
        let places = Standing {
            listener: by.at,
            route: at,
        };
        if let Some(verdict) = self.filter(&route, places, &mut head, &mut bounds, client)? {
            return Ok(verdict);
        }
        if let Some(own) = own {
            return Ok(self.answered(&own, taken.as_ref()));
        }

        // Rewrite: filters see the path that was asked for.
        let taken = taken.ok_or(ProxyError::NoRoute)?;
        if let Some(path) = target::rewrite(&mut head.uri, route.rewrite())? {
            self.rewritten_path(&taken, &path);
        }

        // Forward.
        if let Some(verdict) = self.beside(&taken, &head) {
            return Ok(verdict);
        }
        self.forward(&taken, &shares, &head, client)
    }

    /// The certificate that the client gets.
    ///
    /// # Errors
    /// The verdict, where there is none yet.
    fn tls(
        &mut self,
        by: Listening<'_>,
        asked: &Asked,
        sni: Option<&str>,
    ) -> Result<Option<Chosen>, Box<Verdict>> {
        let Some(tls) = &by.listener.tls else {
            if sni.is_some() {
                self.told.note(
                    "tls",
                    "the listener speaks none: the name of the handshake says nothing",
                );
            }
            return Ok(None);
        };
        let name = sni.or(asked.name()).map(str::to_ascii_lowercase);
        let chosen = tls.choice.choose(name.as_deref());
        let held = tls.choice.all().get(chosen.index());
        let names = held.map(|held| held.names().join(", ")).unwrap_or_default();
        let asked_for = name.map_or_else(|| "no name".to_owned(), |name| format!("\"{name}\""));
        let says = format!("{asked_for} is asked for: the certificate of {names}");
        let at = by.at.key("certificates").index(chosen.index());
        self.told.step("tls", says, &at);
        if held.is_some_and(|held| held.pair().is_none()) {
            let says = "the handshake is refused: the certificate has not been issued yet";
            let mut verdict = Verdict::new(Fate::Refused, says);
            verdict.reason = Some(Ending::Handshake(HandshakeFault::NotIssued).reason().to_owned());
            return Err(Box::new(verdict));
        }
        Ok(Some(chosen))
    }

    /// Who the client is by its certificate, as far as the listener asks for one.
    fn holder(&mut self, by: Listening<'_>, shown: Option<&ClientCertificate>) -> Option<ClientCertificate> {
        let settings = self.of.settings.listeners.iter();
        let mut settings = settings.filter(|settings| settings.name == by.listener.name);
        let tls = settings.next().and_then(|settings| settings.tls.as_ref());
        let wanted = tls.map_or(ClientAuth::None, |tls| tls.server.client_auth);
        let at = by.at.key("tls").key("client_auth");
        match (wanted, shown) {
            (ClientAuth::None, None) | (ClientAuth::Optional, None) => None,
            (ClientAuth::None, Some(_)) => {
                let says = "the listener asks for no certificate: the client's says nothing";
                self.told.note("certificate", says);
                None
            }
            (ClientAuth::Optional | ClientAuth::Required, Some(holder)) => {
                let says = format!("of \"{}\", taken to be good", holder.subject);
                self.told.step("certificate", says, &at);
                Some(holder.clone())
            }
            (ClientAuth::Required, None) => {
                let says = "one without subject and names, taken to be good, for none is given";
                self.told.step("certificate", says, &at);
                Some(ClientCertificate::default())
            }
        }
    }

    /// What the inspector says of the head as it comes over the wire.
    fn inspect(&mut self, by: Listening<'_>, asked: &Asked) -> Result<(), ProxyError> {
        match RequestInspector::new(by.resolved.rules()).step(&asked.bytes()) {
            Step::Refuse(refusal) | Step::Break(refusal) => Err(ProxyError::Refused(refusal)),
            Step::Pass(_) | Step::Wait | Step::Hold | Step::Last => Ok(()),
        }
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
