//! What is done to a request before an upstream is chosen: filters, rewrites, faults on purpose, copies.

use std::net::IpAddr;

use http::request::Parts;

use super::{Taken, Walk};
use crate::config::path::KeyPath;
use crate::explain::request::{Fate, Verdict};
use crate::filters::{self, Foreseen, Step, network};
use crate::l7::body::Bounds;
use crate::l7::error::ProxyError;
use crate::l7::resolved::ResolvedRoute;

/// Where the filters of a listener and of a route stand.
#[derive(Clone, Copy)]
pub(super) struct Standing<'p> {
    pub(super) listener: &'p KeyPath,
    pub(super) route: &'p KeyPath,
}

impl Walk<'_> {
    /// What the filters would do; the short way out, if one takes it.
    pub(super) fn filter(
        &mut self,
        route: &ResolvedRoute,
        places: Standing<'_>,
        head: &mut Parts,
        bounds: &mut Bounds,
        client: IpAddr,
    ) -> Result<Option<Verdict>, ProxyError> {
        for named in route.filters() {
            let mut asked = filters::Asked {
                head: &mut *head,
                client,
                network: network(client),
                consumer: None,
                body_bytes_max: None,
            };
            let foreseen = named.filter.foresee(&mut asked);
            let (consumer, body_bytes_max) = (asked.consumer.take(), asked.body_bytes_max);
            let owner = match named.id.owner {
                filters::Owner::Listener(_) => places.listener,
                filters::Owner::Route(_) => places.route,
            };
            let at = self.of.places.named_in(owner, "filters", &named.id.name);
            let mut says = format!("\"{}\" ({}) ", named.id.name, named.filter.word());
            says.push_str(match &foreseen {
                Foreseen::Step(Step::Answer(_)) => "answers",
                Foreseen::Step(Step::Deny(_)) => "refuses",
                Foreseen::Step(_) => "passes it on",
                Foreseen::Counts => "would count it, and refuse it if too many came before",
                Foreseen::Verifies => "would verify the password, which is taken to be right",
                Foreseen::Asks => "would ask another service, which is taken to agree",
            });
            if let Some(consumer) = consumer.as_ref().and_then(|name| name.to_str().ok()) {
                says.push_str(&format!(" as of {consumer}"));
            }
            self.told.step("filter", says, &at);
            if let Some(bytes_max) = body_bytes_max {
                bounds.lower(bytes_max);
                if bounds.exceeded_by(&head.headers) {
                    return Err(ProxyError::BodyTooLarge);
                }
            }
            match foreseen {
                Foreseen::Step(Step::Answer(status)) => {
                    let mut verdict =
                        Verdict::new(Fate::Answered, format!("by filter \"{}\"", named.id.name));
                    verdict.status = Some(status.as_u16());
                    return Ok(Some(verdict));
                }
                Foreseen::Step(Step::Deny(denial)) => return Err(denial.into()),
                Foreseen::Step(Step::Next | Step::WouldDeny(_) | Step::Wait | Step::Ask)
                | Foreseen::Counts
                | Foreseen::Verifies
                | Foreseen::Asks => {}
            }
        }
        Ok(None)
    }

    /// The host that the upstream is asked for, where the route says another.
    pub(super) fn rewritten_host(&mut self, taken: &Taken) {
        let Some(host) = taken.route.rewrite().and_then(|rewrite| rewrite.host.as_ref()) else {
            return;
        };
        let says = format!(
            "the upstream is asked for the host {}",
            host.to_str().unwrap_or_default()
        );
        self.told
            .step("rewrite", says, &taken.at.key("rewrite").key("host"));
    }

    /// The path that it is asked for instead.
    pub(super) fn rewritten_path(&mut self, taken: &Taken, path: &str) {
        let rewrite = taken.at.key("rewrite");
        let keys: [KeyPath; 2] = [rewrite.key("path"), rewrite.key("path_prefix")];
        let written = keys.iter().find(|key| self.of.places.value(key).is_some());
        let at = written.unwrap_or(&rewrite);
        self.told
            .step("rewrite", format!("the upstream is asked for {path}"), at);
    }

    /// What else is done to the route's requests; the verdict, if that leaves nothing to chance.
    pub(super) fn beside(&mut self, taken: &Taken, head: &Parts) -> Option<Verdict> {
        let mut verdict = None;
        if let Some(faults) = taken.route.faults()
            && faults.are_for(&head.headers)
        {
            let at = taken.at.key("fault");
            if let Some((time, odds)) = faults.delay {
                let time = humantime::format_duration(time);
                let says = format!("{}% wait {time} on purpose", odds.share());
                self.told.step("fault", says, &at.key("delay"));
            }
            if let Some((respond, odds)) = &faults.abort {
                let says = format!("{}% get {} on purpose", odds.share(), respond.status.as_u16());
                self.told.step("fault", says, &at.key("abort"));
                if odds.share() >= 100.0 {
                    let mut always = Verdict::new(Fate::Answered, "by the route's fault, on purpose");
                    always.status = Some(respond.status.as_u16());
                    always.reason = Some(ProxyError::FaultAbort.reason().to_owned());
                    verdict = Some(always);
                }
            }
        }
        if let Some(mirror) = &taken.compiled.mirror {
            let says = format!(
                "{}% are copied to \"{}\"",
                mirror.odds.share(),
                mirror.upstream.name
            );
            self.told.step("mirror", says, &taken.at.key("mirror"));
        }
        verdict
    }
}
