//! Requests: the HTTP/1 table of what is refused, chunked bodies, pipelines, holds, limits.

use super::super::refusal::{Class, Refusal};
use super::super::step::{Body, Offered, Resume, Step, Version};
use super::super::{HeadSummary, MethodKind, Mode, RequestInspector, Rules};
use super::{Verdict, run, run_all_splits};

fn inspector(mode: Mode) -> RequestInspector {
    RequestInspector::new(Rules {
        mode,
        ..Rules::default()
    })
}

/// A GET with further field lines, each of which brings its own end.
fn with_fields(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

/// A request line, with a Host and the end of the head after it.
fn with_line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a\r\n\r\n").into_bytes()
}

/// A body in chunks, after its head.
fn with_chunks(chunks: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").into_bytes()
}

/// Refused in strict mode; in the others, too, if it is framing, else let through, whole and noted.
fn refused(why: &str, input: &[u8], refusal: Refusal) {
    let (verdict, _) = run_all_splits(&inspector(Mode::Strict), input, why);
    assert_eq!(verdict.end, Step::Refuse(refusal), "{why}");
    assert_eq!((verdict.heads, verdict.passed), (0, Some(0)), "{why}");
    for mode in [Mode::Lenient, Mode::Monitor] {
        let (verdict, after) = run_all_splits(&inspector(mode), input, why);
        if refusal.class() == Class::Framing {
            assert_eq!(verdict.end, Step::Refuse(refusal), "{why}: {mode:?}");
        } else {
            let passed = Verdict {
                heads: 1,
                end: Step::Wait,
                passed: Some(input.len()),
            };
            assert_eq!(verdict, passed, "{why}: {mode:?}");
            assert!(
                after.noted().iter().any(|noted| noted == refusal),
                "{why}: {mode:?}"
            );
        }
    }
}

