//! What a request comes to, and the answers that no upstream gave.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, response};
use hyper::body::Incoming;

use super::body::{Conversion, Limits, ResponseBody};
use super::error::ProxyError;
use super::grpc;
use super::headers;
use super::pool::Lease;
use super::record::Record;
use super::resolved::ResolvedRoute;
use super::switch::Switch;
use crate::config::snapshot::{Filling, Respond};

/// Seconds after which an upstream, or whoever verifies passwords, that had too much to do may have room again.
const OVERLOADED_RETRY_AFTER: &str = "1";

/// What a request comes to, before it becomes a response.
pub(super) enum Answer {
    Upstream {
        response: Response<Incoming>,
        lease: Lease,
        conversion: Conversion,
        limits: Limits,
    },
    Switched {
        response: Response<Incoming>,
        lease: Lease,
        switch: Switch,
        route: Rc<ResolvedRoute>,
    },
    Short(Short),
}

/// An answer that no upstream gave.
pub(super) enum Short {
    Own(Arc<Respond>),
    /// The client is sent elsewhere.
    Redirected {
        status: StatusCode,
        location: HeaderValue,
    },
    /// The last fallback, for that failure.
    Degraded {
        respond: Arc<Respond>,
        error: ProxyError,
    },
    Refused {
        error: ProxyError,
        allow: Option<HeaderValue>,
    },
    /// An authority is told that a name leads here.
    Challenge(String),
    /// For that reason, in the words of whoever was asked.
    Relayed {
        answer: Box<Response<Bytes>>,
        error: ProxyError,
    },
}

impl From<ProxyError> for Short {
    fn from(error: ProxyError) -> Self {
        Self::Refused { error, allow: None }
    }
}

impl From<ProxyError> for Answer {
    fn from(error: ProxyError) -> Self {
        Self::Short(error.into())
    }
}

/// Who asked how: what a response must fit.
pub(super) struct Asker {
    wants: Wants,
    pub(super) version: Version,
    conversion: Conversion,
}

/// A whole answer, or, by HEAD, its head alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wants {
    Whole,
    Head,
}

impl Asker {
    pub(super) fn of(request: &Request<Incoming>) -> Self {
        Self {
            wants: if request.method() == Method::HEAD {
                Wants::Head
            } else {
                Wants::Whole
            },
            version: request.version(),
            conversion: if grpc::is_call(request.method(), request.headers()) {
                Conversion::Grpc
            } else {
                Conversion::None
            },
        }
    }

    /// Whether it asked by a gRPC call, or one of gRPC-Web that is translated.
    fn calls(&self, record: &Record) -> bool {
        self.conversion == Conversion::Grpc || record.web.is_some()
    }
}

/// The answer to a call without messages.
fn status_alone(status: grpc::Status, text: &str, mut record: Box<Record>) -> Response<ResponseBody> {
    let web = record.web;
    record.status(StatusCode::OK);
    record.says(status);
    let mut response = Response::new(ResponseBody::own(Bytes::new(), record));
    status.write_alone(response.headers_mut(), text);
    if let Some(call) = web {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, call.response.content_type());
    }
    response
}

/// What a client is told of a failure: its reason and a plain sentence, in the form of gRPC if it speaks that.
pub(super) fn refusal(
    error: ProxyError,
    allow: Option<HeaderValue>,
    asker: &Asker,
    mut record: Box<Record>,
) -> Response<ResponseBody> {
    record.fail(error);
    let request_id = record.request_id.clone();
    let mut response = if asker.calls(&record) {
        let text = format!("{}: {error}", error.reason());
        status_alone(grpc::Status::of_http(error.status()), &text, record)
    } else {
        let text = Bytes::from(format!("{}: {error}\n", error.reason()));
        own(error.status(), text, asker, record)
    };
    let headers = response.headers_mut();
    headers.insert(headers::REQUEST_ID, request_id);
    if let Some(allow) = allow {
        headers.insert(header::ALLOW, allow);
    }
    if matches!(
        error,
        ProxyError::UpstreamOverloaded
            | ProxyError::VerifierBusy
            | ProxyError::AuthUnavailable
            | ProxyError::TokenKeysMissing
    ) {
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from_static(OVERLOADED_RETRY_AFTER),
        );
    }
    if error.closes() && asker.version != Version::HTTP_2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// An answer of the configuration: because the route says so, or because what it asked failed for that reason.
pub(super) fn respond_with(
    respond: &Respond,
    error: Option<ProxyError>,
    asker: &Asker,
    mut record: Box<Record>,
) -> Response<ResponseBody> {
    let reason = error.map_or("ok", ProxyError::reason);
    let text = respond.body(|filling| match filling {
        Filling::RequestId => record.request_id.as_bytes(),
        Filling::Route => record.route_name().as_bytes(),
        Filling::Reason => reason.as_bytes(),
    });
    if let Some(error) = error {
        record.fail(error);
    }
    if error.is_some() && asker.calls(&record) {
        let status = grpc::Status::of_http(respond.status);
        return status_alone(status, &String::from_utf8_lossy(&text), record);
    }
    let mut response = own(respond.status, text, asker, record);
    let headers = response.headers_mut();
    if let Some(content_type) = headers.get_mut(header::CONTENT_TYPE) {
        *content_type = respond.content_type.clone();
    }
    if let Some(retry_after) = &respond.retry_after {
        headers.insert(header::RETRY_AFTER, retry_after.clone());
    }
    response
}

/// The answer of a service that does not let a request pass. A gRPC client gets a status like that, and no page.
pub(super) fn relayed(
    answer: Response<Bytes>,
    error: ProxyError,
    asker: &Asker,
    mut record: Box<Record>,
) -> Response<ResponseBody> {
    record.fail(error);
    if asker.calls(&record) {
        let text = format!("{}: {error}", error.reason());
        return status_alone(grpc::Status::of_http(answer.status()), &text, record);
    }
    let (head, body) = answer.into_parts();
    let mut response = own(head.status, body, asker, record);
    let length = response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.headers_mut() = head.headers;
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    response
}

/// Answers an authority. Some take nothing but the answer itself.
pub(super) fn challenge(answer: String, asker: &Asker, mut record: Box<Record>) -> Response<ResponseBody> {
    record.fail(ProxyError::AcmeChallenge);
    let mut response = own(
        ProxyError::AcmeChallenge.status(),
        Bytes::from(answer),
        asker,
        record,
    );
    let content_type = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// Sends the client elsewhere.
pub(super) fn redirect(
    status: StatusCode,
    location: HeaderValue,
    asker: &Asker,
    record: Box<Record>,
) -> Response<ResponseBody> {
    let mut response = own(status, Bytes::new(), asker, record);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::LOCATION, location);
    response
}

/// A text of our own. To HEAD goes its length alone.
pub(super) fn own(
    status: StatusCode,
    text: Bytes,
    asker: &Asker,
    mut record: Box<Record>,
) -> Response<ResponseBody> {
    record.status(status);
    let is_bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = HeaderValue::from(text.len());
    let text = if is_bodiless || asker.wants == Wants::Head {
        Bytes::new()
    } else {
        text
    };
    let mut head = response::Response::new(()).into_parts().0;
    head.status = status;
    if !is_bodiless {
        head.headers.insert(header::CONTENT_LENGTH, length);
        head.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
    }
    Response::from_parts(head, ResponseBody::own(text, record))
}
