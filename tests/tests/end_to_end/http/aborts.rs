//! Exchanges that break off: the other side learns of it, the log says whose fault it was, and nothing leaks.

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::frames::frame;
use super::gateway::{Gateway, Setup, Speaks};
use super::message::find;
use super::peers::{Body, Client, Feed, Server, broken, data, empty, fed, full, pattern};
use super::raw::{End, Raw};
use super::recorder::{Conn, Recorder};
use super::within::{run, within};

const SPEAKS: [Speaks; 2] = [Speaks::Http1, Speaks::Http2];
pub(super) const WORKERS: [usize; 3] = [1, 2, 4];

/// A frame's kind in RFC 9113.
const SETTINGS: u8 = 4;

/// What is sent before an exchange breaks off: more than one frame, less than a window.
pub(super) const PART_BYTES: usize = 32 << 10;

/// What the upstream of these tests tells of its requests.
pub(super) enum Told {
    /// A response's body can be fed.
    Feed(Feed),
    /// So many bytes of a request's body came.
    Came(usize),
    /// The request's body broke off after so many bytes.
    Broke,
    /// It ended.
    Ended,
}

/// `/feed` answers with a body that the test feeds; anything else reads its body, telling what comes.
pub(super) async fn upstream() -> (Server, mpsc::UnboundedReceiver<Told>) {
    let (tell, told) = mpsc::unbounded_channel();
    let server = Server::start(move |request| answer(request, tell.clone())).await;
    (server, told)
}

async fn answer(request: Request<Incoming>, tell: mpsc::UnboundedSender<Told>) -> Response<Body> {
    if request.uri().path() == "/feed" {
        let (feed, body) = fed();
        drop(tell.send(Told::Feed(feed)));
        return Response::new(body);
    }
    let mut body = request.into_body();
    loop {
        let told = match body.frame().await {
            Some(Ok(frame)) => Told::Came(frame.data_ref().map_or(0, |data| data.len())),
            Some(Err(_)) => Told::Broke,
            None => Told::Ended,
        };
        let is_last = !matches!(told, Told::Came(_));
        drop(tell.send(told));
        if is_last {
            return Response::new(full("read"));
        }
    }
}

/// Gets the feed of the next answer.
pub(super) async fn next_feed(told: &mut mpsc::UnboundedReceiver<Told>) -> Feed {
    loop {
        match told.recv().await.expect("the upstream runs") {
            Told::Feed(feed) => return feed,
            Told::Came(_) | Told::Broke | Told::Ended => {}
        }
    }
}

/// Asserts on the only log line of a client's connection.
pub(super) fn check_logged(gateway: &Gateway, client: &Client, what: &str, reasons: &[&str], fault: &str) {
    let entries = gateway.log.of(client.local(), 1);
    let found: Vec<_> = entries
        .iter()
        .map(|entry| (entry.reason().to_owned(), entry.get("fault").map(str::to_owned)))
        .collect();
    let [(reason, found_fault)] = found.as_slice() else {
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        return;
    };
    assert!(
        reasons.contains(&reason.as_str()) && found_fault.as_deref() == Some(fault),
        "{what}: {reason} by {found_fault:?}, not one of {reasons:?} by {fault}"
    );
}

pub(super) fn each_pair(workers: usize) -> impl Iterator<Item = (usize, Speaks, Speaks)> {
    let pairs = SPEAKS
        .into_iter()
        .flat_map(|down| SPEAKS.into_iter().map(move |up| (down, up)));
    pairs.map(move |(down, up)| (workers, down, up))
}

/// Runs a cell for each number of workers and pair of versions, all at the same time: they wait for seconds, not for
/// the processor.
pub(super) async fn in_every_cell<F>(cell: impl Fn(usize, Speaks, Speaks) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut cells = JoinSet::new();
    for (workers, down, up) in WORKERS.into_iter().flat_map(each_pair) {
        cells.spawn(cell(workers, down, up));
    }
    while let Some(ended) = cells.join_next().await {
        ended.expect("a cell that holds");
    }
}

#[test]
fn a_client_that_breaks_off_its_body_never_makes_a_whole_request() {
    run(async {
        in_every_cell(|workers, down, up| async move {
            let (server, mut told) = upstream().await;
            let what = format!("{down:?} to {up:?}, {workers} workers");
            let gateway = Gateway::start(&Setup::to(server.address, up).workers(workers));
            let mut client = Client::connect(gateway.address(), down).await;
            let (feed, body) = fed();
            let request = client.request("POST", "/read").body(body).expect("a request");
            let local = client.local();
            let sending = tokio::spawn(async move {
                let answered = client.send(request).await;
                (client, answered.map(|answer| answer.status()))
            });
            feed.send(data(pattern(PART_BYTES))).await.expect("a reader");
            let mut came = 0;
            while came < PART_BYTES {
                match within(&what, told.recv()).await.expect("the upstream runs") {
                    Told::Came(bytes) => came += bytes,
                    Told::Feed(_) | Told::Broke | Told::Ended => {}
                }
            }
            feed.send(broken()).await.expect("a reader");
            let last = within(&what, async {
                loop {
                    match told.recv().await.expect("the upstream runs") {
                        Told::Came(_) | Told::Feed(_) => {}
                        last => break last,
                    }
                }
            });
            assert!(
                matches!(last.await, Told::Broke),
                "{what}: the upstream got a whole body"
            );
            let (client, _) = within(&what, sending).await.expect("a client");
            assert_eq!(client.local(), local);
            tokio::task::block_in_place(|| {
                check_logged(
                    &gateway,
                    &client,
                    &what,
                    &["request-body-broken", "client-closed"],
                    "downstream",
                );
                gateway.check_idle();
            });
        })
        .await;
    });
}

