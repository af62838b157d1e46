//! Secrets of filters that are changed while the gateway runs: who is taken out of a file passes no more.

use std::time::Duration;

use serde_json::json;

use super::super::gateway::{Gateway, Setup, Speaks};
use super::super::within::run;
use super::authority::Authority;
use super::{echo, told};

/// From a change of a file until the gateway goes by it.
const RENEWAL_LIMIT: Duration = Duration::from_secs(10);

/// Lines of a file of keys for the digests of `one` and `two`: `printf one | sha256sum`.
const ONE: &str = "shop:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed\n";
const TWO: &str = "bank:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3\n";

/// What a client with that key is answered, and behind it the status.
async fn ask(url: &str, key: &str) -> String {
    let field = format!("x-api-key: {key}");
    told(
        "curl",
        &[
            "--silent",
            "--write-out",
            "\n%{http_code}",
            "--header",
            &field,
            url,
        ],
    )
    .await
}

#[test]
fn a_file_that_a_route_of_the_admin_api_brings_is_watched_too() {
    run(async {
        let files = Authority::new();
        files.put("keys", ONE);
        let server = echo().await;
        let gateway = Gateway::start(&Setup::to(server.address, Speaks::Http1));
        let filter =
            json!({ "name": "partners", "api_key": { "file": files.path("keys"), "header": "x-api-key" } });
        let route = json!({
            "listeners": ["web"],
            "match": { "path": "/partners" },
            "respond": { "status": 200, "body": "in" },
            "filters": [filter],
        });
        let (status, answer) = gateway.admin("PUT", "/v1/routes/partners", "", &route.to_string());
        assert_eq!(status, 200, "{answer}");
        let url = format!("http://{}/partners", gateway.address());
        assert!(ask(&url, "one").await.ends_with("\n200"));
        files.put("keys", TWO);
        gateway.wait_said("what renewed files hold is in force", RENEWAL_LIMIT);
        assert!(ask(&url, "one").await.ends_with("\n401"));
        assert!(ask(&url, "two").await.ends_with("\n200"));
        // What the file says now is kept through a change of another route.
        let other =
            r#"{ "listeners": ["web"], "match": { "path": "/other" }, "respond": { "status": 204 } }"#;
        let (status, answer) = gateway.admin("PUT", "/v1/routes/other", "", other);
        assert_eq!(status, 200, "{answer}");
        assert!(ask(&url, "two").await.ends_with("\n200"));
    });
}

#[test]
fn a_file_of_keys_that_changes_is_gone_by_without_a_reload() {
    run(async {
        // For its folder.
        let files = Authority::new();
        files.put("keys", ONE);
        let server = echo().await;
        let filter = format!(
            "filters = [{{ name = \"partners\", api_key = {{ file = \"{}\", header = \"x-api-key\" }} }}]",
            files.path("keys")
        );
        let setup = Setup::to(server.address, Speaks::Http1).listener(&filter);
        let gateway = Gateway::start(&setup);
        let url = format!("http://{}/", gateway.address());
        assert!(ask(&url, "one").await.ends_with("\n200"));
        assert!(ask(&url, "two").await.ends_with("\n401"));
        // Broken: nothing changes.
        files.put("keys", "bank:no digest\n");
        gateway.wait_said("a renewed file is not taken", RENEWAL_LIMIT);
        assert!(ask(&url, "one").await.ends_with("\n200"));
        files.put("keys", TWO);
        gateway.wait_said("what renewed files hold is in force", RENEWAL_LIMIT);
        assert!(ask(&url, "one").await.ends_with("\n401"));
        let answer = ask(&url, "two").await;
        assert!(
            answer.contains("x-consumer: bank") && answer.ends_with("\n200"),
            "{answer}"
        );
    });
}