#[test]
fn framing_is_refused_in_every_mode() {
    let rows: &[(&str, &str, Refusal)] = &[
        (
            "length, then encoding",
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            Refusal::LengthAndEncoding,
        ),
        (
            "encoding, then length",
            "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
            Refusal::LengthAndEncoding,
        ),
        (
            "a length of 0 and an encoding",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            Refusal::LengthAndEncoding,
        ),
        (
            "in other cases",
            "content-LENGTH: 2\r\nTRANSFER-encoding: chunked\r\n",
            Refusal::LengthAndEncoding,
        ),
        (
            "two lengths that differ",
            "Content-Length: 2\r\nContent-Length: 3\r\n",
            Refusal::ContentLengthRepeated,
        ),
        (
            "two equal lengths",
            "Content-Length: 2\r\nX: y\r\nContent-Length: 2\r\n",
            Refusal::ContentLengthRepeated,
        ),
        (
            "a list of lengths",
            "Content-Length: 2, 2\r\n",
            Refusal::ContentLengthBad,
        ),
        (
            "a zero before",
            "Content-Length: 002\r\n",
            Refusal::ContentLengthBad,
        ),
        ("a plus", "Content-Length: +2\r\n", Refusal::ContentLengthBad),
        ("a minus", "Content-Length: -2\r\n", Refusal::ContentLengthBad),
        (
            "hexadecimal",
            "Content-Length: 0x2\r\n",
            Refusal::ContentLengthBad,
        ),
        ("empty", "Content-Length:\r\n", Refusal::ContentLengthBad),
        (
            "space alone",
            "Content-Length:  \t \r\n",
            Refusal::ContentLengthBad,
        ),
        (
            "space inside",
            "Content-Length: 1 2\r\n",
            Refusal::ContentLengthBad,
        ),
        (
            "a digit that is not ASCII",
            "Content-Length: \u{0662}\r\n",
            Refusal::ContentLengthBad,
        ),
        (
            "more than 64 bits",
            "Content-Length: 18446744073709551617\r\n",
            Refusal::ContentLengthBad,
        ),
        (
            "more than a file offset",
            "Content-Length: 9223372036854775808\r\n",
            Refusal::ContentLengthBad,
        ),
        (
            "gzip before chunked",
            "Transfer-Encoding: gzip, chunked\r\n",
            Refusal::TransferEncodingUnknown,
        ),
        (
            "identity before chunked",
            "Transfer-Encoding: identity, chunked\r\n",
            Refusal::TransferEncodingUnknown,
        ),
        (
            "gzip alone",
            "Transfer-Encoding: gzip\r\n",
            Refusal::TransferEncodingBad,
        ),
        (
            "identity alone",
            "Transfer-Encoding: identity\r\n",
            Refusal::TransferEncodingBad,
        ),
        (
            "chunked before gzip",
            "Transfer-Encoding: chunked, gzip\r\n",
            Refusal::TransferEncodingBad,
        ),
        (
            "an empty element before",
            "Transfer-Encoding: ,chunked\r\n",
            Refusal::TransferEncodingBad,
        ),
        (
            "an empty element after",
            "Transfer-Encoding: chunked,\r\n",
            Refusal::TransferEncodingBad,
        ),
        (
            "chunked twice in a field",
            "Transfer-Encoding: chunked, chunked\r\n",
            Refusal::TransferEncodingBad,
        ),
        (
            "chunked in two fields",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Refusal::TransferEncodingBad,
        ),
        (
            "a parameter",
            "Transfer-Encoding: chunked;q=1\r\n",
            Refusal::TransferEncodingBad,
        ),
        (
            "quotes",
            "Transfer-Encoding: \"chunked\"\r\n",
            Refusal::TransferEncodingBad,
        ),
        ("empty", "Transfer-Encoding: \r\n", Refusal::TransferEncodingBad),
        (
            "a vertical tab before",
            "Transfer-Encoding: \x0bchunked\r\n",
            Refusal::Control,
        ),
        (
            "a letter too many",
            "Transfer-Encoding: xchunked\r\n",
            Refusal::TransferEncodingBad,
        ),
        ("space before the colon", "X : y\r\n", Refusal::SpaceBeforeColon),
        (
            "a tab before the colon",
            "Content-Length\t: 2\r\n",
            Refusal::SpaceBeforeColon,
        ),
        ("folding by space", "X: y\r\n z\r\n", Refusal::Folding),
        (
            "folding by a tab",
            "X: y\r\n\tContent-Length: 2\r\n",
            Refusal::Folding,
        ),
        ("a line of space", "X: y\r\n \r\n", Refusal::Folding),
        ("NUL in a value", "X: a\0b\r\n", Refusal::Nul),
        ("NUL in a name", "X\0: b\r\n", Refusal::Nul),
        (
            "bare CR in a value",
            "X: a\rContent-Length: 2\r\n",
            Refusal::BareCr,
        ),
        ("bare CR at the end of a value", "X: a\r\r\n", Refusal::BareCr),
        ("bare CR in a name", "X\rY: a\r\n", Refusal::BareCr),
        ("bare CR for a line", "\rX: a\r\n", Refusal::BareCr),
        ("a control character in a value", "X: \x01\r\n", Refusal::Control),
        ("DEL in a value", "X: \x7f\r\n", Refusal::Control),
        ("a control character in a name", "X\x1f: a\r\n", Refusal::Control),
        ("no colon", "Content-Length\r\n", Refusal::FieldBad),
        ("no name", ": a\r\n", Refusal::FieldBad),
        ("a name with a space", "X Y: a\r\n", Refusal::FieldBad),
        ("a name with brackets", "X(Y): a\r\n", Refusal::FieldBad),
        ("a name that is not ASCII", "X\u{e4}: a\r\n", Refusal::FieldBad),
        ("two Hosts", "Host: b\r\n", Refusal::HostRepeated),
        ("two equal Hosts", "host: a\r\n", Refusal::HostRepeated),
        (
            "expects something else",
            "Expect: 200-ok\r\n",
            Refusal::ExpectUnknown,
        ),
        (
            "expects two things",
            "Expect: 100-continue, x\r\n",
            Refusal::ExpectUnknown,
        ),
        ("expects nothing", "Expect:\r\n", Refusal::ExpectUnknown),
    ];
    for (why, fields, refusal) in rows {
        refused(why, &with_fields(fields), *refusal);
    }
}

