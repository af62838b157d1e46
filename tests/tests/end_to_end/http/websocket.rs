//! WebSocket by tokio-tungstenite, over every pair of versions: RFC 6455 by HTTP/1, RFC 8441 by HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::ext::Protocol as Token;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use super::gateway::{Gateway, Setup, Speaks};
use super::message::find;
use super::peers::{Body, Client, Server, empty, full};
use super::raw::{End, Raw};
use super::recorder::{Conn, Recorder};
use super::within::{run, within};

/// A message of more than any buffer or window.
const LONG_BYTES: usize = 1 << 20;

/// What a client sends to upgrade; the key is the one of RFC 6455, section 1.3.
const HANDSHAKE: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// The answer to [`HANDSHAKE`].
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Something that gives back each message, pings answered, until it is closed.
enum EchoServer {
    One(SocketAddr, JoinHandle<()>),
    Two(Server),
}

impl EchoServer {
    async fn start(speaks: Speaks) -> Self {
        if speaks == Speaks::Http2 {
            return Self::Two(Server::start(extended_connect).await);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("its address");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    if let Ok(socket) = accept_async(stream).await {
                        echo(socket).await;
                    }
                });
            }
        });
        Self::One(address, task)
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::One(address, _) => *address,
            Self::Two(server) => server.address,
        }
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        if let Self::One(_, task) = self {
            task.abort();
        }
    }
}

/// The HTTP/2 side of an echo server.
async fn extended_connect(request: Request<Incoming>) -> Response<Body> {
    let token = request.extensions().get::<Token>().map(Token::as_str);
    if request.method() != Method::CONNECT || token != Some("websocket") {
        let told = format!("{} with {token:?}", request.method());
        let mut response = Response::new(full(told));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    }
    tokio::spawn(async move {
        if let Ok(tunnel) = hyper::upgrade::on(request).await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(tunnel), Role::Server, None);
            echo(socket.await).await;
        }
    });
    Response::new(empty())
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    while let Some(Ok(message)) = socket.next().await {
        let is_content = message.is_text() || message.is_binary();
        if is_content && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Opens a WebSocket by HTTP/2.
async fn connect_two(client: &mut Client) -> WebSocketStream<TokioIo<Upgraded>> {
    let mut request = client
        .request("CONNECT", "/chat")
        .version(Version::HTTP_2)
        .header("sec-websocket-version", "13")
        .body(empty())
        .expect("a request");
    request.extensions_mut().insert(Token::from_static("websocket"));
    let answer = within("the handshake", client.send(request))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
    assert!(
        answer.headers().get("sec-websocket-accept").is_none(),
        "{answer:?}"
    );
    let tunnel = within("the tunnel", hyper::upgrade::on(answer))
        .await
        .expect("a tunnel");
    WebSocketStream::from_raw_socket(TokioIo::new(tunnel), Role::Client, None).await
}

/// Everything that a WebSocket can say, there and back.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(what: &str, mut socket: WebSocketStream<S>) {
    let long = Bytes::from(vec![7; LONG_BYTES]);
    let messages = [
        Message::text("hello"),
        Message::text(""),
        Message::binary(long),
        Message::text("\u{e9}".repeat(LONG_BYTES / 2)),
        Message::binary(vec![0; 126]),
    ];
    for message in messages {
        let size = message.len();
        within(what, socket.send(message.clone())).await.expect("sent");
        let back = within(what, socket.next())
            .await
            .expect("a message")
            .expect("a message");
        assert!(
            back == message,
            "{what}: {} bytes came back for {size}",
            back.len()
        );
    }
    within(what, socket.send(Message::Ping(Bytes::from_static(b"ping"))))
        .await
        .expect("sent");
    let pong = within(what, socket.next())
        .await
        .expect("a pong")
        .expect("a pong");
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"ping")), "{what}");
    let close = CloseFrame {
        code: CloseCode::Normal,
        reason: "done".into(),
    };
    // Both sides have said their last by the time that the client looks whether its own got out: then its stream is at an end
    // without an error (RFC 9113, section 8.1).
    if let Err(error) = within(what, socket.close(Some(close.clone()))).await {
        assert!(
            format!("{error:?}").contains("Reason(NO_ERROR)"),
            "{what}: {error:?}"
        );
    }
    let closed = within(what, socket.next())
        .await
        .expect("a close")
        .expect("a close");
    assert_eq!(closed, Message::Close(Some(close)), "{what}");
    let end = within(what, socket.next()).await;
    assert!(
        matches!(end, None | Some(Err(Error::ConnectionClosed))),
        "{what}: {end:?}"
    );
}

