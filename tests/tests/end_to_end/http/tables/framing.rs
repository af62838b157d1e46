//! Where a request ends: what can be read in two ways is refused in every mode.

use super::super::rows::{After, Row, Saw, passed, refused};
use super::super::within::run;
use super::{MODES, post, stand};

const BAD: &[u16] = &[400];
const BAD_OR_TOO_LARGE: &[u16] = &[400, 431];
const BAD_OR_UNKNOWN: &[u16] = &[400, 501];

fn lengths() -> Vec<Row> {
    let chunks = "1\r\nx\r\n0\r\n\r\n";
    [
        (
            "Content-Length before Transfer-Encoding",
            "Content-Length: 11\r\nTransfer-Encoding: chunked\r\n",
            chunks,
        ),
        (
            "Content-Length after Transfer-Encoding",
            "Transfer-Encoding: chunked\r\nContent-Length: 11\r\n",
            chunks,
        ),
        (
            "two equal Content-Lengths",
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "xy",
        ),
        (
            "two different Content-Lengths",
            "Content-Length: 2\r\nContent-Length: 3\r\n",
            "xyz",
        ),
        ("a list of equal lengths", "Content-Length: 2, 2\r\n", "xy"),
        ("a list of lengths", "Content-Length: 2, 3\r\n", "xyz"),
        ("a length with leading zeros", "Content-Length: 002\r\n", "xy"),
        ("a length with a sign", "Content-Length: +2\r\n", "xy"),
        ("a negative length", "Content-Length: -2\r\n", "xy"),
        ("a hexadecimal length", "Content-Length: 0x2\r\n", "xy"),
        ("a length with a space inside", "Content-Length: 1 2\r\n", "xy"),
        ("a length with a fraction", "Content-Length: 2.0\r\n", "xy"),
        ("an empty length", "Content-Length:\r\n", ""),
        (
            "a length of 20 digits",
            "Content-Length: 99999999999999999999\r\n",
            "xy",
        ),
        (
            "a length just beyond 64 bits",
            "Content-Length: 18446744073709551616\r\n",
            "xy",
        ),
    ]
    .into_iter()
    .map(|(what, fields, rest)| refused(what, post(fields, rest), BAD, After::Closed))
    .collect()
}

