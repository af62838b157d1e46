//! Responses: bad framing, bodies of all kinds, what nobody asked for, and the end of input.

use super::super::refusal::Refusal;
use super::super::response::{Answer, End};
use super::super::step::{Resume, Step};
use super::super::{Mode, ResponseInspector, Rules};
use super::{run, run_all_splits};

fn inspector(answer: Answer) -> ResponseInspector {
    let mut inspector = ResponseInspector::new(Rules::default());
    inspector.expect(answer);
    inspector
}

fn with_fields(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into_bytes()
}

#[test]
fn responses_are_read_as_strictly_as_requests() {
    let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
    let large = format!("X: {}\r\n", "y".repeat(65_536));
    let line = |line: &str| format!("{line}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    let rows: &[(&str, Vec<u8>, Refusal)] = &[
        (
            "length and encoding",
            with_fields("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"),
            Refusal::LengthAndEncoding,
        ),
        (
            "two lengths",
            with_fields("Content-Length: 2\r\nContent-Length: 2\r\n"),
            Refusal::ContentLengthRepeated,
        ),
        (
            "a list of lengths",
            with_fields("Content-Length: 2, 2\r\n"),
            Refusal::ContentLengthBad,
        ),
        (
            "a sign",
            with_fields("Content-Length: +2\r\n"),
            Refusal::ContentLengthBad,
        ),
        (
            "gzip before chunked",
            with_fields("Transfer-Encoding: gzip, chunked\r\n"),
            Refusal::TransferEncodingUnknown,
        ),
        (
            "gzip alone",
            with_fields("Transfer-Encoding: gzip\r\n"),
            Refusal::TransferEncodingBad,
        ),
        (
            "chunked twice",
            with_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            Refusal::TransferEncodingBad,
        ),
        (
            "encoding in HTTP/1.0",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
            Refusal::TransferEncodingOld,
        ),
        (
            "a control character",
            with_fields("X: \x02\r\n"),
            Refusal::Control,
        ),
        ("NUL", with_fields("X: \0\r\n"), Refusal::Nul),
        ("folding", with_fields("X: y\r\n z\r\n"), Refusal::Folding),
        (
            "space before a colon",
            with_fields("X : y\r\n"),
            Refusal::SpaceBeforeColon,
        ),
        ("bare CR", with_fields("X: a\rb\r\n"), Refusal::BareCr),
        ("bare LF", with_fields("X: y\n"), Refusal::BareLf),
        ("101 fields", with_fields(&many), Refusal::FieldsTooMany),
        (
            "an empty line first",
            [b"\r\n".as_slice(), &with_fields("")].concat(),
            Refusal::StatusLineBad,
        ),
        ("no protocol", line("200 OK"), Refusal::StatusLineBad),
        ("another protocol", line("ICY 200 OK"), Refusal::StatusLineBad),
        (
            "HTTP/2.0 as text",
            line("HTTP/2.0 200 OK"),
            Refusal::VersionUnsupported,
        ),
        (
            "a code of two digits",
            line("HTTP/1.1 20 OK"),
            Refusal::StatusLineBad,
        ),
        (
            "a code of four digits",
            line("HTTP/1.1 2000 OK"),
            Refusal::StatusLineBad,
        ),
        (
            "a code below 100",
            line("HTTP/1.1 099 OK"),
            Refusal::StatusLineBad,
        ),
        ("two spaces", line("HTTP/1.1  200 OK"), Refusal::StatusLineBad),
        (
            "a control character in the reason",
            line("HTTP/1.1 200 O\x01K"),
            Refusal::Control,
        ),
        (
            "no end of 1xx",
            b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(101),
            Refusal::InterimMany,
        ),
    ];
    for (why, input, refusal) in rows {
        let (verdict, _) = run_all_splits(&inspector(Answer::ToOther), input, why);
        assert_eq!((verdict.heads, verdict.end), (0, Step::Refuse(*refusal)), "{why}");
    }
    let verdict = run(&mut inspector(Answer::ToOther), &[&with_fields(&large)]);
    assert_eq!(verdict.end, Step::Refuse(Refusal::HeadTooLarge));
    let mut lenient = ResponseInspector::new(Rules {
        mode: Mode::Lenient,
        ..Rules::default()
    });
    lenient.expect(Answer::ToOther);
    let verdict = run(&mut lenient, &[b"HTTP/1.1 204 No Content\n\n"]);
    assert_eq!(
        (verdict.heads, verdict.end),
        (1, Step::Wait),
        "bare LF in lenient mode"
    );
    assert_eq!(lenient.noted().iter().collect::<Vec<_>>(), [Refusal::BareLf]);
}

