//! Filters on the way of real requests: what endpoints and clients see of them. One file for each kind that does more
//! than change fields.

mod addresses;
mod bodies;
mod compression;
mod cors;
mod credentials;
mod forward_auth;
mod rates;
mod tokens;
mod unrouted;

use super::harness::*;
use crate::config::snapshot::UpstreamProtocol;
use crate::filters::headers::{Edit, Headers};
use crate::filters::{FilterSettings, Settings};

pub(super) fn filter(name: &str, kind: Settings) -> FilterSettings {
    FilterSettings {
        name: name.to_owned(),
        kind,
        file: None,
    }
}

fn fields(rows: &[(&'static str, &'static str)]) -> Vec<(http::HeaderName, http::HeaderValue)> {
    let field = |(name, value): &(&'static str, &'static str)| {
        let value = http::HeaderValue::from_static(value);
        (http::HeaderName::from_static(name), value)
    };
    rows.iter().map(field).collect()
}

fn headers(request: Edit, response: Edit) -> Settings {
    Settings::Headers(Headers { request, response })
}

fn add(name: &'static str, value: &'static str) -> Edit {
    Edit {
        add: fields(&[(name, value)]),
        ..Edit::default()
    }
}

#[tokio::test]
async fn fields_are_changed_on_both_ways_whatever_is_spoken() {
    let server = Server::echo().await;
    let request = Edit {
        remove: vec![http::HeaderName::from_static("x-debug")],
        set: fields(&[("x-tenant", "blue")]),
        add: Vec::new(),
    };
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let mut setup = Setup::new(1, &[server.address]);
        setup.protocol = protocol;
        setup.filters = vec![filter("f", headers(request.clone(), add("x-served", "yes")))];
        let gateway = Gateway::start(&setup);
        for mut client in [
            Client::http1(gateway.address()).await,
            Client::http2(gateway.address()).await,
        ] {
            let asked = client
                .request("GET", "/up")
                .header("x-debug", "1")
                .header("x-tenant", "red")
                .body(full(""));
            let answer = client.ask(asked.unwrap()).await.unwrap();
            assert_eq!((answer.status, answer.header("x-served")), (200, Some("yes")));
            let text = answer.text();
            assert!(text.contains("x-tenant: blue\n"), "{text}");
            assert!(!text.contains("x-debug") && !text.contains("red"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_client_takes_nothing_away_by_connection() {
    let server = Server::echo().await;
    let mut setup = Setup::new(1, &[server.address]);
    let set = Edit {
        set: fields(&[("x-tenant", "blue")]),
        ..Edit::default()
    };
    setup.filters = vec![filter("f", headers(set, Edit::default()))];
    let gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let asked = client.request("GET", "/up").header("connection", "x-tenant");
    let answer = client.ask(asked.body(full("")).unwrap()).await.unwrap();
    assert!(answer.text().contains("x-tenant: blue\n"), "{}", answer.text());
}

#[tokio::test]
async fn filters_of_the_listener_come_first_and_last_on_the_way_back() {
    let server = Server::echo().await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.listener_filters = vec![filter("a", headers(add("x-way", "1"), add("x-back", "1")))];
    setup.filters = vec![
        filter("a", headers(add("x-way", "2"), add("x-back", "2"))),
        filter("b", headers(add("x-way", "3"), add("x-back", "3"))),
    ];
    let gateway = Gateway::start(&setup);
    let answer = get(gateway.address(), "/up").await;
    let ways: Vec<_> = answer
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("x-way: "))
        .collect();
    assert_eq!(ways, ["1", "2", "3"]);
    let back: Vec<_> = answer.headers.get_all("x-back").iter().collect();
    assert_eq!(back, ["3", "2", "1"]);
}

#[tokio::test]
async fn answers_of_our_own_pass_them_too_and_what_no_route_takes_does_not() {
    let mut setup = Setup::new(1, &[closed_port().await]);
    setup.filters = vec![filter("f", headers(Edit::default(), add("x-back", "1")))];
    let mut gateway = Gateway::start(&setup);
    for (path, status, back) in [
        ("/own", 200, Some("1")),
        ("/up", 502, Some("1")),
        ("/none", 404, None),
    ] {
        let answer = get(gateway.address(), path).await;
        assert_eq!((answer.status, answer.header("x-back")), (status, back), "{path}");
    }
    setup.filters.clear();
    gateway.reload(&setup);
    let answer = get(gateway.address(), "/own").await;
    assert_eq!((answer.header("x-back"), answer.text()), (None, "own"));
}