fn codings() -> Vec<Row> {
    let chunks = "1\r\nx\r\n0\r\n\r\n";
    let mut rows: Vec<Row> = [
        "gzip, chunked",
        "identity, chunked",
        "chunked, gzip",
        "gzip",
        "identity",
        ",chunked",
        "chunked,",
        "chunked, chunked",
        "chunked;q=1",
        "xchunked",
        "chunke",
        "\"chunked\"",
        "",
    ]
    .into_iter()
    .map(|coding| {
        refused(
            format!("Transfer-Encoding {coding:?}"),
            post(&format!("Transfer-Encoding: {coding}\r\n"), chunks),
            BAD_OR_UNKNOWN,
            After::Closed,
        )
    })
    .collect();
    rows.push(refused(
        "Transfer-Encoding twice",
        post(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            chunks,
        ),
        BAD_OR_UNKNOWN,
        After::Closed,
    ));
    rows.push(refused(
        "Transfer-Encoding in HTTP/1.0",
        format!("POST /a HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        BAD_OR_UNKNOWN,
        After::Closed,
    ));
    rows
}

/// Faults of a chunked body that show before its end. They come in the first chunk line, so that the head has passed
/// when they are seen: what the upstream got of it can never be a whole request.
fn chunks() -> Vec<(&'static str, String)> {
    let long = "x".repeat(1100);
    vec![
        ("a size with a sign", "+1\r\nx\r\n0\r\n\r\n".to_owned()),
        ("a negative size", "-1\r\nx\r\n0\r\n\r\n".to_owned()),
        ("a size with a prefix", "0x1\r\nx\r\n0\r\n\r\n".to_owned()),
        ("a size with a space before it", " 1\r\nx\r\n0\r\n\r\n".to_owned()),
        ("a size with a space after it", "1 \r\nx\r\n0\r\n\r\n".to_owned()),
        ("a size with a tab after it", "1\t\r\nx\r\n0\r\n\r\n".to_owned()),
        (
            "a size of 17 digits",
            "10000000000000001\r\nx\r\n0\r\n\r\n".to_owned(),
        ),
        ("an empty size", "\r\nx\r\n0\r\n\r\n".to_owned()),
        ("no size but an extension", ";a=b\r\nx\r\n0\r\n\r\n".to_owned()),
        ("a size that is no number", "g\r\nx\r\n0\r\n\r\n".to_owned()),
        ("more bytes than the size says", "1\r\nxy\r\n0\r\n\r\n".to_owned()),
        ("fewer bytes than the size says", "2\r\nx\r\n0\r\n\r\n".to_owned()),
        ("a bare LF after the size", "1\nx\r\n0\r\n\r\n".to_owned()),
        ("a bare LF after the data", "1\r\nx\n0\r\n\r\n".to_owned()),
        ("a bare LF after the last chunk", "1\r\nx\r\n0\n\r\n".to_owned()),
        ("a bare CR after the size", "1\rx\r\n0\r\n\r\n".to_owned()),
        ("a bare LF in an extension", "1;a\nb\r\nx\r\n0\r\n\r\n".to_owned()),
        (
            "over 1 kB of one extension",
            format!("1;{long}\r\nx\r\n0\r\n\r\n"),
        ),
        (
            "a trailer with a space before its colon",
            "0\r\nX-A : 1\r\n\r\n".to_owned(),
        ),
        ("a trailer that is folded", "0\r\nX-A: 1\r\n 2\r\n\r\n".to_owned()),
        ("a trailer without a colon", "0\r\nX-A\r\n\r\n".to_owned()),
        ("a trailer that ends in a bare LF", "0\r\nX-A: 1\n\r\n".to_owned()),
        ("NUL in a trailer", "0\r\nX-A: \0\r\n\r\n".to_owned()),
        (
            "over 8 kB of trailers",
            format!("0\r\nX-A: {}\r\n\r\n", "x".repeat(8_192)),
        ),
        (
            "over 1 kB of extensions in all",
            format!(
                "{}0\r\n\r\n",
                format!("1;{}\r\nx\r\n", "y".repeat(120)).repeat(12)
            ),
        ),
    ]
}

fn good() -> Vec<Row> {
    let line = || Saw::line("POST /a HTTP/1.1");
    vec![
        passed(
            "a length",
            post("Content-Length: 2\r\n", "xy"),
            line()
                .with("content-length", "2")
                .without(&["transfer-encoding"])
                .body(b"xy"),
        ),
        passed(
            "a length of nothing",
            post("Content-Length: 0\r\n", ""),
            line().without(&["transfer-encoding"]),
        ),
        passed(
            "chunks",
            post(
                "Transfer-Encoding: chunked\r\n",
                "1\r\nx\r\nA\r\n0123456789\r\n0\r\n\r\n",
            ),
            line()
                .with("transfer-encoding", "chunked")
                .without(&["content-length"])
                .body(b"x0123456789"),
        ),
        passed(
            "chunks in capitals",
            post("Transfer-Encoding: CHUNKED\r\n", "2\r\nxy\r\n0\r\n\r\n"),
            line().with("transfer-encoding", "chunked").body(b"xy"),
        ),
        passed(
            "chunks with a short extension and zeros before the size",
            post("Transfer-Encoding: chunked\r\n", "0002;a=b\r\nxy\r\n0;c\r\n\r\n"),
            line().with("transfer-encoding", "chunked").body(b"xy"),
        ),
        passed("no body", post("", ""), line().without(&["transfer-encoding"])),
    ]
}

#[test]
fn heads_that_frame_a_body_in_two_ways_are_refused_in_every_mode() {
    run(async {
        let rows: Vec<_> = lengths().into_iter().chain(codings()).collect();
        for mode in MODES {
            stand(mode).await.check(&format!("framing, {mode}"), &rows).await;
        }
    });
}

#[test]
fn bodies_with_one_reading_arrive_whole_and_framed_anew() {
    run(async {
        for mode in MODES {
            stand(mode)
                .await
                .check(&format!("good framing, {mode}"), &good())
                .await;
        }
    });
}

/// The upstream answers only whole requests: what comes for a broken one is ours.
#[test]
fn chunks_that_can_be_read_in_two_ways_never_make_a_request() {
    run(async {
        for mode in MODES {
            let rows: Vec<_> = chunks()
                .into_iter()
                .map(|(what, body)| {
                    let sent = post("Transfer-Encoding: chunked\r\n", &body);
                    refused(what, sent, BAD_OR_TOO_LARGE, After::Closed)
                })
                .collect();
            stand(mode).await.check(&format!("chunks, {mode}"), &rows).await;
        }
    });
}