#[test]
fn bodies_end_as_the_head_and_the_request_say_and_nothing_may_follow() {
    let rows: &[(&str, Answer, Vec<u8>)] = &[
        (
            "a length",
            Answer::ToOther,
            [with_fields("Content-Length: 2\r\n"), b"ab".to_vec()].concat(),
        ),
        (
            "a length of 0",
            Answer::ToOther,
            with_fields("Content-Length: 0\r\n"),
        ),
        (
            "chunks",
            Answer::ToOther,
            [
                with_fields("Transfer-Encoding: chunked\r\n"),
                b"1\r\na\r\n0\r\nX: y\r\n\r\n".to_vec(),
            ]
            .concat(),
        ),
        ("to HEAD", Answer::ToHead, with_fields("Content-Length: 2\r\n")),
        (
            "to HEAD, in chunks",
            Answer::ToHead,
            with_fields("Transfer-Encoding: chunked\r\n"),
        ),
        ("to HEAD, without a word", Answer::ToHead, with_fields("")),
        (
            "204",
            Answer::ToOther,
            b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        ),
        (
            "304 with a length",
            Answer::ToOther,
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n".to_vec(),
        ),
        ("no reason", Answer::ToOther, b"HTTP/1.1 204\r\n\r\n".to_vec()),
        (
            "an empty reason",
            Answer::ToOther,
            b"HTTP/1.1 204 \r\n\r\n".to_vec(),
        ),
        (
            "an 8-bit reason",
            Answer::ToOther,
            b"HTTP/1.1 204 \xe4\r\n\r\n".to_vec(),
        ),
        (
            "refused CONNECT",
            Answer::ToConnect,
            b"HTTP/1.1 405 No\r\nContent-Length: 1\r\n\r\nx".to_vec(),
        ),
        (
            "1xx before",
            Answer::ToOther,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 N\r\n\r\n"
                .to_vec(),
        ),
    ];
    for (why, answer, input) in rows {
        let (verdict, after) = run_all_splits(&inspector(*answer), input, why);
        assert_eq!((verdict.heads, verdict.end), (1, Step::Wait), "{why}");
        assert_eq!(verdict.passed, Some(input.len()), "{why}");
        assert!(!after.is_until_close(), "{why}");
        assert_eq!(after.eof(b""), End::Clean, "{why}");
        let more = [input.as_slice(), b"HTTP/1.1 204 N\r\n\r\n"].concat();
        let (verdict, _) = run_all_splits(&inspector(*answer), &more, why);
        assert_eq!(
            verdict.end,
            Step::Refuse(Refusal::Unsolicited),
            "{why}: bytes after it"
        );
        let mut again = after;
        again.expect(Answer::ToOther);
        assert_eq!(
            run(&mut again, &[b"HTTP/1.1 204 N\r\n\r\n"]).heads,
            2,
            "{why}: the next request"
        );
    }
    let mut idle = ResponseInspector::new(Rules::default());
    assert_eq!(idle.step(b""), Step::Wait);
    assert_eq!(idle.step(b"H"), Step::Refuse(Refusal::Unsolicited));
}

#[test]
fn the_end_of_input_is_clean_only_between_messages_and_after_bodies_that_wait_for_it() {
    let until_close = with_fields("");
    let rows: &[(&str, &[u8], &[u8], End)] = &[
        ("nothing came", b"", b"", End::Unanswered),
        (
            "inside a status line",
            b"HTTP/1",
            b"HTTP/1",
            End::Truncated(Refusal::HeadTruncated),
        ),
        (
            "inside a head",
            b"HTTP/1.1 200 OK\r\nX",
            b"HTTP/1.1 200 OK\r\nX",
            End::Truncated(Refusal::HeadTruncated),
        ),
        (
            "inside a length",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na",
            b"",
            End::Truncated(Refusal::BodyTruncated),
        ),
        (
            "inside chunks",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
            b"",
            End::Truncated(Refusal::BodyTruncated),
        ),
        (
            "after 1xx",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"",
            End::Unanswered,
        ),
        ("a body until the end", &until_close, b"", End::Clean),
    ];
    for (why, input, withheld, expected) in rows {
        let (_, after) = run_all_splits(&inspector(Answer::ToOther), input, why);
        assert_eq!(after.eof(withheld), *expected, "{why}");
    }
    let mut inspector = inspector(Answer::ToOther);
    let input = [until_close.as_slice(), b"HTTP/1.1 200 OK\r\n\r\n\0\r"].concat();
    let verdict = run(&mut inspector, &[&input]);
    assert_eq!((verdict.heads, verdict.passed), (1, Some(input.len())));
    assert!(inspector.is_until_close());
}

#[test]
fn a_switch_holds_what_follows() {
    let rows: &[(&str, Answer, &[u8])] = &[
        (
            "101",
            Answer::ToOther,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        ),
        (
            "CONNECT",
            Answer::ToConnect,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        ),
    ];
    for (why, answer, head) in rows {
        let input = [head, b"bytes".as_slice()].concat();
        let (verdict, mut after) = run_all_splits(&inspector(*answer), &input, why);
        assert_eq!((verdict.heads, verdict.end), (1, Step::Hold), "{why}");
        assert_eq!(verdict.passed, Some(head.len()), "{why}");
        after.resume(Resume::Tunnel);
        assert_eq!(after.step(b"bytes"), Step::Pass(5), "{why}");
    }
}
