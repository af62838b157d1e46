//! HTTP/2 before HTTP/1: what HTTP/1 could not carry, or would read as something else, goes no further.

use super::super::frames::{Fields, Frames, Last, Outcome, data, head};
use super::super::gateway::{Gateway, Setup, Speaks};
use super::super::recorder::Recorder;
use super::super::rows::Saw;
use super::super::within::{run, within};

/// PROTOCOL_ERROR of RFC 9113, section 7.
const PROTOCOL_ERROR: u32 = 1;

const METHOD: (&[u8], &[u8]) = (b":method", b"GET");
const SCHEME: (&[u8], &[u8]) = (b":scheme", b"http");
const AUTHORITY: (&[u8], &[u8]) = (b":authority", b"a.example");
const PATH: (&[u8], &[u8]) = (b":path", b"/a");

type Field = (&'static [u8], &'static [u8]);

/// A whole request of these fields.
fn get(fields: Fields<'_>) -> Vec<u8> {
    head(1, fields, Last::Yes)
}

/// A good GET with more fields.
fn with(more: &[Field]) -> Vec<u8> {
    let fields: Vec<_> = [METHOD, SCHEME, AUTHORITY, PATH]
        .iter()
        .chain(more)
        .copied()
        .collect();
    get(&fields)
}

/// A POST with more fields, and its content.
fn post(more: &[Field], content: &[u8]) -> Vec<u8> {
    let first: [Field; 4] = [(b":method", b"POST"), SCHEME, AUTHORITY, PATH];
    let fields: Vec<_> = first.iter().chain(more).copied().collect();
    [head(1, &fields, Last::No), data(1, content, Last::Yes)].concat()
}

fn bad_fields() -> Vec<(&'static str, Vec<u8>)> {
    let rows: [(&'static str, Field); 22] = [
        ("CR in a value", (b"x-a", b"1\rx-b: 2")),
        ("LF in a value", (b"x-a", b"1\nx-b: 2")),
        ("CRLF in a value", (b"x-a", b"1\r\nx-b: 2")),
        (
            "a request in a value",
            (b"x-a", b"1\r\n\r\nGET /b HTTP/1.1\r\nhost: b\r\n\r\n"),
        ),
        ("NUL in a value", (b"x-a", b"1\0")),
        ("LF in a name", (b"x-a\nx-b", b"1")),
        ("CRLF in a name", (b"x-a: 1\r\nx-b", b"2")),
        ("a colon in a name", (b"x-a: 1", b"2")),
        ("a space in a name", (b"x a", b"1")),
        ("an empty name", (b"", b"1")),
        ("upper case in a name", (b"X-A", b"1")),
        ("connection", (b"connection", b"close")),
        ("keep-alive", (b"keep-alive", b"timeout=5")),
        ("proxy-connection", (b"proxy-connection", b"close")),
        ("transfer-encoding", (b"transfer-encoding", b"chunked")),
        ("upgrade", (b"upgrade", b"websocket")),
        ("te of another kind", (b"te", b"gzip")),
        ("a second path, late", (b":path", b"/b")),
        ("a late authority", (b":authority", b"b.example")),
        ("an unknown pseudo field", (b":foo", b"1")),
        ("a pseudo field of answers", (b":status", b"200")),
        ("a host unlike the authority", (b"host", b"b.example")),
    ];
    let rows = rows.into_iter().map(|(what, field)| (what, with(&[field])));
    let late = [
        (
            "a pseudo field behind the others",
            get(&[METHOD, SCHEME, AUTHORITY, (b"x-a", b"1"), PATH]),
        ),
        ("two methods", get(&[METHOD, METHOD, SCHEME, AUTHORITY, PATH])),
        ("two paths", get(&[METHOD, SCHEME, AUTHORITY, PATH, PATH])),
        ("no method", get(&[SCHEME, AUTHORITY, PATH])),
        ("no path", get(&[METHOD, SCHEME, AUTHORITY])),
        ("neither authority nor host", get(&[METHOD, SCHEME, PATH])),
        (
            "an empty path",
            get(&[METHOD, SCHEME, AUTHORITY, (b":path", b"")]),
        ),
        (
            "a path without a slash",
            get(&[METHOD, SCHEME, AUTHORITY, (b":path", b"a")]),
        ),
        (
            "a space in the path",
            get(&[METHOD, SCHEME, AUTHORITY, (b":path", b"/a HTTP/1.1")]),
        ),
        (
            "CRLF in the path",
            get(&[
                METHOD,
                SCHEME,
                AUTHORITY,
                (b":path", b"/a HTTP/1.1\r\nx-b: 1\r\n\r\n"),
            ]),
        ),
        (
            "a space in the method",
            get(&[(b":method", b"GET /b HTTP/1.1"), SCHEME, AUTHORITY, PATH]),
        ),
        (
            "CRLF in the method",
            get(&[(b":method", b"GET / HTTP/1.1\r\nx: y"), SCHEME, AUTHORITY, PATH]),
        ),
        (
            "CRLF in the authority",
            get(&[METHOD, SCHEME, (b":authority", b"a\r\nx-b: 1"), PATH]),
        ),
        (
            "user information in the authority",
            get(&[METHOD, SCHEME, (b":authority", b"u@a.example"), PATH]),
        ),
        (
            "a path in the authority",
            get(&[METHOD, SCHEME, (b":authority", b"a.example/x"), PATH]),
        ),
        (
            "two hosts",
            with(&[(b"host", b"a.example"), (b"host", b"a.example")]),
        ),
    ];
    rows.chain(late).collect()
}

fn bad_content() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "less content than its length",
            post(&[(b"content-length", b"5")], b"abc"),
        ),
        (
            "more content than its length",
            post(&[(b"content-length", b"2")], b"abc"),
        ),
        ("a length and no content", with(&[(b"content-length", b"3")])),
        (
            "two lengths",
            post(&[(b"content-length", b"3"), (b"content-length", b"3")], b"abc"),
        ),
        ("a list of lengths", post(&[(b"content-length", b"3, 3")], b"abc")),
        (
            "a length with a sign",
            post(&[(b"content-length", b"+3")], b"abc"),
        ),
    ]
}

