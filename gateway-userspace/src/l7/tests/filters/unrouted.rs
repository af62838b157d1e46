//! Requests that no route takes, and filters of their listener: what clients, endpoints and the log see of both.

use http::Response;

use crate::l7::tests::harness::*;

/// A listener with those filters, and one route, which takes GET of one path.
fn text(filters: &[&str], more: &str) -> String {
    let mut text = String::new();
    for (index, kind) in filters.iter().enumerate() {
        text.push_str(&format!("[[listener.filters]]\nname='f{index}'\n{kind}\n"));
    }
    text.push_str(
        "[[route]]\nname='own'\nlisteners=['web']\nrespond={status=200}\nmatch={path='/own',methods=['GET']}\n",
    );
    text + more
}

async fn ask(client: &mut Client, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let request = fields
        .iter()
        .fold(client.request(method, path), |request, (name, value)| {
            request.header(*name, *value)
        });
    client.ask(request.body(full("")).unwrap()).await.unwrap()
}

#[tokio::test]
async fn filters_refuse_before_it_is_told_that_there_is_no_route() {
    let text = text(&["ip_deny=['127.0.0.0/8']"], "");
    let gateway = Gateway::configured(1, &text);
    for mut client in [
        Client::http1(gateway.address()).await,
        Client::http2(gateway.address()).await,
    ] {
        for (method, path) in [("GET", "/own"), ("GET", "/nowhere"), ("PUT", "/own")] {
            let answer = ask(&mut client, method, path, &[]).await;
            assert_eq!(
                (answer.status, answer.header("allow")),
                (403, None),
                "{method} {path}"
            );
            assert!(answer.text().starts_with("client-denied: "), "{}", answer.text());
        }
    }
    let lines = gateway.lines(6).await;
    let unrouted: Vec<_> = lines.iter().filter(|line| !line.contains("route=own")).collect();
    assert_eq!(unrouted.len(), 4, "{lines:#?}");
    assert!(
        unrouted.iter().all(|line| line.contains("reason=client-denied")),
        "{lines:#?}"
    );
    let metrics = gateway.metrics();
    let refused = "gateway_filter_refused_total{in=\"listener\",of=\"web\",filter=\"f0\"} 6";
    assert!(metrics.contains(refused), "{metrics}");
}

#[tokio::test]
async fn what_they_let_pass_is_refused_as_ever_and_its_answer_led_back_through_them() {
    let text = text(
        &[
            "headers={response={set={x-served='yes'}}}",
            "cors={origins=['https://a.example']}",
            "rate_limit={requests=3,per='1h',key='client-ip'}",
        ],
        "",
    );
    let gateway = Gateway::configured(1, &text);
    let mut client = Client::http1(gateway.address()).await;
    let origin = [("origin", "https://a.example")];
    let rows = [
        ("GET", "/nowhere", 404, None, "2"),
        ("PUT", "/own", 405, Some("GET"), "1"),
        ("GET", "/own", 200, None, "0"),
        // One limit is for all of the listener's requests, routed or not.
        ("GET", "/nowhere", 429, None, "0"),
    ];
    for (method, path, status, allow, left) in rows {
        let answer = ask(&mut client, method, path, &origin).await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{path}");
        assert_eq!(answer.header("x-served"), Some("yes"), "{path}");
        assert_eq!(answer.header("ratelimit-remaining"), Some(left), "{path}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://a.example"),
            "a page may read the failure: {path}"
        );
    }
    let preflight = [origin[0], ("access-control-request-method", "DELETE")];
    let answer = ask(&mut client, "OPTIONS", "/nowhere", &preflight).await;
    assert_eq!(answer.status, 204);
}

#[tokio::test]
async fn another_service_is_asked_about_them_and_their_bodies_are_bounded() {
    let auth = Server::start(|request: http::Request<hyper::body::Incoming>| async move {
        let uri = request.headers()["x-forwarded-uri"].to_str().unwrap().to_owned();
        let status = if uri.contains("secret") { 401 } else { 200 };
        Response::builder().status(status).body(full("")).unwrap()
    })
    .await;
    let upstream = format!(
        "[[upstream]]\nname='auth'\nendpoints=[{{address='{}'}}]\n",
        auth.address
    );
    let text = text(
        &[
            "forward_auth={upstream='auth',path='/check'}",
            "body_limit={bytes=3}",
        ],
        &upstream,
    );
    let gateway = Gateway::configured(1, &text);
    for (path, body, status) in [
        ("/nowhere/x/../y", "", 404),
        ("/nowhere//secret", "", 401),
        ("/nowhere", "12345", 413),
    ] {
        let mut client = Client::http1(gateway.address()).await;
        let request = client.request("POST", path).body(full(body)).unwrap();
        assert_eq!(client.ask(request).await.unwrap().status, status, "{path}");
    }
    let lines = gateway.lines(3).await;
    assert!(
        lines[0].contains("path=/nowhere/y") && lines[0].contains("reason=no-route"),
        "{lines:#?}"
    );
    assert!(lines[1].contains("reason=auth-refused"), "{lines:#?}");
}
