//! Requests that break a rule but can be read in one way only: refused, let through, or let through and counted.

use super::super::rows::{After, Row, Saw, Stand, passed, refused};
use super::super::within::run;

/// What is odd, the request, and what an upstream sees where it passes.
fn rows() -> Vec<(&'static str, Vec<u8>, Saw)> {
    let bytes = |text: &str| text.as_bytes().to_vec();
    vec![
        (
            "bare LF at the end of each line",
            bytes("GET /keep/a HTTP/1.1\nHost: a.example\n\n"),
            Saw::line("GET /keep/a HTTP/1.1").with("host", "a.example"),
        ),
        (
            "bare LF at the end of one field",
            bytes("GET /keep/a HTTP/1.1\r\nX-A: 1\nHost: a.example\r\n\r\n"),
            Saw::line("GET /keep/a HTTP/1.1").with("x-a", "1"),
        ),
        (
            "bare LF at the end of the head",
            bytes("GET /keep/a HTTP/1.1\r\nHost: a.example\r\n\n"),
            Saw::line("GET /keep/a HTTP/1.1"),
        ),
        (
            "a fragment in the target",
            bytes("GET /keep/a#b HTTP/1.1\r\nHost: a.example\r\n\r\n"),
            Saw::line("GET /keep/a HTTP/1.1"),
        ),
        (
            "a fragment after the query",
            bytes("GET /keep/a?x=1#b HTTP/1.1\r\nHost: a.example\r\n\r\n"),
            Saw::line("GET /keep/a?x=1 HTTP/1.1"),
        ),
        (
            "a backslash in the path",
            bytes("GET /keep/a\\b HTTP/1.1\r\nHost: a.example\r\n\r\n"),
            Saw::line("GET /keep/a%5Cb HTTP/1.1"),
        ),
        (
            "8-bit letters in the path",
            "GET /keep/\u{e9} HTTP/1.1\r\nHost: a.example\r\n\r\n"
                .as_bytes()
                .to_vec(),
            Saw::line("GET /keep/%C3%A9 HTTP/1.1"),
        ),
        (
            "a lower-case method",
            bytes("get /keep/a HTTP/1.1\r\nHost: a.example\r\n\r\n"),
            Saw::line("get /keep/a HTTP/1.1"),
        ),
        (
            "X_Forwarded_For",
            bytes("GET /keep/a HTTP/1.1\r\nHost: a.example\r\nX_Forwarded_For: 192.0.2.1\r\n\r\n"),
            Saw::line("GET /keep/a HTTP/1.1")
                .with("x-forwarded-for", "127.0.0.1")
                .without(&["x_forwarded_for"]),
        ),
        (
            "Content_Length",
            bytes("GET /keep/a HTTP/1.1\r\nHost: a.example\r\nContent_Length: 5\r\n\r\n"),
            Saw::line("GET /keep/a HTTP/1.1").without(&["content-length"]),
        ),
        (
            "Transfer_Encoding",
            bytes("GET /keep/a HTTP/1.1\r\nHost: a.example\r\nTransfer_Encoding: chunked\r\n\r\n"),
            Saw::line("GET /keep/a HTTP/1.1").without(&["transfer-encoding"]),
        ),
    ]
}

/// Fields with an underscore that shadow nothing of ours.
fn harmless() -> Vec<Row> {
    vec![passed(
        "an underscore that shadows nothing",
        "GET /keep/a HTTP/1.1\r\nHost: a.example\r\nX_Custom: 1\r\n\r\n",
        Saw::line("GET /keep/a HTTP/1.1").with("x_custom", "1"),
    )]
}

#[test]
fn strict_refuses_bad_syntax_and_nothing_else() {
    run(async {
        let bad = rows()
            .into_iter()
            .map(|(what, sent, _)| refused(what, sent, &[400], After::Closed));
        let all: Vec<_> = bad.chain(harmless()).collect();
        Stand::with_routes("").await.check("syntax, strict", &all).await;
    });
}

#[test]
fn lenient_and_monitor_let_bad_syntax_pass_in_its_one_meaning() {
    run(async {
        for mode in ["lenient", "monitor"] {
            let bad = rows()
                .into_iter()
                .map(|(what, sent, saw)| passed(what, sent, saw));
            let all: Vec<_> = bad.chain(harmless()).collect();
            let stand = Stand::with_routes(&format!("mode = \"{mode}\"")).await;
            stand.check(&format!("syntax, {mode}"), &all).await;
        }
    });
}

/// The counter is found by the reason that strict gives: it is the label.
#[test]
fn monitor_counts_what_strict_would_refuse_by_the_same_reason() {
    run(async {
        let strict = Stand::with_routes("").await;
        let monitor = Stand::with_routes("mode = \"monitor\"").await;
        let mut uncounted = Vec::new();
        for (what, sent, _) in rows() {
            let refused = super::super::raw::exchange(strict.gateway.address(), &sent).await;
            let reason = refused.answers().first().map(|answer| answer.reason());
            let reason = reason.unwrap_or_default();
            let count = || monitor.gateway.counted(&format!("reason=\"{reason}\""));
            let before = count();
            let mut raw = super::super::raw::Raw::connect(monitor.gateway.address()).await;
            raw.send(&sent).await;
            let answers = raw.read_answers(1).await;
            let status = answers.first().map_or(0, |answer| answer.head.status());
            if status != 200 || count() <= before {
                uncounted.push(format!(
                    "{what}: strict says {reason:?}, monitor answers {status} and counts {} after {before}",
                    count()
                ));
            }
        }
        assert!(uncounted.is_empty(), "{}", uncounted.join("\n"));
    });
}
