//! `cors` as browsers meet it: preflights of routes that take no OPTIONS, and answers of all kinds.

use http::{HeaderValue, StatusCode};

use super::filter;
use crate::filters::Settings as Kind;
use crate::filters::cors::{Cors, Credentials, Origin};
use crate::l7::tests::harness::*;

fn cors() -> Kind {
    Kind::Cors(Cors {
        origins: vec![Origin::Exact("https://a.example".to_owned())],
        methods: HeaderValue::from_static("GET, POST"),
        headers: None,
        expose: None,
        credentials: Credentials::Allowed,
        max_age: Some(HeaderValue::from_static("600")),
    })
}

async fn asks(client: &mut Client, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let request = client.request(method, path);
    let request = fields
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    client.ask(request.body(full("")).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_preflight_goes_to_the_route_of_the_method_that_it_asks_for() {
    let server = Server::echo().await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.filters = vec![filter("f", cors())];
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let preflight = |method| {
        [
            ("origin", "https://a.example"),
            ("access-control-request-method", method),
        ]
    };
    // That route takes POST alone.
    let answer = asks(&mut client, "OPTIONS", "/post", &preflight("POST")).await;
    let named = ["allow-origin", "allow-methods", "allow-credentials", "max-age"];
    let values = named.map(|name| {
        answer
            .header(&format!("access-control-{name}"))
            .unwrap()
            .to_owned()
    });
    assert_eq!(values, ["https://a.example", "GET, POST", "true", "600"]);
    assert_eq!(
        (answer.status, answer.text(), answer.header("vary")),
        (204, "", Some("Origin"))
    );
    let answer = asks(&mut client, "OPTIONS", "/post", &preflight("PUT")).await;
    assert_eq!(answer.status, 405, "no route takes what it asks for");
    let answer = asks(&mut client, "OPTIONS", "/post", &[]).await;
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("POST")),
        "no preflight"
    );
    assert_eq!(server.connections(), 0);
    let lines = gateway.lines(3).await;
    assert!(
        lines[0].contains("route=post ") && lines[0].contains("status=204 reason=ok"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_preflight_without_cors_is_a_request_like_others() {
    let server = Server::echo().await;
    let gateway = Gateway::start(&Setup::new(1, &[server.address]));
    let mut client = Client::http1(gateway.address()).await;
    let fields = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "POST"),
    ];
    let answer = asks(&mut client, "OPTIONS", "/post", &fields).await;
    assert_eq!(answer.status, 405);
    let answer = asks(&mut client, "OPTIONS", "/up", &fields).await;
    assert!(answer.text().starts_with("OPTIONS /up"), "{}", answer.text());
}

#[tokio::test]
async fn failures_and_refusals_can_be_read_by_pages_that_may() {
    let mut setup = Setup::new(1, &[closed_port().await]);
    setup.listener_filters = vec![filter("f", cors())];
    let gateway = Gateway::start(&setup);
    for mut client in [
        Client::http1(gateway.address()).await,
        Client::http2(gateway.address()).await,
    ] {
        for (origin, allowed) in [
            ("https://a.example", Some("https://a.example")),
            ("https://b.example", None),
        ] {
            let answer = asks(&mut client, "GET", "/up", &[("origin", origin)]).await;
            assert_eq!(StatusCode::BAD_GATEWAY, answer.status);
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}");
            assert_eq!(answer.header("vary"), Some("Origin"), "{origin}");
        }
    }
}
