//! What routes do with a request beside sending it on as it is, through a gateway of a file.

use std::collections::BTreeMap;
use std::time::Duration;

use super::harness::*;

/// An upstream with those endpoints.
fn upstream(name: &str, servers: &[&Server]) -> String {
    let endpoints: Vec<String> = servers
        .iter()
        .map(|server| format!("{{address='{}'}}", server.address))
        .collect();
    format!(
        "[[upstream]]\nname='{name}'\nendpoints=[{}]\n",
        endpoints.join(",")
    )
}

fn route(name: &str, keys: &str) -> String {
    format!("[[route]]\nname='{name}'\nlisteners=['web']\n{keys}\n")
}

async fn ask(client: &mut Client, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
    let mut request = client.request(method, target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    client.ask(request.body(full("")).unwrap()).await.unwrap()
}

async fn both(gateway: &Gateway) -> [Client; 2] {
    [
        Client::http1(gateway.address()).await,
        Client::http2(gateway.address()).await,
    ]
}

#[tokio::test]
async fn redirects_say_where_to_go() {
    let text = [
        "[defaults]\ntrusted_proxies=['127.0.0.1']\n".to_owned(),
        route(
            "tls",
            "match={path_prefix='/tls'}\nredirect={scheme='https',status=301}",
        ),
        route(
            "moved",
            "match={path_prefix='/old'}\nredirect={path_prefix='/new',status=308}",
        ),
        route(
            "user",
            "match={path='/u/{id}/{what}'}\nredirect={host='b.example',path='/{what}/{id}'}",
        ),
        route("same", "match={path='/p'}\nredirect={port=8443}"),
    ]
    .concat();
    let gateway = Gateway::configured(1, &text);
    type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], u16, &'r str);
    let rows: [Row<'_>; 6] = [
        ("/tls/a%20b?c=d", &[], 301, "https://a.example/tls/a%20b?c=d"),
        ("/old", &[], 308, "http://a.example/new"),
        ("/x/../old//a/?q", &[], 308, "http://a.example/new/a/?q"),
        ("/u/7/posts?x", &[], 302, "http://b.example/posts/7?x"),
        ("/p", &[], 302, "http://a.example:8443/p"),
        (
            "/p",
            &[("x-forwarded-proto", "https")],
            302,
            "https://a.example:8443/p",
        ),
    ];
    for (target, fields, status, location) in rows {
        for client in &mut both(&gateway).await {
            for method in ["GET", "HEAD", "POST"] {
                let answer = ask(client, method, target, fields).await;
                assert_eq!(
                    (answer.status, answer.header("location"), answer.body.len()),
                    (status, Some(location), 0),
                    "{method} {target}"
                );
            }
        }
    }
    let lines = gateway.lines(rows.len() * 6).await;
    assert!(
        lines
            .iter()
            .all(|line| line.contains("reason=ok") && line.contains("status=30")),
        "{lines:#?}"
    );
    assert!(lines[0].contains("route=tls"), "{}", lines[0]);
}

#[tokio::test]
async fn upstreams_are_asked_for_what_a_rewrite_says() {
    let echo = Server::echo().await;
    for protocol in ["http1", "http2"] {
        let text = [
            upstream("echo", &[&echo]).replace("endpoints", &format!("protocol='{protocol}'\nendpoints")),
            route(
                "prefix",
                "match={path_prefix='/api'}\nupstream='echo'\nrewrite={path_prefix='/'}",
            ),
            route(
                "whole",
                "match={path='/u/{id}'}\nupstream='echo'\nrewrite={path='/users/{id}.json',host='users.internal:81'}",
            ),
            route("host", "match={path='/h'}\nupstream='echo'\nrewrite={host='h.internal'}"),
        ]
        .concat();
        let gateway = Gateway::configured(1, &text);
        let rows = [
            ("/api/a/b?c=/api", "a.example", "/a/b?c=/api"),
            ("/api", "a.example", "/"),
            ("/api//x", "a.example", "/x"),
            ("/u/7%2b?y", "users.internal:81", "/users/7%2B.json?y"),
            ("/h?z", "h.internal", "/h?z"),
        ];
        for (target, host, expected) in rows {
            for client in &mut both(&gateway).await {
                let answer = ask(client, "GET", target, &[]).await;
                let text = answer.text();
                let first = match protocol {
                    "http1" => format!("GET {expected} HTTP/1.1\n"),
                    _ => format!("GET http://{host}{expected} HTTP/2.0\n"),
                };
                assert!(text.starts_with(&first), "{target}: {text}");
                let hosts = text.matches(&format!("\nhost: {host}\n")).count();
                assert_eq!(hosts, usize::from(protocol == "http1"), "{target}: {text}");
                assert!(
                    text.contains("\nx-forwarded-host: a.example\n"),
                    "{target}: {text}"
                );
            }
        }
        let lines = gateway.lines(rows.len() * 2).await;
        assert!(
            lines[0].contains("path=/api/a/b "),
            "the log has what the client asked for: {}",
            lines[0]
        );
    }
}

