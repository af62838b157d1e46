//! `body_limit`, for bodies that announce their length and for those that do not.

use super::filter;
use crate::config::snapshot::UpstreamProtocol;
use crate::filters::Settings as Kind;
use crate::filters::body_limit::BodyLimit;
use crate::l7::tests::harness::*;

#[tokio::test]
async fn bodies_pass_up_to_the_smallest_bound() {
    let server = Server::echo().await;
    let limit = |name: &str, bytes| filter(name, Kind::BodyLimit(BodyLimit { bytes }));
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let mut setup = Setup::new(1, &[server.address]);
        setup.protocol = protocol;
        setup.listener_filters = vec![limit("a", 9)];
        setup.filters = vec![limit("a", 6), limit("b", 20)];
        let gateway = Gateway::start(&setup);
        let rows = [
            ("six", full("123456"), 200),
            ("seven", full("1234567"), 413),
            ("six in pieces", in_pieces(&["123", "456"]), 200),
            ("seven in pieces", in_pieces(&["123", "4567"]), 413),
            ("none", full(""), 200),
        ];
        for (what, body, status) in rows {
            let mut client = Client::http1(gateway.address()).await;
            let asked = client.request("POST", "/up").body(body).unwrap();
            let answer = client.ask(asked).await.unwrap();
            assert_eq!(answer.status, status, "{what}, {protocol:?}: {}", answer.text());
        }
        let lines = gateway.lines(5).await;
        let refused = lines.iter().filter(|line| line.contains("reason=body-too-large"));
        assert_eq!(refused.count(), 2, "{lines:#?}");
    }
}

#[tokio::test]
async fn calls_are_bounded_by_message_and_not_by_it() {
    let server = Server::echo().await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.protocol = UpstreamProtocol::Http2;
    setup.filters = vec![filter("f", Kind::BodyLimit(BodyLimit { bytes: 6 }))];
    let gateway = Gateway::start(&setup);
    let mut client = Client::http2(gateway.address()).await;
    let call = client
        .request("POST", "/up")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    // One message of five bytes, behind five of its own.
    let answer = client
        .ask(call.body(full("\0\0\0\0\u{5}12345")).unwrap())
        .await
        .unwrap();
    assert!(answer.text().ends_with("body 10\n"), "{}", answer.text());
}
