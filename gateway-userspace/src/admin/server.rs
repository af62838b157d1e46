//! Accepts and serves connections of the admin API, within bounds, until it is told to stop.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::{Stopped, answer};
use super::listen::{Bound, Socket};
use super::{Api, Token};

/// Connections at a time; more wait in the kernel's queue. An operator, a probe and a scraper need three.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's body; every request does with an empty one.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Bytes of a request's head, and of what is buffered of a connection.
const BUFFER_BYTES_MAX: usize = 16 << 10;
/// From the last answer (or the connection's start) to the end of the next request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// From a request's head to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stop waits for requests that are under way, before it cuts them.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failed `accept`, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the admin API until `stop` is ready; then finishes what is under way, for 2 s at most.
///
/// Runs on the caller's tokio runtime, which needs timers and I/O.
///
/// # Errors
/// Where the runtime cannot take the socket.
pub async fn serve<S>(bound: Bound, token: Token, api: Arc<dyn Api>, stop: S) -> io::Result<()>
where
    S: Future<Output = ()>,
{
    let Bound { socket, file } = bound;
    let acceptor = match socket {
        Socket::Tcp(socket) => Acceptor::Tcp(TcpListener::from_std(socket)?),
        Socket::Unix(socket) => Acceptor::Unix(UnixListener::from_std(socket)?),
    };
    let (stopping, stopped) = watch::channel(());
    let mut server = Server {
        token,
        api,
        stopped,
        tasks: JoinSet::new(),
        free: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    };
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            // Cancel safety: `accept` loses nothing, and a permit that is dropped is free again.
            () = server.accept(&acceptor) => {}
        }
    }
    drop(acceptor);
    drop(file);
    drop(stopping);
    if timeout(STOP_TIMEOUT, async {
        while server.tasks.join_next().await.is_some() {}
    })
    .await
    .is_err()
    {
        tracing::warn!(
            connections = server.tasks.len(),
            "cut admin connections that did not end in time"
        );
    }
    Ok(())
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

struct Server {
    token: Token,
    api: Arc<dyn Api>,
    /// Closed when the server stops.
    stopped: watch::Receiver<()>,
    tasks: JoinSet<()>,
    free: Arc<Semaphore>,
}

impl Server {
    /// Takes one connection, when there is room for it.
    async fn accept(&mut self, acceptor: &Acceptor) {
        let Ok(permit) = Arc::clone(&self.free).acquire_owned().await else {
            return;
        };
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a connection of the admin API broke");
            }
        }
        let accepted = match acceptor {
            Acceptor::Tcp(socket) => socket
                .accept()
                .await
                .map(|(stream, _)| self.spawn(stream, permit)),
            Acceptor::Unix(socket) => socket
                .accept()
                .await
                .map(|(stream, _)| self.spawn(stream, permit)),
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "cannot accept a connection of the admin API");
            sleep(ACCEPT_PAUSE).await;
        }
    }

    fn spawn<I>(&mut self, stream: I, permit: OwnedSemaphorePermit)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (token, api, mut stopped) = (self.token.clone(), Arc::clone(&self.api), self.stopped.clone());
        self.tasks.spawn(async move {
            let ending = stopped.clone();
            let service = service_fn(|request| reply(request, &token, &*api, ending.clone()));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(BUFFER_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                // The sender never sends: this is ready when it is gone.
                _ = stopped.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a client of the admin API went away");
            }
            drop(permit);
        });
    }
}

async fn reply(
    request: Request<Incoming>,
    token: &Token,
    api: &dyn Api,
    stopped: watch::Receiver<()>,
) -> Result<super::answer::Reply, Infallible> {
    let (head, body) = request.into_parts();
    Ok(answer(&head, read(body), token, api, stopped).await)
}

