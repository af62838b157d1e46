//! How a refusal ends: the client gets all of it, even one that sends a megabyte before it reads.

use super::super::gateway::{Gateway, Setup, Speaks};
use super::super::message::{Message, find};
use super::super::raw::{End, Raw, exchange};
use super::super::recorder::{Conn, Recorder};
use super::super::rows::Stand;
use super::super::within::{run, within};
use super::{get, post};

/// What the client sends before it reads.
const UPLOAD_BYTES: usize = 1 << 20;

/// More than any socket's buffers: an answer of that size is not delivered by chance.
const ANSWER_BYTES: usize = 4 << 20;

/// Requests that are refused though a megabyte follows their head.
fn refusals() -> Vec<(&'static str, String, u16)> {
    let length = format!("Content-Length: {UPLOAD_BYTES}\r\n");
    vec![
        (
            "framing in two ways",
            post(&format!("{length}Transfer-Encoding: chunked\r\n"), ""),
            400,
        ),
        (
            "a bad path",
            format!("POST /a%zz HTTP/1.1\r\nHost: a.example\r\n{length}\r\n"),
            400,
        ),
        (
            "another expectation",
            post(&format!("{length}Expect: x\r\n"), ""),
            417,
        ),
        (
            "CONNECT",
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n".to_owned(),
            405,
        ),
        (
            "a method that the route has not",
            format!("POST /a HTTP/1.1\r\nHost: a.example\r\n{length}\r\n"),
            405,
        ),
    ]
}

