//! A request led through the filters of its listener and its route, and its answer's head led back.
//!
//! What filters do stands in `filters`; this file knows how a request ends early, and what may have to be waited for.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode};
use http_body::Body;

use super::answers::Short;
use super::attempt::Outgoing;
use super::authority::{self, Verdict};
use super::body::ResponseBody;
use super::error::ProxyError;
use super::record::Record;
use super::resolved::ResolvedRoute;
use super::worker::Worker;
use crate::config::snapshot::Respond;
use crate::filters::{Asked, Denial, Filter, Mark, Reply, Step, network};

/// The filters that saw a request, and what they keep of it for its answer.
pub(super) struct Passage {
    route: Rc<ResolvedRoute>,
    marks: Vec<Mark>,
}

/// Leads a request through its route's filters, in their order.
///
/// # Errors
/// The short way out. Filters behind the one that took it never see the request, nor its answer.
pub(super) async fn request(
    worker: &Worker,
    route: &Rc<ResolvedRoute>,
    outgoing: &mut Outgoing,
    record: &mut Record,
) -> Result<(), Short> {
    let mut passage = Passage {
        route: Rc::clone(route),
        marks: Vec::with_capacity(route.filters().len()),
    };
    let client = record.client();
    let mut outcome = Ok(());
    for (index, named) in route.filters().iter().enumerate() {
        let mut mark = Mark::default();
        let mut asked = Asked {
            head: &mut outgoing.head,
            client,
            network: network(client),
            consumer: None,
            body_bytes_max: None,
        };
        let mut step = named.request(&mut asked, &mut mark);
        if let Mark::Question { question, name } = mark {
            mark = Mark::default();
            let is_right = question.answer().await;
            step = named.answered(is_right, &name, &mut asked, &mut mark);
        }
        let mut refusal = None;
        if step == Step::Ask
            && let Filter::ForwardAuth(auth) = &named.filter
        {
            let verdict = match route.authority(index) {
                // On the heap: it is large, and rare.
                Some(of) => Box::pin(authority::ask(worker, of, auth, asked.head, record)).await,
                None => Verdict::Unknown,
            };
            step = named.decided(match verdict {
                Verdict::Passes(fields) => auth.admit(&fields, &mut asked),
                Verdict::Unknown => auth.unanswered(&mut asked),
                Verdict::Refuses(answer) => {
                    refusal = Some(answer);
                    Step::Deny(Denial::AuthorityRefused)
                }
            });
        }
        record.consumer = asked.consumer.or_else(|| record.consumer.take());
        passage.marks.push(mark);
        if let (Some(max), Some(upload)) = (asked.body_bytes_max, &outgoing.upload)
            && let Err(error) = upload.limit(max, &outgoing.head.headers)
        {
            outcome = Err(error.into());
            break;
        }
        match step {
            Step::Next | Step::WouldDeny(_) => {}
            Step::Answer(status) => {
                outcome = Err(Short::Own(Arc::new(bodiless(status))));
                break;
            }
            Step::Deny(denial) => {
                let error = ProxyError::from(denial);
                outcome = Err(match refusal {
                    Some(answer) => Short::Relayed { answer, error },
                    None => error.into(),
                });
                break;
            }
            // There was nothing to wait for, which cannot be: who is not known does not pass.
            Step::Wait | Step::Ask => {
                outcome = Err(ProxyError::VerifierBusy.into());
                break;
            }
        }
    }
    record.passage = Some(passage);
    outcome
}

fn bodiless(status: StatusCode) -> Respond {
    Respond {
        status,
        body: Vec::new(),
        content_type: HeaderValue::from_static(""),
        retry_after: None,
    }
}

impl Passage {
    /// Leads the answer's head back: in the reverse order, and whoever gave it.
    pub(super) fn response(mut self, response: &mut Response<ResponseBody>) {
        let (status, length) = (response.status(), response.body().size_hint().exact());
        let mut reply = Reply {
            status,
            headers: response.headers_mut(),
            length,
            coder: None,
        };
        while let Some(mark) = self.marks.pop() {
            if let Some(named) = self.route.filters().get(self.marks.len()) {
                named.filter.response(mark, &mut reply);
            }
        }
        if let Some(coder) = reply.coder {
            response.body_mut().encode(coder);
        }
    }
}

impl From<Denial> for ProxyError {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::RateLimited => Self::RateLimited,
            Denial::ClientDenied => Self::ClientDenied,
            Denial::CredentialsMissing => Self::CredentialsMissing,
            Denial::CredentialsRefused => Self::CredentialsRefused,
            Denial::TokenExpired => Self::TokenExpired,
            Denial::VerifierBusy => Self::VerifierBusy,
            Denial::KeysMissing => Self::TokenKeysMissing,
            Denial::AuthorityRefused => Self::AuthRefused,
            Denial::AuthorityUnavailable => Self::AuthUnavailable,
        }
    }
}
