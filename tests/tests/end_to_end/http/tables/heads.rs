//! Heads that are refused in every mode: their fields, their size, their request line, their host.

use super::super::rows::{After, Row, Saw, passed, refused};
use super::super::within::run;
use super::{MODES, get, post, stand};

const BAD: &[u16] = &[400];

/// Bytes of a target that still pass.
const TARGET_BYTES_MAX: usize = 8 << 10;

/// Fields of a head that still pass.
const FIELDS_MAX: usize = 100;

/// Bytes of a head that are too many.
const HEAD_BYTES_TOO_MANY: usize = 66_000;

fn fields() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        ("a space before a colon", "X-A : 1\r\n"),
        ("a tab before a colon", "X-A\t: 1\r\n"),
        ("a space before Content-Length's colon", "Content-Length : 5\r\n"),
        ("a folded value", "X-A: 1\r\n 2\r\n"),
        ("a value folded by a tab", "X-A: 1\r\n\t2\r\n"),
        ("NUL in a value", "X-A: 1\0\r\n"),
        ("NUL in a name", "X\0A: 1\r\n"),
        ("a bare CR in a value", "X-A: 1\rX-B: 2\r\n"),
        ("a bare CR before the line's end", "X-A: 1\r\r\n"),
        ("a control character in a value", "X-A: 1\x01\r\n"),
        ("DEL in a value", "X-A: 1\x7f\r\n"),
        ("an escape character in a value", "X-A: \x1b[1m\r\n"),
        ("a control character in a name", "X\x02A: 1\r\n"),
        ("a space in a name", "X A: 1\r\n"),
        ("a line without a colon", "X-A\r\n"),
        ("an empty name", ": 1\r\n"),
        ("a name with a bracket", "X(A): 1\r\n"),
        ("a name with 8-bit letters", "X-\u{e9}: 1\r\n"),
    ]
    .into_iter()
    .map(|(what, field)| refused(what, get(field), BAD, After::Closed))
    .collect();
    rows.push(refused(
        "a space before the first field",
        "GET /a HTTP/1.1\r\n Host: a.example\r\n\r\n",
        BAD,
        After::Closed,
    ));
    rows
}

fn hosts() -> Vec<Row> {
    let rows = [
        ("no Host", ""),
        ("two equal Hosts", "Host: a.example\r\nHost: a.example\r\n"),
        ("two Hosts", "Host: a.example\r\nHost: b.example\r\n"),
        ("an empty Host", "Host:\r\n"),
        ("a list of hosts", "Host: a.example, b.example\r\n"),
        ("user information in Host", "Host: user@a.example\r\n"),
        ("a path in Host", "Host: a.example/x\r\n"),
        ("a query in Host", "Host: a.example?x\r\n"),
        ("a fragment in Host", "Host: a.example#x\r\n"),
        ("a scheme in Host", "Host: http://a.example\r\n"),
        ("a space in Host", "Host: a.example b\r\n"),
        ("a port that is no number", "Host: a.example:http\r\n"),
        ("a port of six digits", "Host: a.example:808080\r\n"),
        ("two ports", "Host: a.example:80:80\r\n"),
        ("an open bracket", "Host: [::1\r\n"),
        ("brackets without an address", "Host: []\r\n"),
        ("a word in brackets", "Host: [a.example]\r\n"),
        ("an address without brackets", "Host: ::1\r\n"),
        ("a backslash in Host", "Host: a\\b\r\n"),
        ("a percent sign in Host", "Host: a%2e.example\r\n"),
    ];
    let refused_rows = rows.into_iter().map(|(what, field)| {
        refused(
            what,
            format!("GET /a HTTP/1.1\r\n{field}X-A: 1\r\n\r\n"),
            BAD,
            After::Closed,
        )
    });
    let passing = [
        "a.example",
        "A.Example:8080",
        "192.0.2.7",
        "[2001:db8::1]:80",
        "a_b.example",
    ];
    let passed_rows = passing.into_iter().map(|host| {
        passed(
            format!("Host {host}"),
            format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            Saw::line("GET /a HTTP/1.1").with("host", host),
        )
    });
    refused_rows.chain(passed_rows).collect()
}

