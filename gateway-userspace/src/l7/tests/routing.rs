//! Routes that ask for more than host, path and method, through a gateway of a file.

use super::harness::*;

/// Routes of the listener that answer with their names, each with that match.
fn answering(matches: &[(&str, &str)]) -> String {
    let route = |(name, matching): &(&str, &str)| {
        format!(
            "[[route]]\nname='{name}'\nlisteners=['web']\nrespond={{status=200,body='{name}'}}\nmatch={{{matching}}}\n"
        )
    };
    matches.iter().map(route).collect()
}

/// Who answers a request with those fields; its status, if nobody does.
async fn answer(client: &mut Client, method: &str, target: &str, fields: &[(&str, &str)]) -> String {
    let mut request = client.request(method, target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let answer = client.ask(request.body(full("")).unwrap()).await.unwrap();
    match answer.status {
        200 => answer.text().to_owned(),
        405 => format!("405 {}", answer.header("allow").unwrap()),
        status => status.to_string(),
    }
}

type Row<'t> = (&'t str, &'t str, &'t [(&'t str, &'t str)], &'t str);

async fn check(gateway: &Gateway, rows: &[Row<'_>]) {
    let mut clients = [
        Client::http1(gateway.address()).await,
        Client::http2(gateway.address()).await,
    ];
    for (method, target, fields, expected) in rows {
        for client in &mut clients {
            let seen = answer(client, method, target, fields).await;
            assert_eq!(seen, *expected, "{method} {target} {fields:?}");
        }
    }
}

#[tokio::test]
async fn fields_of_a_request_choose_among_routes_of_one_path() {
    let gateway = Gateway::configured(
        2,
        &answering(&[
            ("all", "path_prefix='/a'"),
            (
                "blue",
                "path_prefix='/a',headers=[{name='x-tenant',exact='blue'}]",
            ),
            (
                "blue-2",
                "path_prefix='/a',headers=[{name='x-tenant',exact='blue'},{name='x-v',regex='2(\\.[0-9]+)?'}]",
            ),
            ("query", "path_prefix='/a',query=[{name='beta',present=true}]"),
            (
                "cookie",
                "path_prefix='/a',cookies=[{name='canary',prefix='v2-'}]",
            ),
            (
                "none",
                "path_prefix='/a',methods=['PUT'],headers=[{name='x-tenant',present=false}]",
            ),
            ("digits", "path_regex='/[a-z]+/[0-9]{1,3}'"),
            (
                "only",
                "path='/only',headers=[{name='x-key',exact='1'}],methods=['GET','POST']",
            ),
        ]),
    );
    check(
        &gateway,
        &[
            ("GET", "/a", &[], "all"),
            ("GET", "/a", &[("x-tenant", "blue")], "blue"),
            ("GET", "/a", &[("x-tenant", "green")], "all"),
            ("GET", "/a/b", &[("x-tenant", "blue"), ("x-v", "2.1")], "blue-2"),
            ("GET", "/a", &[("x-tenant", "blue"), ("x-v", "2.1x")], "blue"),
            ("GET", "/a?x=1&beta", &[], "query"),
            ("GET", "/a?beta", &[("x-tenant", "blue")], "blue"),
            ("GET", "/a", &[("cookie", "a=1; canary=v2-7")], "cookie"),
            (
                "GET",
                "/a",
                &[("cookie", "a=1"), ("cookie", "canary=v2-")],
                "cookie",
            ),
            ("GET", "/a", &[("cookie", "canary=v1")], "all"),
            ("PUT", "/a", &[], "none"),
            ("PUT", "/a", &[("x-tenant", "blue")], "blue"),
            ("GET", "/b/12", &[], "digits"),
            ("GET", "/b/./%31%32", &[], "digits"),
            ("GET", "/b/1234", &[], "404"),
            ("GET", "/only", &[("x-key", "1")], "only"),
            ("GET", "/only", &[], "404"),
            ("DELETE", "/only", &[("x-key", "1")], "405 GET, POST"),
            ("DELETE", "/only", &[], "404"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_client_is_who_trusted_proxies_say() {
    let routes = answering(&[
        ("all", "path_prefix='/'"),
        ("office", "path_prefix='/',client=['198.51.100.0/24']"),
        ("local", "path_prefix='/',client=['127.0.0.1']"),
        (
            "tls",
            "path_prefix='/',headers=[{name='x-forwarded-proto',exact='https'}]",
        ),
    ]);
    let office: &[(&str, &str)] = &[("x-forwarded-for", "198.51.100.7")];
    let tls: &[(&str, &str)] = &[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")];
    let mut gateway = Gateway::configured(1, &routes);
    check(
        &gateway,
        &[
            ("GET", "/", &[], "local"),
            ("GET", "/", office, "local"),
            ("GET", "/", tls, "local"),
        ],
    )
    .await;
    gateway.reconfigure(
        1,
        &format!("[defaults]\ntrusted_proxies=['127.0.0.0/8']\n{routes}"),
    );
    check(
        &gateway,
        &[
            ("GET", "/", &[], "local"),
            ("GET", "/", office, "office"),
            ("GET", "/", tls, "tls"),
            ("GET", "/", &[("x-forwarded-for", "203.0.113.9")], "all"),
        ],
    )
    .await;
}

#[tokio::test]
async fn whom_no_route_takes_is_named_in_the_log_all_the_same() {
    let routes = answering(&[("office", "path_prefix='/',client=['198.51.100.0/24']")]);
    let text = format!("[defaults]\ntrusted_proxies=['127.0.0.1']\n{routes}");
    let gateway = Gateway::configured(1, &text);
    let rows: [Row<'_>; 1] = [("GET", "/", &[("x-forwarded-for", "203.0.113.9")], "404")];
    check(&gateway, &rows).await;
    for line in gateway.lines(2).await {
        assert!(
            line.contains("203.0.113.9") && line.contains("no-route"),
            "{line}"
        );
    }
}
