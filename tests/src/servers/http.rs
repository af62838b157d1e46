//! A server of HTTP/1.1 and HTTP/2, made of hyper, whose connections end with it.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::tamper::{Order, Tampered};

/// What a body may fail with.
pub type Fault = Box<dyn Error + Send + Sync>;

/// Any body.
pub type Body = UnsyncBoxBody<Bytes, Fault>;

/// Between two looks at an address that is taken.
const BIND_PAUSE: Duration = Duration::from_millis(10);

/// Longest wait for an address that is taken: what held it ends at once.
const BIND_LIMIT: Duration = Duration::from_secs(10);

/// An empty body.
pub fn empty() -> Body {
    full(Bytes::new())
}

/// A body that is whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A server of both versions. Its connections end with it.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers each request at `address` by `answer`. Each has the [`Order`] of its connection among its extensions.
    ///
    /// # Errors
    /// When the address cannot be listened at.
    pub async fn start<A, F>(address: SocketAddr, answer: A) -> io::Result<Self>
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = tokio::time::timeout(BIND_LIMIT, listen(address)).await??;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Fails only on a connection that has ended.
                drop(stream.set_nodelay(true));
                let answer = answer.clone();
                connections.spawn(async move {
                    let order = Order::default();
                    let stream = Tampered::new(stream, order.clone());
                    let service = service_fn(move |mut request: Request<Incoming>| {
                        request.extensions_mut().insert(order.clone());
                        let answered = answer(request);
                        async move { Ok::<_, Infallible>(answered.await) }
                    });
                    let mut builder = auto::Builder::new(TokioExecutor::new());
                    builder.http2().enable_connect_protocol();
                    // Broken connections are what servers are tried with.
                    drop(
                        builder
                            .serve_connection_with_upgrades(TokioIo::new(stream), service)
                            .await,
                    );
                });
                // Or each connection that ever was would be kept until the end.
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, task })
    }
}

/// Listens, as soon as what held the address before is gone.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => tokio::time::sleep(BIND_PAUSE).await,
            bound => return bound,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
