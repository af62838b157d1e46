//! Paths: brought to one form, and that form is matched, forwarded and logged.

use super::super::raw::Raw;
use super::super::rows::{After, Row, Saw, Stand, passed, refused};
use super::super::within::run;

fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

fn goes(target: &str, forwarded: &str) -> Row {
    passed(
        format!("{target} goes as {forwarded}"),
        request(target),
        Saw::line(format!("GET {forwarded} HTTP/1.1")),
    )
}

fn bad(target: &str) -> Row {
    refused(
        format!("{target} is refused"),
        request(target),
        &[400],
        After::Either,
    )
}

fn plain() -> Vec<Row> {
    vec![
        goes("/", "/"),
        goes("/a/b?c=d", "/a/b?c=d"),
        goes("/%41%7a%30", "/Az0"),
        goes("/%7euser/%2d%2E%5f", "/~user/-._"),
        goes("/caf%c3%a9", "/caf%C3%A9"),
        goes("/a%20b", "/a%20b"),
        goes("/a%3fb%23c", "/a%3Fb%23c"),
        goes("/a%25b", "/a%25b"),
        goes("/a%252fb", "/a%252fb"),
        goes("/a/./b", "/a/b"),
        goes("/a/.", "/a/"),
        goes("/a/../b", "/b"),
        goes("/a/..", "/"),
        goes("/a/b/../../c", "/c"),
        goes("/a/%2e%2E/b", "/b"),
        goes("/a/%2e/b", "/a/b"),
        goes("/a/.../b", "/a/.../b"),
        goes("/a/..b", "/a/..b"),
        goes("/a/..;x/b", "/a/..;x/b"),
        goes("//a", "/a"),
        goes("/a//b///c", "/a/b/c"),
        goes("/a//", "/a/"),
        goes("/a//../b", "/a/b"),
        goes("/a?x=%zz&y=/../z//%2f", "/a?x=%zz&y=/../z//%2f"),
        goes("/a?", "/a?"),
        goes("/a;b=c,d", "/a;b=c,d"),
        goes("/a:b@c", "/a:b@c"),
        bad("/.."),
        bad("/../a"),
        bad("/a/../../b"),
        bad("/%2e%2e/a"),
        bad("/a/%2e%2e/%2E./b"),
        bad("/a%"),
        bad("/a%4"),
        bad("/a%zz"),
        bad("/a%4g"),
        bad("/a%%41"),
        bad("/a%00"),
        bad("/%00/a"),
        bad("/a%0a"),
        bad("/a%0d%0aX-A:%201"),
        bad("/a%1f"),
        bad("/a%7f"),
        bad("/a%2fb"),
        bad("/a%2Fb"),
        bad("/a%5cb"),
        bad("/..%2fb"),
    ]
}

/// Of routes that say what slashes are.
fn by_route() -> Vec<Row> {
    vec![
        goes("/keep/a%2fb", "/keep/a%2Fb"),
        goes("/keep/a%5cb", "/keep/a%5Cb"),
        goes("/keep/..%2fb", "/keep/..%2Fb"),
        goes("/keep/a%2f..%2fb", "/keep/a%2F..%2Fb"),
        goes("/keep//a", "/keep/a"),
        bad("/keep/../a%2fb"),
        bad("/keep%2fa"),
        goes("/unmerged//a", "/unmerged//a"),
        goes("/unmerged/a///b", "/unmerged/a///b"),
        goes("/unmerged/./a//b", "/unmerged/a//b"),
        bad("/unmerged/a%2fb"),
    ]
}

#[test]
fn paths_are_forwarded_in_one_form_or_refused() {
    run(async {
        Stand::start("").await.check("paths", &plain()).await;
    });
}

#[test]
fn routes_say_what_slashes_are() {
    run(async {
        let stand = Stand::with_routes("").await;
        stand.check("paths by route", &by_route()).await;
    });
}

#[test]
fn a_path_with_another_method_than_its_routes_is_405_and_the_connection_stays() {
    run(async {
        let rows = [
            refused(
                "another method than the route has",
                "POST /%61 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n",
                &[405],
                After::Kept,
            ),
            goes("/%61", "/a"),
        ];
        Stand::get_only().await.check("methods", &rows).await;
    });
}

#[test]
fn the_log_has_the_path_that_was_forwarded() {
    run(async {
        let stand = Stand::start("").await;
        for (target, logged) in [
            ("/a/./b?secret", "/a/b"),
            ("/%7ea//b", "/~a/b"),
            ("/a/%2e%2e/b", "/b"),
        ] {
            let mut raw = Raw::connect(stand.gateway.address()).await;
            raw.send(request(target).as_bytes()).await;
            raw.read_answers(1).await;
            let entries = stand.gateway.log.of(raw.local(), 1);
            let path = entries.first().and_then(|entry| entry.get("path"));
            assert_eq!(path, Some(logged), "{target}: {entries:?}");
        }
    });
}
