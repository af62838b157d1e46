//! A check by the gRPC health protocol: `grpc.health.v1.Health/Check` over HTTP/2.
//!
//! Its two messages have one field each, so they are written and read here by hand.
//! Source: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>, PROTOCOL-HTTP2.md beside it, and the
//! protocol buffers encoding.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;

use super::super::reason::shown;
use super::http::USER_AGENT;
use super::{Fault, Question, authority, connect, until_answered};
use crate::config::snapshot::UpstreamProtocol;
use crate::tls::Security;

/// Bytes of an answer's body: the message has two, and a later version of the protocol may add some.
const ANSWER_BYTES_MAX: usize = 4096;
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// The tag of field 1 as bytes of some length.
const FIELD_1_BYTES: u8 = 1 << 3 | 2;
/// `SERVING` of `ServingStatus`.
const SERVING: u64 = 1;

/// Passes where the server says `SERVING`.
pub(super) async fn ask(question: &Question, service: &str, host: Option<&str>) -> Result<(), Fault> {
    let uri = Uri::builder()
        .scheme(match question.security {
            Security::Plain => "http",
            Security::Tls => "https",
        })
        .authority(authority(question, host))
        .path_and_query("/grpc.health.v1.Health/Check")
        .build()
        .map_err(Fault::Request)?;
    let request = Request::post(uri)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .header("grpc-timeout", format!("{}m", question.check.timeout.as_millis()))
        .body(Full::new(message(service)))
        .map_err(Fault::Request)?;
    let io = connect(question, UpstreamProtocol::Http2).await?;
    let handshake = http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = handshake.map_err(Fault::Http)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(Fault::Http)?;
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            return Err(Fault::Status(head.status));
        }
        // An error has its status in the head, if there is nothing else to say.
        if let Some(status) = grpc_status(&head.headers)? {
            passed(status, &head.headers)?;
        }
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Fault::NoGrpc(error.to_string()))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        match grpc_status(&trailers)? {
            Some(status) => passed(status, &trailers)?,
            None => return Err(Fault::NoGrpc("there is no grpc-status".to_owned())),
        }
        Ok(body.to_bytes())
    };
    let body = until_answered(connection, exchange).await?;
    match serving_status(&body) {
        Some(SERVING) => Ok(()),
        Some(0) => Err(Fault::NotServing("UNKNOWN")),
        Some(2) => Err(Fault::NotServing("NOT_SERVING")),
        Some(3) => Err(Fault::NotServing("SERVICE_UNKNOWN")),
        Some(_) => Err(Fault::NotServing("in a state that this version does not know")),
        None => Err(Fault::NoGrpc("the message cannot be read".to_owned())),
    }
}

/// `HealthCheckRequest { service }` with its prefix.
fn message(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(FIELD_1_BYTES);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    framed.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// `status` of a `HealthCheckResponse` with its prefix; 0 where it is left out. `None`: it cannot be read.
fn serving_status(body: &[u8]) -> Option<u64> {
    let (prefix, message) = body.split_first_chunk::<PREFIX_BYTES>()?;
    let [compressed, length @ ..] = prefix;
    if *compressed != 0 {
        return None;
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let mut rest = message.get(..length)?;
    let mut status = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let skipped = match (tag >> 3, tag & 7) {
            (1, 0) => {
                status = varint(&mut rest)?;
                0
            }
            (_, 0) => {
                varint(&mut rest)?;
                0
            }
            (_, 1) => 8,
            (_, 2) => usize::try_from(varint(&mut rest)?).ok()?,
            (_, 5) => 4,
            _ => return None,
        };
        rest = rest.get(skipped..)?;
    }
    Some(status)
}

/// At most ten bytes, seven bits each, the lowest first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// `grpc-status`, where it is there.
fn grpc_status(fields: &HeaderMap) -> Result<Option<u32>, Fault> {
    let Some(value) = fields.get("grpc-status") else {
        return Ok(None);
    };
    let status = value.to_str().ok().and_then(|text| text.parse().ok());
    status
        .map(Some)
        .ok_or_else(|| Fault::NoGrpc("grpc-status is no number".to_owned()))
}

fn passed(status: u32, fields: &HeaderMap) -> Result<(), Fault> {
    if status == 0 {
        return Ok(());
    }
    let message = fields.get("grpc-message").map(|value| shown(value.as_bytes()));
    let message = message.filter(|text| !text.is_empty());
    Err(Fault::Grpc {
        status,
        message: message.map_or_else(String::new, |text| format!(": {text}")),
    })
}

/// What a `grpc-status` is called.
pub(super) fn status_name(status: u32) -> &'static str {
    match status {
        0 => "OK",
        1 => "CANCELLED",
        2 => "UNKNOWN",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND: it does not know that service",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        12 => "UNIMPLEMENTED: it does not have the health service",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        16 => "UNAUTHENTICATED",
        _ => "an error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_the_service_and_nothing_where_it_is_the_whole_server() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("a.B")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = message(&"x".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn answers_are_read_or_refused_and_never_believed_beyond_their_end() {
        let rows: &[(&[u8], Option<u64>, &str)] = &[
            (&[0, 0, 0, 0, 2, 8, 1], Some(1), "serving"),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2), "not serving"),
            (&[0, 0, 0, 0, 0], Some(0), "left out: unknown"),
            (&[0, 0, 0, 0, 4, 8, 2, 8, 1], Some(1), "the last one counts"),
            (
                &[0, 0, 0, 0, 8, 0x12, 2, 9, 9, 8, 1, 0x18, 5],
                Some(1),
                "fields of later versions",
            ),
            (
                &[0, 0, 0, 0, 7, 0x1d, 1, 1, 1, 1, 8, 1],
                Some(1),
                "a fixed field before it",
            ),
            (&[1, 0, 0, 0, 2, 8, 1], None, "compressed"),
            (&[0, 0, 0, 0, 3, 8, 1], None, "shorter than it says"),
            (&[0, 0, 0, 0, 1, 8], None, "a tag without its value"),
            (&[0, 0, 0, 0, 2, 0x12, 9], None, "a field beyond the end"),
            (&[0, 0, 0, 0, 2, 0x0b, 0], None, "a group"),
            (&[0, 0, 0, 0, 2, 8, 0x80], None, "a number without its end"),
            (
                &[
                    0, 0, 0, 0, 12, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1,
                ],
                None,
                "a number that never ends",
            ),
            (&[0, 0, 0], None, "less than a prefix"),
            (&[], None, "nothing"),
        ];
        for (body, expected, why) in rows {
            assert_eq!(serving_status(body), *expected, "{why}");
        }
    }
}
