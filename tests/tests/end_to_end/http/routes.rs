//! Routes by the admin API: they are live when the answer comes, judged as the file's are, outlive reloads and restarts, and
//! no request pays for a change.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::task::{JoinSet, block_in_place};

use super::gateway::{Gateway, Setup, Speaks, route};
use super::peers::{Client, Server, empty, full};
use super::within::{run, within};

/// Clients of the load.
const CLIENTS: usize = 8;
/// Changes under load.
const CHANGES: usize = 100;

async fn server() -> Server {
    Server::start(|_| async { Response::new(full("upstream")) }).await
}

/// What a path is answered.
async fn body(gateway: &Gateway, path: &str) -> String {
    let mut client = Client::connect(gateway.address(), Speaks::Http1).await;
    let request = client.request("GET", path).body(empty()).expect("a request");
    let answer = within(path, client.send(request)).await.expect("an answer");
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

fn says(path: &str, text: &str) -> Value {
    json!({ "listeners": ["web"], "match": { "path": path }, "respond": { "status": 200, "body": text } })
}

/// Asks for a change by JSON: the status, the whole answer, and its body.
fn change(
    gateway: &Gateway,
    method: &str,
    path: &str,
    fields: &str,
    says: Option<&Value>,
) -> (u16, String, Value) {
    let text = says.map(Value::to_string).unwrap_or_default();
    let (status, answer) = gateway.admin(method, path, fields, &text);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let value = serde_json::from_str(body).unwrap_or_default();
    (status, answer, value)
}

fn put(gateway: &Gateway, name: &str, says: &Value) -> (u16, Value) {
    let (status, _, value) = change(gateway, "PUT", &format!("/v1/routes/{name}"), "", Some(says));
    (status, value)
}

fn names(gateway: &Gateway) -> Vec<String> {
    let (status, _, value) = change(gateway, "GET", "/v1/routes", "", None);
    assert_eq!(status, 200);
    let routes = value["routes"].as_array().cloned().unwrap_or_default();
    routes
        .iter()
        .map(|route| route["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn command(gateway: &Gateway, arguments: &[&str]) -> Output {
    gateway.command(arguments).output().expect("a command")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_route_is_added_changed_and_deleted_while_the_node_runs() {
    run(async {
        let server = server().await;
        let gateway = Gateway::start(&Setup::to(server.address, Speaks::Http1).workers(2));
        assert_eq!(body(&gateway, "/x").await, "upstream");
        let (_, _, dry) = change(
            &gateway,
            "PUT",
            "/v1/routes/x?dry_run=true",
            "",
            Some(&says("/x", "one")),
        );
        assert_eq!(
            (&dry["change"], &dry["dry_run"], &dry["snapshot"]),
            (&json!("added"), &json!(true), &json!(1))
        );
        assert_eq!(body(&gateway, "/x").await, "upstream");
        assert_eq!(names(&gateway), ["all"]);

        let (status, answer, added) = change(&gateway, "PUT", "/v1/routes/x", "", Some(&says("/x", "one")));
        assert_eq!(
            (status, &added["change"], &added["snapshot"]),
            (200, &json!("added"), &json!(2)),
            "{answer}"
        );
        let tag = format!("etag: \"{}\"\r\n", added["version"].as_str().expect("a version"));
        assert!(answer.to_lowercase().contains(&tag), "{answer}");
        assert_eq!(body(&gateway, "/x").await, "one");
        let (_, same) = put(&gateway, "x", &says("/x", "one"));
        assert_eq!(
            (&same["change"], &same["snapshot"]),
            (&json!("unchanged"), &json!(2))
        );

        let toml = "listeners = ['web']\nmatch = { path = '/x' }\n[respond]\nstatus = 200\nbody = 'two'\n";
        let fields = "content-type: application/toml\r\n";
        let (status, answer) = gateway.admin("PUT", "/v1/routes/x", fields, toml);
        assert_eq!(status, 200, "{answer}");
        assert_eq!(body(&gateway, "/x").await, "two");

        let (_, _, shown) = change(&gateway, "GET", "/v1/routes", "", None);
        assert_eq!(shown["routes"][1]["from"], json!("api"), "{shown}");
        assert_eq!(
            shown["routes"][1]["route"]["respond"]["body"],
            json!("two"),
            "{shown}"
        );
        let line = shown["routes"][0]["from"]["file"]["line"]
            .as_u64()
            .expect("a line");
        let config = std::fs::read_to_string(gateway.directory().join("gateway.toml")).expect("a file");
        let written = config.lines().nth(usize::try_from(line - 1).expect("small"));
        assert_eq!(written, Some("[[route]]"), "line {line} of:\n{config}");

        let (status, answer, gone) = change(&gateway, "DELETE", "/v1/routes/x", "", None);
        assert_eq!((status, &gone["change"]), (200, &json!("deleted")), "{answer}");
        assert_eq!(body(&gateway, "/x").await, "upstream");
        let (status, _, gone) = change(&gateway, "DELETE", "/v1/routes/x", "", None);
        assert_eq!((status, &gone["error"]["code"]), (404, &json!("not_found")));
        gateway.check_idle();
    });
}

#[test]
fn what_is_refused_changes_nothing_and_says_all_that_is_wrong() {
    run(async {
        let server = server().await;
        let gateway = Gateway::start(&Setup::to(server.address, Speaks::Http1));
        let (status, taken) = put(&gateway, "all", &says("/", "mine"));
        let message = taken["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert_eq!(status, 409, "{message}");
        assert!(
            message.contains("gateway.toml:") && message.contains("run `gateway reload`"),
            "{message}"
        );
        let mut bad = says("/x", "one");
        bad["listeners"] = json!(["wbe"]);
        bad["upstream"] = json!("pol");
        bad["tiemout"] = json!("1s");
        let (status, refused) = put(&gateway, "x", &bad);
        let message = refused["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(
            (status, &refused["error"]["code"]),
            (422, &json!("configuration_refused")),
            "{message}"
        );
        for wanted in [
            "body:1: listeners[0]: there is no listener \"wbe\"; did you mean \"web\"?",
            "body:1: tiemout: unknown key; did you mean timeout?",
            "body:1: respond: the route has upstream already",
            "3 problems; nothing was changed",
        ] {
            assert!(message.contains(wanted), "{wanted:?} is not in:\n{message}");
        }
        // The file cannot be written: its place is taken.
        std::fs::create_dir(gateway.directory().join("routes.toml.new")).expect("a directory");
        let (status, failed) = put(&gateway, "x", &says("/x", "one"));
        let message = failed["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert_eq!(status, 500, "{message}");
        assert!(
            message.contains("routes.toml cannot be written") && message.contains("admin.routes_file"),
            "{message}"
        );
        assert_eq!(body(&gateway, "/x").await, "upstream");
        assert_eq!(names(&gateway), ["all"]);
        assert_eq!(gateway.status()["snapshot"], json!(1));
    });
}

#[test]
fn what_was_set_outlives_reloads_and_restarts_until_it_is_deleted() {
    run(async {
        let server = server().await;
        let setup = Setup::to(server.address, Speaks::Http1);
        let mut gateway = Gateway::start(&setup);
        let file = gateway.directory().join("x.json");
        std::fs::write(&file, says("/x", "one").to_string()).expect("a file");
        let file = file.display().to_string();
        let set = command(&gateway, &["routes", "set", "x", &file]);
        assert!(
            text(&set.stdout).contains("route x is added, version "),
            "{set:?}"
        );
        assert_eq!(body(&gateway, "/x").await, "one");
        block_in_place(|| gateway.reload(&setup.clone().defaults("timeout = \"9s\"")));
        assert_eq!(body(&gateway, "/x").await, "one");
        let listed = text(&command(&gateway, &["routes"]).stdout);
        assert!(
            listed
                .lines()
                .any(|line| line.starts_with("x ") && line.ends_with("admin API")),
            "{listed}"
        );
        let explained = text(&command(&gateway, &["explain", "request", "GET", "http://a.example/x"]).stdout);
        assert!(explained.contains("routes.toml line 4: route[0]"), "{explained}");

        block_in_place(|| gateway.restart(&setup));
        assert_eq!(body(&gateway, "/x").await, "one");
        assert_eq!(names(&gateway), ["all", "x"]);

        // The file takes the name, too: which of the two is meant, is the operator's to say.
        let both = setup.clone().tables(&route("x", "path = \"/y\"", "pool", ""));
        gateway.configure(&both);
        let (status, refused) = gateway.admin("POST", "/v1/reload", "", "");
        assert_eq!(status, 422, "{refused}");
        assert!(
            refused.contains("\\\"x\\\" was set by the admin API as well"),
            "{refused}"
        );
        assert_eq!(body(&gateway, "/x").await, "one");
        let deleted = command(&gateway, &["routes", "delete", "x"]);
        assert!(deleted.status.success(), "{deleted:?}");
        block_in_place(|| gateway.reload(&both));
        let refused = command(&gateway, &["routes", "delete", "x"]);
        assert!(
            text(&refused.stderr).contains("change it there, and run `gateway reload`"),
            "{refused:?}"
        );
        block_in_place(|| gateway.restart(&setup));
        assert_eq!(names(&gateway), ["all"]);
    });
}

#[test]
fn two_operators_do_not_overwrite_each_other() {
    run(async {
        let server = server().await;
        let gateway = Arc::new(Gateway::start(
            &Setup::to(server.address, Speaks::Http1).workers(2),
        ));
        let version = |value: &Value| value["version"].as_str().unwrap_or_default().to_owned();
        let (_, first) = put(&gateway, "x", &says("/x", "one"));
        let fields = format!("if-match: \"{}\"\r\n", version(&first));
        let (status, _, _) = change(&gateway, "PUT", "/v1/routes/x", &fields, Some(&says("/x", "two")));
        assert_eq!(status, 200);
        for (method, says) in [("PUT", Some(says("/x", "three"))), ("DELETE", None)] {
            let (status, answer, stale) = change(&gateway, method, "/v1/routes/x", &fields, says.as_ref());
            assert_eq!(
                (status, &stale["error"]["code"]),
                (412, &json!("precondition_failed")),
                "{answer}"
            );
        }
        assert_eq!(body(&gateway, "/x").await, "two");

        // Of many that add the same one, each believing to be the first, one is.
        let mut tasks = JoinSet::new();
        for number in 0..16 {
            let gateway = Arc::clone(&gateway);
            tasks.spawn_blocking(move || {
                let (own, same) = (format!("own-{number}"), says(&format!("/own/{number}"), "own"));
                let (status, _) = put(&gateway, &own, &same);
                assert_eq!(status, 200);
                let says = says("/same", &number.to_string());
                let (status, _, _) = change(
                    &gateway,
                    "PUT",
                    "/v1/routes/same",
                    "if-none-match: *\r\n",
                    Some(&says),
                );
                (status, number)
            });
        }
        let ended = within("all answers", tasks.join_all()).await;
        let added: Vec<_> = ended.iter().filter(|(status, _)| *status == 200).collect();
        assert_eq!(added.len(), 1, "{ended:?}");
        assert!(
            ended.iter().all(|(status, _)| matches!(status, 200 | 412)),
            "{ended:?}"
        );
        assert_eq!(body(&gateway, "/same").await, added[0].1.to_string());
        assert_eq!(names(&gateway).len(), 1 + 1 + 16 + 1);
        for number in 0..16 {
            assert_eq!(body(&gateway, &format!("/own/{number}")).await, "own");
        }
    });
}

#[test]
fn changes_under_load_fail_no_request_and_each_is_live_when_it_is_answered() {
    run(async {
        let server = server().await;
        let gateway = Gateway::start(&Setup::to(server.address, Speaks::Http1).workers(2));
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (stop, address) = (Arc::clone(&stop), gateway.address());
            clients.spawn(async move {
                let mut client = Client::connect(address, Speaks::Http1).await;
                let (mut good, mut bad) = (0_usize, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    // Half of them ask for what changes.
                    let path = if number % 2 == 0 { "/x" } else { "/other" };
                    let request = client.request("GET", path).body(empty()).expect("a request");
                    match within("an answer", client.ask(request)).await {
                        Ok(answer) if answer.status() == 200 => good += 1,
                        other => bad.push(format!("{other:?}")),
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                (good, bad)
            });
        }
        for number in 0..CHANGES {
            let text = format!("change {number}");
            let (status, answer) = block_in_place(|| put(&gateway, "x", &says("/x", &text)));
            assert_eq!(status, 200, "{answer}");
            assert_eq!(body(&gateway, "/x").await, text);
        }
        stop.store(true, Ordering::Relaxed);
        let ended = within("the last answers", clients.join_all()).await;
        let good: usize = ended.iter().map(|(good, _)| good).sum();
        let bad: Vec<&String> = ended.iter().flat_map(|(_, bad)| bad).collect();
        assert!(
            bad.is_empty() && good > CHANGES,
            "{good} good ones, {} failed: {:?}",
            bad.len(),
            bad.first()
        );
        gateway.check_idle();
    });
}
