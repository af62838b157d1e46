//! What is explained is what happens: the same requests are explained and sent, and both say the same.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

mod features;

use super::harness::*;
use crate::config::Places;
use crate::explain::request::{Explained, Fate, Question};
use crate::l7::explain::{Of, Source, request};
use crate::registry::Readiness;

/// What the node says of a request of this process.
fn explained(gateway: &Gateway, text: &str, row: &Row<'_>) -> Explained {
    let (method, target, fields) = row;
    let fields = fields.iter().chain(&[("host", "a.example")]);
    let question = Question {
        method: (*method).to_owned(),
        url: (*target).to_owned(),
        headers: fields
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        client: Some("127.0.0.1".parse().unwrap()),
        ..Question::default()
    };
    answered(gateway, text, &question)
}

/// What the node says of that question.
fn answered(gateway: &Gateway, text: &str, question: &Question) -> Explained {
    let settings = settings(1, text);
    let snapshot = gateway.shared.snapshot.load_full();
    let of = Of {
        settings: &settings,
        snapshot: &snapshot,
        places: &Places::read(&settings.source, &settings.text).unwrap(),
        source: Source::Node,
    };
    request(of, question).unwrap()
}

type Row<'t> = (&'t str, &'t str, &'t [(&'t str, &'t str)]);

fn upstream(name: &str, servers: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<String> = servers.iter().map(|at| format!("{{address='{at}'}}")).collect();
    format!(
        "[[upstream]]\nname='{name}'\nendpoints=[{}]\n{more}\n",
        endpoints.join(",")
    )
}

fn route(name: &str, keys: &str) -> String {
    format!("[[route]]\nname='{name}'\nlisteners=['web']\n{keys}\n")
}