#[test]
fn hosts_are_one_and_readable() {
    for (why, host) in [
        ("empty", ""),
        ("a comma", "a,b"),
        ("user information", "user@a"),
        ("a path", "a/b"),
        ("a port without digits", "a:"),
        ("a port that is none", "a:http"),
        ("a port too high", "a:65536"),
        ("a bracket too few", "[::1"),
        ("a bracket too many", "::1]"),
        ("no address in brackets", "[a]"),
        ("a space", "a b"),
        ("a query", "a?b"),
        ("a scheme", "http://a"),
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        refused(why, input.as_bytes(), Refusal::HostBad);
        if host.contains(['/', '?']) {
            continue;
        }
        let input = format!("GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n");
        let (verdict, _) = run_all_splits(&inspector(Mode::Lenient), input.as_bytes(), why);
        assert!(matches!(verdict.end, Step::Refuse(_)), "{why}: in the target");
    }
    let none = b"GET / HTTP/1.1\r\nX: y\r\n\r\n";
    refused("no Host", none, Refusal::HostMissing);
    refused(
        "no Host in HTTP/1.0",
        b"GET / HTTP/1.0\r\n\r\n",
        Refusal::HostMissing,
    );
    let absolute = b"GET http://a/ HTTP/1.1\r\nX: y\r\n\r\n";
    refused("a host in the target alone", absolute, Refusal::HostMissing);
    refused(
        "encoding in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        Refusal::TransferEncodingOld,
    );
}

#[test]
fn request_lines_are_read_in_one_way() {
    let rows = [
        (
            "two spaces after the method",
            "GET  / HTTP/1.1",
            Refusal::RequestLineBad,
        ),
        (
            "two spaces before the version",
            "GET /  HTTP/1.1",
            Refusal::RequestLineBad,
        ),
        (
            "space before the method",
            " GET / HTTP/1.1",
            Refusal::RequestLineBad,
        ),
        ("space at the end", "GET / HTTP/1.1 ", Refusal::RequestLineBad),
        ("a tab between", "GET\t/ HTTP/1.1", Refusal::RequestLineBad),
        ("a tab in the target", "GET /\tx HTTP/1.1", Refusal::TargetBad),
        (
            "a space in the target",
            "GET /a b HTTP/1.1",
            Refusal::RequestLineBad,
        ),
        ("no version", "GET /", Refusal::RequestLineBad),
        ("no target", "GET HTTP/1.1", Refusal::RequestLineBad),
        ("an empty target", "GET  HTTP/1.1", Refusal::RequestLineBad),
        (
            "a method that is no token",
            "G(T / HTTP/1.1",
            Refusal::RequestLineBad,
        ),
        (
            "a method that is too long",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1",
            Refusal::RequestLineBad,
        ),
        ("a lower-case version", "GET / http/1.1", Refusal::RequestLineBad),
        ("another protocol", "GET / ICY/1.1", Refusal::RequestLineBad),
        (
            "a version of two digits",
            "GET / HTTP/1.10",
            Refusal::RequestLineBad,
        ),
        ("HTTP/1.2", "GET / HTTP/1.2", Refusal::VersionUnsupported),
        ("HTTP/0.9 by name", "GET / HTTP/0.9", Refusal::VersionUnsupported),
        ("HTTP/2.0 as text", "GET / HTTP/2.0", Refusal::VersionUnsupported),
        (
            "the preface of HTTP/2",
            "PRI * HTTP/2.0",
            Refusal::VersionUnsupported,
        ),
        ("NUL", "GET /\0 HTTP/1.1", Refusal::Nul),
        ("bare CR", "GET /\r HTTP/1.1", Refusal::BareCr),
        ("bare CR for an end", "GET / HTTP/1.1\rHost: b", Refusal::BareCr),
        ("a control character", "GET /\x07 HTTP/1.1", Refusal::Control),
        ("TRACE", "TRACE / HTTP/1.1", Refusal::MethodTrace),
        ("trace", "trace / HTTP/1.1", Refusal::MethodTrace),
        ("GET *", "GET * HTTP/1.1", Refusal::TargetAsterisk),
        ("OPTIONS **", "OPTIONS ** HTTP/1.1", Refusal::TargetBad),
        ("no slash", "GET x HTTP/1.1", Refusal::TargetBad),
        ("a query without a path", "GET ?x HTTP/1.1", Refusal::TargetBad),
        (
            "a host without a scheme",
            "GET a.example:80 HTTP/1.1",
            Refusal::TargetBad,
        ),
        ("another scheme", "GET ftp://a/ HTTP/1.1", Refusal::TargetBad),
        ("a scheme alone", "GET http:///x HTTP/1.1", Refusal::HostBad),
        (
            "user information in the target",
            "GET http://u@a/ HTTP/1.1",
            Refusal::HostBad,
        ),
        (
            "angle brackets in the path",
            "GET /<x> HTTP/1.1",
            Refusal::TargetBad,
        ),
        ("a back quote in the path", "GET /`x HTTP/1.1", Refusal::TargetBad),
        ("a quote in the query", "GET /?\" HTTP/1.1", Refusal::TargetBad),
        ("CONNECT to a path", "CONNECT / HTTP/1.1", Refusal::TargetBad),
        (
            "CONNECT without a port",
            "CONNECT a.example HTTP/1.1",
            Refusal::TargetBad,
        ),
        ("fragment", "GET /a#b HTTP/1.1", Refusal::Fragment),
        ("fragment after a query", "GET /a?b#c HTTP/1.1", Refusal::Fragment),
        ("fragment alone", "GET /# HTTP/1.1", Refusal::Fragment),
        (
            "fragment after a host",
            "GET http://a#b HTTP/1.1",
            Refusal::Fragment,
        ),
        ("backslash", "GET /a\\..\\b HTTP/1.1", Refusal::Backslash),
        ("raw 8-bit", "GET /\u{e4} HTTP/1.1", Refusal::EightBit),
        ("lower-case method", "get / HTTP/1.1", Refusal::MethodLowerCase),
        ("mixed-case method", "Post / HTTP/1.1", Refusal::MethodLowerCase),
    ];
    for (why, line, refusal) in rows {
        refused(why, &with_line(line), refusal);
    }
    let bytes = b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n";
    refused("8-bit that is no text", bytes, Refusal::TargetBad);
    refused(
        "CONNECT with a body",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n",
        Refusal::ConnectBody,
    );
    let (verdict, _) = run_all_splits(&inspector(Mode::Lenient), &with_line("head / HTTP/1.1"), "head");
    assert_eq!(
        verdict.end,
        Step::Refuse(Refusal::RequestLineBad),
        "some upstreams take it for HEAD"
    );
}

