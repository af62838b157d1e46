//! `basic_auth` and `api_key`: who passes, what endpoints and the log learn, and that no worker waits for a password.

use std::sync::Arc;

use base64::Engine;
use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::filter;
use crate::filters::Settings as Kind;
use crate::filters::api_key::{self, Place};
use crate::filters::basic_auth::{self, User};
use crate::filters::passwords::Hash;
use crate::filters::passwords::tests::BCRYPT;
use crate::l7::tests::harness::*;

/// One user, ann, whose password is "password".
fn users(hash: &str) -> Kind {
    let hash = Arc::new(Hash::parse(hash).unwrap());
    let name = HeaderValue::from_static("ann");
    Kind::BasicAuth(basic_auth::Settings {
        challenge: HeaderValue::from_static("Basic realm=\"x\""),
        some: Arc::clone(&hash),
        users: vec![User { name, hash }],
    })
}

fn keys(place: Place) -> Kind {
    let key = api_key::Key {
        name: HeaderValue::from_static("shop"),
        digest: Sha256::digest(b"k-1").into(),
    };
    Kind::ApiKey(api_key::Settings {
        place,
        keys: vec![key],
    })
}

fn basic(text: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    format!("Basic {encoded}")
}

async fn ask(client: &mut Client, path: &str, fields: &[(&str, &str)]) -> Answer {
    let request = fields
        .iter()
        .fold(client.request("GET", path), |request, (name, value)| {
            request.header(*name, *value)
        });
    client.ask(request.body(full("")).unwrap()).await.unwrap()
}

#[tokio::test]
async fn users_pass_by_their_passwords_and_endpoints_learn_their_names_alone() {
    let server = Server::echo().await;
    for workers in [1, 2] {
        let mut setup = Setup::new(workers, &[server.address]);
        setup.filters = vec![filter("f", users(BCRYPT))];
        let gateway = Gateway::start(&setup);
        for mut client in [
            Client::http1(gateway.address()).await,
            Client::http2(gateway.address()).await,
        ] {
            let answer = ask(&mut client, "/up", &[("x-consumer", "ann")]).await;
            assert_eq!(
                (answer.status, answer.header("www-authenticate")),
                (401, Some("Basic realm=\"x\""))
            );
            let wrong = basic("ann:guess");
            let answer = ask(&mut client, "/up", &[("authorization", &wrong)]).await;
            assert!(
                answer.text().starts_with("credentials-refused: "),
                "{}",
                answer.text()
            );
            for _ in 0..3 {
                let right = basic("ann:password");
                let fields = [("authorization", &*right), ("x-consumer", "root")];
                let answer = ask(&mut client, "/up", &fields).await;
                let text = answer.text();
                assert!(
                    text.contains("x-consumer: ann\n") && !text.contains("root"),
                    "{text}"
                );
                assert!(!text.contains("authorization"), "{text}");
                let answer = ask(&mut client, "/own", &fields).await;
                assert_eq!((answer.status, answer.text()), (200, "own"));
            }
        }
        let lines = gateway.lines(16).await;
        let logged = |line: &&String| line.contains(" consumer=ann ") && line.contains(" status=200 ");
        assert_eq!(lines.iter().filter(logged).count(), 12, "{lines:#?}");
    }
}

#[tokio::test]
async fn a_new_password_is_asked_for_as_soon_as_the_file_has_it() {
    let server = Server::named("a").await;
    let mut setup = Setup::new(1, &[server.address]);
    setup.filters = vec![filter("f", users(BCRYPT))];
    let mut gateway = Gateway::start(&setup);
    let mut client = Client::http1(gateway.address()).await;
    let right = basic("ann:password");
    let fields = [("authorization", &*right)];
    assert_eq!(ask(&mut client, "/up", &fields).await.status, 200);
    // Of the same cost, with another salt: of another password.
    setup.filters = vec![filter("f", users(&BCRYPT.replace("04$7Y", "04$7Z")))];
    gateway.reload(&setup);
    assert_eq!(ask(&mut client, "/up", &fields).await.status, 401);
}

#[tokio::test]
async fn requests_go_on_while_passwords_are_verified() {
    let server = Server::named("a").await;
    let mut setup = Setup::new(1, &[server.address]);
    // Some 100 ms each; whoever guesses keeps the threads busy.
    setup.filters = vec![filter("f", users(&BCRYPT.replace("$04$", "$10$")))];
    let gateway = Gateway::start(&setup);
    let address = gateway.address();
    let guess = |number: usize| async move {
        let wrong = basic(&format!("ann:guess-{number}"));
        let mut client = Client::http1(address).await;
        ask(&mut client, "/up", &[("authorization", &wrong)]).await.status
    };
    let guesses: Vec<_> = (0..8).map(|number| tokio::spawn(guess(number))).collect();
    let mut client = Client::http1(address).await;
    let mut answered = 0;
    while !guesses.iter().all(tokio::task::JoinHandle::is_finished) {
        assert_eq!(client.get("/none").await.unwrap().status, 404);
        answered += 1;
    }
    for guess in guesses {
        assert!([401, 503].contains(&guess.await.unwrap()));
    }
    // A worker that verified by itself would answer one or two between each.
    assert!(answered > 50, "{answered}");
}

#[tokio::test]
async fn keys_let_programs_pass_and_go_no_further() {
    let server = Server::echo().await;
    let header = Place::Header(HeaderName::from_static("x-api-key"));
    let rows = [
        (header.clone(), "/up?a=1", Some("k-1"), Some("GET /up?a=1 ")),
        (header.clone(), "/up", Some("k-2"), None),
        (header, "/up?key=k-1", None, None),
        (
            Place::Query("key".to_owned()),
            "/up?key=k-1&a=1",
            None,
            Some("GET /up?a=1 "),
        ),
        (
            Place::Query("key".to_owned()),
            "/up?key=k-1",
            None,
            Some("GET /up "),
        ),
        (Place::Query("key".to_owned()), "/up?a=1", Some("k-1"), None),
    ];
    for (place, path, key, expected) in rows {
        let mut setup = Setup::new(1, &[server.address]);
        setup.filters = vec![filter("f", keys(place.clone()))];
        let gateway = Gateway::start(&setup);
        let mut client = Client::http1(gateway.address()).await;
        let fields: Vec<_> = key.map(|key| ("x-api-key", key)).into_iter().collect();
        let answer = ask(&mut client, path, &fields).await;
        let text = answer.text();
        match expected {
            Some(line) => {
                assert!(
                    text.starts_with(line) && !text.contains("k-1"),
                    "{place:?} {path}: {text}"
                );
                assert!(text.contains("x-consumer: shop\n"), "{text}");
            }
            None => assert_eq!(
                (answer.status, answer.header("www-authenticate")),
                (401, Some("ApiKey"))
            ),
        }
    }
}
