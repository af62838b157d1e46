//! `jwt` before real endpoints: who passes, and what they learn of it.

use http::HeaderName;

use super::filter;
use crate::filters::Settings as Kind;
use crate::filters::jwt::{Source, settings_of_tests, tokens};
use crate::l7::tests::harness::*;

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