/// Who of the upstreams answered how many of so many requests.
async fn answered(client: &mut Client, count: usize, fields: &[(&str, &str)]) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        let answer = ask(client, "GET", "/", fields).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        *seen.entry(answer.text().to_owned()).or_default() += 1;
    }
    seen
}

#[tokio::test]
async fn upstreams_get_what_they_weigh_and_are_counted_apart() {
    let servers = [
        Server::named("a").await,
        Server::named("b").await,
        Server::named("c").await,
    ];
    let text = |weights: [u32; 3]| {
        let [a, b, c] = weights;
        [
            upstream("a", &[&servers[0]]),
            upstream("b", &[&servers[1]]).replace("endpoints", "protocol='http2'\nendpoints"),
            upstream("c", &[&servers[2]]),
            route(
                "r",
                &format!(
                    "match={{path_prefix='/'}}\nsplit=[{{upstream='a',weight={a}}},{{upstream='b',weight={b}}},{{upstream='c',weight={c}}}]"
                ),
            ),
        ]
        .concat()
    };
    let mut gateway = Gateway::configured(2, &text([3, 1, 0]));
    let mut client = Client::http1(gateway.address()).await;
    let seen = answered(&mut client, 400, &[]).await;
    assert_eq!(
        seen.keys().collect::<Vec<_>>(),
        ["a", "b"],
        "weight 0 gets nothing"
    );
    // Five standard deviations from 300.
    assert!((257..=343).contains(&seen["a"]), "{seen:?}");
    wait_until("counters", || {
        seen.iter().all(|(upstream, count)| {
            let line = format!(
                "gateway_split_requests_total{{listener=\"web\",route=\"r\",upstream=\"{upstream}\",status=\"2xx\"}} {count}"
            );
            gateway.metrics().contains(&line)
        })
    })
    .await;
    gateway.reconfigure(2, &text([0, 0, 1]));
    let mut client = Client::http1(gateway.address()).await;
    assert_eq!(
        answered(&mut client, 20, &[]).await,
        [("c".to_owned(), 20)].into()
    );
}

#[tokio::test]
async fn a_client_stays_with_its_share() {
    let servers = [Server::named("a").await, Server::named("b").await];
    let text = |by: &str| {
        [
            upstream("a", &[&servers[0]]),
            upstream("b", &[&servers[1]]),
            route(
                "r",
                &format!(
                    "match={{path_prefix='/'}}\nsplit=[{{upstream='a',weight=1}},{{upstream='b',weight=1}}]\nsplit_by={by}"
                ),
            ),
        ]
        .concat()
    };
    for (by, fields) in [
        ("{cookie='sid'}", "cookie"),
        ("{header='x-user'}", "x-user"),
        ("{client=true}", "x-forwarded-for"),
    ] {
        let text = format!("[defaults]\ntrusted_proxies=['127.0.0.1']\n{}", text(by));
        let gateway = Gateway::configured(1, &text);
        let mut clients = both(&gateway).await;
        let mut all = BTreeMap::new();
        for number in 0..32 {
            let value = match fields {
                "cookie" => format!("x=1; sid={number}"),
                "x-user" => number.to_string(),
                _ => format!("192.0.2.{number}"),
            };
            let mut homes = BTreeMap::new();
            for client in &mut clients {
                homes.extend(answered(client, 4, &[(fields, &value)]).await);
            }
            assert_eq!(homes.len(), 1, "{by} {value}: {homes:?}");
            for (home, _) in homes {
                *all.entry(home).or_insert(0) += 1;
            }
        }
        assert!(
            all.len() == 2 && all.values().all(|count| *count >= 6),
            "{by}: {all:?}"
        );
        if by != "{client=true}" {
            let without = answered(&mut clients[0], 64, &[]).await;
            assert_eq!(without.len(), 2, "without it chance decides: {without:?}");
        }
    }
}