#[test]
fn syntax_obeys_the_mode() {
    refused(
        "bare LF after the request line",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        Refusal::BareLf,
    );
    refused(
        "bare LF after a field",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        Refusal::BareLf,
    );
    refused(
        "bare LF for the last line",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        Refusal::BareLf,
    );
    refused(
        "bare LF before the request line",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        Refusal::BareLf,
    );
    for name in [
        "X_Forwarded_For",
        "x-forwarded_for",
        "X_Forwarded_Anything",
        "Content_Length",
        "content_type",
        "Transfer_Encoding",
        "X_Real_IP",
        "X-Request_ID",
    ] {
        refused(
            name,
            &with_fields(&format!("{name}: 1\r\n")),
            Refusal::UnderscoreShadow,
        );
    }
}

#[test]
fn what_is_legal_passes() {
    let many: String = (0..99).map(|n| format!("X-{n}: y\r\n")).collect();
    let rows: &[(&str, Vec<u8>)] = &[
        ("a plain request", with_fields("")),
        ("no space after a colon", with_fields("X:y\r\n")),
        ("an empty value", with_fields("X:\r\nY: \t\r\n")),
        ("tabs and 8-bit in values", with_fields("X: a\tb\u{e4}\r\n")),
        (
            "an underscore that shadows nothing",
            with_fields("my_field: 1\r\n_: 2\r\n"),
        ),
        (
            "every character of a token",
            with_fields("!#$%&'*+-.^_`|~09azAZ: 1\r\n"),
        ),
        ("100 fields", with_fields(&many)),
        (
            "an empty line before",
            [b"\r\n".as_slice(), &with_fields("")].concat(),
        ),
        ("a length of 0", with_fields("Content-Length: 0\r\n")),
        (
            "a length with space around",
            with_fields("Content-Length: \t0 \r\n"),
        ),
        (
            "a path of all kinds",
            with_line("GET /a-._~!$&'()*+,;=:@%20/[]{}|^\"//?q=/?:@[]\\^`{|}~ HTTP/1.1"),
        ),
        ("8-bit in a query", with_line("GET /?\u{e4} HTTP/1.1")),
        (
            "an absolute target that differs from Host",
            with_line("GET http://b.example:80/x?y HTTP/1.1"),
        ),
        (
            "an absolute target without a path",
            with_line("GET HTTPS://b.example HTTP/1.1"),
        ),
        (
            "an absolute target with a query alone",
            with_line("GET http://[::1]?x HTTP/1.1"),
        ),
        ("OPTIONS *", with_line("OPTIONS * HTTP/1.1")),
        ("another method", with_line("M-SEARCH / HTTP/1.1")),
        (
            "an h2c upgrade, ignored",
            with_fields(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            ),
        ),
        (
            "Upgrade that Connection does not name",
            with_fields("Upgrade: websocket\r\n"),
        ),
    ];
    for (why, input) in rows {
        let (verdict, after) = run_all_splits(&inspector(Mode::Strict), input, why);
        let whole = Verdict {
            heads: 1,
            end: Step::Wait,
            passed: Some(input.len()),
        };
        assert_eq!(verdict, whole, "{why}");
        assert!(after.noted().is_empty(), "{why}");
    }
}

