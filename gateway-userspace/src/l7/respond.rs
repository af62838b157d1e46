//! The last step of a request's way: the response of an answer, and the one place where errors become statuses.

use std::rc::Rc;

use http::{HeaderValue, Response, StatusCode, Version, header};

use super::answers::{Answer, Asker, Short, challenge, redirect, refusal, relayed, respond_with};
use super::body::{Conversion, ResponseBody};
use super::connection::Connection;
use super::error::ProxyError;
use super::grpc;
use super::headers;
use super::record::Record;
use super::sticky;
use super::tunnel::Tunnel;
use crate::inspect::Resume;

/// Makes the response of an answer: the one place where errors become statuses.
pub(super) fn respond(
    connection: &Rc<Connection>,
    answer: Answer,
    asker: &Asker,
    mut record: Box<Record>,
) -> Response<ResponseBody> {
    let node = record.listener.node_header.clone();
    let passage = record.passage.take();
    if !matches!(answer, Answer::Switched { .. }) && connection.report.holds() {
        connection.report.resume(Resume::Http);
    }
    let mut response = match answer {
        Answer::Upstream {
            response,
            lease,
            conversion,
            limits,
        } if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
            let (mut head, body) = response.into_parts();
            match headers::to_downstream(&mut head.headers, head.version) {
                Ok(()) => {
                    head.version = Version::HTTP_11;
                    if let Some(cookie) = record.new_cookie() {
                        sticky::set(&mut head.headers, cookie);
                    }
                    record.status(head.status);
                    if conversion == Conversion::Grpc {
                        record.grpc_status(grpc::Status::read(&head.headers));
                    }
                    let call = record.web;
                    let mut body = ResponseBody::upstream(body, lease, record, conversion, limits);
                    if let Some(form) = call.and_then(|call| call.to_web(&mut head.headers)) {
                        body.write_as(form);
                    }
                    Response::from_parts(head, body)
                }
                Err(error) => {
                    record.endpoint_failed();
                    // With the lease goes the connection: what follows on it cannot be told apart either.
                    drop((body, lease));
                    refusal(error, None, asker, record)
                }
            }
        }
        // Nobody asked for another protocol.
        Answer::Upstream { .. } => refusal(ProxyError::UpstreamProtocol, None, asker, record),
        Answer::Switched {
            response,
            lease,
            switch,
            route,
        } => match switch.tell_client(&response) {
            Ok(mut head) => {
                if let Some(cookie) = record.new_cookie() {
                    sticky::set(&mut head.headers, cookie);
                }
                record.status(head.status);
                let tunnel = Box::new(Tunnel {
                    upstream: lease.into_tunnel(response),
                    idle_timeout: route.http().tunnel_idle_timeout,
                    record,
                });
                switch.join(connection, tunnel);
                Response::from_parts(head, ResponseBody::none())
            }
            Err(error) => {
                record.endpoint_failed();
                connection.report.resume(Resume::Http);
                drop((response, lease));
                refusal(error, None, asker, record)
            }
        },
        Answer::Short(Short::Own(respond)) => respond_with(&respond, None, asker, record),
        Answer::Short(Short::Redirected { status, location }) => redirect(status, location, asker, record),
        Answer::Short(Short::Degraded { respond, error }) => {
            respond_with(&respond, Some(error), asker, record)
        }
        Answer::Short(Short::Refused { error, allow }) => refusal(error, allow, asker, record),
        Answer::Short(Short::Challenge(answer)) => challenge(answer, asker, record),
        Answer::Short(Short::Relayed { answer, error }) => relayed(*answer, error, asker, record),
    };
    if let Some(passage) = passage {
        passage.response(&mut response);
    }
    if let Some(node) = node {
        response.headers_mut().insert(headers::NODE, node);
    }
    if asker.version != Version::HTTP_2
        && connection.is_leaving()
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        connection.ends_with_this();
    }
    response
}
