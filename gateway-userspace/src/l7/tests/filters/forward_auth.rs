//! `forward_auth` before real endpoints: what the service is asked, what endpoints and clients learn, and what happens when
//! it does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::l7::tests::harness::*;

/// A service that lets pass who has the token `good`, and tells what it was asked.
async fn authority(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let field = |name: &str| {
        let values = head.headers.get_all(name).iter();
        values
            .map(|value| value.to_str().unwrap())
            .collect::<Vec<_>>()
            .join("+")
    };
    let seen = [
        format!("{} {}", head.method, head.uri.path()),
        field("x-forwarded-method"),
        field("x-forwarded-uri"),
        field("x-forwarded-host"),
        field("x-forwarded-for"),
        field("x-secret"),
        body.collect().await.unwrap().to_bytes().len().to_string(),
    ];
    let response = Response::builder().header("x-seen", seen.join("|"));
    if field("authorization") == "Bearer good" {
        let response = response
            .header("x-user", "ann")
            .header("x-user", "second")
            .header("x-consumer", "ann");
        return response.body(full("passes")).unwrap();
    }
    let response = response
        .status(302)
        .header("location", "/login")
        .header("set-cookie", "a=1");
    response
        .header("connection", "close")
        .body(full("log in"))
        .unwrap()
}

/// A route to `main` behind a question to `auth`.
fn text(main: &str, auth: &str, protocol: &str, keys: &str) -> String {
    format!(
        "[[upstream]]\nname='main'\nendpoints=[{{address='{main}'}}]\n\
         [[upstream]]\nname='auth'\nprotocol='{protocol}'\nendpoints=[{{address='{auth}'}}]\n\
         [[route]]\nname='r'\nlisteners=['web']\nmatch={{path_prefix='/up'}}\nupstream='main'\n\
         filters=[{{name='who',forward_auth={{upstream='auth',path='/check',\
         response_headers=['x-user','x-seen','x-consumer']{keys}}}}}]\n"
    )
}

fn start(main: &Server, auth: &Server, protocol: &str, keys: &str) -> Gateway {
    let text = text(
        &main.address.to_string(),
        &auth.address.to_string(),
        protocol,
        keys,
    );
    Gateway::configured(1, &text)
}

async fn ask(client: &mut Client, method: &str, path: &str, token: &str) -> Answer {
    let request = client
        .request(method, path)
        .header("authorization", token)
        .header("x-secret", "1")
        .header("x-user", "forged")
        .header("x-consumer", "forged");
    client.ask(request.body(full("hello")).unwrap()).await.unwrap()
}

#[tokio::test]
async fn who_the_service_lets_pass_goes_on_with_what_it_says() {
    let (main, auth) = (Server::echo().await, Server::start(authority).await);
    for protocol in ["http1", "http2"] {
        let gateway = start(&main, &auth, protocol, "");
        for mut client in [
            Client::http1(gateway.address()).await,
            Client::http2(gateway.address()).await,
        ] {
            let answer = ask(&mut client, "POST", "/up/a?b=c", "Bearer good").await;
            let text = answer.text();
            assert!(text.starts_with("POST "), "{text}");
            let users: Vec<_> = text.lines().filter(|line| line.starts_with("x-user: ")).collect();
            assert_eq!(users, ["x-user: ann", "x-user: second"]);
            assert!(
                text.contains("x-consumer: ann\n") && !text.contains("forged"),
                "{text}"
            );
            assert!(
                text.contains("authorization: Bearer good\n") && text.ends_with("body 5\n"),
                "{text}"
            );
            let seen = "x-seen: GET /check|POST|/up/a?b=c|a.example|127.0.0.1||0\n";
            assert!(text.contains(seen), "{text}");
        }
        let line = gateway.lines(2).await.remove(0);
        // One try, and that at the endpoint: the question is no try of the request.
        for part in ["upstream=main ", " tries=1 ", " consumer=ann ", " reason=ok "] {
            assert!(line.contains(part), "{part:?} is not in {line}");
        }
        assert!(line.contains(&format!("endpoint={} ", main.address)), "{line}");
    }
}

#[tokio::test]
async fn any_other_answer_goes_to_the_client_and_the_endpoint_is_not_asked() {
    let (main, auth) = (Server::echo().await, Server::start(authority).await);
    let gateway = start(&main, &auth, "http1", "");
    let mut client = Client::http1(gateway.address()).await;
    for (method, body) in [("GET", "log in"), ("HEAD", ""), ("GET", "log in")] {
        let answer = ask(&mut client, method, "/up", "Bearer bad").await;
        let fields = ["location", "set-cookie", "content-length"].map(|name| answer.header(name));
        assert_eq!(
            (answer.status, fields),
            (302, [Some("/login"), Some("a=1"), Some("6")]),
            "{method}"
        );
        assert_eq!(answer.text(), body, "{method}");
    }
    assert_eq!(main.connections(), 0);
    let lines = gateway.lines(3).await;
    for part in [
        "upstream=- ",
        " status=302 ",
        " reason=auth-refused ",
        " tries=0 ",
        " fault=downstream ",
    ] {
        assert!(lines[0].contains(part), "{part:?} is not in {}", lines[0]);
    }
    let refused = "gateway_filter_refused_total{in=\"route\",of=\"r\",filter=\"who\"} 3";
    assert!(gateway.metrics().contains(refused), "{}", gateway.metrics());
}