#[test]
fn a_client_that_leaves_in_mid_response_ends_the_upstreams_too() {
    run(async {
        in_every_cell(|workers, down, up| async move {
            let (server, mut told) = upstream().await;
            let what = format!("{down:?} to {up:?}, {workers} workers");
            let gateway = Gateway::start(&Setup::to(server.address, up).workers(workers));
            let mut client = Client::connect(gateway.address(), down).await;
            let request = client.request("GET", "/feed").body(empty()).expect("a request");
            let answer = within(&what, client.send(request)).await.expect("an answer");
            let feed = within(&what, next_feed(&mut told)).await;
            feed.send(data(pattern(PART_BYTES))).await.expect("a reader");
            let mut body = answer.into_body();
            within(&what, body.frame()).await.expect("a frame").expect("data");
            drop(body);
            within(&what, feed.closed()).await;
            tokio::task::block_in_place(|| {
                check_logged(&gateway, &client, &what, &["client-closed"], "downstream");
                gateway.check_idle();
            });
        })
        .await;
    });
}

#[test]
fn an_upstream_that_breaks_off_its_response_breaks_off_the_clients() {
    run(async {
        in_every_cell(|workers, down, up| async move {
            let (server, mut told) = upstream().await;
            let what = format!("{down:?} to {up:?}, {workers} workers");
            let gateway = Gateway::start(&Setup::to(server.address, up).workers(workers));
            let mut client = Client::connect(gateway.address(), down).await;
            let request = client.request("GET", "/feed").body(empty()).expect("a request");
            let answer = within(&what, client.send(request)).await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK, "{what}");
            let feed = within(&what, next_feed(&mut told)).await;
            feed.send(data(pattern(PART_BYTES))).await.expect("a reader");
            let mut body = answer.into_body();
            within(&what, body.frame()).await.expect("a frame").expect("data");
            feed.send(broken()).await.expect("a reader");
            let rest = within(&what, body.collect()).await;
            assert!(rest.is_err(), "{what}: the client takes the answer for whole");
            tokio::task::block_in_place(|| {
                check_logged(&gateway, &client, &what, &["response-body-broken"], "upstream");
                gateway.check_idle();
            });
        })
        .await;
    });
}

/// A response that ends before its Content-Length must not look whole: HTTP/1 by raw bytes on both sides.
#[test]
fn a_response_that_is_short_ends_the_clients_connection_short() {
    run(async {
        let rows: [(&str, &'static [u8]); 2] = [
            ("a length", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
            (
                "chunks",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            ),
        ];
        for (what, answer) in rows {
            for reset in [End::Closed, End::Reset] {
                let recorder = Recorder::start(move |mut conn: Conn| async move {
                    conn.request().await;
                    conn.send(answer).await;
                    // What was sent must arrive before a reset that would take it back.
                    if reset == End::Reset {
                        conn.peer_took_all().await;
                        conn.reset();
                    }
                })
                .await;
                let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
                let mut raw = Raw::connect(gateway.address()).await;
                raw.send(b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
                let answers = within(what, raw.read_to_end()).await;
                assert!(
                    answers.is_empty() && find(raw.got(), b"\r\n0\r\n").is_none(),
                    "{what}, {reset:?}: looks whole: {}",
                    raw.told()
                );
                let entries = gateway.log.of(raw.local(), 1);
                let reason = entries.first().map(|entry| entry.reason());
                let expected = ["response-body-broken", "upstream-protocol"];
                assert!(
                    reason.is_some_and(|reason| expected.contains(&reason)),
                    "{what}, {reset:?}: {entries:?}"
                );
            }
        }
    });
}

/// Reads a request's beginning, as much of it as no buffer on the way hides, and resets.
async fn resets(mut conn: Conn, speaks: Speaks) {
    if speaks == Speaks::Http2 {
        // No more than a client of HTTP/2 must have heard before its requests count as sent.
        conn.send(&frame(SETTINGS, 0, 0, &[])).await;
    }
    conn.take(PART_BYTES).await;
    conn.reset();
}

#[test]
fn an_upstream_that_resets_before_it_answers_is_502() {
    run(async {
        in_every_cell(|workers, down, up| async move {
            let what = format!("{down:?} to {up:?}, {workers} workers");
            let recorder = Recorder::start(move |conn| resets(conn, up)).await;
            let gateway = Gateway::start(&Setup::to(recorder.address(), up).workers(workers));
            let mut client = Client::connect(gateway.address(), down).await;
            let (feed, body) = fed();
            let request = client.request("POST", "/x").body(body).expect("a request");
            feed.send(data(pattern(2 * PART_BYTES))).await.expect("a reader");
            let answer = within(&what, client.send(request)).await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{what}");
            let text = within(&what, answer.into_body().collect()).await;
            let text = text.expect("a body").to_bytes();
            assert!(text.starts_with(b"upstream-closed: "), "{what}: {text:?}");
            tokio::task::block_in_place(|| {
                check_logged(&gateway, &client, &what, &["upstream-closed"], "upstream");
                gateway.check_idle();
            });
        })
        .await;
    });
}
