//! Every version before every version, bodies of every size and framing both ways: they arrive whole.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::gateway::{Gateway, Setup, Speaks};
use super::peers::{
    Body, Client, Length, PATTERN_BYTES_MAX, Server, data, empty, fed, full, pattern, patterned,
};
use super::within::{run, within, within_time};

const SPEAKS: [Speaks; 2] = [Speaks::Http1, Speaks::Http2];
const LENGTHS: [Length; 2] = [Length::Told, Length::Untold];

/// Sizes of bodies that every client sends and gets: none, one byte, what a stream's window holds.
const SIZES: [usize; 3] = [0, 1, 64 << 10];

/// More than any buffer: clients that run at the same time share these exchanges out.
const LARGE: [usize; 1] = [PATTERN_BYTES_MAX];

/// Connections at a time, where there are several workers: one for each way to frame a large exchange.
const AT_ONCE: usize = 4;

/// One exchange of 10 MB both ways, on a machine with other work.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(30);

/// Says how many bytes of the pattern came, or 400 where it was something else, and answers with as many as
/// `x-size` asks for, their length told or not as `x-length` says.
async fn answer(request: Request<Incoming>) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let size = field("x-size").and_then(|size| size.parse().ok()).unwrap_or(0);
    let length = match field("x-length") {
        Some("Told") => Length::Told,
        _ => Length::Untold,
    };
    let told = field("content-length").unwrap_or("-").to_owned();
    let whole = pattern(PATTERN_BYTES_MAX);
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return status(400, "the body broke off");
        };
        if let Some(data) = frame.data_ref() {
            if whole.get(bytes..bytes + data.len()) != Some(data.as_ref()) {
                return status(400, "the body is not the pattern");
            }
            bytes += data.len();
        }
    }
    let mut response = Response::new(patterned(size, length));
    let headers = response.headers_mut();
    headers.insert("x-bytes", bytes.into());
    headers.insert("x-told", told.parse().expect("a value"));
    response
}

fn status(code: u16, text: &'static str) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = http::StatusCode::from_u16(code).expect("a status");
    response
}

/// One cell of the matrix: a body up, a body down.
#[derive(Clone, Copy, Debug)]
struct Cell {
    size: usize,
    up: Length,
    down: Length,
}

fn cells(sizes: &[usize]) -> impl Iterator<Item = Cell> {
    let both = LENGTHS
        .into_iter()
        .flat_map(|up| LENGTHS.into_iter().map(move |down| (up, down)));
    both.flat_map(move |(up, down)| sizes.iter().map(move |&size| Cell { size, up, down }))
}

async fn exchange(client: &mut Client, cell: Cell) -> Result<(), String> {
    let Cell { size, up, down } = cell;
    let request = client
        .request("POST", "/x")
        .header("x-size", size)
        .header("x-length", format!("{down:?}"))
        .body(patterned(size, up))
        .expect("a request");
    let answer = within_time(&format!("{cell:?}"), EXCHANGE_LIMIT, client.ask(request)).await;
    let answer = answer.map_err(|error| format!("{cell:?}: {error:?}"))?;
    let field = |name: &str| {
        let value = answer.headers().get(name);
        value.map_or(String::new(), |value| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        })
    };
    let told = match up {
        Length::Told if size > 0 => size.to_string(),
        Length::Told => field("x-told"),
        Length::Untold => "-".to_owned(),
    };
    let length = match down {
        Length::Told if size > 0 => size.to_string(),
        // HTTP/2 may end a message with its head.
        Length::Told => field("content-length"),
        Length::Untold => String::new(),
    };
    let found = (
        answer.status().as_u16(),
        field("x-bytes"),
        field("x-told"),
        field("content-length"),
    );
    let expected = (200, size.to_string(), told, length);
    if found != expected {
        return Err(format!(
            "{cell:?}: (status, bytes up, length up, length down) are {found:?}, not {expected:?}; {:?}",
            answer.body().slice(..answer.body().len().min(80))
        ));
    }
    (answer.body() == &pattern(size)).then_some(()).ok_or_else(|| {
        format!(
            "{cell:?}: {} bytes came back, not the pattern",
            answer.body().len()
        )
    })
}

