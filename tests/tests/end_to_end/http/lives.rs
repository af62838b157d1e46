//! What holds on to something that is gone: streams at an endpoint that was taken out, and of old snapshots.

use std::time::{Duration, Instant};

use gateway_tests::lab::wait::wait_until;
use http_body_util::BodyExt;

use super::gateway::{Gateway, Setup, Speaks};
use super::peers::{Client, Server, data, empty, feeding};
use super::within::{PATIENCE, run, within};

#[test]
fn a_stream_at_an_endpoint_that_is_taken_out_ends_after_drain_timeout() {
    run(async {
        let (old, mut feeds) = feeding().await;
        let (new, mut new_feeds) = feeding().await;
        for up in [Speaks::Http1, Speaks::Http2] {
            let with = |server: &Server| {
                let mut setup = Setup::to(server.address, up);
                setup.tables += "drain_timeout = \"1s\"\n";
                setup
            };
            for down in [Speaks::Http1, Speaks::Http2] {
                let what = format!("{down:?} to {up:?}");
                let gateway = Gateway::start(&with(&old));
                let mut client = Client::connect(gateway.address(), down).await;
                let request = client.request("GET", "/old").body(empty()).expect("a request");
                let answer = within(&what, client.send(request)).await.expect("a head");
                let feed = within(&what, feeds.recv()).await.expect("a feed");
                let mut body = answer.into_body();
                let reloaded = Instant::now();
                gateway.reload(&with(&new));
                feed.send(data("still here")).await.expect("a reader");
                let frame = within(&what, body.frame()).await.expect("a frame").expect("data");
                assert_eq!(frame.data_ref().expect("data").as_ref(), b"still here", "{what}");
                let end = within(&what, body.frame()).await;
                assert!(end.is_none_or(|end| end.is_err()), "{what}: an end without more");
                assert!(
                    reloaded.elapsed() >= Duration::from_secs(1),
                    "{what}: before its time"
                );
                let logged = gateway.log.wait(1, |entry| entry.get("path") == Some("/old"));
                assert_eq!(logged[0].reason(), "endpoint-removed", "{what}");
                // What comes now goes to the endpoint that is there, and stays.
                let mut client = Client::connect(gateway.address(), down).await;
                let request = client.request("GET", "/new").body(empty()).expect("a request");
                let answer = within(&what, client.send(request)).await.expect("a head");
                drop(within(&what, new_feeds.recv()).await.expect("a feed"));
                let rest = within(&what, answer.into_body().collect()).await.expect("an end");
                assert!(rest.to_bytes().is_empty(), "{what}");
                gateway.check_idle();
            }
        }
    });
}

#[test]
fn old_snapshots_are_counted_while_a_stream_holds_them() {
    run(async {
        let (server, mut feeds) = feeding().await;
        let gateway = Gateway::start(&Setup::to(server.address, Speaks::Http1).workers(2));
        let old = |expected: u64| {
            let seen = wait_until(Instant::now() + PATIENCE, || {
                (gateway.counted("gateway_snapshots_old") == expected).then_some(())
            });
            assert!(
                seen.is_some(),
                "{expected} old snapshots: {}",
                gateway.counted("gateway_snapshots_old")
            );
        };
        // One that is idle between two requests holds nothing.
        let mut idle = Client::connect(gateway.address(), Speaks::Http1).await;
        let request = idle.request("GET", "/idle").body(empty()).expect("a request");
        let answer = within("idle", idle.send(request)).await.expect("a head");
        drop(feeds.recv().await);
        within("idle", answer.into_body().collect())
            .await
            .expect("an end");
        let mut held = Vec::new();
        for number in 1..=3 {
            let mut client = Client::connect(gateway.address(), Speaks::Http2).await;
            let request = client.request("GET", "/events").body(empty()).expect("a request");
            let answer = within("a stream", client.send(request)).await.expect("a head");
            held.push((feeds.recv().await.expect("a feed"), answer, client));
            let timeout = format!("timeout = \"{}s\"", 5 + number);
            gateway.reload(
                &Setup::to(server.address, Speaks::Http1)
                    .workers(2)
                    .defaults(&timeout),
            );
            old(number);
        }
        held.remove(0);
        old(2);
        held.clear();
        old(0);
    });
}

#[test]
fn a_stream_whose_client_takes_nothing_ends_with_its_endpoint_all_the_same() {
    run(async {
        let (old, mut feeds) = feeding().await;
        let with = |endpoint: std::net::SocketAddr| {
            let mut setup = Setup::to(endpoint, Speaks::Http1);
            setup.tables += "drain_timeout = \"1s\"\n";
            setup
        };
        let gateway = Gateway::start(&with(old.address));
        let mut client = Client::connect(gateway.address(), Speaks::Http2).await;
        let request = client.request("GET", "/old").body(empty()).expect("a request");
        // Its body is not read, so its window is never opened again.
        let answer = within("a stream", client.send(request)).await.expect("a head");
        let feed = within("a stream", feeds.recv()).await.expect("a feed");
        let full = tokio::time::timeout(Duration::from_secs(1), async {
            while feed.send(data(vec![b'x'; 65_536])).await.is_ok() {}
        });
        assert!(full.await.is_err(), "everything between is full");
        // `stalled_timeout` is 30 s: not what ends it.
        gateway.reload(&with(super::gateway::free_address()));
        let logged = gateway.log.wait(1, |entry| entry.get("path") == Some("/old"));
        assert_eq!(logged[0].reason(), "endpoint-removed");
        drop(answer);
        gateway.check_idle();
    });
}
