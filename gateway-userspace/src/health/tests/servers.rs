//! Servers to be checked: HTTP/1.1, HTTP/2, and the gRPC health service.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;
type Reply = Response<Body>;

/// What a server got, without its body.
pub(super) type Head = http::request::Parts;

#[derive(Clone, Copy)]
pub(super) enum Speaks {
    Http1,
    Http2,
}

/// Answers every request with what the function says.
pub(super) async fn serve<F>(speaks: Speaks, answer: F) -> SocketAddr
where
    F: Fn(&Head, Bytes) -> Reply + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = Arc::clone(&answer);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        Ok::<_, Infallible>(answer(&head, body))
                    }
                });
                let io = TokioIo::new(stream);
                // Clients go as soon as they know enough: how such a connection ends is no matter.
                match speaks {
                    Speaks::Http1 => {
                        let connection = hyper::server::conn::http1::Builder::new();
                        drop(connection.serve_connection(io, service).await);
                    }
                    Speaks::Http2 => {
                        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        drop(connection.serve_connection(io, service).await);
                    }
                }
            });
        }
    });
    address
}

/// An answer of that status, without a body.
pub(super) fn status(status: u16) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()).boxed());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

/// A gRPC answer: a message and its status in the trailers.
pub(super) fn grpc(message: &'static [u8], grpc_status: &'static str) -> Reply {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(grpc_status));
    let frames = [
        Ok(Frame::data(Bytes::from_static(message))),
        Ok(Frame::trailers(trailers)),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    let mut reply = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    reply.headers_mut().insert("content-type", kind);
    reply
}

/// A gRPC error that has nothing else to say.
pub(super) fn grpc_error(grpc_status: &'static str, message: &'static str) -> Reply {
    let mut reply = status(200);
    let fields = reply.headers_mut();
    fields.insert("content-type", HeaderValue::from_static("application/grpc"));
    fields.insert("grpc-status", HeaderValue::from_static(grpc_status));
    fields.insert("grpc-message", HeaderValue::from_static(message));
    reply
}