async fn every_cell(workers: usize) {
    let server = Server::start(answer).await;
    let mut failures = Vec::new();
    for upstream in SPEAKS {
        let setup = Setup::to(server.address, upstream)
            .workers(workers)
            .defaults("body_bytes_max = 16_777_216");
        let gateway = Gateway::start(&setup);
        for downstream in SPEAKS {
            let mut clients = Vec::new();
            let at_once = if workers == 1 { 1 } else { AT_ONCE };
            for number in 0..at_once {
                let mut client = Client::connect(gateway.address(), downstream).await;
                clients.push(tokio::spawn(async move {
                    let mut failures = Vec::new();
                    let large = cells(&LARGE).skip(number).step_by(at_once);
                    for cell in cells(&SIZES).chain(large) {
                        failures.extend(exchange(&mut client, cell).await.err());
                    }
                    failures
                }));
            }
            for client in clients {
                for failure in client.await.expect("a client") {
                    failures.push(format!(
                        "{downstream:?} to {upstream:?}, {workers} workers: {failure}"
                    ));
                }
            }
        }
        gateway.check_idle();
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn bodies_of_every_size_and_framing_arrive_whole_with_one_worker() {
    run(every_cell(1));
}

#[test]
fn bodies_of_every_size_and_framing_arrive_whole_with_two_workers() {
    run(every_cell(2));
}

#[test]
fn bodies_of_every_size_and_framing_arrive_whole_with_four_workers() {
    run(every_cell(4));
}

/// The upload is still under way when the answer is whole: it arrives all the same, and the upload ends.
#[test]
fn answers_that_come_before_the_upload_ends_arrive_whole() {
    run(async {
        const ANSWER_BYTES: usize = 1 << 20;
        let server = Server::start(|request: Request<Incoming>| async move {
            // It takes what began, so that the upload is known to be under way.
            let first = request.into_body().frame().await;
            let mut response = Response::new(patterned(ANSWER_BYTES, Length::Told));
            *response.status_mut() = http::StatusCode::FORBIDDEN;
            let began = if matches!(first, Some(Ok(_))) { "yes" } else { "no" };
            response
                .headers_mut()
                .insert("x-began", http::HeaderValue::from_static(began));
            response
        })
        .await;
        for workers in [1, 2, 4] {
            for upstream in SPEAKS {
                let gateway = Gateway::start(&Setup::to(server.address, upstream).workers(workers));
                for downstream in SPEAKS {
                    let what = format!("{downstream:?} to {upstream:?}, {workers} workers");
                    let mut client = Client::connect(gateway.address(), downstream).await;
                    let (feed, body) = fed();
                    let request = client.request("POST", "/x").body(body).expect("a request");
                    feed.send(data(pattern(1 << 10))).await.expect("a reader");
                    let answer = within(&what, client.ask(request)).await;
                    let answer = answer.map_err(|error| format!("{what}: {error:?}"));
                    let answer = answer.expect("a whole answer");
                    assert_eq!(answer.status(), 403, "{what}");
                    assert_eq!(
                        answer.headers().get("x-began").map(|began| began.as_bytes()),
                        Some(&b"yes"[..])
                    );
                    assert!(
                        answer.body() == &pattern(ANSWER_BYTES),
                        "{what}: {} bytes",
                        answer.body().len()
                    );
                    let entries = gateway.log.of(client.local(), 1);
                    let statuses: Vec<_> = entries.iter().filter_map(|entry| entry.get("status")).collect();
                    assert_eq!(statuses, ["403"], "{what}: {entries:?}");
                    drop(feed);
                }
                gateway.check_idle();
            }
        }
    });
}

/// What methods and statuses have no body for: no framing is added, none is lost.
#[test]
fn answers_without_a_body_stay_without_one() {
    run(async {
        let server = Server::start(|request: Request<Incoming>| async move {
            let code = request
                .uri()
                .path()
                .trim_start_matches('/')
                .parse()
                .unwrap_or(200);
            let is_head = request.method() == http::Method::HEAD;
            let body = if is_head || matches!(code, 204 | 304) {
                empty()
            } else {
                full("four")
            };
            let mut response = Response::new(body);
            if is_head {
                response.headers_mut().insert("content-length", 4.into());
            }
            *response.status_mut() = http::StatusCode::from_u16(code).expect("a status");
            response
        })
        .await;
        for upstream in SPEAKS {
            let gateway = Gateway::start(&Setup::to(server.address, upstream));
            for downstream in SPEAKS {
                let mut client = Client::connect(gateway.address(), downstream).await;
                for (method, path, status, length, body) in [
                    ("HEAD", "/200", 200, Some("4"), ""),
                    ("GET", "/204", 204, None, ""),
                    ("GET", "/304", 304, None, ""),
                    ("GET", "/200", 200, Some("4"), "four"),
                ] {
                    let what = format!("{method} {path}, {downstream:?} to {upstream:?}");
                    let request = client.request(method, path).body(empty()).expect("a request");
                    let answer = within(&what, client.ask(request)).await.expect("an answer");
                    let told = answer.headers().get("content-length");
                    let told = told.map(|value| value.to_str().expect("a number"));
                    let found = (answer.status().as_u16(), told, answer.body().clone());
                    assert_eq!(
                        found,
                        (status, length, Bytes::from_static(body.as_bytes())),
                        "{what}"
                    );
                }
            }
        }
    });
}
