//! gRPC-Web before a gRPC server: calls in both forms, over both versions of HTTP, answered, refused and broken off.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};

use super::harness::*;
use crate::l7::grpc::web::Decoder;

fn message(text: &str) -> Vec<u8> {
    let mut message = vec![0];
    message.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
    message.extend(text.as_bytes());
    message
}

fn trailers(status: &'static str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    trailers.insert("x-own", HeaderValue::from_static("1"));
    Frame::trailers(trailers)
}

/// Says back what it is told, in one message or in three, or not at all.
async fn service(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    // It breaks off where what the client writes cannot be read.
    let body = body
        .collect()
        .await
        .map_or_else(|_| Bytes::new(), |body| body.to_bytes());
    let field = |name: &str| {
        head.headers
            .get(name)
            .map_or("-", |value| value.to_str().unwrap())
            .to_owned()
    };
    let seen = ["content-type", "te", "accept", "x-grpc-web", "grpc-timeout"]
        .map(field)
        .join("|");
    let response = Response::builder().header("x-seen", seen);
    let is_call = head.uri.path() != "/up/Page";
    let response = response.header(
        "content-type",
        if is_call {
            "application/grpc+proto"
        } else {
            "text/html"
        },
    );
    let data = |bytes: Vec<u8>| Ok::<_, hyper::Error>(Frame::data(Bytes::from(bytes)));
    let frames = match head.uri.path() {
        "/up/Unary" => vec![data(body.to_vec()), Ok(trailers("0"))],
        "/up/Stream" => vec![
            data(message("a")),
            data(message("bc")),
            data(message("")),
            Ok(trailers("7")),
        ],
        "/up/Refused" => return response.header("grpc-status", "5").body(full("")).unwrap(),
        "/up/Page" => return response.body(full("page")).unwrap(),
        _ => {
            let first = futures_util::stream::iter([data(message("a"))]);
            let never = futures_util::StreamExt::chain(first, futures_util::stream::pending());
            return response.body(StreamBody::new(never).boxed()).unwrap();
        }
    };
    response
        .body(StreamBody::new(futures_util::stream::iter(frames)).boxed())
        .unwrap()
}

fn text(upstream: &str, keys: &str) -> String {
    format!(
        "[[upstream]]\nname='main'\nprotocol='http2'\nendpoints=[{{address='{upstream}'}}]\n\
         [[route]]\nname='r'\nlisteners=['web']\nmatch={{path_prefix='/up'}}\nupstream='main'\n{keys}\n"
    )
}

/// The frames of an answer: flags and payload.
fn frames(form: &str, body: &[u8]) -> Vec<(u8, String)> {
    let body = match form {
        "-text" => Decoder::default().decode(body).unwrap(),
        _ => body.to_vec(),
    };
    let mut frames = Vec::new();
    let mut left = body.as_slice();
    while let [flags, a, b, c, d, rest @ ..] = left {
        let length = u32::from_be_bytes([*a, *b, *c, *d]);
        let (payload, rest) = rest.split_at(usize::try_from(length).unwrap());
        frames.push((*flags, String::from_utf8(payload.to_vec()).unwrap()));
        left = rest;
    }
    assert!(left.is_empty(), "{left:?}");
    frames
}

async fn call(client: &mut Client, form: &str, path: &str, body: Body) -> Answer {
    let content_type = format!("application/grpc-web{form}+proto");
    let request = client
        .request("POST", path)
        .header("content-type", &content_type)
        .header("accept", &content_type)
        .header("x-grpc-web", "1");
    client.ask(request.body(body).unwrap()).await.unwrap()
}

fn written(form: &str, message: &[u8]) -> Bytes {
    match form {
        "-text" => STANDARD.encode(message).into(),
        _ => message.to_vec().into(),
    }
}

