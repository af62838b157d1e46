//! Which upstream is asked, who of its endpoints, and what is answered where none is.

use std::net::IpAddr;

use http::StatusCode;
use http::request::Parts;

use super::{Taken, Walk, endpoints, refused};
use crate::config::path::KeyPath;
use crate::explain::request::{Fate, Verdict};
use crate::l7::answers::{Answer, Short};
use crate::l7::error::ProxyError;
use crate::l7::resolved::Action;

impl Walk<'_> {
    /// As `forward` does it, for each upstream that may take the request.
    pub(super) fn forward(
        &mut self,
        taken: &Taken,
        shares: &[(usize, u16)],
        head: &Parts,
        client: IpAddr,
    ) -> Result<Verdict, ProxyError> {
        let mut verdicts = Vec::new();
        for (share, per_mille) in shares {
            let verdict = match self.falling_back(taken, *share, head, client) {
                Err(error) if shares.len() == 1 => return Err(error),
                Err(error) => refused(error),
                Ok(verdict) => verdict,
            };
            verdicts.push((verdict, *per_mille));
        }
        let retry = &taken.route.http().retry;
        if retry.attempts > 0 {
            let says = format!("up to {} more tries where one fails", retry.attempts);
            self.told.step("retry", says, &taken.at.key("retry"));
        }
        if verdicts.len() == 1 {
            return verdicts
                .pop()
                .map(|(verdict, _)| verdict)
                .ok_or(ProxyError::NoEndpoint);
        }
        let parts = verdicts
            .iter()
            .map(|(verdict, per_mille)| format!("{:.1}%: {}", f64::from(*per_mille) / 10.0, verdict.says));
        let says = parts.collect::<Vec<_>>().join("; ");
        let is_served = verdicts.iter().any(|(verdict, _)| verdict.fate != Fate::Refused);
        Ok(Verdict::new(
            if is_served { Fate::Forwarded } else { Fate::Refused },
            says,
        ))
    }

    /// One upstream, and those that are asked where it cannot be.
    fn falling_back(
        &mut self,
        taken: &Taken,
        share: usize,
        head: &Parts,
        client: IpAddr,
    ) -> Result<Verdict, ProxyError> {
        let Action::Forward(mut upstream) = taken.route.action(share)? else {
            return Err(ProxyError::NoEndpoint);
        };
        let (mut subset, mut behind) = (taken.route.subset(), 0);
        let mut head = head.clone();
        loop {
            let error = match endpoints::ask(&mut self.told, upstream, subset, &mut head, client) {
                Ok(picked) => {
                    self.candidates.extend(picked.candidates);
                    let name = &upstream.upstream.name;
                    let says = match picked.endpoint {
                        Some(address) => format!("to {address} of upstream \"{name}\""),
                        None => format!("to an endpoint of upstream \"{name}\""),
                    };
                    let mut verdict = Verdict::new(Fate::Forwarded, says);
                    verdict.upstream = Some(name.clone());
                    verdict.endpoint = picked.endpoint;
                    return Ok(verdict);
                }
                Err(error) => error,
            };
            self.told.note(
                "upstream",
                format!("cannot be asked: {error} ({})", error.reason()),
            );
            let fallback = taken.route.fallback();
            let is_listed = error.failure().is_some_and(|failure| fallback.on.has(failure));
            match taken.route.next_fallback(share, behind).filter(|_| is_listed) {
                Some((position, next)) => {
                    let at = taken.at.key("fallback").index(position);
                    self.told
                        .step("fallback", format!("\"{}\"", next.upstream.name), &at);
                    (upstream, subset, behind) = (next, None, position + 1);
                }
                None => return self.degraded(taken, error),
            }
        }
    }

    /// What the client gets for that failure.
    fn degraded(&mut self, taken: &Taken, error: ProxyError) -> Result<Verdict, ProxyError> {
        let Answer::Short(Short::Degraded { respond, error }) = taken.route.degraded(error) else {
            return Err(error);
        };
        let says = format!("answers {}", respond.status.as_u16());
        let at = taken.at.key("fallback");
        let at = self.of.places.entry(&at, |rung| rung.get("respond").is_some());
        self.told.step("fallback", says, &at);
        let mut verdict = Verdict::new(Fate::Answered, format!("by the route's fallback, for {error}"));
        verdict.status = Some(respond.status.as_u16());
        verdict.reason = Some(error.reason().to_owned());
        Ok(verdict)
    }

    /// What is answered without an upstream.
    pub(super) fn answered(&mut self, own: &Short, taken: Option<&Taken>) -> Verdict {
        let (status, says, key) = match own {
            Short::Redirected { status, location } => {
                let location = location.to_str().unwrap_or_default();
                (*status, format!("the client is sent to {location}"), "redirect")
            }
            Short::Own(respond) | Short::Degraded { respond, .. } => {
                (respond.status, "by the route itself".to_owned(), "respond")
            }
            Short::Challenge(_) => {
                let says =
                    "the node itself, as an authority that looks whether the name leads here is answered";
                self.told.step("acme", says, &KeyPath::top("acme"));
                let mut verdict = Verdict::new(Fate::Answered, says);
                verdict.status = Some(StatusCode::OK.as_u16());
                verdict.reason = Some(ProxyError::AcmeChallenge.reason().to_owned());
                return verdict;
            }
            Short::Refused { error, .. } | Short::Relayed { error, .. } => return refused(*error),
        };
        if let Some(taken) = taken {
            self.told
                .step(key, format!("{}: {says}", status.as_u16()), &taken.at.key(key));
        }
        let mut verdict = Verdict::new(Fate::Answered, says);
        verdict.status = Some(status.as_u16());
        verdict
    }
}
