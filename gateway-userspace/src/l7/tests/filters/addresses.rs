//! `ip_allow` and `ip_deny`, with and without a proxy before us.

use super::filter;
use crate::config::snapshot::Networks;
use crate::filters::Settings as Kind;
use crate::filters::addresses::{Addresses, Rule};
use crate::l7::tests::harness::*;

fn networks(text: &str) -> Networks {
    Networks(vec![text.parse().unwrap()])
}

fn setup(rule: Rule, network: &str, server: &Server) -> Setup {
    let mut setup = Setup::new(1, &[server.address]);
    let networks = networks(network);
    setup.filters = vec![filter("f", Kind::Addresses(Addresses { networks, rule }))];
    setup
}

#[tokio::test]
async fn clients_are_refused_by_the_address_that_trusted_proxies_make_out() {
    let server = Server::named("a").await;
    let rows = [
        (
            Rule::Allow,
            "127.0.0.0/8",
            "10.0.0.0/8",
            "10.9.9.9",
            200,
            "the peer counts",
        ),
        (
            Rule::Allow,
            "10.0.0.0/8",
            "10.0.0.0/8",
            "10.9.9.9",
            403,
            "its word does not",
        ),
        (
            Rule::Allow,
            "10.0.0.0/8",
            "127.0.0.0/8",
            "10.9.9.9",
            200,
            "a trusted word does",
        ),
        (
            Rule::Deny,
            "10.0.0.0/8",
            "127.0.0.0/8",
            "10.9.9.9",
            403,
            "for a refusal, too",
        ),
        (
            Rule::Deny,
            "10.0.0.0/8",
            "127.0.0.0/8",
            "192.0.2.1",
            200,
            "others pass",
        ),
        (
            Rule::Deny,
            "127.0.0.0/8",
            "10.0.0.0/8",
            "192.0.2.1",
            403,
            "nobody is believed",
        ),
    ];
    for (rule, network, trusted, says, status, why) in rows {
        let mut setup = setup(rule, network, &server);
        setup.trusted_proxies = networks(trusted);
        let gateway = Gateway::start(&setup);
        let mut client = Client::http1(gateway.address()).await;
        for path in ["/up", "/own"] {
            let asked = client.request("GET", path).header("x-forwarded-for", says);
            let answer = client.ask(asked.body(full("")).unwrap()).await.unwrap();
            assert_eq!(answer.status, status, "{why}: {path}");
        }
    }
}

#[tokio::test]
async fn a_refusal_says_why_in_the_words_of_each_protocol() {
    let server = Server::named("a").await;
    let gateway = Gateway::start(&setup(Rule::Deny, "127.0.0.0/8", &server));
    let answer = get(gateway.address(), "/up").await;
    assert_eq!(
        (answer.status, answer.text()),
        (403, "client-denied: this is not served to your address\n")
    );
    let mut client = Client::http2(gateway.address()).await;
    let call = client
        .request("POST", "/up")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let answer = client.ask(call.body(full("")).unwrap()).await.unwrap();
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("7")));
    for line in gateway.lines(2).await {
        assert!(
            line.contains("route=all ") && line.contains("reason=client-denied"),
            "{line}"
        );
    }
    assert_eq!(server.connections(), 0, "nobody was asked");
}
