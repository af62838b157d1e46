//! `jwt` before real endpoints: who passes, and what they learn of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use http::{HeaderName, Response};

use super::filter;
use crate::filters::Settings as Kind;
use crate::filters::jwt::{Source, settings_of_tests, tokens};
use crate::l7::tests::harness::*;
use crate::tls::testing::{Authority, Folder};

async fn ask(client: &mut Client, path: &str, token: Option<&str>) -> Answer {
    let mut request = client
        .request("GET", path)
        .header("x-roles", "root")
        .header("x-consumer", "root");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    client.ask(request.body(full("")).unwrap()).await.unwrap()
}

#[tokio::test]
async fn tokens_pass_and_their_claims_are_what_endpoints_learn() {
    let server = Server::echo().await;
    let mut setup = Setup::new(2, &[server.address]);
    let mut settings = settings_of_tests(Source::Bearer);
    settings.claims_to_headers = vec![("roles".to_owned(), HeaderName::from_static("x-roles"))];
    setup.filters = vec![filter("f", Kind::Jwt(settings))];
    let gateway = Gateway::start(&setup);
    for mut client in [
        Client::http1(gateway.address()).await,
        Client::http2(gateway.address()).await,
    ] {
        for token in [tokens::ED, tokens::EC, tokens::RSA] {
            let answer = ask(&mut client, "/up", Some(token)).await;
            let text = answer.text();
            assert!(
                text.contains("x-roles: a,b\n") && text.contains("x-consumer: ann\n"),
                "{text}"
            );
            assert!(!text.contains("root"), "{text}");
            assert!(
                text.contains(&format!("authorization: Bearer {token}\n")),
                "it goes on: {text}"
            );
        }
        let rows = [
            (None, "credentials-missing", "Bearer"),
            (
                Some(tokens::EXPIRED),
                "token-expired",
                "Bearer error=\"invalid_token\"",
            ),
            (
                Some(tokens::OTHER_KEY),
                "credentials-refused",
                "Bearer error=\"invalid_token\"",
            ),
            (
                Some(tokens::UNSIGNED),
                "credentials-refused",
                "Bearer error=\"invalid_token\"",
            ),
        ];
        for (token, reason, challenge) in rows {
            for path in ["/up", "/own"] {
                let answer = ask(&mut client, path, token).await;
                assert_eq!(
                    (answer.status, answer.header("www-authenticate")),
                    (401, Some(challenge))
                );
                assert!(answer.text().starts_with(reason), "{}", answer.text());
            }
        }
    }
}

/// A route behind tokens whose keys are fetched.
fn text(main: &Server, keys: &str) -> String {
    format!(
        "[[upstream]]\nname='main'\nendpoints=[{{address='{}'}}]\n\
         [[route]]\nname='r'\nlisteners=['web']\nmatch={{path_prefix='/up'}}\nupstream='main'\n\
         [[route.filters]]\nname='f'\njwt={{issuers=['https://id.example'],audiences=['api'],algorithms=['EdDSA'],{keys}}}\n",
        main.address
    )
}

/// Asks until the answer has that status.
async fn until(client: &mut Client, status: u16) -> Answer {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let answer = ask(client, "/up", Some(tokens::ED)).await;
        if answer.status == status {
            return answer;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}: {}",
            answer.status,
            answer.text()
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn keys_are_fetched_from_whoever_has_the_right_certificate() {
    let main = Server::echo().await;
    let (authority, other) = (Authority::new("good"), Authority::new("other"));
    let folder = Folder::new();
    let publishes = |_| async { Response::new(full(tokens::KEYS)) };
    let plain = Server::start(publishes).await;
    let pair = authority.pair(&["localhost", "127.0.0.1"]);
    let secure = Server::start_tls(pair, None, publishes).await;
    let good = folder.file("good.pem", &authority.pem(), 0o644);
    let bad = folder.file("other.pem", &other.pem(), 0o644);
    let rows = [
        (format!("jwks_url='http://{}/jwks'", plain.address), 200),
        (
            format!(
                "jwks_url='https://{}/jwks',jwks_ca_file='{}'",
                secure.address,
                good.display()
            ),
            200,
        ),
        (
            format!(
                "jwks_url='https://{}/jwks',jwks_ca_file='{}'",
                secure.address,
                bad.display()
            ),
            503,
        ),
        // It speaks no TLS.
        (
            format!(
                "jwks_url='https://{}/jwks',jwks_ca_file='{}'",
                plain.address,
                good.display()
            ),
            503,
        ),
    ];
    for (keys, status) in rows {
        let before = plain.connections() + secure.connections();
        let gateway = Gateway::configured(2, &text(&main, &keys));
        let mut client = Client::http1(gateway.address()).await;
        wait_until("a fetch", || plain.connections() + secure.connections() > before).await;
        let answer = until(&mut client, status).await;
        if status == 503 {
            assert!(
                answer.text().starts_with("token-keys-missing"),
                "{}",
                answer.text()
            );
            let fields = ["retry-after", "www-authenticate"].map(|name| answer.header(name));
            assert_eq!(fields, [Some("1"), None]);
        } else {
            assert!(answer.text().contains("x-consumer: ann\n"), "{}", answer.text());
            let refused = ask(&mut client, "/up", Some(tokens::RSA)).await;
            assert_eq!(refused.status, 401, "RS256 is not allowed");
        }
    }
}

#[tokio::test]
async fn keys_that_were_fetched_outlive_edits_and_failures_of_their_url() {
    let (main, status) = (Server::echo().await, Arc::new(AtomicU16::new(200)));
    let now = Arc::clone(&status);
    let issuer = Server::start(move |_| {
        let status = now.load(Ordering::Relaxed);
        async move {
            Response::builder()
                .status(status)
                .body(full(tokens::KEYS))
                .unwrap()
        }
    });
    let issuer = issuer.await;
    let keys = format!("jwks_url='http://{}/jwks'", issuer.address);
    let mut gateway = Gateway::configured(1, &text(&main, &keys));
    let mut client = Client::http1(gateway.address()).await;
    until(&mut client, 200).await;
    status.store(500, Ordering::Relaxed);
    // Another interval: it is fetched anew, and fails.
    let before = issuer.connections();
    gateway.reconfigure(1, &text(&main, &format!("{keys},jwks_refresh='10s'")));
    wait_until("a fetch", || issuer.connections() > before).await;
    for _ in 0..10 {
        assert_eq!(ask(&mut client, "/up", Some(tokens::ED)).await.status, 200);
    }
    let before = issuer.connections();
    gateway.reconfigure(1, &text(&main, &format!("{keys},jwks_refresh='10s'")));
    // Nobody knows that key: all the same nobody is asked for it now.
    for _ in 0..50 {
        assert_eq!(ask(&mut client, "/up", Some(tokens::OTHER_KID)).await.status, 401);
    }
    assert_eq!(issuer.connections(), before);
}
