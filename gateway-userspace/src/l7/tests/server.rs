//! Upstreams: servers in this process.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::harness::{Body, full};
use crate::tls::{ClientAuth, MinVersion, Pair, Roots, ServerSettings, ServerTls, TicketKeys};

/// Which versions of HTTP a server understands.
#[derive(Clone, Copy)]
pub(super) enum Speaks {
    Both,
    Http1,
}

/// What a request was, as a text.
pub(super) async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    for (name, value) in &head.headers {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    text.push_str(&format!("body {}\n", bytes.len()));
    Response::new(full(text))
}

/// A server that counts its connections.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    /// Of those with TLS, which are open.
    pub(super) open: Arc<AtomicUsize>,
}

impl Server {
    pub(super) async fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener, Speaks::Both, handler)
    }

    pub(super) fn start_on<H, F>(listener: TcpListener, speaks: Speaks, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let handler = Arc::new(handler);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                let handler = Arc::clone(&handler);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = handler(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let builder = match speaks {
                        Speaks::Both => builder,
                        Speaks::Http1 => builder.http1_only(),
                    };
                    let served = builder.serve_connection(TokioIo::new(stream), service).await;
                    drop(served.map_err(|error| error.to_string()));
                });
            }
        });
        let open = Arc::default();
        Self {
            address,
            connections,
            open,
        }
    }

    /// The same behind TLS, with ALPN; a client that shows no certificate of `roots`, if there are some, is turned away.
    pub(super) async fn start_tls<H, F>(pair: Pair, roots: Option<Roots>, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let settings = ServerSettings {
            min_version: MinVersion::Tls12,
            client_auth: match roots {
                Some(_) => ClientAuth::Required,
                None => ClientAuth::None,
            },
            client_roots: roots,
            handshakes_max: 10,
            pairs: vec![pair.into()],
            default: 0,
        };
        let tls = ServerTls::new("server", &settings, &TicketKeys::random()).unwrap();
        let acceptor = TlsAcceptor::from(tls.config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, handler) = (Arc::clone(&connections), Arc::new(handler));
        let open = Arc::new(AtomicUsize::new(0));
        let held = Arc::clone(&open);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                let (handler, acceptor, held) = (Arc::clone(&handler), acceptor.clone(), Arc::clone(&held));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| {
                        let answer = handler(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    held.fetch_add(1, Ordering::Relaxed);
                    let served = builder.serve_connection(TokioIo::new(stream), service).await;
                    held.fetch_sub(1, Ordering::Relaxed);
                    drop(served.map_err(|error| error.to_string()));
                });
            }
        });
        Self {
            address,
            connections,
            open,
        }
    }

    /// Answers with what it got: method, target, fields, and the length of the body.
    pub(super) async fn echo() -> Self {
        Self::start(echo).await
    }

    /// An answer that says who gave it.
    pub(super) async fn named(name: &'static str) -> Self {
        Self::start(move |_| async move { Response::new(full(name)) }).await
    }

    /// Connections with TLS that are open.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