#[tokio::test]
async fn calls_get_a_status_and_no_page() {
    let (main, auth) = (Server::echo().await, Server::start(authority).await);
    let gateway = start(&main, &auth, "http1", "");
    let mut client = Client::http2(gateway.address()).await;
    let call = client
        .request("POST", "/up")
        .header("content-type", "application/grpc");
    let answer = client.ask(call.body(full("")).unwrap()).await.unwrap();
    let fields = ["grpc-status", "location"].map(|name| answer.header(name));
    assert_eq!(
        (answer.status, fields, answer.text()),
        (200, [Some("2"), None], "")
    );
}

#[tokio::test]
async fn a_service_that_does_not_answer_lets_nobody_pass_unless_it_is_said_so() {
    let main = Server::echo().await;
    let silent = Server::start(|_| async {
        tokio::time::sleep(SOON).await;
        Response::new(full("late"))
    });
    let endless = Server::start(|_| async {
        let page = vec![b'x'; 100_000];
        Response::builder().status(403).body(full(page)).unwrap()
    });
    let gone = closed_port().await.to_string();
    let rows = [
        (silent.await.address.to_string(), "it is silent"),
        (endless.await.address.to_string(), "its refusal is too long"),
        (gone, "it is gone"),
    ];
    for (auth, why) in rows {
        for (keys, status) in [
            (",timeout='200ms'", 503),
            (",timeout='200ms',on_failure='allow'", 200),
        ] {
            let gateway = Gateway::configured(1, &text(&main.address.to_string(), &auth, "http1", keys));
            let mut client = Client::http1(gateway.address()).await;
            let asked = tokio::time::timeout(
                Duration::from_secs(10),
                ask(&mut client, "GET", "/up", "Bearer good"),
            );
            let answer = asked.await.unwrap();
            assert_eq!(answer.status, status, "{why}: {}", answer.text());
            assert!(!answer.text().contains("forged"), "{why}: {}", answer.text());
            let (reason, counted) = match status {
                503 => (" reason=auth-unavailable ", "gateway_filter_refused_total"),
                _ => (" reason=ok ", "gateway_filter_would_refuse_total"),
            };
            if status == 503 {
                assert_eq!(answer.header("retry-after"), Some("1"), "{why}");
                assert!(
                    answer.text().starts_with("auth-unavailable"),
                    "{why}: {}",
                    answer.text()
                );
            }
            let line = gateway.lines(1).await.remove(0);
            assert!(line.contains(reason), "{why}: {line}");
            let counted = format!("{counted}{{in=\"route\",of=\"r\",filter=\"who\"}} 1");
            assert!(
                gateway.metrics().contains(&counted),
                "{why}: {}",
                gateway.metrics()
            );
        }
    }
}

#[tokio::test]
async fn a_service_that_fails_is_left_alone_by_its_breaker_and_asked_again_later() {
    let status = Arc::new(AtomicU16::new(500));
    let asked = Arc::new(AtomicUsize::new(0));
    let (now, counted) = (Arc::clone(&status), Arc::clone(&asked));
    let auth = Server::start(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        let status = now.load(Ordering::Relaxed);
        async move { Response::builder().status(status).body(full("")).unwrap() }
    });
    let (main, auth) = (Server::echo().await, auth.await);
    let text = text(&main.address.to_string(), &auth.address.to_string(), "http1", "");
    let breaker = "name='auth'\ncircuit_breaker={failure_ratio=0.5,window='10s',open_for='1s',min_calls=4}\n";
    let gateway = Gateway::configured(1, &text.replace("name='auth'\n", breaker));
    let mut client = Client::http1(gateway.address()).await;
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(ask(&mut client, "GET", "/up", "").await.status);
    }
    assert_eq!((statuses[0], statuses.last()), (500, Some(&503)), "{statuses:?}");
    assert!(asked.load(Ordering::Relaxed) < 40);
    status.store(204, Ordering::Relaxed);
    let deadline = tokio::time::Instant::now() + SOON;
    while ask(&mut client, "GET", "/up", "").await.status != 200 {
        assert!(tokio::time::Instant::now() < deadline, "it is well and not asked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