/// Explains and sends each request, and compares what both say. What is forwarded is answered with 200.
async fn agree(gateway: &Gateway, text: &str, rows: &[Row<'_>]) {
    for (index, row) in rows.iter().enumerate() {
        let (method, target, fields) = row;
        let told = explained(gateway, text, row);
        let mut client = Client::http1(gateway.address()).await;
        let mut request = client.request(method, target);
        let mut length = 0;
        for (name, value) in *fields {
            request = request.header(*name, *value);
            if *name == "content-length" {
                length = value.parse().unwrap();
            }
        }
        let request = request.body(full("x".repeat(length))).unwrap();
        let answer = client.ask(request).await.unwrap();
        let lines = gateway.lines(index + 1).await;
        compare(&told, &answer, lines.last().unwrap());
    }
}

fn compare(told: &Explained, answer: &Answer, line: &str) {
    let verdict = &told.verdict;
    let told_status = match verdict.fate {
        Fate::Forwarded => 200,
        Fate::Answered | Fate::Refused => verdict.status.unwrap(),
    };
    assert_eq!(told_status, answer.status, "{line}\n{told:#?}");
    let grpc_status = answer.header("grpc-status").map(|text| text.parse().unwrap());
    assert_eq!(verdict.grpc_status, grpc_status, "{line}\n{told:#?}");
    said(told, line);
}

/// Compares with the line of the access log.
fn said(told: &Explained, line: &str) {
    let verdict = &told.verdict;
    let reason = verdict.reason.as_deref().unwrap_or("ok");
    let of = |key: &str| {
        let mut words = line.split(' ');
        let found = words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or("-").to_owned()
    };
    assert_eq!(of("reason"), reason, "{line}\n{told:#?}");
    assert_eq!(
        of("route"),
        verdict.route.as_deref().unwrap_or("-"),
        "{line}\n{told:#?}"
    );
    if verdict.fate == Fate::Forwarded {
        assert_eq!(
            of("upstream"),
            verdict.upstream.clone().unwrap(),
            "{line}\n{told:#?}"
        );
        let endpoint = verdict.endpoint.unwrap().to_string();
        assert_eq!(of("endpoint"), endpoint, "{line}\n{told:#?}");
    }
}

#[tokio::test]
async fn explanations_and_answers_agree() {
    let server = Server::echo().await;
    let text = [
        upstream("users", &[server.address], ""),
        upstream("gone", &[closed_port().await], ""),
        route("users", "upstream='users'\nmatch={path_prefix='/users'}"),
        route(
            "one",
            "upstream='users'\nmatch={path='/users/{id}',methods=['GET'],headers=[{name='x-tenant',exact='blue'}]}\n\
             rewrite={path='/v2/{id}'}",
        ),
        route("old", "redirect={path_prefix='/new'}\nmatch={path_prefix='/old'}"),
        route("own", "respond={status=418}\nmatch={path='/own',methods=['GET','POST']}"),
        route(
            "closed",
            "respond={status=200}\nmatch={path_prefix='/closed'}\n\
             [[route.filters]]\nname='who'\nip_deny=['127.0.0.0/8']",
        ),
        route(
            "pages",
            "upstream='users'\nmatch={path_prefix='/pages',methods=['PUT']}\n\
             [[route.filters]]\nname='pages'\ncors={origins=['https://a.example']}",
        ),
        route(
            "small",
            "upstream='users'\nmatch={path_prefix='/small'}\n\
             [[route.filters]]\nname='few'\nbody_limit={bytes=3}\n\
             [[route.filters]]\nname='often'\nrate_limit={requests=1000}",
        ),
        route("slashes", "upstream='users'\nmerge_slashes=false\nmatch={path_prefix='/s'}"),
        route(
            "split",
            "split=[{upstream='users',weight=1},{upstream='gone',weight=0}]\nmatch={path='/split'}",
        ),
    ]
    .concat();
    let gateway = Gateway::configured(1, &text);
    let preflight: &[(&str, &str)] = &[
        ("origin", "https://a.example"),
        ("access-control-request-method", "PUT"),
    ];
    let rows: &[Row<'_>] = &[
        ("GET", "/users", &[]),
        ("GET", "/users/7?q=1", &[]),
        ("GET", "/users/7", &[("x-tenant", "blue")]),
        ("PUT", "/users/7", &[("x-tenant", "blue")]),
        ("GET", "/old/x?y", &[]),
        ("GET", "/own", &[]),
        ("DELETE", "/own", &[]),
        ("GET", "/closed/x", &[]),
        ("OPTIONS", "/pages", preflight),
        ("OPTIONS", "/pages", &[]),
        ("PUT", "/pages", &[("origin", "https://b.example")]),
        ("GET", "/small", &[]),
        ("GET", "/nowhere", &[]),
        ("GET", "/users/%2f", &[]),
        ("GET", "/users/%zz", &[]),
        ("GET", "/users/../../x", &[]),
        ("GET", "/x/../users//7", &[]),
        ("GET", "/s//x", &[]),
        ("GET", "/s/x", &[]),
        ("GET", "/split", &[]),
        ("TRACE", "/users", &[]),
        ("GET", "/users", &[("x_forwarded_for", "10.0.0.1")]),
        (
            "GET",
            "/users",
            &[("via", "1 a, 1 b, 1 c, 1 d, 1 e, 1 f, 1 g, 1 h, 1 i, 1 j")],
        ),
        ("GET", "/users", &[("expect", "something")]),
    ];
    agree(&gateway, &text, rows).await;
}

#[tokio::test]
async fn what_is_known_of_endpoints_now_is_told_and_nothing_is_taken() {
    let servers = [Server::named("a").await, Server::named("b").await];
    let addresses = servers.each_ref().map(|server| server.address);
    let checks = "[upstream.health.readiness]\ntcp=true\ninterval='10s'";
    let text = [
        upstream("users", &addresses, checks),
        route(
            "users",
            "upstream='users'\nmatch={path_prefix='/'}\n[[route.filters]]\nname='one'\nrate_limit={requests=1}",
        ),
    ]
    .concat();
    let gateway = Gateway::configured(1, &text);
    let [one, other] = addresses.map(|address| gateway.state(address));
    let ask = || explained(&gateway, &text, &("GET", "/", &[]));
    let shares = |told: &Explained| {
        let share = |address: &SocketAddr| {
            let mut all = told.candidates.iter();
            all.find(|candidate| candidate.endpoint == *address)
                .unwrap()
                .per_mille
        };
        addresses.each_ref().map(share)
    };
    one.set_readiness(Readiness::Ready);
    other.set_readiness(Readiness::Ready);
    let told = ask();
    assert_eq!(
        (shares(&told), told.verdict.endpoint),
        ([500, 500], None),
        "{told:#?}"
    );
    other.set_readiness(Readiness::Failing);
    let told = ask();
    assert_eq!(shares(&told), [1_000, 0], "{told:#?}");
    assert_eq!(told.verdict.endpoint, Some(addresses[0]));
    let says = told
        .candidates
        .iter()
        .filter_map(|candidate| candidate.says.as_deref());
    assert_eq!(says.collect::<Vec<_>>(), ["fails its checks"]);
    let places = told
        .candidates
        .iter()
        .filter_map(|candidate| candidate.place.as_ref());
    let places: Vec<&str> = places.map(|place| place.path.as_str()).collect();
    assert_eq!(places, ["upstream[0].endpoints[0]", "upstream[0].endpoints[1]"]);
    // The one token of the rate limit is still there, and no request was counted.
    assert_eq!(get(gateway.address(), "/").await.status, 200);
    assert_eq!(get(gateway.address(), "/").await.status, 429);
    assert_eq!(one.requests.load(Ordering::Relaxed), 1);
    assert_eq!(told.snapshot, Some(1));
}