fn lines() -> Vec<Row> {
    let request = |line: &str| format!("{line}\r\nHost: a.example\r\n\r\n");
    let bad = |what: &str, line: &str| refused(what, request(line), BAD, After::Closed);
    let version = |what: &str, line: &str| refused(what, request(line), &[400, 505], After::Closed);
    vec![
        bad("two spaces after the method", "GET  /a HTTP/1.1"),
        bad("two spaces after the target", "GET /a  HTTP/1.1"),
        bad("a space before the method", " GET /a HTTP/1.1"),
        bad("a space after the version", "GET /a HTTP/1.1 "),
        bad("a tab between the parts", "GET\t/a\tHTTP/1.1"),
        bad("a space in the target", "GET /a b HTTP/1.1"),
        bad("no target", "GET HTTP/1.1"),
        bad("no version", "GET /a"),
        bad("a control character in the target", "GET /a\x01 HTTP/1.1"),
        bad("NUL in the target", "GET /a\0 HTTP/1.1"),
        bad("a method with a bracket", "G(T /a HTTP/1.1"),
        // Bytes that are UTF-8 obey the mode; of these nobody knows what they were to mean.
        refused(
            "8-bit bytes in the target that are no UTF-8",
            b"GET /\xff HTTP/1.1\r\nHost: a.example\r\n\r\n",
            BAD,
            After::Closed,
        ),
        bad("a target without a slash", "GET a HTTP/1.1"),
        version("HTTP/1.2", "GET /a HTTP/1.2"),
        version("HTTP/2.0 as text", "GET /a HTTP/2.0"),
        version("HTTP/0.9 with a version", "GET /a HTTP/0.9"),
        version("HTTP/1.10", "GET /a HTTP/1.10"),
        version("a lower-case version", "GET /a http/1.1"),
        version("HTTP/11", "GET /a HTTP/11"),
        refused("TRACE", request("TRACE /a HTTP/1.1"), &[405], After::Closed),
        refused("GET *", request("GET * HTTP/1.1"), BAD, After::Closed),
        refused(
            "CONNECT to where no tunnel is",
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
            &[405],
            After::Closed,
        ),
        refused(
            "another expectation",
            post("Content-Length: 1\r\nExpect: 200-ok\r\n", "x"),
            &[417],
            After::Closed,
        ),
        passed(
            "OPTIONS *",
            request("OPTIONS * HTTP/1.1"),
            Saw::line("OPTIONS * HTTP/1.1"),
        ),
        passed(
            "an absolute target that differs from Host",
            "GET http://b.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n",
            Saw::line("GET /x?y HTTP/1.1").with("host", "b.example"),
        ),
        passed(
            "an absolute target without a path",
            "GET http://b.example?y HTTP/1.1\r\nHost: b.example\r\n\r\n",
            Saw::line("GET /?y HTTP/1.1").with("host", "b.example"),
        ),
        passed(
            "an empty line before the request",
            "\r\nGET /a HTTP/1.1\r\nHost: a.example\r\n\r\n",
            Saw::line("GET /a HTTP/1.1"),
        ),
        passed(
            "HTTP/1.0",
            "GET /a HTTP/1.0\r\nHost: a.example\r\n\r\n",
            Saw::line("GET /a HTTP/1.1").with("host", "a.example"),
        ),
        passed(
            "expecting 100",
            post("Content-Length: 1\r\nExpect: 100-continue\r\n", "x"),
            Saw::line("POST /a HTTP/1.1").without(&["expect"]).body(b"x"),
        ),
    ]
}

fn sizes() -> Vec<Row> {
    // One of them is Host.
    let with_fields = |count: usize| {
        let fields: String = (1..count).map(|number| format!("X-{number}: 1\r\n")).collect();
        get(&fields)
    };
    let with_target = |bytes: usize| {
        format!(
            "GET /{} HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "a".repeat(bytes - 1)
        )
    };
    let with_value = |bytes: usize| get(&format!("X-A: {}\r\n", "a".repeat(bytes)));
    let line = format!("GET /{} HTTP/1.1", "a".repeat(TARGET_BYTES_MAX - 1));
    vec![
        passed(
            "100 fields",
            with_fields(FIELDS_MAX),
            Saw::line("GET /a HTTP/1.1"),
        ),
        refused("101 fields", with_fields(FIELDS_MAX + 1), &[431], After::Closed),
        refused(
            "1,000 fields",
            with_fields(10 * FIELDS_MAX),
            &[431],
            After::Closed,
        ),
        passed("a target of 8 kB", with_target(TARGET_BYTES_MAX), Saw::line(line)),
        refused(
            "a target of a byte more",
            with_target(TARGET_BYTES_MAX + 1),
            &[414],
            After::Closed,
        ),
        refused("a target of 60 kB", with_target(60_000), &[414], After::Closed),
        passed(
            "a value of 32 kB",
            with_value(32 << 10),
            Saw::line("GET /a HTTP/1.1").with("x-a", "a".repeat(32 << 10)),
        ),
        refused(
            "a head of 64 kB",
            with_value(HEAD_BYTES_TOO_MANY),
            &[431],
            After::Closed,
        ),
        refused("a head of 1 MB", with_value(1 << 20), &[431], After::Closed),
    ]
}

#[test]
fn fields_that_can_be_read_in_two_ways_are_refused_in_every_mode() {
    run(async {
        for mode in MODES {
            stand(mode)
                .await
                .check(&format!("fields, {mode}"), &fields())
                .await;
        }
    });
}

#[test]
fn hosts_that_are_none_are_refused_in_every_mode() {
    run(async {
        for mode in MODES {
            stand(mode).await.check(&format!("hosts, {mode}"), &hosts()).await;
        }
    });
}

#[test]
fn request_lines_mean_one_thing_or_are_refused_in_every_mode() {
    run(async {
        for mode in MODES {
            stand(mode).await.check(&format!("lines, {mode}"), &lines()).await;
        }
    });
}

#[test]
fn heads_are_bounded_in_every_mode() {
    run(async {
        for mode in MODES {
            stand(mode).await.check(&format!("sizes, {mode}"), &sizes()).await;
        }
    });
}