#[test]
fn websockets_work_over_every_pair_of_versions() {
    run(async {
        for up in [Speaks::Http1, Speaks::Http2] {
            let server = EchoServer::start(up).await;
            let gateway = Gateway::start(&Setup::to(server.address(), up).workers(2));
            for down in [Speaks::Http1, Speaks::Http2] {
                let what = format!("{down:?} to {up:?}");
                let local = match down {
                    Speaks::Http1 => {
                        let stream = TcpStream::connect(gateway.address()).await.expect("a connection");
                        let local = stream.local_addr().expect("an address");
                        let opened = within(&what, client_async("ws://a.example/chat", stream)).await;
                        assert!(opened.is_ok(), "{what}: {:?}", opened.err());
                        let (socket, answer) = opened.expect("checked above");
                        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS, "{what}");
                        converse(&what, socket).await;
                        local
                    }
                    Speaks::Http2 => {
                        let mut client = Client::connect(gateway.address(), Speaks::Http2).await;
                        // An answer is there, so the gateway's settings are, and with them its leave to upgrade.
                        let plain = client.request("GET", "/").body(empty()).expect("a request");
                        drop(within(&what, client.ask(plain)).await);
                        converse(&what, connect_two(&mut client).await).await;
                        client.local()
                    }
                };
                let status = if down == Speaks::Http1 { "101" } else { "200" };
                let local = local.to_string();
                let entries = gateway.log.wait(1, |entry| {
                    entry.peer() == Some(&local) && entry.get("path") == Some("/chat")
                });
                let found: Vec<_> = entries
                    .iter()
                    .map(|entry| (entry.get("status"), entry.reason()))
                    .collect();
                assert_eq!(found, [(Some(status), "ok")], "{what}");
            }
            gateway.check_idle();
        }
    });
}

#[test]
fn a_server_that_refuses_the_upgrade_answers_as_it_likes() {
    run(async {
        let recorder = Recorder::answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
        let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
        let stream = TcpStream::connect(gateway.address()).await.expect("a connection");
        let refused = within("the handshake", client_async("ws://a.example/chat", stream)).await;
        let status = match &refused {
            Err(Error::Http(answer)) => Some(answer.status()),
            _ => None,
        };
        assert_eq!(status, Some(StatusCode::FORBIDDEN), "{:?}", refused.err());
        let requests = recorder.requests();
        let seen = &requests.first().expect("a request").head;
        assert_eq!(seen.get("upgrade"), Some("websocket"), "{seen:?}");
        let connection = seen.get("connection").unwrap_or_default().to_lowercase();
        assert_eq!(connection, "upgrade", "{seen:?}");
        assert_eq!(seen.all("sec-websocket-key").count(), 1, "{seen:?}");

        // The connection is an HTTP connection still, on both sides.
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(HANDSHAKE).await;
        raw.read_answers(1).await;
        raw.send(b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        let answers = raw.read_answers(2).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.head.status()).collect();
        assert_eq!(statuses, [403, 403], "{}", raw.told());
        gateway.check_idle();
    });
}

/// What a client sends behind its handshake belongs to the WebSocket or to nobody: a server that refuses must not
/// take it for a request.
#[test]
fn no_byte_passes_before_the_upstreams_101() {
    run(async {
        const BEHIND: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let recorder = Recorder::start(|mut conn: Conn| async move {
            conn.request().await;
            conn.send(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
                .await;
            conn.end().await;
        })
        .await;
        let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(&[HANDSHAKE, BEHIND].concat()).await;
        let answers = raw.read_answers(1).await;
        assert_eq!(
            answers.first().map(|answer| answer.head.status()),
            Some(403),
            "{}",
            raw.told()
        );
        gateway.check_idle();
        let first = recorder.bytes().first().cloned().unwrap_or_default();
        assert_eq!(
            find(&first, b"\r\n\r\n").map(|end| end + 4),
            Some(first.len()),
            "only the head"
        );

        let early = Arc::new(Notify::new());
        let theirs = Arc::clone(&early);
        let recorder = Recorder::start(move |mut conn: Conn| {
            let early = Arc::clone(&theirs);
            async move {
                conn.head().await;
                within("the test", early.notified()).await;
                conn.send(SWITCH).await;
                conn.take(BEHIND.len()).await;
                conn.send(b"taken").await;
            }
        })
        .await;
        let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(&[HANDSHAKE, BEHIND].concat()).await;
        while recorder
            .bytes()
            .first()
            .is_none_or(|bytes| find(bytes, b"\r\n\r\n").is_none())
        {
            tokio::task::yield_now().await;
        }
        let before = recorder.bytes().first().cloned().unwrap_or_default();
        assert!(find(&before, b"/smuggled").is_none(), "nothing before 101");
        early.notify_one();
        within("the end", raw.read_until(super::within::PATIENCE, |_| false)).await;
        assert!(raw.got().starts_with(b"HTTP/1.1 101 "), "{}", raw.told());
        assert!(raw.got().ends_with(b"\r\n\r\ntaken"), "{}", raw.told());
        assert_eq!(raw.end(), End::Closed);
        let bytes = recorder.bytes().first().cloned().unwrap_or_default();
        assert!(bytes.ends_with(BEHIND), "after it they arrive");
        // Each side of a tunnel ends on its own.
        drop(raw);
        gateway.check_idle();
    });
}

#[test]
fn a_switch_to_something_else_than_was_asked_for_is_502() {
    run(async {
        let rows: [(&str, &'static [u8]); 3] = [
            (
                "another protocol",
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: irc\r\n\r\n",
            ),
            (
                "no protocol",
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
            ),
            (
                "no Connection",
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: irc\r\n\r\n",
            ),
        ];
        for (what, answer) in rows {
            let recorder = Recorder::answering(answer).await;
            let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
            let mut raw = Raw::connect(gateway.address()).await;
            raw.send(HANDSHAKE).await;
            let answers = raw.read_answers(1).await;
            let status = answers.first().map(|answer| answer.head.status());
            assert_eq!(status, Some(502), "{what}: {}", raw.told());
            gateway.check_idle();
        }
    });
}
