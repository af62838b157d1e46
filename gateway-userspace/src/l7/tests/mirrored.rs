//! Copies of requests: what the other upstream gets, and that nobody waits for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;

use super::harness::*;

/// A server that keeps what it was asked.
async fn keeping() -> (Server, Arc<Mutex<Vec<String>>>) {
    let kept = Arc::<Mutex<Vec<String>>>::default();
    let held = Arc::clone(&kept);
    let server = Server::start(move |request: http::Request<hyper::body::Incoming>| {
        let held = Arc::clone(&held);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let field = head.headers.get("x-own").map(|value| value.to_str().unwrap());
            held.lock().unwrap().push(format!(
                "{} {} {} {}",
                head.method,
                head.uri.path_and_query().unwrap(),
                field.unwrap_or("-"),
                String::from_utf8_lossy(&body)
            ));
            http::Response::builder()
                .status(500)
                .body(full("mirror"))
                .unwrap()
        }
    });
    (server.await, kept)
}

/// A route to `main` with copies for `copies`.
fn text(main: &Server, copies: &Server, keys: &str, upstream: &str) -> String {
    format!(
        "[[upstream]]\nname='main'\nendpoints=[{{address='{}'}}]\n\
         [[upstream]]\nname='copies'\nendpoints=[{{address='{}'}}]\n{upstream}\n\
         [[route]]\nname='r'\nlisteners=['web']\nmatch={{path_prefix='/a'}}\nupstream='main'\n{keys}\n",
        main.address, copies.address
    )
}

fn result(gateway: &Gateway, result: &str) -> u64 {
    let name = format!("gateway_mirrored_requests_total{{upstream=\"copies\",result=\"{result}\"}} ");
    let metrics = gateway.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

async fn post(client: &mut Client, path: &str, body: Body) -> Answer {
    let request = client.request("POST", path).header("x-own", "1");
    client.ask(request.body(body).unwrap()).await.unwrap()
}

#[tokio::test]
async fn another_upstream_gets_what_the_first_one_gets() {
    for protocol in ["http1", "http2"] {
        let (main, (copies, kept)) = (Server::named("main").await, keeping().await);
        let gateway = Gateway::configured(
            1,
            &text(
                &main,
                &copies,
                "mirror={upstream='copies'}\nrewrite={path_prefix='/b'}",
                &format!("protocol='{protocol}'"),
            ),
        );
        for mut client in [
            Client::http1(gateway.address()).await,
            Client::http2(gateway.address()).await,
        ] {
            assert_eq!(client.get("/a/x?y").await.unwrap().text(), "main");
            let answers = [
                post(&mut client, "/a/1", full("hello")).await,
                post(&mut client, "/a/2", in_pieces(&["he", "llo"])).await,
                post(&mut client, "/a/3", full("")).await,
            ];
            for answer in answers {
                assert_eq!((answer.status, answer.text()), (200, "main"));
            }
            wait_until("copies", || kept.lock().unwrap().len() == 4).await;
            let mut seen = std::mem::take(&mut *kept.lock().unwrap());
            seen.sort();
            assert_eq!(
                seen,
                [
                    "GET /b/x?y - ",
                    "POST /b/1 1 hello",
                    "POST /b/2 1 hello",
                    "POST /b/3 1 "
                ],
                "{protocol}"
            );
        }
        wait_until("results", || result(&gateway, "answered") == 8).await;
        assert!(copies.connections() <= 8, "connections are used again");
    }
}

#[tokio::test]
async fn long_bodies_are_not_copied_and_chance_picks_the_others() {
    let (main, (copies, kept)) = (Server::named("main").await, keeping().await);
    let keys = "mirror={upstream='copies'}\nreplay_bytes_max=8";
    let mut gateway = Gateway::configured(1, &text(&main, &copies, keys, ""));
    let mut client = Client::http1(gateway.address()).await;
    post(&mut client, "/a", full("12345678")).await;
    post(&mut client, "/a", full("123456789")).await;
    post(&mut client, "/a", in_pieces(&["12345", "6789"])).await;
    wait_until("results", || result(&gateway, "too-large") == 2).await;
    wait_until("results", || result(&gateway, "answered") == 1).await;
    assert_eq!(*kept.lock().unwrap(), ["POST /a 1 12345678"]);

    for (percent, path, count) in [(50, "/a/half", 200), (0, "/a/none", 50), (100, "/a/last", 1)] {
        let keys = format!("mirror={{upstream='copies',percent={percent}}}");
        gateway.reconfigure(1, &text(&main, &copies, &keys, ""));
        let mut client = Client::http1(gateway.address()).await;
        for _ in 0..count {
            client.get(path).await.unwrap();
        }
    }
    let copies = |path: &str| {
        kept.lock()
            .unwrap()
            .iter()
            .filter(|one| one.contains(path))
            .count()
    };
    wait_until("the last one", || copies("/a/last") == 1).await;
    let half = copies("/a/half");
    assert!((55..150).contains(&half), "{half}");
    assert_eq!(copies("/a/none"), 0);
}

#[tokio::test]
async fn nobody_waits_for_a_copy_and_only_so_many_are_under_way() {
    let main = Server::named("main").await;
    let hanging = Server::start(|_| std::future::pending()).await;
    let keys = "mirror={upstream='copies',requests_max=3}\ntimeout='2s'";
    let gateway = Gateway::configured(2, &text(&main, &hanging, keys, ""));
    let mut client = Client::http1(gateway.address()).await;
    let start = std::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(client.get("/a").await.unwrap().text(), "main");
    }
    assert!(
        start.elapsed() < Duration::from_millis(1_900),
        "{:?}",
        start.elapsed()
    );
    wait_until("full", || result(&gateway, "full") == 7).await;
    wait_until("timeouts", || result(&gateway, "failed") == 3).await;
    assert_eq!(client.get("/a").await.unwrap().text(), "main");
    wait_until("places come back", || result(&gateway, "failed") == 4).await;
}

#[tokio::test]
async fn a_copy_that_cannot_be_sent_is_counted_and_harms_nobody() {
    let main = Server::named("main").await;
    let gone = Server {
        address: closed_port().await,
        connections: Arc::default(),
        open: Arc::default(),
    };
    let breaker = "circuit_breaker={min_calls=1}\noutlier={consecutive_failures=1}";
    let gateway = Gateway::configured(1, &text(&main, &gone, "mirror={upstream='copies'}", breaker));
    let mut client = Client::http1(gateway.address()).await;
    for _ in 0..5 {
        assert_eq!(client.get("/a").await.unwrap().text(), "main");
    }
    wait_until("failures", || result(&gateway, "failed") == 5).await;
    assert_eq!(
        result(&gateway, "unavailable"),
        0,
        "its breaker learns nothing of copies"
    );
    for line in gateway.lines(5).await {
        assert!(line.contains("reason=ok") && line.contains("tries=1"), "{line}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_copied() {
    let echo = Server::echo().await;
    let (copies, kept) = keeping().await;
    let gateway = Gateway::configured(1, &text(&echo, &copies, "mirror={upstream='copies'}", ""));
    let mut raw = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    let head = b"POST /a HTTP/1.1\r\nhost: a.example\r\ncontent-length: 100\r\n\r\nhello";
    tokio::io::AsyncWriteExt::write_all(&mut raw, head).await.unwrap();
    wait_until("the request", || echo.connections() == 1).await;
    drop(raw);
    wait_until("broken", || result(&gateway, "broken") == 1).await;
    assert!(kept.lock().unwrap().is_empty());
}