/// Reads a body within its bounds.
async fn read(body: Incoming) -> Result<Bytes, Stopped> {
    let stopped = |status, code, message: &str| Err(Stopped::new(status, code, message));
    match timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => stopped(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "A body may have 64 kB at most.",
        ),
        Ok(Err(_)) => stopped(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "The body did not arrive whole.",
        ),
        Err(_) => stopped(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            "The body must arrive within 10 s.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixStream};
    use tokio::sync::oneshot;

    use super::super::breakers::{Breaker, Switched};
    use super::super::deny;
    use super::super::endpoints::{Place, Renewal, Renewed, Withdrawn};
    use super::super::routes::{self, Order, Shown};
    use super::super::status::{Node, NodeState, Status};
    use super::super::{Answer, ApiError, bind};
    use super::*;
    use crate::config::snapshot::AdminListen;
    use crate::events::Events;
    use crate::explain::{packet, request};
    use crate::resilience::breaker::{Force, State};
    use crate::trace;

    /// A trace that counts nothing.
    struct Nothing;

    impl trace::Counting for Nothing {
        fn counts(&self) -> trace::Counts {
            trace::Counts::default()
        }
    }

    /// A node whose state is one word.
    struct Tiny {
        events: Events,
        state: Mutex<NodeState>,
    }

    impl Tiny {
        fn set(&self, state: NodeState) -> Answer<'_, Result<NodeState, ApiError>> {
            *self.state.lock().unwrap() = state;
            Box::pin(async move { Ok(state) })
        }
    }

    impl Api for Tiny {
        fn ready(&self) -> Result<(), Vec<String>> {
            match *self.state.lock().unwrap() {
                NodeState::Ready => Ok(()),
                state => Err(vec![format!("the node is {}", state.word())]),
            }
        }

        fn metrics(&self) -> String {
            "# EOF\n".to_owned()
        }

        fn events(&self) -> &Events {
            &self.events
        }

        fn status(&self) -> Answer<'_, Result<Status, ApiError>> {
            let state = *self.state.lock().unwrap();
            Box::pin(async move {
                Ok(Status {
                    node: "tiny".to_owned(),
                    version: "0".to_owned(),
                    snapshot: 1,
                    config: "t.toml".to_owned(),
                    uptime_s: 0,
                    state,
                    ready: state == NodeState::Ready,
                    reasons: Vec::new(),
                    view: 1,
                    members: Vec::new(),
                    dataplane: None,
                    connections: 0,
                    active_requests: 0,
                    listeners: Vec::new(),
                    acme: Vec::new(),
                    upstreams: Vec::new(),
                    last_refused: None,
                })
            })
        }

        fn nodes(&self) -> Answer<'_, Result<Vec<Node>, ApiError>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn drain(&self) -> Answer<'_, Result<NodeState, ApiError>> {
            self.set(NodeState::Draining)
        }

        fn undrain(&self) -> Answer<'_, Result<NodeState, ApiError>> {
            self.set(NodeState::Ready)
        }

        fn reload(&self) -> Answer<'_, Result<u64, ApiError>> {
            Box::pin(async { Err(ApiError::Refused("t.toml:1: odd; mend it".to_owned())) })
        }

        fn renew(&self, place: Place, renewal: Renewal) -> Answer<'_, Result<Renewed, ApiError>> {
            Box::pin(async move {
                if place.upstream != "users" {
                    return Err(ApiError::NotFound("There is no such upstream.".to_owned()));
                }
                Ok(Renewed {
                    upstream: place.upstream,
                    address: place.address,
                    weight: renewal.weight.unwrap_or(1),
                    ttl: humantime::format_duration(renewal.ttl).to_string(),
                })
            })
        }

        fn withdraw(&self, place: Place) -> Answer<'_, Result<Withdrawn, ApiError>> {
            Box::pin(async move {
                Ok(Withdrawn {
                    upstream: place.upstream,
                    address: place.address,
                })
            })
        }

        fn routes(&self, name: Option<String>) -> Answer<'_, Result<Vec<Shown>, ApiError>> {
            Box::pin(async move {
                let shown = Shown {
                    name: "r".to_owned(),
                    from: routes::From::Api,
                    version: "1".to_owned(),
                    route: json!({}),
                };
                match name.as_deref() {
                    None | Some("r") => Ok(vec![shown]),
                    Some(_) => Err(ApiError::NotFound("There is no such route.".to_owned())),
                }
            })
        }

        fn change_route(&self, order: Order) -> Answer<'_, Result<routes::Changed, ApiError>> {
            Box::pin(async move {
                if !order.only_if.holds(Some("1")) {
                    return Err(ApiError::Stale("It is another one.".to_owned()));
                }
                Ok(routes::Changed {
                    name: order.name,
                    change: routes::Change::Changed,
                    version: order.says.map(|(text, _)| text),
                    snapshot: 2,
                    dry_run: order.run == routes::Run::Dry,
                })
            })
        }

        fn explain_request(
            &self,
            question: request::Question,
        ) -> Answer<'_, Result<request::Explained, ApiError>> {
            let asked = format!("{} {}", question.method, question.url);
            Box::pin(async move { Err(ApiError::Invalid(asked)) })
        }

        fn explain_packet(&self, _: packet::Question) -> Answer<'_, Result<packet::Explained, ApiError>> {
            Box::pin(async { Err(ApiError::Conflict("no data plane".to_owned())) })
        }

        fn trace(&self, order: trace::Order) -> Answer<'_, Result<trace::Running, ApiError>> {
            let (sender, lines) = tokio::sync::mpsc::channel(4);
            Box::pin(async move {
                let Some(vip) = order.wish.vip else {
                    return Err(ApiError::Conflict("no data plane".to_owned()));
                };
                sender
                    .try_send(format!("{{\"vip\":\"{vip}\"}}\n").into())
                    .unwrap();
                Ok(trace::Running {
                    lines,
                    counting: Box::new(Nothing),
                })
            })
        }

        fn denied(&self) -> Answer<'_, Result<deny::Listed, ApiError>> {
            Box::pin(async { Err(ApiError::Conflict("no data plane".to_owned())) })
        }

        fn change_denied(&self, order: deny::Order) -> Answer<'_, Result<deny::Changed, ApiError>> {
            Box::pin(async move {
                Ok(deny::Changed {
                    prefixes: Vec::new(),
                    dry_run: order.run == routes::Run::Dry,
                })
            })
        }

        fn force(&self, breaker: Breaker, force: Option<Force>) -> Answer<'_, Result<Switched, ApiError>> {
            Box::pin(async move {
                if breaker.upstream != "users" {
                    return Err(ApiError::NotFound("There is no such upstream.".to_owned()));
                }
                Ok(Switched {
                    breaker: match force {
                        Some(Force::Open) => State::ForcedOpen,
                        Some(Force::Closed) => State::ForcedClosed,
                        None => State::HalfOpen,
                    },
                })
            })
        }
    }

    const TOKEN: &str = "0123456789abcdef";

    fn token(scratch: &Path) -> Token {
        let file = scratch.join("token");
        std::fs::write(&file, TOKEN).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        Token::load(&file).unwrap()
    }

    /// A running server, with a directory of its own.
    struct Running {
        scratch: PathBuf,
        address: Option<SocketAddr>,
        stop: oneshot::Sender<()>,
        task: tokio::task::JoinHandle<io::Result<()>>,
    }

    impl Running {
        fn start(name: &str, listen: impl FnOnce(&Path) -> AdminListen) -> Self {
            let scratch = std::env::temp_dir().join(format!("gateway-admin-{name}-{}", std::process::id()));
            std::fs::create_dir(&scratch).unwrap();
            let bound = bind(&listen(&scratch)).unwrap();
            let address = bound.address();
            let (stop, stopped) = oneshot::channel();
            let api = Arc::new(Tiny {
                events: Events::default(),
                state: Mutex::new(NodeState::Ready),
            });
            let served = serve(bound, token(&scratch), api, async move { drop(stopped.await) });
            Self {
                scratch,
                address,
                stop,
                task: tokio::spawn(served),
            }
        }

        fn start_tcp(name: &str) -> Self {
            Self::start(name, |_| AdminListen::Tcp("127.0.0.1:0".parse().unwrap()))
        }

        /// Status and body of the answer to a request as it goes over the wire.
        async fn ask(&self, request: &str) -> (u16, String) {
            let mut stream = TcpStream::connect(self.address.unwrap()).await.unwrap();
            exchange(&mut stream, request).await
        }

        async fn stop(self) {
            self.stop.send(()).unwrap();
            self.task.await.unwrap().unwrap();
            std::fs::remove_dir_all(&self.scratch).unwrap();
        }
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str) -> (u16, String) {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    fn request(method: &str, path: &str, rest: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{rest}\r\n")
    }

    #[tokio::test]
    async fn requests_are_answered_or_refused_with_a_code_and_a_sentence() {
        let running = Running::start_tcp("requests");
        let auth = format!("authorization: Bearer {TOKEN}\r\n");
        let code = |body: &str| serde_json::from_str::<Value>(body).unwrap()["error"]["code"].clone();
        let rows = [
            (request("GET", "/livez", ""), 200, Value::Null),
            (request("GET", "/readyz", ""), 200, Value::Null),
            (request("GET", "/v1/status", ""), 401, json!("unauthorized")),
            (
                request("GET", "/v1/status", "authorization: Bearer 0123456789abcdeX\r\n"),
                401,
                json!("unauthorized"),
            ),
            (
                request("GET", "/v1/status", &format!("authorization: Basic {TOKEN}\r\n")),
                401,
                json!("unauthorized"),
            ),
            (
                request("GET", "/v1/status", &format!("{auth}{auth}")),
                401,
                json!("unauthorized"),
            ),
            (request("GET", "/metrics", ""), 401, json!("unauthorized")),
            (request("GET", "/v1/status", &auth), 200, Value::Null),
            (
                request("GET", "/v1/status", &auth.replace("Bearer", "bearer")),
                200,
                Value::Null,
            ),
            (request("GET", "/v1/nodes", &auth), 200, Value::Null),
            (
                request("GET", "/v1/drain", &auth),
                405,
                json!("method_not_allowed"),
            ),
            (request("GET", "/v1/upstreams", &auth), 200, Value::Null),
            (request("GET", "/v1/routes", ""), 401, json!("unauthorized")),
            (request("GET", "/v1/routes", &auth), 200, Value::Null),
            (request("GET", "/v1/routes/r", &auth), 200, Value::Null),
            (request("GET", "/v1/routes/s", &auth), 404, json!("not_found")),
            (request("PUT", "/v1/routes/r", ""), 401, json!("unauthorized")),
            (
                request("PUT", "/v1/routes/r", &format!("{auth}content-length: 2\r\n")) + "{}",
                200,
                Value::Null,
            ),
            (
                request(
                    "PUT",
                    "/v1/routes/r",
                    &format!("{auth}if-match: \"2\"\r\ncontent-length: 2\r\n"),
                ) + "{}",
                412,
                json!("precondition_failed"),
            ),
            (
                request(
                    "PUT",
                    "/v1/routes/r",
                    &format!("{auth}content-type: a/b\r\ncontent-length: 2\r\n"),
                ) + "{}",
                415,
                json!("unsupported_media_type"),
            ),
            (
                request("DELETE", "/v1/routes/r?dry_run=true", &auth),
                200,
                Value::Null,
            ),
            (
                request("DELETE", "/v1/routes/r?dry=1", &auth),
                400,
                json!("bad_request"),
            ),
            (
                request("POST", "/v1/routes/r", &auth),
                405,
                json!("method_not_allowed"),
            ),
            (
                request("PUT", "/v1/upstreams/users/endpoints/10.0.1.1:80", ""),
                401,
                json!("unauthorized"),
            ),
            (
                request(
                    "PUT",
                    "/v1/upstreams/users/endpoints/10.0.1.1:80",
                    &format!("{auth}content-length: 13\r\n"),
                ) + "{\"ttl\":\"10s\"}",
                200,
                Value::Null,
            ),
            (
                request(
                    "PUT",
                    "/v1/upstreams/none/endpoints/10.0.1.1:80",
                    &format!("{auth}content-length: 13\r\n"),
                ) + "{\"ttl\":\"10s\"}",
                404,
                json!("not_found"),
            ),
            (
                request("PUT", "/v1/upstreams/users/endpoints/10.0.1.1:80", &auth),
                400,
                json!("bad_request"),
            ),
            (
                request("PUT", "/v1/upstreams/users/endpoints/somewhere", &auth),
                400,
                json!("bad_request"),
            ),
            (
                request("POST", "/v1/upstreams/users/endpoints/10.0.1.1:80", &auth),
                405,
                json!("method_not_allowed"),
            ),
            (
                request("DELETE", "/v1/upstreams/users/endpoints/10.0.1.1:80", &auth),
                200,
                Value::Null,
            ),
            (
                request("PUT", "/v1/upstreams/users/breaker", ""),
                401,
                json!("unauthorized"),
            ),
            (
                request(
                    "PUT",
                    "/v1/upstreams/users/breaker",
                    &format!("{auth}content-length: 16\r\n"),
                ) + "{\"force\":\"open\"}",
                200,
                Value::Null,
            ),
            (
                request(
                    "PUT",
                    "/v1/upstreams/none/breaker",
                    &format!("{auth}content-length: 16\r\n"),
                ) + "{\"force\":\"open\"}",
                404,
                json!("not_found"),
            ),
            (
                request("PUT", "/v1/upstreams/users/breaker", &auth),
                400,
                json!("bad_request"),
            ),
            (
                request("POST", "/v1/upstreams/users/endpoints/10.0.1.1:80/breaker", &auth),
                405,
                json!("method_not_allowed"),
            ),
            (
                request(
                    "DELETE",
                    "/v1/upstreams/users/endpoints/10.0.1.1:80/breaker",
                    &auth,
                ),
                200,
                Value::Null,
            ),
            (
                request("POST", "/v1/explain/request", ""),
                401,
                json!("unauthorized"),
            ),
            (
                request("POST", "/v1/explain/request", &auth),
                400,
                json!("bad_request"),
            ),
            (
                request(
                    "POST",
                    "/v1/explain/packet",
                    &format!("{auth}content-length: 89\r\n"),
                ) + r#"{"from":"192.0.2.1:40000","to":"203.0.113.10:443","protocol":"tcp","flags":"syn"        }"#,
                409,
                json!("conflict"),
            ),
            (request("GET", "/v1/events", ""), 401, json!("unauthorized")),
            (
                request("GET", "/v1/events?follow=maybe", &auth),
                400,
                json!("bad_request"),
            ),
            (request("GET", "/v2", &auth), 404, json!("not_found")),
            (
                request("POST", "/v1/reload", &auth),
                422,
                json!("configuration_refused"),
            ),
            (
                request("POST", "/v1/drain", &format!("{auth}content-length: 3\r\n")) + "abc",
                400,
                json!("bad_request"),
            ),
        ];
        for (request, status, wanted) in rows {
            let (seen, body) = running.ask(&request).await;
            assert_eq!((seen, code(&body)), (status, wanted), "{request}\n{body}");
        }
        let question = r#"{"method":"GET","url":"/x"}"#;
        let head = format!("{auth}content-length: {}\r\n", question.len());
        let (_, echoed) = running
            .ask(&(request("POST", "/v1/explain/request", &head) + question))
            .await;
        assert!(echoed.contains("\"GET /x\""), "the question arrived: {echoed}");
        let (_, missing) = running.ask(&request("GET", "/v2", "")).await;
        assert!(
            missing
                .contains("GET /v1/status, GET /v1/nodes, GET /v1/events, GET /v1/upstreams, POST /v1/drain"),
            "{missing}"
        );
        let (_, metrics) = running.ask(&request("GET", "/metrics", &auth)).await;
        assert_eq!(metrics, "# EOF\n");
        running.stop().await;
    }

    #[tokio::test]
    async fn a_drained_node_is_not_ready_until_it_is_undrained() {
        let running = Running::start_tcp("drain");
        let auth = format!("authorization: Bearer {TOKEN}\r\n");
        let drain = request("POST", "/v1/drain", &format!("{auth}content-length: 2\r\n")) + "{}";
        assert_eq!(
            running.ask(&drain).await,
            (200, "{\"state\":\"draining\"}\n".to_owned())
        );
        let ready = running.ask(&request("GET", "/readyz", "")).await;
        assert_eq!(
            ready,
            (
                503,
                "{\"ready\":false,\"reasons\":[\"the node is draining\"]}\n".to_owned()
            )
        );
        assert_eq!(running.ask(&request("POST", "/v1/undrain", &auth)).await.0, 200);
        assert_eq!(running.ask(&request("GET", "/readyz", "")).await.0, 200);
        running.stop().await;
    }

    #[tokio::test]
    async fn bodies_above_the_bound_are_refused() {
        let running = Running::start_tcp("bodies");
        let head = format!(
            "authorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n",
            BODY_BYTES_MAX + 1
        );
        let body = "x".repeat(BODY_BYTES_MAX + 1);
        let (status, _) = running.ask(&(request("POST", "/v1/drain", &head) + &body)).await;
        assert_eq!(status, 413);
        running.stop().await;
    }

    #[tokio::test]
    async fn unix_socket_is_its_owners_and_a_dead_one_is_replaced() {
        let running = Running::start("unix", |scratch| {
            let file = scratch.join("admin.sock");
            // What a killed process leaves: a socket that nobody listens on.
            drop(std::os::unix::net::UnixListener::bind(&file).unwrap());
            AdminListen::Unix(file)
        });
        let file = running.scratch.join("admin.sock");
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let mut stream = UnixStream::connect(&file).await.unwrap();
        assert_eq!(exchange(&mut stream, &request("GET", "/livez", "")).await.0, 200);
        let taken = bind(&AdminListen::Unix(file.clone())).unwrap_err().to_string();
        assert!(taken.contains("another process"), "{taken}");
        let scratch = running.scratch.clone();
        running.stop().await;
        assert!(!scratch.exists() && !file.exists());
    }

    #[tokio::test]
    async fn taken_address_is_named_with_its_remedy() {
        let running = Running::start_tcp("taken");
        let taken = bind(&AdminListen::Tcp(running.address.unwrap()))
            .unwrap_err()
            .to_string();
        assert!(taken.contains("change admin.listen"), "{taken}");
        running.stop().await;
    }

    #[tokio::test]
    async fn stop_does_not_wait_for_idle_connections_and_more_than_the_bound_wait_their_turn() {
        let running = Running::start_tcp("bound");
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let mut stream = TcpStream::connect(running.address.unwrap()).await.unwrap();
            stream
                .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            idle.push(stream);
        }
        let mut waiting = TcpStream::connect(running.address.unwrap()).await.unwrap();
        let answer = exchange(
            &mut waiting,
            "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        );
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            _ = &mut answer => panic!("answered above the bound"),
            () = tokio::task::yield_now() => {}
        }
        drop(idle.pop());
        assert_eq!(answer.await.0, 200);
        running.stop().await;
    }
}