#[tokio::test]
async fn a_share_falls_back_to_another_but_not_to_itself() {
    let (stable, gone) = (Server::named("stable").await, closed_port().await);
    let text = [
        upstream("stable", &[&stable]),
        format!("[[upstream]]\nname='next'\nendpoints=[{{address='{gone}'}}]\n"),
        route(
            "r",
            "match={path_prefix='/'}\nsplit=[{upstream='stable',weight=1},{upstream='next',weight=1}]\n\
             fallback=[{upstream='next'},{upstream='stable'}]\nretry={attempts=0}",
        ),
    ]
    .concat();
    let gateway = Gateway::configured(1, &text);
    let mut client = Client::http1(gateway.address()).await;
    assert_eq!(
        answered(&mut client, 40, &[]).await,
        [("stable".to_owned(), 40)].into()
    );
    for line in gateway.lines(40).await {
        let tries = if line.contains(" tries=1 ") { 1 } else { 2 };
        assert!(
            line.contains(&format!(" tries={tries} ")),
            "itself is not asked again: {line}"
        );
    }
}

#[tokio::test]
async fn requests_fail_on_purpose_and_nobody_is_asked() {
    let (server, backup) = (Server::named("a").await, Server::named("backup").await);
    let text = [
        upstream("a", &[&server]),
        upstream("backup", &[&backup]),
        route(
            "r",
            "match={path_prefix='/'}\nupstream='a'\nfallback=[{upstream='backup'}]\nfallback_on=['503']\n\
             retry={on=['503']}\nfault={abort={status=503,percent=100},only_with_header='x-fault'}",
        ),
        route(
            "none",
            "match={path='/none'}\nupstream='a'\nfault={abort={status=503,percent=0}}",
        ),
    ]
    .concat();
    let gateway = Gateway::configured(1, &text);
    for client in &mut both(&gateway).await {
        let failed = ask(client, "GET", "/", &[("x-fault", "1")]).await;
        assert_eq!(
            (failed.status, failed.text()),
            (503, "fault-abort: the route fails this request on purpose\n")
        );
    }
    assert_eq!((server.connections(), backup.connections()), (0, 0));
    for client in &mut both(&gateway).await {
        assert_eq!(ask(client, "GET", "/", &[]).await.text(), "a");
        assert_eq!(ask(client, "GET", "/none", &[("x-fault", "1")]).await.text(), "a");
    }
    let lines = gateway.lines(6).await;
    let failed: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("reason=fault-abort"))
        .collect();
    assert_eq!(failed.len(), 2, "{lines:#?}");
    for line in failed {
        assert!(
            line.contains("status=503") && line.contains("fault=none") && line.contains(" tries=0 "),
            "{line}"
        );
    }
}

#[tokio::test]
async fn requests_are_late_on_purpose() {
    let server = Server::named("a").await;
    let text = [
        upstream("a", &[&server]),
        route(
            "late",
            "match={path='/late'}\nupstream='a'\nfault={delay={time='60ms',percent=100}}",
        ),
        route(
            "too-late",
            "match={path='/too-late'}\nupstream='a'\ntimeout='20ms'\nfault={delay={time='1h',percent=100}}",
        ),
        route(
            "both",
            "match={path='/both'}\nupstream='a'\n\
             fault={delay={time='60ms',percent=100},abort={status=429,percent=100}}",
        ),
    ]
    .concat();
    let gateway = Gateway::configured(1, &text);
    let mut client = Client::http1(gateway.address()).await;
    for (path, status, least, reason) in [
        ("/late", 200, 60, "fault-delay"),
        ("/too-late", 504, 20, "fault-delay"),
        ("/both", 429, 60, "fault-abort"),
    ] {
        let before = gateway.log().now().len();
        let start = std::time::Instant::now();
        assert_eq!(ask(&mut client, "GET", path, &[]).await.status, status, "{path}");
        assert!(start.elapsed() >= Duration::from_millis(least), "{path}");
        let lines = gateway.lines(before + 1).await;
        let line = &lines[before];
        assert!(
            line.contains(&format!("reason={reason} ")) && line.contains("fault=none"),
            "{line}"
        );
    }
    let text = "gateway_request_failures_total{reason=\"fault-delay\",fault=\"none\"} 2";
    wait_until("counters", || gateway.metrics().contains(text)).await;
}
