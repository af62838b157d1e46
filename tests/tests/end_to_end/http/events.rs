//! Server-sent events: each arrives before the next is sent, through every pair of versions.

use http_body_util::BodyExt;

use super::gateway::{Gateway, Setup, Speaks};
use super::peers::{Client, data, empty, feeding};
use super::within::{run, within};

#[test]
fn each_event_arrives_before_the_next_is_sent() {
    run(async {
        let (server, mut feeds) = feeding().await;
        for up in [Speaks::Http1, Speaks::Http2] {
            let gateway = Gateway::start(&Setup::to(server.address, up));
            for down in [Speaks::Http1, Speaks::Http2] {
                let what = format!("{down:?} to {up:?}");
                let mut client = Client::connect(gateway.address(), down).await;
                let request = client.request("GET", "/events").body(empty()).expect("a request");
                let answer = within(&what, client.send(request))
                    .await
                    .expect("a head before any event");
                let feed = within(&what, feeds.recv()).await.expect("a feed");
                let mut body = answer.into_body();
                for number in 0..20 {
                    let event = format!("id: {number}\ndata: something\n\n");
                    feed.send(data(event.clone())).await.expect("a reader");
                    let mut got = Vec::new();
                    while got.len() < event.len() {
                        let frame = within(&what, body.frame()).await.expect("a frame").expect("data");
                        got.extend_from_slice(frame.data_ref().expect("data"));
                    }
                    assert_eq!(got, event.as_bytes(), "{what}");
                }
                drop(feed);
                let rest = within(&what, body.collect()).await.expect("an end");
                assert!(rest.to_bytes().is_empty(), "{what}");
            }
            gateway.check_idle();
        }
    });
}
