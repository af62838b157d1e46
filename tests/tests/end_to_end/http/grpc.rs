//! gRPC by tonic, client and server: all kinds of calls, trailers, deadlines, cancellation, and our own errors.

#[path = "grpc/service.rs"]
mod service;

use std::net::SocketAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::codegen::tokio_stream::{self, wrappers::ReceiverStream};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::gateway::{Gateway, Setup, Speaks, free_address, route, upstream};
use super::peers::{Client, Server, full};
use super::within::{run, within};
use service::{Note, Notes, Service, Told, framed, timeout};

/// A gateway before the service.
struct Stand {
    gateway: Gateway,
    server: Server,
    told: mpsc::UnboundedReceiver<Told>,
    client: Grpc<Channel>,
}

impl Stand {
    async fn start(route_lines: &str) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        let service = Service(tell);
        let server = Server::start(move |request| service.clone().answer(request)).await;
        let tables = route("notes", "path_prefix = \"/lab.Notes\"", "notes", route_lines)
            + &upstream("notes", server.address, Speaks::Http2)
            + &route("down", "path_prefix = \"/lab.Down\"", "down", "")
            + &upstream("down", free_address(), Speaks::Http2);
        let gateway = Gateway::start(&Setup {
            workers: 1,
            listener: String::new(),
            defaults: String::new(),
            tables,
        });
        let client = connect(gateway.address()).await;
        Self {
            gateway,
            server,
            told,
            client,
        }
    }
}

async fn connect(address: SocketAddr) -> Grpc<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let channel = within("a channel", endpoint.connect()).await.expect("a channel");
    Grpc::new(channel)
}