#[test]
fn chunks_that_can_be_read_in_two_ways_break_the_body() {
    let extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(1_024));
    let extensions = format!("{}0\r\n\r\n", "1;aaaaaaaaa\r\nx\r\n".repeat(103));
    let fields: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
    let (fields, large) = (
        format!("0\r\n{fields}\r\n"),
        format!("0\r\nX: {}\r\n\r\n", "y".repeat(8_192)),
    );
    let rows: &[(&str, &str, Refusal)] = &[
        ("a plus", "+1\r\nx\r\n0\r\n\r\n", Refusal::ChunkSizeBad),
        ("a minus", "-1\r\nx\r\n0\r\n\r\n", Refusal::ChunkSizeBad),
        ("a prefix", "0x1\r\nx\r\n0\r\n\r\n", Refusal::ChunkSizeBad),
        ("space before", " 1\r\nx\r\n0\r\n\r\n", Refusal::ChunkSizeBad),
        ("space after", "1 \r\nx\r\n0\r\n\r\n", Refusal::ChunkSizeBad),
        (
            "space before an extension",
            "1 ;a\r\nx\r\n0\r\n\r\n",
            Refusal::ChunkSizeBad,
        ),
        ("a tab after", "1\t\r\nx\r\n0\r\n\r\n", Refusal::ChunkSizeBad),
        ("empty", "\r\nx\r\n0\r\n\r\n", Refusal::ChunkSizeBad),
        (
            "an extension alone",
            ";a\r\nx\r\n0\r\n\r\n",
            Refusal::ChunkSizeBad,
        ),
        ("no digit", "g\r\nx\r\n0\r\n\r\n", Refusal::ChunkSizeBad),
        ("an underscore", "1_0\r\n", Refusal::ChunkSizeBad),
        (
            "overflow",
            "10000000000000001\r\nx\r\n0\r\n\r\n",
            Refusal::ChunkSizeBad,
        ),
        (
            "16 digits",
            "0000000000000001\r\nx\r\n0\r\n\r\n",
            Refusal::ChunkSizeBad,
        ),
        (
            "a CR after the size, and no LF",
            "1\rx\r\n0\r\n\r\n",
            Refusal::ChunkSizeBad,
        ),
        (
            "bare LF after the size",
            "1\nx\r\n0\r\n\r\n",
            Refusal::ChunkBareLf,
        ),
        (
            "bare LF after an extension",
            "1;a\nx\r\n0\r\n\r\n",
            Refusal::ChunkBareLf,
        ),
        ("bare LF after data", "1\r\nx\n0\r\n\r\n", Refusal::ChunkBareLf),
        (
            "bare LF after the last size",
            "1\r\nx\r\n0\n\r\n",
            Refusal::ChunkBareLf,
        ),
        ("spill", "1\r\nxy\r\n0\r\n\r\n", Refusal::ChunkEndBad),
        (
            "data that ends in CR alone",
            "1\r\nx\ry0\r\n\r\n",
            Refusal::ChunkEndBad,
        ),
        ("data without an end", "1\r\nx0\r\n\r\n", Refusal::ChunkEndBad),
        (
            "a control character in an extension",
            "1;a=\x01\r\nx\r\n0\r\n\r\n",
            Refusal::ChunkExtensionBad,
        ),
        ("a long extension", &extension, Refusal::ChunkExtensionsLong),
        ("many short extensions", &extensions, Refusal::ChunkExtensionsLong),
        (
            "a trailer without a name",
            "0\r\n: x\r\n\r\n",
            Refusal::TrailerBad,
        ),
        ("a trailer without a colon", "0\r\nX\r\n\r\n", Refusal::TrailerBad),
        (
            "a trailer with space before its colon",
            "0\r\nX : y\r\n\r\n",
            Refusal::TrailerBad,
        ),
        ("a folded trailer", "0\r\nX: y\r\n z\r\n\r\n", Refusal::TrailerBad),
        ("a trailer with NUL", "0\r\nX: \0\r\n\r\n", Refusal::TrailerBad),
        ("a trailer with bare LF", "0\r\nX: y\n\r\n", Refusal::TrailerBad),
        ("bare LF at the end", "0\r\n\n", Refusal::TrailerBad),
        ("a CR at the end, and no LF", "0\r\n\rx", Refusal::TrailerBad),
        ("too many trailers", &fields, Refusal::TrailerLarge),
        ("too large trailers", &large, Refusal::TrailerLarge),
    ];
    for (why, chunks, refusal) in rows {
        for mode in [Mode::Strict, Mode::Lenient] {
            let (verdict, _) = run_all_splits(&inspector(mode), &with_chunks(chunks), why);
            assert_eq!(
                (verdict.heads, verdict.end),
                (1, Step::Break(*refusal)),
                "{why}: {mode:?}"
            );
        }
    }
}