#[tokio::test]
async fn calls_of_browsers_reach_grpc_servers_and_their_answers_come_back() {
    let server = Server::start(service).await;
    let gateway = Gateway::configured(1, &text(&server.address.to_string(), "grpc_web=true"));
    let mut calls = 0;
    for form in ["", "-text"] {
        for mut client in [
            Client::http1(gateway.address()).await,
            Client::http2(gateway.address()).await,
        ] {
            let content_type = format!("application/grpc-web{form}+proto");
            let answer = call(
                &mut client,
                form,
                "/up/Unary",
                full(written(form, &message("hello"))),
            )
            .await;
            let fields = ["content-type", "x-seen", "grpc-status"].map(|name| answer.header(name));
            let seen = "application/grpc+proto|trailers|-|-|-";
            assert_eq!(
                (answer.status, fields),
                (200, [Some(&*content_type), Some(seen), None])
            );
            let said = |text: &str| (0, text.to_owned());
            let ends = |status: &str| (0x80, format!("grpc-status: {status}\r\nx-own: 1\r\n"));
            assert_eq!(frames(form, &answer.body), [said("hello"), ends("0")], "{form}");
            let answer = call(&mut client, form, "/up/Stream", full("")).await;
            assert_eq!(
                frames(form, &answer.body),
                [said("a"), said("bc"), said(""), ends("7")],
                "{form}"
            );
            let answer = call(&mut client, form, "/up/Refused", full("")).await;
            let fields = ["content-type", "grpc-status"].map(|name| answer.header(name));
            assert_eq!(
                (fields, answer.body.len()),
                ([Some(&*content_type), Some("5")], 0),
                "{form}"
            );
            let answer = call(&mut client, form, "/up/Page", full("")).await;
            assert_eq!(
                (answer.header("content-type"), answer.text()),
                (Some("text/html"), "page"),
                "{form}"
            );
            calls += 4;
        }
    }
    let lines = gateway.lines(calls).await;
    let statuses: Vec<_> = lines
        .iter()
        .filter_map(|line| Some(line.split_once("grpc_status=")?.1.as_bytes()[0]))
        .collect();
    assert_eq!(statuses, b"075".repeat(4), "{lines:#?}");
}

#[tokio::test]
async fn text_may_come_in_pieces_of_any_kind_and_must_be_whole() {
    let server = Server::start(service).await;
    let gateway = Gateway::configured(1, &text(&server.address.to_string(), "grpc_web=true"));
    let mut client = Client::http1(gateway.address()).await;
    // A prefix of its own, with padding, then the message, cut anywhere.
    let answer = call(
        &mut client,
        "-text",
        "/up/Unary",
        in_pieces(&["AAA", "AAAI=a", "GU", "="]),
    )
    .await;
    let expected = [
        (0, "he".to_owned()),
        (0x80, "grpc-status: 0\r\nx-own: 1\r\n".to_owned()),
    ];
    assert_eq!(frames("-text", &answer.body), expected);
    for body in [in_pieces(&["AAAAAAI=", "aG"]), in_pieces(&["AAAA*AAA"])] {
        let answer = call(&mut client, "-text", "/up/Unary", body).await;
        let fields = ["content-type", "grpc-status"].map(|name| answer.header(name));
        assert_eq!(
            fields,
            [Some("application/grpc-web-text+proto"), Some("13")],
            "{answer:?}"
        );
        assert!(
            answer.header("grpc-message").unwrap().starts_with("grpc-web-bad"),
            "{answer:?}"
        );
        client = Client::http1(gateway.address()).await;
    }
}

#[tokio::test]
async fn our_own_answers_and_what_breaks_off_are_of_the_same_form() {
    let server = Server::start(service).await;
    let gone = closed_port().await.to_string();
    for form in ["", "-text"] {
        let gateway = Gateway::configured(1, &text(&gone, "grpc_web=true"));
        let mut client = Client::http1(gateway.address()).await;
        let answer = call(&mut client, form, "/up/Unary", full("")).await;
        let fields = ["content-type", "grpc-status"].map(|name| answer.header(name).map(str::to_owned));
        let content_type = format!("application/grpc-web{form}+proto");
        assert_eq!(
            (answer.status, fields),
            (200, [Some(content_type), Some("14".to_owned())])
        );

        let keys = "grpc_web=true\ntimeout_total='300ms'";
        let gateway = Gateway::configured(1, &text(&server.address.to_string(), keys));
        let mut client = Client::http1(gateway.address()).await;
        let asked = tokio::time::timeout(
            Duration::from_secs(10),
            call(&mut client, form, "/up/Hangs", full("")),
        );
        let frames = frames(form, &asked.await.unwrap().body);
        assert_eq!(frames[0], (0, "a".to_owned()), "{form}");
        assert!(
            frames[1]
                .1
                .contains("grpc-status: 4\r\ngrpc-message: deadline-exceeded"),
            "{frames:?}"
        );
        assert_eq!((frames.len(), frames[1].0), (2, 0x80), "{form}");
    }
}

#[tokio::test]
async fn where_the_route_does_not_say_so_nothing_is_translated() {
    let server = Server::start(service).await;
    let gateway = Gateway::configured(1, &text(&server.address.to_string(), ""));
    let mut client = Client::http1(gateway.address()).await;
    let answer = call(&mut client, "", "/up/Unary", full(message("hello"))).await;
    let seen = "application/grpc-web+proto|-|application/grpc-web+proto|1|-";
    assert_eq!(
        (answer.header("x-seen"), &*answer.body),
        (Some(seen), &*message("hello"))
    );
}
