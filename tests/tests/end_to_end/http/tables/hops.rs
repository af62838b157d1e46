//! Fields between the two sides: hop by hop ones go, what a client says of others is worth nothing unless it is
//! trusted, and nothing changes its protocol unasked.

use super::super::frames::{self, Frames, Last};
use super::super::gateway::{Gateway, Setup, Speaks};
use super::super::raw::Raw;
use super::super::recorder::Recorder;
use super::super::rows::{After, Row, Saw, Stand, passed, refused};
use super::super::within::{run, within};
use super::{get, post};

fn saw() -> Saw {
    Saw::line("GET /a HTTP/1.1")
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn hop_by_hop() -> Vec<Row> {
    let mut rows = vec![
        passed(
            "what Connection names goes with it",
            get("Connection: X-Drop, x-also\r\nX-Drop: 1\r\nX-Also: 2\r\nX-Stays: 3\r\n"),
            saw()
                .with("x-stays", "3")
                .without(&["connection", "x-drop", "x-also"]),
        ),
        passed(
            "two Connection fields",
            get("Connection: X-Drop\r\nX-Drop: 1\r\nConnection: X-Also\r\nX-Also: 2\r\n"),
            saw().without(&["connection", "x-drop", "x-also"]),
        ),
        passed(
            "fields of this connection only",
            get("Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: foo\r\n"),
            saw().without(&["keep-alive", "proxy-connection", "upgrade", "connection"]),
        ),
        passed(
            "TE with trailers",
            get("Connection: TE\r\nTE: gzip, trailers;q=1\r\n"),
            saw().without(&["connection"]),
        ),
        passed("TE without trailers", get("TE: gzip\r\n"), saw().without(&["te"])),
        passed(
            "TE: trailers",
            get("TE: trailers\r\n"),
            saw().with("te", "trailers"),
        ),
        passed(
            "an upgrade to h2c is ignored",
            get(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
            ),
            saw().without(&["upgrade", "http2-settings", "connection"]),
        ),
        passed(
            "an upgrade that the route does not take",
            get("Connection: Upgrade\r\nUpgrade: irc\r\n"),
            saw().without(&["upgrade", "connection"]),
        ),
    ];
    for name in [
        "Host",
        "Authorization",
        "Cookie",
        "Content-Length",
        "Content-Type",
        "X-Forwarded-For",
        "X-Forwarded-Anything",
    ] {
        rows.push(refused(
            format!("Connection that names {name}"),
            get(&format!("Connection: close, {}\r\n", name.to_lowercase())),
            &[400],
            After::Either,
        ));
    }
    rows
}

fn addresses() -> Vec<Row> {
    vec![
        passed(
            "a plain request",
            get(""),
            saw()
                .with("host", "a.example")
                .with("x-forwarded-for", "127.0.0.1")
                .with("x-forwarded-proto", "http")
                .with("x-forwarded-host", "a.example")
                .with("via", "1.1 gateway"),
        ),
        passed(
            "forged addresses",
            get(
                "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Host: b.example\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /x\r\n\
                 Forwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\n",
            ),
            saw()
                .with("x-forwarded-for", "127.0.0.1")
                .with("x-forwarded-proto", "http")
                .with("x-forwarded-host", "a.example")
                .without(&["x-forwarded-port", "x-forwarded-prefix", "forwarded", "x-real-ip"]),
        ),
        passed(
            "a request id that can be logged",
            get("X-Request-Id: abc-1\r\n"),
            saw().with("x-request-id", "abc-1"),
        ),
        passed("hops of others", get("Via: 1.1 b, 1.0 c\r\n"), saw()),
        passed(
            "nine hops",
            get(&format!("Via: {}\r\n", ["1.1 b"; 9].join(", "))),
            saw(),
        ),
        refused(
            "ten hops",
            get(&format!("Via: {}\r\n", ["1.1 b"; 10].join(", "))),
            &[508],
            After::Either,
        ),
        refused(
            "ten hops in as many fields",
            get(&"Via: 1.1 b\r\n".repeat(10)),
            &[508],
            After::Either,
        ),
        passed(
            "a trace",
            get(&format!("traceparent: {TRACE}\r\ntracestate: a=1,b=2\r\n")),
            saw().with("traceparent", TRACE).with("tracestate", "a=1,b=2"),
        ),
        passed(
            "a trace that is none",
            get("traceparent: 00-zz-b7ad6b7169203331-01\r\ntracestate: a=1\r\n"),
            saw().without(&["traceparent", "tracestate"]),
        ),
        passed(
            "a trace of zeros",
            get(
                "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\ntracestate: a=1\r\n",
            ),
            saw().without(&["traceparent", "tracestate"]),
        ),
        passed(
            "a trace in capitals",
            get(&format!("traceparent: {}\r\n", TRACE.to_uppercase())),
            saw().without(&["traceparent"]),
        ),
    ]
}

fn trusted() -> Vec<Row> {
    vec![
        passed(
            "what a trusted proxy says is kept, and its address added",
            get(
                "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\n\
                 Forwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\n",
            ),
            saw()
                .with("x-forwarded-for", "192.0.2.1, 127.0.0.1")
                .with("x-forwarded-proto", "https")
                .with("x-forwarded-host", "b.example")
                .with("forwarded", "for=192.0.2.1")
                .with("x-real-ip", "192.0.2.1"),
        ),
        passed(
            "a trusted proxy that says nothing",
            get(""),
            saw()
                .with("x-forwarded-for", "127.0.0.1")
                .with("x-forwarded-proto", "http"),
        ),
    ]
}

#[test]
fn fields_of_one_connection_go_no_further() {
    run(async {
        Stand::start("").await.check("hop by hop", &hop_by_hop()).await;
    });
}

#[test]
fn nobody_is_trusted_unless_told() {
    run(async {
        Stand::start("").await.check("addresses", &addresses()).await;
    });
}

#[test]
fn trusted_proxies_are_believed() {
    run(async {
        let stand = Stand::start("trusted_proxies = [\"127.0.0.0/8\"]").await;
        stand.check("trusted", &trusted()).await;
    });
}

/// Everything that the upstream gets of a plain request: a field more or less is a decision, not an accident.
#[test]
fn the_head_that_goes_on_is_exactly_this() {
    run(async {
        let stand = Stand::start("").await;
        let mut raw = Raw::connect(stand.gateway.address()).await;
        raw.send(post("Content-Length: 1\r\nX-Request-Id: id-1\r\nAccept: */*\r\n", "x").as_bytes())
            .await;
        raw.read_answers(1).await;
        let requests = stand.recorder.requests();
        let seen = requests.first().expect("a request");
        assert_eq!(seen.head.start, "POST /a HTTP/1.1");
        let mut fields: Vec<_> = seen
            .head
            .fields
            .iter()
            .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
            .collect();
        fields.sort();
        assert_eq!(
            fields,
            [
                "accept: */*",
                "content-length: 1",
                "host: a.example",
                "via: 1.1 gateway",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-host: a.example",
                "x-forwarded-proto: http",
                "x-request-id: id-1",
            ]
        );
        assert_eq!(seen.body, b"x");
    });
}

#[test]
fn trailers_that_frame_route_or_authorise_are_dropped() {
    run(async {
        let stand = Stand::start("").await;
        let mut raw = Raw::connect(stand.gateway.address()).await;
        let trailers = "X-Sum: 7\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: b.example\r\n\
                    Authorization: x\r\nContent-Type: text/html\r\nX-Forwarded-For: 192.0.2.1\r\nCookie: a=b\r\n";
        let sent = post(
            "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n",
            &format!("1\r\nx\r\n0\r\n{trailers}\r\n"),
        );
        raw.send(sent.as_bytes()).await;
        let answers = raw.read_answers(1).await;
        assert_eq!(answers.len(), 1, "{}", raw.told());
        let requests = stand.recorder.requests();
        let seen = requests.first().expect("a request");
        assert_eq!(seen.body, b"x");
        let names: Vec<_> = seen
            .trailers
            .iter()
            .map(|(name, _)| name.to_lowercase())
            .collect();
        assert!(
            names.is_empty() || names == ["x-sum"],
            "the upstream got {:?}",
            seen.trailers
        );
        assert_eq!(names, ["x-sum"], "a harmless trailer arrives");
    });
}

#[test]
fn trailers_over_http2_are_dropped_likewise() {
    run(async {
        let stand = Stand::start("").await;
        let mut client = Frames::connect(stand.gateway.address()).await;
        client.settle().await;
        let fields: frames::Fields<'_> = &[
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":authority", b"a.example"),
            (b":path", b"/a"),
            (b"trailer", b"x-sum"),
        ];
        let trailers: frames::Fields<'_> = &[
            (b"x-sum", b"7"),
            (b"host", b"b.example"),
            (b"authorization", b"x"),
            (b"content-type", b"text/html"),
            (b"x-forwarded-for", b"192.0.2.1"),
            (b"cookie", b"a=b"),
        ];
        let sent = [
            frames::head(1, fields, Last::No),
            frames::data(1, b"x", Last::No),
            frames::head(1, trailers, Last::Yes),
        ];
        client.send(&sent.concat()).await;
        let outcome = within("the answer", client.outcome()).await;
        assert_eq!(outcome, frames::Outcome::Answer(200));
        let requests = stand.recorder.requests();
        let seen = requests.first().expect("a request");
        let names = seen.trailers.iter().map(|(name, _)| name.to_lowercase());
        assert_eq!(names.collect::<Vec<_>>(), ["x-sum"], "{seen:?}");
        assert_eq!(seen.body, b"x");
    });
}

/// The way back: what an upstream says of its own connection is not the client's business.
#[test]
fn fields_and_trailers_of_the_upstreams_connection_go_no_further() {
    run(async {
        let recorder = Recorder::answering(
            b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Drop\r\nX-Drop: 1\r\nKeep-Alive: timeout=5\r\n\
            Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\
            X-Stays: 2\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\nSet-Cookie: a=b\r\n\
            Transfer-Encoding: chunked\r\nLocation: /b\r\n\r\n",
        )
        .await;
        let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(get("TE: trailers\r\n").as_bytes()).await;
        let answers = within("the answer", raw.read_answers(1)).await;
        let answer = answers.first().expect("an answer");
        assert_eq!((answer.head.status(), answer.text().as_str()), (200, "ok"));
        for gone in [
            "connection",
            "x-drop",
            "keep-alive",
            "proxy-connection",
            "upgrade",
        ] {
            assert_eq!(answer.head.get(gone), None, "{gone}: {}", raw.told());
        }
        assert_eq!(answer.head.get("x-stays"), Some("2"), "{}", raw.told());
        let names = answer.trailers.iter().map(|(name, _)| name.to_lowercase());
        assert_eq!(names.collect::<Vec<_>>(), ["x-sum"], "{}", raw.told());
    });
}