/// Before each call: what tonic's generated clients do.
async fn ready(client: &mut Grpc<Channel>) -> &mut Grpc<Channel> {
    let is_ready = within("a ready client", client.ready()).await;
    is_ready.expect("a ready client");
    client
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

#[test]
fn unary_calls_carry_metadata_errors_and_trailers() {
    run(async {
        let mut stand = Stand::start("").await;
        let call = ready(&mut stand.client).await.unary(
            Request::new(Note::new("hello", 7)),
            path("/lab.Notes/Unary"),
            Notes::default(),
        );
        let answer = within("a call", call).await.expect("an answer");
        assert_eq!(
            answer.metadata().get("x-head").map(|value| value.as_bytes()),
            Some(&b"1"[..])
        );
        assert_eq!(answer.into_inner(), Note::new("hello", 7));
        for code in [
            Code::NotFound,
            Code::Unavailable,
            Code::Unauthenticated,
            Code::Internal,
        ] {
            let number = 1000 + u32::try_from(i32::from(code)).expect("a code");
            let call = ready(&mut stand.client).await.unary(
                Request::new(Note::new("fail", number)),
                path("/lab.Notes/Unary"),
                Notes::default(),
            );
            let status = within("a call", call).await.expect_err("an error");
            assert_eq!(status.code(), code);
            assert_eq!(status.message(), "as the test wanted: \u{e9}, 100%");
            let trail = status.metadata().get("x-trail").map(|value| value.as_bytes());
            assert_eq!(trail, Some(&b"7"[..]), "{status:?}");
        }
        stand.gateway.check_idle();
    });
}

#[test]
fn streams_of_the_client_arrive_whole_though_longer_than_any_bound_of_a_body() {
    run(async {
        let mut stand = Stand::start("").await;
        let text = "x".repeat(1 << 20);
        let notes = (0..12).map(move |_| Note::new(text.clone(), 1));
        let call = ready(&mut stand.client).await.client_streaming(
            Request::new(tokio_stream::iter(notes)),
            path("/lab.Notes/Collect"),
            Notes::default(),
        );
        let answer = within("a call", call).await.expect("an answer").into_inner();
        assert_eq!(answer, Note::new((12 << 20).to_string(), 12));
        stand.gateway.check_idle();
    });
}

#[test]
fn streams_of_the_server_end_in_their_trailers() {
    run(async {
        let mut stand = Stand::start("").await;
        for (text, expected) in [("fine", None), ("lost", Some(Code::DataLoss))] {
            let call = ready(&mut stand.client).await.server_streaming(
                Request::new(Note::new(text, 100)),
                path("/lab.Notes/Count"),
                Notes::default(),
            );
            let mut notes = within("a call", call).await.expect("an answer").into_inner();
            for number in 1..=100 {
                let note = within("a note", notes.message()).await.expect("a note");
                assert_eq!(note, Some(Note::new("counted", number)));
            }
            let end = within("the end", notes.message()).await;
            let found = end.as_ref().err().map(Status::code);
            assert_eq!(found, expected, "{end:?}");
            if let Err(status) = end {
                let trail = status.metadata().get("x-trail").map(|value| value.as_bytes());
                assert_eq!(trail, Some(&b"7"[..]), "{status:?}");
            }
        }
        stand.gateway.check_idle();
    });
}

#[test]
fn both_directions_stream_at_once() {
    run(async {
        let mut stand = Stand::start("").await;
        let (sender, notes) = mpsc::channel(1);
        // The first must be there before the answer's head: a server may wait for it.
        sender.send(Note::new("first", 0)).await.expect("a reader");
        let call = ready(&mut stand.client).await.streaming(
            Request::new(ReceiverStream::new(notes)),
            path("/lab.Notes/Echo"),
            Notes::default(),
        );
        let mut answers = within("a call", call).await.expect("an answer").into_inner();
        let first = within("an echo", answers.message()).await.expect("an echo");
        assert_eq!(first, Some(Note::new("first", 0)));
        for number in 1..=50 {
            // Each is answered before the next is sent.
            sender.send(Note::new("more", number)).await.expect("a reader");
            let answer = within("an echo", answers.message()).await.expect("an echo");
            assert_eq!(answer, Some(Note::new("more", number)));
        }
        drop(sender);
        assert_eq!(within("the end", answers.message()).await.expect("an end"), None);
        stand.gateway.check_idle();
    });
}

/// A bidirectional call that the test answers, as `grpc-timeout` says.
async fn hold(client: &mut Grpc<Channel>, limit: Option<Duration>) -> Result<tonic::Streaming<Note>, Status> {
    let mut request = Request::new(tokio_stream::once(Note::new("hold", 1)));
    request
        .metadata_mut()
        .insert("x-hold", "1".parse().expect("a value"));
    if let Some(limit) = limit {
        request.set_timeout(limit);
    }
    let call = ready(client)
        .await
        .streaming(request, path("/lab.Notes/Echo"), Notes::default());
    within("a call", call).await.map(tonic::Response::into_inner)
}

async fn held(told: &mut mpsc::UnboundedReceiver<Told>) -> (Option<String>, service::Answers) {
    let told = within("the call at the server", told.recv()).await;
    let held = match told {
        Some(Told::Held(timeout, answers)) => Some((timeout, answers)),
        Some(Told::Dropped) | None => None,
    };
    held.expect("a call that is held")
}

#[test]
fn the_deadline_arrives_shortened_and_never_longer_than_ours() {
    run(async {
        let mut stand = Stand::start("timeout_total = \"5s\"").await;
        for (asked, most) in [
            (Duration::from_secs(3), Duration::from_secs(3)),
            (Duration::from_secs(60), Duration::from_secs(5)),
        ] {
            let answers = hold(&mut stand.client, Some(asked)).await.expect("a head");
            let (told, _answers) = held(&mut stand.told).await;
            let told = told.as_deref().and_then(timeout);
            assert!(
                told.is_some_and(|told| told <= most && told > Duration::from_millis(500)),
                "of {asked:?} the server was told {told:?}"
            );
            if asked < most {
                assert!(told < Some(asked), "it is shortened");
            }
            drop(answers);
        }
        stand.gateway.check_idle();
    });
}

#[test]
fn a_client_that_cancels_ends_the_call_at_the_server() {
    run(async {
        let mut stand = Stand::start("").await;
        let mut stream = hold(&mut stand.client, None).await.expect("a head");
        let (_, answers) = held(&mut stand.told).await;
        answers.send(Ok(Note::new("one", 1))).await.expect("a reader");
        let note = within("a note", stream.message()).await.expect("a note");
        assert_eq!(note, Some(Note::new("one", 1)));
        drop(stream);
        within("the end of the stream at the server", answers.closed()).await;

        let mut client = stand.client.clone();
        let call = tokio::spawn(async move {
            let request = Request::new(Note::new("never", 1));
            ready(&mut client)
                .await
                .unary(request, path("/lab.Notes/Never"), Notes::default())
                .await
        });
        let attempts = stand.gateway.attempts();
        assert!(attempts >= 1, "the stream before it");
        while stand.gateway.attempts() < 2 {
            tokio::task::yield_now().await;
        }
        call.abort();
        let told = within("the end at the server", stand.told.recv()).await;
        assert!(matches!(told, Some(Told::Dropped)), "{told:?}");
        stand.gateway.check_idle();
        let entries = stand
            .gateway
            .log
            .wait(2, |entry| entry.reason() == "client-closed");
        assert_eq!(entries.len(), 2, "{:?}", stand.gateway.log.all());
    });
}

/// Names and values.
type Fields = &'static [(&'static str, &'static str)];

/// One call by a client that adds nothing: the answer's head, whether it was all, and its trailers.
async fn bare(
    address: SocketAddr,
    target: &str,
    fields: Fields,
    note: &Note,
) -> (Response<()>, bool, Option<HeaderMap>) {
    let mut client = Client::connect(address, Speaks::Http2).await;
    let mut request = client
        .request("POST", target)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(full(framed(note))).expect("a request");
    let answer = within(target, client.send(request)).await.expect("an answer");
    let (head, body): (_, Incoming) = answer.into_parts();
    let is_all = hyper::body::Body::is_end_stream(&body);
    let rest = within(target, body.collect()).await.expect("an end");
    let trailers = rest.trailers().cloned();
    (Response::from_parts(head, ()), is_all, trailers)
}

/// The code of an answer of ours: HTTP 200, and nothing but a head.
async fn own_code(address: SocketAddr, target: &str, fields: Fields, note: &Note) -> String {
    let (head, is_all, trailers) = bare(address, target, fields, note).await;
    let told = format!("{target}: {head:?}, trailers {trailers:?}");
    assert_eq!(head.status(), 200, "{told}");
    let kind = head.headers().get("content-type").map(|value| value.as_bytes());
    assert!(
        kind.is_some_and(|kind| kind.starts_with(b"application/grpc")),
        "{told}"
    );
    assert!(is_all && trailers.is_none(), "trailers only: {told}");
    let code = head.headers().get("grpc-status");
    code.map_or(told, |code| String::from_utf8_lossy(code.as_bytes()).into_owned())
}

#[test]
fn our_own_errors_are_200_with_a_code_and_nothing_else() {
    run(async {
        let stand = Stand::start("timeout = \"300ms\"").await;
        let never = Note::new("never", 0);
        let rows: [(&str, &str, Fields, &str); 5] = [
            ("no route", "/lab.Nothing/Unary", &[], "12"),
            ("an upstream that is down", "/lab.Down/Unary", &[], "14"),
            ("our time limit", "/lab.Notes/Never", &[], "4"),
            (
                "the client's deadline",
                "/lab.Notes/Never",
                &[("grpc-timeout", "50m")],
                "4",
            ),
            ("a bad path", "/lab.Notes/%zz", &[], "13"),
        ];
        let mut failures = Vec::new();
        for (what, target, fields, code) in rows {
            let address = stand.gateway.address();
            let found = tokio::spawn({
                let (target, fields, note) = (target, fields, never.clone());
                async move { own_code(address, target, fields, &note).await }
            });
            match found.await {
                Ok(found) if found == code => {}
                Ok(found) => failures.push(format!("{what}: {found}, not {code}")),
                Err(error) => failures.push(format!("{what}: {error}")),
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        stand.gateway.check_idle();
    });
}

#[test]
fn a_message_that_is_too_long_is_refused_and_many_short_ones_are_not() {
    run(async {
        let stand = Stand::start("grpc_message_bytes_max = 100_000").await;
        let long = Note::new("x".repeat(200_000), 1);
        let code = own_code(stand.gateway.address(), "/lab.Notes/Unary", &[], &long).await;
        assert_eq!(code, "8");
        let mut client = connect(stand.gateway.address()).await;
        let notes = (0..100).map(|_| Note::new("x".repeat(50_000), 1));
        let call = ready(&mut client).await.client_streaming(
            Request::new(tokio_stream::iter(notes)),
            path("/lab.Notes/Collect"),
            Notes::default(),
        );
        let answer = within("a call", call).await.expect("an answer").into_inner();
        assert_eq!(answer.number, 100);
        stand.gateway.check_idle();
    });
}

#[test]
fn an_upstream_that_dies_in_mid_stream_ends_in_14() {
    run(async {
        let mut stand = Stand::start("").await;
        let mut stream = hold(&mut stand.client, None).await.expect("a head");
        let (_, answers) = held(&mut stand.told).await;
        answers.send(Ok(Note::new("one", 1))).await.expect("a reader");
        let note = within("a note", stream.message()).await.expect("a note");
        assert_eq!(note, Some(Note::new("one", 1)));
        drop(stand.server);
        let end = within("the end", stream.message()).await;
        assert_eq!(
            end.as_ref().err().map(Status::code),
            Some(Code::Unavailable),
            "{end:?}"
        );
        let entries = stand
            .gateway
            .log
            .wait(1, |entry| entry.reason() == "response-body-broken");
        assert_eq!(entries.len(), 1, "{:?}", stand.gateway.log.all());
        stand.gateway.check_idle();
    });
}
