//! An upstream's answer is read as strictly as a client's request.

use super::super::gateway::{Gateway, Setup, Speaks};
use super::super::raw::Raw;
use super::super::recorder::Recorder;
use super::super::within::{run, within};
use super::get;

/// Answers that are no answers, and what is wrong.
const BAD: [(&str, &str); 18] = [
    (
        "length and chunks",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    ),
    (
        "two equal lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "a list of lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    ),
    (
        "a signed length",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    ),
    (
        "another coding",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "an unknown coding",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
    ),
    (
        "a coding twice",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("no status line", "hello\r\n\r\n"),
    (
        "another protocol",
        "HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "a status of two digits",
        "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "a status of letters",
        "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "NUL in a value",
        "HTTP/1.1 200 OK\r\nX-A: \0\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "a folded value",
        "HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "a space before the colon",
        "HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "a bare CR in a value",
        "HTTP/1.1 200 OK\r\nX-A: 1\rX-B: 2\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "a line without a colon",
        "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "a switch that nobody asked for",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ),
];

#[test]
fn answers_that_can_be_read_in_two_ways_are_502_and_end_their_connection() {
    run(async {
        let mut failures = Vec::new();
        for (what, answer) in BAD {
            let recorder = Recorder::answering(answer.as_bytes()).await;
            let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
            for count in 1..=2 {
                let mut raw = Raw::connect(gateway.address()).await;
                raw.send(get("").as_bytes()).await;
                let answers = within(what, raw.read_answers(1)).await;
                let (status, reason) = answers.first().map_or((0, String::new()), |answer| {
                    (answer.head.status(), answer.reason())
                });
                let entries = gateway.log.of(raw.local(), 1);
                let logged = entries.first().map(|entry| entry.reason().to_owned());
                let is_told = logged.as_ref() == Some(&reason);
                if status != 502 || !is_told || recorder.connections() != count {
                    failures.push(format!(
                    "{what}: {status} {reason:?}, logged {logged:?}, {} connections after {count} requests",
                    recorder.connections()
                ));
                    break;
                }
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    });
}

/// The first answer is whole and good; what follows it may be the answer to somebody else's request.
#[test]
fn bytes_after_an_answer_forbid_the_connection_to_be_used_again() {
    run(async {
        let rows: [(&str, &[u8]); 4] = [
        (
            "another whole answer",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
        ),
        ("a stray byte", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokx"),
        (
            "bytes after the last chunk",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
        ),
        (
            "a body where none may be",
            b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
        ),
    ];
        let mut failures = Vec::new();
        for (what, answer) in rows {
            let recorder = Recorder::answering(answer).await;
            let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
            for count in 1..=3 {
                let mut raw = Raw::connect(gateway.address()).await;
                raw.send(get("").as_bytes()).await;
                let answers = within(what, raw.read_answers(1)).await;
                let text = answers.first().map(|answer| answer.text()).unwrap_or_default();
                let status = answers.first().map_or(0, |answer| answer.head.status());
                let is_right = matches!((status, text.as_str()), (200, "ok") | (204, "") | (502, _));
                if !is_right || recorder.connections() != count {
                    failures.push(format!(
                        "{what}: {status} {text:?}, {} connections after {count} requests",
                        recorder.connections()
                    ));
                    break;
                }
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    });
}

#[test]
fn interim_answers_are_dropped_and_the_final_one_arrives() {
    run(async {
        let recorder = Recorder::answering(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
          HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        )
        .await;
        let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
        for _ in 0..2 {
            let mut raw = Raw::connect(gateway.address()).await;
            raw.send(get("").as_bytes()).await;
            raw.read_answers(1).await;
            assert!(raw.got().starts_with(b"HTTP/1.1 200 "), "{}", raw.told());
        }
        assert_eq!(recorder.connections(), 1, "the connection is used again");
    });
}
