//! `compression` as clients meet it: whole bodies, bodies that come bit by bit, and what is left as it is.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;

use super::filter;
use crate::config::snapshot::UpstreamProtocol;
use crate::filters::Settings as Kind;
use crate::filters::compression::coder::{decoded, decoded_so_far};
use crate::filters::compression::{Algorithm, Compression, Types};
use crate::l7::tests::harness::*;

/// Of a length that no window holds.
const PAGE_BYTES: usize = 600_000;

fn compression() -> Kind {
    Kind::Compression(Compression {
        algorithms: vec![Algorithm::Gzip, Algorithm::Brotli, Algorithm::Zstd],
        min_bytes: 1_024,
        types: vec![Types::Kind("text/".to_owned())],
        level: 4,
    })
}

fn page() -> String {
    let mut page = String::with_capacity(PAGE_BYTES);
    for row in 0_u64.. {
        page.push_str(&format!(
            "<tr><td>{row}</td><td>{}</td></tr>\n",
            row.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ));
        if page.len() >= PAGE_BYTES {
            break;
        }
    }
    page
}

/// `/up/page` is a page, `/up/short` a short one, `/up/picture` no page.
async fn pages(request: Request<Incoming>) -> Response<Body> {
    let response = Response::builder()
        .header("etag", "\"v1\"")
        .header("accept-ranges", "bytes");
    let (content_type, body) = match request.uri().path() {
        "/up/page" => ("text/html", page()),
        "/up/short" => ("text/html", "short".to_owned()),
        _ => ("image/png", page()),
    };
    let length = body.len();
    let body = if request.method() == "HEAD" {
        Empty::new().map_err(|never| match never {}).boxed()
    } else {
        full(body)
    };
    response
        .header("content-type", content_type)
        .header("content-length", length)
        .body(body)
        .unwrap()
}

async fn ask(client: &mut Client, method: &str, path: &str, accepts: Option<&str>) -> Answer {
    let mut request = client.request(method, path);
    if let Some(accepts) = accepts {
        request = request.header("accept-encoding", accepts);
    }
    client.ask(request.body(full("")).unwrap()).await.unwrap()
}

#[tokio::test]
async fn pages_come_in_the_coding_that_the_client_likes() {
    let server = Server::start(pages).await;
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let mut setup = Setup::new(1, &[server.address]);
        setup.protocol = protocol;
        setup.filters = vec![filter("f", compression())];
        let gateway = Gateway::start(&setup);
        let mut asked = 0;
        for mut client in [
            Client::http1(gateway.address()).await,
            Client::http2(gateway.address()).await,
        ] {
            for coding in ["gzip", "br", "zstd"] {
                let answer = ask(&mut client, "GET", "/up/page", Some(coding)).await;
                let names = [
                    "content-encoding",
                    "vary",
                    "etag",
                    "content-length",
                    "accept-ranges",
                ];
                let fields = names.map(|name| answer.header(name));
                let expected = [
                    Some(coding),
                    Some("Accept-Encoding"),
                    Some("W/\"v1\""),
                    None,
                    None,
                ];
                assert_eq!((answer.status, fields), (200, expected));
                assert!(
                    answer.body.len() < PAGE_BYTES / 2,
                    "{coding}: {}",
                    answer.body.len()
                );
                assert!(decoded(coding, &answer.body) == page().as_bytes(), "{coding}");
                // What the client got is what is logged.
                asked += 1;
                let line = gateway.lines(asked).await.pop().unwrap();
                assert!(
                    line.contains(&format!(" bytes_out={} ", answer.body.len())),
                    "{line}"
                );
            }
        }
    }
}

#[tokio::test]
async fn all_else_is_left_as_it_is() {
    let server = Server::start(pages).await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.filters = vec![filter("f", compression())];
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let length = page().len();
    let rows = [
        // Method, path, what is accepted; length, whether other requests get another answer.
        ("GET", "/up/page", None, length, true),
        ("GET", "/up/page", Some("identity"), length, true),
        ("GET", "/up/page", Some("gzip;q=0"), length, true),
        ("HEAD", "/up/page", Some("gzip"), 0, true),
        ("GET", "/up/short", Some("gzip"), 5, false),
        ("GET", "/up/picture", Some("gzip"), length, false),
        ("GET", "/own", Some("gzip"), 3, false),
    ];
    for (method, path, accepts, length, varies) in rows {
        let answer = ask(&mut client, method, path, accepts).await;
        assert_eq!(
            (answer.status, answer.body.len()),
            (200, length),
            "{method} {path} {accepts:?}"
        );
        assert_eq!(
            answer.header("content-encoding"),
            None,
            "{method} {path} {accepts:?}"
        );
        assert_eq!(
            answer.header("vary").is_some(),
            varies,
            "{method} {path} {accepts:?}"
        );
        let tag = if path == "/own" { None } else { Some("\"v1\"") };
        assert_eq!(answer.header("etag"), tag, "{method} {path} {accepts:?}");
    }
}

#[tokio::test]
async fn what_was_said_reaches_the_client_while_the_rest_is_awaited() {
    for coding in ["gzip", "br", "zstd"] {
        let (feed, pieces) = mpsc::channel::<Result<Frame<Bytes>, hyper::Error>>(1);
        let pieces = Mutex::new(Some(pieces));
        let server = Server::start(move |_| {
            let mut pieces = pieces.lock().unwrap().take().unwrap();
            async move {
                let frames = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
                let body = StreamBody::new(frames).boxed();
                Response::builder()
                    .header("content-type", "text/plain")
                    .body(body)
                    .unwrap()
            }
        });
        let mut setup = Setup::new(1, &[server.await.address]);
        setup.filters = vec![filter("f", compression())];
        let gateway = Gateway::start(&setup);
        let mut client = Client::http1(gateway.address()).await;
        let request = client.request("GET", "/up").header("accept-encoding", coding);
        let answer = client.send(request.body(full("")).unwrap()).await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], coding);
        let mut body = answer.into_body();
        let (mut coded, mut said) = (Vec::new(), String::new());
        for piece in ["first ", "second ", "third"] {
            feed.send(Ok(Frame::data(Bytes::from(piece)))).await.unwrap();
            said.push_str(piece);
            // The endpoint says no more until this came.
            while decoded_so_far(coding, &coded) != said.as_bytes() {
                let frame = tokio::time::timeout(SOON, body.frame()).await.unwrap();
                coded.extend(frame.unwrap().unwrap().into_data().unwrap());
            }
        }
        drop(feed);
        coded.extend(body.collect().await.unwrap().to_bytes());
        assert_eq!(decoded(coding, &coded), said.as_bytes(), "{coding}");
    }
}

#[tokio::test]
async fn others_are_served_while_a_large_body_is_compressed() {
    let server = Server::start(pages).await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.filters = vec![filter("f", compression())];
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let mut other = Client::http1(gateway.address()).await;
    let request = client.request("GET", "/up/page").header("accept-encoding", "br");
    let mut body = client
        .send(request.body(full("")).unwrap())
        .await
        .unwrap()
        .into_body();
    body.frame().await.unwrap().unwrap();
    // The rest of it is not read meanwhile, which holds up nobody.
    for _ in 0..10 {
        let answer = tokio::time::timeout(Duration::from_secs(5), other.get("/own")).await;
        assert_eq!(answer.unwrap().unwrap().text(), "own");
    }
    drop(body.collect().await.unwrap());
}