fn good() -> Vec<(&'static str, Vec<u8>, Saw)> {
    let line = || Saw::line("GET /a HTTP/1.1");
    vec![
        (
            "a plain request",
            with(&[]),
            line()
                .with("host", "a.example")
                .with("via", "2 gateway")
                .without(&["transfer-encoding", "content-length"]),
        ),
        (
            "crumbs of a cookie",
            with(&[(b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", b"b=2")]),
            line().with("cookie", "a=1; b=2"),
        ),
        (
            "a host like the authority",
            with(&[(b"host", b"a.example")]),
            line().with("host", "a.example"),
        ),
        (
            "a host and no authority",
            get(&[METHOD, SCHEME, PATH, (b"host", b"b.example")]),
            line().with("host", "b.example"),
        ),
        ("te: trailers", with(&[(b"te", b"trailers")]), line()),
        (
            "content without a length",
            post(&[], b"abc"),
            Saw::line("POST /a HTTP/1.1")
                .with("transfer-encoding", "chunked")
                .without(&["content-length"])
                .body(b"abc"),
        ),
        (
            "content of its length",
            post(&[(b"content-length", b"3")], b"abc"),
            Saw::line("POST /a HTTP/1.1")
                .with("content-length", "3")
                .without(&["transfer-encoding"])
                .body(b"abc"),
        ),
        // No library tells of it: it is enough that it goes no further.
        (
            "a pseudo field in the trailers",
            {
                let trailers = head(1, &[(b":path", b"/b")], Last::Yes);
                let first: [Field; 4] = [(b":method", b"POST"), SCHEME, AUTHORITY, PATH];
                [head(1, &first, Last::No), data(1, b"abc", Last::No), trailers].concat()
            },
            Saw::line("POST /a HTTP/1.1").without(&[":path"]).body(b"abc"),
        ),
        (
            "a path that is brought to its form",
            get(&[METHOD, SCHEME, AUTHORITY, (b":path", b"/a/../%62//c?d")]),
            Saw::line("GET /b/c?d HTTP/1.1"),
        ),
    ]
}

#[test]
fn what_http1_cannot_carry_is_refused() {
    run(async {
        let recorder = Recorder::ok().await;
        let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
        let mut failures = Vec::new();
        for (what, sent) in bad_fields().into_iter().chain(bad_content()) {
            let mut frames = Frames::connect(gateway.address()).await;
            frames.settle().await;
            frames.send(&sent).await;
            let outcome = within(what, frames.outcome()).await;
            let is_refused = matches!(
                outcome,
                Outcome::Answer(400) | Outcome::Reset(PROTOCOL_ERROR) | Outcome::Goaway(PROTOCOL_ERROR)
            );
            let seen = recorder.requests();
            if !is_refused || !seen.is_empty() {
                failures.push(format!("{what}: {outcome:?}, the upstream saw {seen:?}"));
                recorder.forget();
            }
        }
        gateway.check_idle();
        assert!(
            failures.is_empty(),
            "{} fail:\n{}",
            failures.len(),
            failures.join("\n")
        );
    });
}

#[test]
fn what_http1_can_carry_arrives_in_its_form() {
    run(async {
        let recorder = Recorder::ok().await;
        let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
        let mut failures = Vec::new();
        for (what, sent, saw) in good() {
            let mut frames = Frames::connect(gateway.address()).await;
            frames.settle().await;
            frames.send(&sent).await;
            let outcome = within(what, frames.outcome()).await;
            let seen = recorder.requests();
            recorder.forget();
            let difference = match seen.as_slice() {
                [one] => saw.difference(one),
                _ => Some("not one request".to_owned()),
            };
            if outcome != Outcome::Answer(200) || difference.is_some() {
                failures.push(format!(
                    "{what}: {outcome:?}, the upstream saw {difference:?} in {seen:?}"
                ));
            }
        }
        assert!(
            failures.is_empty(),
            "{} fail:\n{}",
            failures.len(),
            failures.join("\n")
        );
    });
}

/// So many fields, each with a value of so many bytes.
fn many(name: &'static [u8], count: usize, value_bytes: usize) -> Vec<u8> {
    let value = vec![b'v'; value_bytes];
    let first: [(&[u8], &[u8]); 4] = [METHOD, SCHEME, AUTHORITY, PATH];
    let more = std::iter::repeat_n((name, value.as_slice()), count);
    let fields: Vec<_> = first.into_iter().chain(more).collect();
    get(&fields)
}

#[test]
fn heads_over_http2_are_bounded_as_those_of_http1() {
    run(async {
        let recorder = Recorder::ok().await;
        let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
        let mut failures = Vec::new();
        for (what, sent, status, reason) in [
            ("100 fields", many(b"x-a", 100, 1), 200, Some("ok")),
            ("101 fields", many(b"x-a", 101, 1), 431, Some("fields-too-many")),
            (
                "101 crumbs of a cookie",
                many(b"cookie", 101, 1),
                431,
                Some("fields-too-many"),
            ),
            ("300 fields", many(b"x-a", 300, 1), 431, Some("fields-too-many")),
            // A field counts 32 bytes beside its name and value (RFC 9113, section 6.5.2). h2 answers this one by
            // itself, so there is no line about the request.
            ("a head of over 16 kB", many(b"x-a", 102, 126), 431, None),
        ] {
            let mut frames = Frames::connect(gateway.address()).await;
            frames.settle().await;
            frames.send(&sent).await;
            let outcome = within(what, frames.outcome()).await;
            let seen = recorder.requests().len();
            recorder.forget();
            if outcome != Outcome::Answer(status) || seen != usize::from(status == 200) {
                failures.push(format!("{what}: {outcome:?}, the upstream saw {seen} requests"));
            }
            if let Some(reason) = reason {
                let entries = gateway.log.of(frames.raw.local(), 1);
                let logged = entries.first().map(|entry| entry.reason());
                if logged != Some(reason) {
                    failures.push(format!("{what}: logged {logged:?}, not {reason:?}"));
                }
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    });
}

/// RFC 9113, sections 6.5.2 and 6.9.2.
#[test]
fn a_client_is_told_its_bounds_at_the_start() {
    run(async {
        let recorder = Recorder::ok().await;
        let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
        let mut frames = Frames::connect(gateway.address()).await;
        frames.settle().await;
        frames.send(&with(&[])).await;
        assert_eq!(within("the answer", frames.outcome()).await, Outcome::Answer(200));
        let (settings, window) = frames.told();
        for (what, number, value) in [
            ("streams at a time", 3, 100),
            ("bytes of a stream's window", 4, 64 << 10),
            ("bytes of a head", 6, 16 << 10),
        ] {
            assert!(settings.contains(&(number, value)), "{what}: {settings:?}");
        }
        // Every connection begins with 65,535 bytes.
        assert_eq!(window, (1 << 20) - 65_535, "bytes of the connection's window");
    });
}