#[test]
fn bodies_end_where_the_next_head_begins() {
    let next = with_fields("");
    let rows: &[(&str, Vec<u8>)] = &[
        ("no body", with_fields("")),
        (
            "a length",
            with_fields("Content-Length: 5\r\n")
                .into_iter()
                .chain(*b"GET /")
                .collect(),
        ),
        (
            "chunks",
            with_chunks("5\r\nGET /\r\n00a;x=\"y\"\r\n0123456789\r\n0\r\n\r\n"),
        ),
        ("no chunk at all", with_chunks("0\r\n\r\n")),
        (
            "upper-case digits, many zeros",
            with_chunks("00A\r\n0123456789\r\n000;a\r\n\r\n"),
        ),
        ("trailers", with_chunks("1\r\nx\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n")),
        (
            "a length of 1 kB of extensions",
            with_chunks(&format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(1_023))),
        ),
    ];
    for (why, first) in rows {
        let mut inspector = inspector(Mode::Strict);
        let input = [first.as_slice(), &next, &next].concat();
        let (verdict, _) = run_all_splits(&inspector, &input, why);
        let whole = Verdict {
            heads: 3,
            end: Step::Wait,
            passed: Some(input.len()),
        };
        assert_eq!(verdict, whole, "{why}");
        assert_eq!(
            inspector.step(&input),
            Step::Pass(first.len()),
            "{why}: one message at a time"
        );
        assert!(!inspector.is_in_body() && !inspector.is_in_head(b"\r\n"), "{why}");
    }
}

#[test]
fn limits_are_exact() {
    let rules = Rules {
        mode: Mode::Strict,
        head_bytes_max: 400,
        fields_max: 3,
        target_bytes_max: 100,
    };
    let inspector = RequestInspector::new(rules);
    let target = |len: usize| with_line(&format!("GET /{} HTTP/1.1", "a".repeat(len - 1)));
    let head = |len: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "b".repeat(len - start.len() - 4)).into_bytes()
    };
    let rows: &[(&str, Vec<u8>, Result<(), Refusal>)] = &[
        ("target of 100", target(100), Ok(())),
        ("target of 101", target(101), Err(Refusal::TargetTooLong)),
        ("target of 1000", target(1_000), Err(Refusal::TargetTooLong)),
        (
            "a line without an end",
            vec![b'a'; 500],
            Err(Refusal::TargetTooLong),
        ),
        ("head of 400", head(400), Ok(())),
        ("head of 401", head(401), Err(Refusal::HeadTooLarge)),
        ("head of 2000", head(2_000), Err(Refusal::HeadTooLarge)),
        ("3 fields", with_fields("A: b\r\nC: d\r\n"), Ok(())),
        (
            "4 fields",
            with_fields("A: b\r\nC: d\r\nE: f\r\n"),
            Err(Refusal::FieldsTooMany),
        ),
        (
            "two empty lines",
            [b"\r\n\r\n".as_slice(), &with_fields("")].concat(),
            Ok(()),
        ),
        (
            "three empty lines",
            [b"\r\n\r\n\r\n".as_slice(), &with_fields("")].concat(),
            Err(Refusal::RequestLineBad),
        ),
    ];
    for (why, input, expected) in rows {
        let (verdict, _) = run_all_splits(&inspector, input, why);
        let got = match verdict.end {
            Step::Refuse(refusal) => Err(refusal),
            _ => Ok(()),
        };
        assert_eq!(got, *expected, "{why}");
    }
}