#[test]
fn a_client_that_sends_a_megabyte_before_it_reads_gets_the_whole_refusal() {
    run(async {
        let stand = Stand::get_only().await;
        let mut failures = Vec::new();
        for (what, head, status) in refusals() {
            let mut raw = Raw::connect(stand.gateway.address()).await;
            raw.send(head.as_bytes()).await;
            raw.send(&vec![b'x'; UPLOAD_BYTES]).await;
            let answers = within(what, raw.read_to_end()).await;
            let got = answers.first().map_or(0, |answer| answer.head.status());
            let reason = answers.first().map(Message::reason);
            let entries = stand.gateway.log.of(raw.local(), 1);
            let logged = entries.first().map(|entry| entry.reason().to_owned());
            if got != status || answers.len() != 1 || reason != logged {
                failures.push(format!(
                    "{what}: {got} {reason:?} logged {logged:?}, {}",
                    raw.told()
                ));
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        assert!(stand.recorder.requests().is_empty(), "nothing was forwarded");
    });
}

#[test]
fn an_early_answer_during_an_upload_arrives_whole() {
    run(async {
        // Answers at the head, takes nothing of the body, and waits for the gateway to let go.
        let script = |mut conn: Conn| async move {
            if conn.head().await.is_none() {
                return;
            }
            let mut answer = format!(
                "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: {ANSWER_BYTES}\r\n\r\n"
            )
            .into_bytes();
            answer.resize(answer.len() + ANSWER_BYTES, b'n');
            conn.send(&answer).await;
            conn.end().await;
        };
        let recorder = Recorder::start(script).await;
        let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
        for (what, fields) in [
            ("with a length", format!("Content-Length: {UPLOAD_BYTES}\r\n")),
            ("in chunks", "Transfer-Encoding: chunked\r\n".to_owned()),
        ] {
            let mut raw = Raw::connect(gateway.address()).await;
            raw.send(post(&fields, "").as_bytes()).await;
            if what == "in chunks" {
                raw.send(format!("{UPLOAD_BYTES:x}\r\n").as_bytes()).await;
            }
            raw.send(&vec![b'x'; UPLOAD_BYTES]).await;
            let answers = within(what, raw.read_answers(1)).await;
            let answer = answers
                .first()
                .map(|answer| (answer.head.status(), answer.body.len()));
            assert_eq!(answer, Some((403, ANSWER_BYTES)), "{what}: {}", raw.told());
            let entries = gateway.log.of(raw.local(), 1);
            let status = entries.first().and_then(|entry| entry.get("status"));
            assert_eq!(status, Some("403"), "{what}: {entries:?}");
        }
        gateway.check_idle();
    });
}

#[test]
fn a_refusal_keeps_its_place_behind_the_answers_before_it() {
    run(async {
        let stand = Stand::start("").await;
        let good = get("");
        let bad = get("X-A : 1\r\n");
        let sent = format!("{good}{good}{bad}{good}");
        let raw = exchange(stand.gateway.address(), sent.as_bytes()).await;
        let statuses: Vec<_> = raw.answers().iter().map(|answer| answer.head.status()).collect();
        assert_eq!(
            (statuses.as_slice(), raw.end()),
            ([200, 200, 400].as_slice(), End::Closed)
        );
        assert_eq!(
            stand.recorder.requests().len(),
            2,
            "what follows a refusal is not read"
        );
        let entries = stand.gateway.log.of(raw.local(), 3);
        let logged: Vec<_> = entries.iter().filter_map(|entry| entry.get("status")).collect();
        assert_eq!(logged, ["200", "200", "400"]);
    });
}

#[test]
fn the_line_of_a_syntax_refusal_names_the_option_that_would_admit_it() {
    run(async {
        let stand = Stand::start("").await;
        let raw = exchange(stand.gateway.address(), b"GET /a HTTP/1.1\nHost: a.example\n\n").await;
        let entries = stand.gateway.log.of(raw.local(), 1);
        let line = format!("{entries:?}");
        assert!(line.contains("lenient"), "{line}");
    });
}

#[test]
fn a_hundred_continues_only_after_routing() {
    run(async {
        let stand = Stand::start("").await;
        let fields = "Content-Length: 2\r\nExpect: 100-continue\r\n";
        let mut raw = Raw::connect(stand.gateway.address()).await;
        raw.send(post(fields, "").as_bytes()).await;
        let continued = |got: &[u8]| find(got, b"HTTP/1.1 100 Continue\r\n\r\n").is_some();
        raw.read_until(super::super::within::PATIENCE, continued).await;
        assert!(continued(raw.got()), "{}", raw.told());
        raw.send(b"ok").await;
        let answers = raw.read_answers(1).await;
        assert_eq!(
            answers.first().map(|answer| answer.head.status()),
            Some(200),
            "{}",
            raw.told()
        );
        assert!(raw.got().starts_with(b"HTTP/1.1 100 "), "{}", raw.told());

        let stand = Stand::get_only().await;
        let mut raw = Raw::connect(stand.gateway.address()).await;
        let head = format!("POST /a HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
        raw.send(head.as_bytes()).await;
        raw.read_answers(1).await;
        assert!(raw.got().starts_with(b"HTTP/1.1 405 "), "{}", raw.told());
    });
}

/// What an upstream does that is asked whether it wants a body, and what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// It says 100, and then reads.
    Go,
    /// It refuses at once.
    No,
    /// It says nothing, and reads.
    Silence,
}

#[test]
fn where_the_upstream_is_asked_the_body_waits_for_its_word() {
    run(async {
        for (word, statuses) in [
            (Word::Go, [100, 200].as_slice()),
            (Word::No, &[403]),
            (Word::Silence, &[100, 200]),
        ] {
            let what = format!("{word:?}");
            let script = move |mut conn: Conn| async move {
                let head = conn.head().await.unwrap_or_default().to_lowercase();
                if !head.contains("\r\nexpect: 100-continue") {
                    return;
                }
                match word {
                    Word::Go => drop(conn.send(b"HTTP/1.1 100 Continue\r\n\r\n").await),
                    Word::No => {
                        conn.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                            .await;
                        conn.end().await;
                        return;
                    }
                    Word::Silence => {}
                }
                if conn.take(2).await == b"ok" {
                    conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
                conn.end().await;
            };
            let recorder = Recorder::start(script).await;
            let setup = Setup::to(recorder.address(), Speaks::Http1).defaults("expect = \"forward\"");
            let gateway = Gateway::start(&setup);
            let mut raw = Raw::connect(gateway.address()).await;
            let head = post("Content-Length: 2\r\nExpect: 100-continue\r\n", "");
            raw.send(head.as_bytes()).await;
            let spoken = |got: &[u8]| find(got, b"\r\n\r\n").is_some();
            raw.read_until(super::super::within::PATIENCE, spoken).await;
            if raw.got().starts_with(b"HTTP/1.1 100 ") {
                raw.send(b"ok").await;
            }
            within(&what, raw.read_answers(1)).await;
            let text = String::from_utf8_lossy(raw.got()).into_owned();
            let lines = text
                .split("\r\n")
                .filter_map(|line| line.strip_prefix("HTTP/1.1 "));
            let found: Vec<u16> = lines.filter_map(|line| line.get(..3)?.parse().ok()).collect();
            assert_eq!(found, statuses, "{what}: {}", raw.told());
            let upstream = recorder.bytes().concat();
            let had_body = upstream.ends_with(b"\r\n\r\nok");
            assert_eq!(
                had_body,
                word != Word::No,
                "{what}: the upstream had {:?}",
                String::from_utf8_lossy(&upstream)
            );
        }
    });
}

#[test]
fn a_body_that_is_too_long_is_413_and_makes_no_request() {
    run(async {
        let recorder = Recorder::ok().await;
        let setup = Setup::to(recorder.address(), Speaks::Http1).defaults("body_bytes_max = 1000");
        let gateway = Gateway::start(&setup);
        let body = "x".repeat(1001);
        for (what, sent) in [
            ("a length", post("Content-Length: 1001\r\n", &body)),
            (
                "chunks",
                post(
                    "Transfer-Encoding: chunked\r\n",
                    &format!("3e9\r\n{body}\r\n0\r\n\r\n"),
                ),
            ),
        ] {
            let raw = exchange(gateway.address(), sent.as_bytes()).await;
            let answers = raw.answers();
            let found = answers
                .first()
                .map(|answer| (answer.head.status(), answer.reason()));
            let entries = gateway.log.of(raw.local(), 1);
            let logged = entries.first().map(|entry| (413, entry.reason().to_owned()));
            assert_eq!(found, logged, "{what}: {}", raw.told());
            assert_eq!(raw.end(), End::Closed, "{what}: {}", raw.told());
        }
        let longest = post("Content-Length: 1000\r\nConnection: close\r\n", &"x".repeat(1000));
        let raw = exchange(gateway.address(), longest.as_bytes()).await;
        let status = raw.answers().first().map(|answer| answer.head.status());
        assert_eq!(status, Some(200), "{}", raw.told());
        assert_eq!(recorder.requests().len(), 1, "only the one that is not too long");
        gateway.check_idle();
    });
}
