//! Clients that leave before their answer, or end their side after the request; and a node that leaves while answers
//! are under way.

use std::pin::pin;
use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::aborts::{PART_BYTES, WORKERS, check_logged, each_pair, in_every_cell, next_feed, upstream};
use super::gateway::{Gateway, Setup, Speaks};
use super::peers::{Client, Server, data, empty, pattern};
use super::raw::{End, Raw};
use super::recorder::{Conn, Recorder};
use super::within::{PATIENCE, run, within};

/// What becomes of a request that is not answered.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// It came.
    Asked,
    /// Nobody wants the answer any more.
    GivenUp,
}

/// Tells when the upstream gives a request up: its service is dropped then.
struct GivenUp(mpsc::UnboundedSender<Heard>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        drop(self.0.send(Heard::GivenUp));
    }
}

#[test]
fn a_client_that_leaves_before_the_answer_ends_the_upstreams_request() {
    run(async {
        in_every_cell(|workers, down, up| async move {
            let (tell, mut told) = mpsc::unbounded_channel();
            let server = Server::start(move |request: Request<Incoming>| {
                let tell = tell.clone();
                async move {
                    drop(request);
                    let _given_up = GivenUp(tell.clone());
                    drop(tell.send(Heard::Asked));
                    std::future::pending().await
                }
            })
            .await;
            let what = format!("{down:?} to {up:?}, {workers} workers");
            let gateway = Gateway::start(&Setup::to(server.address, up).workers(workers));
            let mut client = Client::connect(gateway.address(), down).await;
            let request = client.request("GET", "/a").body(empty()).expect("a request");
            {
                let mut asking = pin!(client.send(request));
                let asked = within(&what, async {
                    tokio::select! {
                        _ = &mut asking => None,
                        asked = told.recv() => asked,
                    }
                });
                assert_eq!(asked.await, Some(Heard::Asked), "{what}");
                // Here the client leaves: HTTP/1 closes its connection, HTTP/2 resets its stream.
            }
            assert_eq!(within(&what, told.recv()).await, Some(Heard::GivenUp), "{what}");
            tokio::task::block_in_place(|| {
                check_logged(&gateway, &client, &what, &["client-closed"], "downstream");
                gateway.check_idle();
            });
        })
        .await;
    });
}

#[test]
fn a_client_that_resets_before_the_answer_ends_the_upstreams_connection() {
    run(async {
        let asked = Arc::new(tokio::sync::Notify::new());
        let gone = Arc::new(tokio::sync::Notify::new());
        let script = {
            let (asked, gone) = (Arc::clone(&asked), Arc::clone(&gone));
            move |mut conn: Conn| {
                let (asked, gone) = (Arc::clone(&asked), Arc::clone(&gone));
                async move {
                    conn.request().await;
                    asked.notify_one();
                    conn.end().await;
                    gone.notify_one();
                }
            }
        };
        let recorder = Recorder::start(script).await;
        for workers in WORKERS {
            let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1).workers(workers));
            let mut raw = Raw::connect(gateway.address()).await;
            let local = raw.local();
            raw.send(b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
            within("the request", asked.notified()).await;
            raw.reset();
            within("the end of the upstream's connection", gone.notified()).await;
            let entries = gateway.log.of(local, 1);
            assert_eq!(
                entries.first().map(|entry| entry.reason()),
                Some("client-closed"),
                "{workers} workers: {entries:?}"
            );
            gateway.check_idle();
        }
    });
}

/// Half a connection closed is not a client gone: `shutdown(SHUT_WR)` after the request is what netcat does.
#[test]
fn a_client_that_ends_its_side_after_the_request_gets_its_answer() {
    run(async {
        let recorder = Recorder::ok().await;
        let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        raw.half_close().await;
        let answers = within("the answer", raw.read_to_end()).await;
        assert_eq!(answers.len(), 1, "{}", raw.told());
        assert_eq!(raw.end(), End::Closed);
    });
}

/// A stopping gateway finishes what runs and takes nothing new.
#[test]
fn a_drain_finishes_the_responses_under_way() {
    run(async {
        let (server, mut told) = upstream().await;
        for (_, down, up) in each_pair(1) {
            let what = format!("{down:?} to {up:?}");
            let mut gateway = Gateway::start(&Setup::to(server.address, up));
            let mut client = Client::connect(gateway.address(), down).await;
            let request = client.request("GET", "/feed").body(empty()).expect("a request");
            let answer = within(&what, client.send(request)).await.expect("an answer");
            let feed = within(&what, next_feed(&mut told)).await;
            feed.send(data(pattern(PART_BYTES))).await.expect("a reader");
            gateway.terminate();
            gateway.wait_said("SIGTERM", PATIENCE);
            feed.send(data(pattern(PART_BYTES))).await.expect("a reader");
            drop(feed);
            let body = within(&what, answer.into_body().collect())
                .await
                .expect("all of it");
            assert_eq!(body.to_bytes().len(), 2 * PART_BYTES, "{what}");
            drop(client);
            let ended = gateway.wait_end();
            assert!(ended.success(), "{what}: {ended}");
        }
    });
}