#[test]
fn nothing_follows_the_last_request_of_a_connection() {
    let rows = [
        ("close", with_fields("Connection: close\r\n")),
        (
            "close among others",
            with_fields("Connection: keep-alive, Close\r\n"),
        ),
        (
            "close in a second field",
            with_fields("Connection: keep-alive\r\nConnection: close\r\n"),
        ),
        (
            "close after a body",
            [
                with_fields("Connection: close\r\nContent-Length: 1\r\n"),
                b"x".to_vec(),
            ]
            .concat(),
        ),
        ("HTTP/1.0", with_line("GET / HTTP/1.0")),
    ];
    for (why, first) in rows {
        let input = [first.as_slice(), b"not judged at all"].concat();
        let (verdict, _) = run_all_splits(&inspector(Mode::Strict), &input, why);
        let only = Verdict {
            heads: 1,
            end: Step::Last,
            passed: Some(first.len()),
        };
        assert_eq!(verdict, only, "{why}");
    }
    let kept = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".repeat(2);
    let (verdict, _) = run_all_splits(&inspector(Mode::Strict), &kept, "HTTP/1.0 kept alive");
    assert_eq!((verdict.heads, verdict.end), (2, Step::Wait));
}

#[test]
fn an_offer_to_switch_holds_what_follows() {
    let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: h2c, websocket\r\n";
    let rows = [
        ("an upgrade", with_fields(upgrade)),
        (
            "an upgrade with a body",
            [
                with_fields(&format!("{upgrade}Content-Length: 2\r\n")),
                b"xy".to_vec(),
            ]
            .concat(),
        ),
        ("CONNECT", with_line("CONNECT a.example:443 HTTP/1.1")),
    ];
    for (why, first) in rows {
        let input = [first.as_slice(), &with_fields("")].concat();
        let (verdict, held) = run_all_splits(&inspector(Mode::Strict), &input, why);
        let only = Verdict {
            heads: 1,
            end: Step::Hold,
            passed: Some(first.len()),
        };
        assert_eq!(verdict, only, "{why}");
        let mut http = held.clone();
        http.resume(Resume::Http);
        assert_eq!(run(&mut http, &[&with_fields("")]).heads, 2, "{why}: http");
        let mut tunnel = held;
        tunnel.resume(Resume::Tunnel);
        assert_eq!(tunnel.step(b"\0\x01\r"), Step::Pass(3), "{why}: tunnel");
        assert_eq!(tunnel.heads(), 1, "{why}: tunnel");
    }
}

#[test]
fn a_summary_says_what_a_head_announces() {
    let plain = HeadSummary {
        method: MethodKind::Other,
        version: Version::Http11,
        body: Body::None,
        offered: Offered::Nothing,
        expects_continue: false,
        persists: true,
    };
    let rows: &[(&str, Vec<u8>, HeadSummary)] = &[
        ("GET", with_fields(""), plain),
        (
            "HEAD",
            with_line("HEAD / HTTP/1.1"),
            HeadSummary {
                method: MethodKind::Head,
                ..plain
            },
        ),
        (
            "HTTP/1.0",
            with_line("GET / HTTP/1.0"),
            HeadSummary {
                version: Version::Http10,
                persists: false,
                ..plain
            },
        ),
        (
            "a length",
            with_fields("Content-Length: 9223372036854775807\r\n"),
            HeadSummary {
                body: Body::Length(i64::MAX as u64),
                ..plain
            },
        ),
        (
            "chunks",
            with_chunks(""),
            HeadSummary {
                body: Body::Chunked,
                ..plain
            },
        ),
        (
            "an upgrade",
            with_fields("Connection: upgrade\r\nUpgrade: a\r\n"),
            HeadSummary {
                offered: Offered::Upgrade,
                ..plain
            },
        ),
        (
            "an expectation",
            with_fields("Expect: 100-Continue\r\nContent-Length: 1\r\n"),
            HeadSummary {
                expects_continue: true,
                body: Body::Length(1),
                ..plain
            },
        ),
    ];
    for (why, input, expected) in rows {
        let mut inspector = inspector(Mode::Strict);
        assert_eq!(inspector.summary(), None, "{why}");
        assert_eq!(inspector.step(input), Step::Pass(input.len()), "{why}");
        assert_eq!(inspector.summary(), Some(expected), "{why}");
    }
}
