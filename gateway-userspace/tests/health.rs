//! A node whose endpoints speak for themselves, and one that is watched in several ways: the program, and servers of the
//! test's own, on loopback.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers every request with its name; its thread ends with the process of the test.
fn server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            // A peer that went away needs no answer.
            if stream.read(&mut head).is_ok_and(|length| length > 0) {
                let length = name.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{name}");
                drop(stream.write_all(answer.as_bytes()));
            }
        }
    });
    address
}

/// The running program, with a directory of its own; both end with it.
struct Gateway {
    child: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Gateway {
    /// Runs with that upstream, whose name is `users`.
    fn start(name: &str, upstream: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("gateway-{name}-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = probe.local_addr().unwrap();
        drop(probe);
        let here = directory.display();
        let config = format!(
            "[node]\nname = 'health'\nworkers = 1\n\
             [admin]\nlisten = 'unix:{here}/admin.sock'\ntoken_file = '{here}/token'\n\
             [[listener]]\nname = 'web'\naddress = '{address}'\n\
             [[route]]\nname = 'users'\nlisteners = ['web']\nupstream = 'users'\nmatch = {{ path_prefix = '/' }}\n\
             [[upstream]]\nname = 'users'\n{upstream}\n"
        );
        let file = directory.join("gateway.toml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .arg("run")
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let gateway = Self {
            child,
            directory,
            address,
        };
        wait_until("the admin API", || {
            UnixStream::connect(gateway.directory.join("admin.sock")).is_ok()
        });
        gateway
    }

    /// The end of the answer to a request, after its head; nothing where there is none.
    fn get(&self) -> String {
        let answer = || {
            let mut stream = TcpStream::connect(self.address).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer.split_once("\r\n\r\n")?.1.to_owned())
        };
        answer().unwrap_or_default()
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.directory.join("admin.sock")).unwrap()
    }

    /// Status and JSON of an answer of the admin API.
    fn admin(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let token = std::fs::read_to_string(self.directory.join("token")).unwrap();
        let mut stream = self.connect();
        let (token, length) = (token.trim(), body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap())
    }

    /// What the client writes, on either output.
    fn command(&self, arguments: &[&str]) -> String {
        let here = self.directory.display();
        let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(arguments)
            .args(["--admin", &format!("unix:{here}/admin.sock")])
            .args(["--token-file", &format!("{here}/token")])
            .output()
            .unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// An endpoint renews itself.
    fn renew(&self, endpoint: SocketAddr, body: &str) -> (u16, Value) {
        self.admin("PUT", &format!("/v1/upstreams/users/endpoints/{endpoint}"), body)
    }

    /// What is known of an endpoint; null where it is none.
    fn endpoint(&self, address: SocketAddr) -> Value {
        let (_, upstreams) = self.admin("GET", "/v1/upstreams", "");
        let endpoints = upstreams["upstreams"][0]["endpoints"].as_array().unwrap().clone();
        let is_it = |endpoint: &Value| endpoint["address"] == json!(address.to_string());
        endpoints.into_iter().find(is_it).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn endpoints_register_renew_lapse_and_go() {
    let upstream =
        "health = { heartbeat = { pushed = true, ttl_max = '1m' } }\nregistration = { endpoints_max = 2 }";
    let gateway = Gateway::start("registration", upstream);
    let (one, two, three) = (server("one"), server("two"), server("three"));
    let code = |answer: &(u16, Value)| (answer.0, answer.1["error"]["code"].clone());

    let renewed = gateway.renew(one, r#"{ "ttl": "1m", "weight": 5 }"#);
    let expected = json!({ "upstream": "users", "address": one.to_string(), "weight": 5, "ttl": "1m" });
    assert_eq!(renewed, (200, expected));
    wait_until("the first endpoint", || gateway.get() == "one");
    let endpoint = gateway.endpoint(one);
    assert_eq!(
        (&endpoint["readiness"], &endpoint["weight"]),
        (&json!("ready"), &json!(5))
    );
    let check = &endpoint["checks"][0];
    assert_eq!(
        (&check["kind"], &check["state"]),
        (&json!("heartbeat"), &json!("ready"))
    );

    // It may take longer than its time to live until a snapshot has it: it renews itself, as all do.
    wait_until("the second endpoint", || {
        assert_eq!(gateway.renew(two, r#"{ "ttl": "1s" }"#).0, 200);
        gateway.get() == "two"
    });
    wait_until("its lapse", || {
        gateway.endpoint(two)["readiness"] == json!("failing")
    });
    assert_eq!(gateway.get(), "one", "what lapsed gets nothing");
    let check = gateway.endpoint(two)["checks"][0].clone();
    assert_eq!(check["last_failure"], json!("its time to live is over"));

    let full = gateway.renew(three, r#"{ "ttl": "10s" }"#);
    assert_eq!(code(&full), (409, json!("conflict")), "{full:?}");
    let rows = [
        (r#"{ "ttl": "2m" }"#, 400),
        (r#"{ "ttl": "10ms" }"#, 400),
        (r#"{ "ttl": "10s", "weight": 1001 }"#, 400),
        (r#"{ "ttl": "10s", "metadata": { "version": "" } }"#, 400),
        (r#"{ "ttl": "10s", "metadata": { "version": 2 } }"#, 400),
        (r#"{}"#, 400),
    ];
    for (body, status) in rows {
        assert_eq!(gateway.renew(one, body).0, status, "{body}");
    }
    let own = gateway.renew(gateway.address, r#"{ "ttl": "10s" }"#);
    assert_eq!(
        code(&own),
        (400, json!("bad_request")),
        "its own listener: {own:?}"
    );
    let path = format!("/v1/upstreams/none/endpoints/{one}");
    assert_eq!(gateway.admin("PUT", &path, r#"{ "ttl": "10s" }"#).0, 404);

    let path = format!("/v1/upstreams/users/endpoints/{two}");
    assert_eq!(gateway.admin("DELETE", &path, "").0, 200);
    wait_until("the second is gone", || gateway.endpoint(two) == Value::Null);
    assert_eq!(gateway.admin("DELETE", &path, "").0, 404);
    assert_eq!(gateway.renew(three, r#"{ "ttl": "1m" }"#).0, 200);
    wait_until("the third has its place", || gateway.get() == "three");
}

#[test]
fn endpoints_that_register_join_the_subsets_of_their_metadata_and_drain_by_weight_0() {
    let upstream = "subsets = [{ name = 'canary', match = { version = 'v2' } }]\nsubset_fallback = 'default'\n\
        subset_default = 'canary'\nhealth = { heartbeat = { pushed = true, ttl_max = '1m' } }\nregistration = {}";
    let gateway = Gateway::start("subsets", upstream);
    let (one, two) = (server("one"), server("two"));
    let renew = |endpoint, version: &str, weight: u32| {
        let body = json!({ "ttl": "1m", "weight": weight, "metadata": { "version": version } });
        assert_eq!(gateway.renew(endpoint, &body.to_string()).0, 200);
        wait_until("a snapshot that has it", || {
            let endpoint = gateway.endpoint(endpoint);
            endpoint["metadata"]["version"] == version && endpoint["weight"] == weight
        });
    };
    renew(one, "v1", 1);
    renew(two, "v2", 1);
    wait_until("the one of the subset", || gateway.get() == "two");
    for _ in 0..5 {
        assert_eq!(
            gateway.get(),
            "two",
            "requests that choose nothing go to the default"
        );
    }
    let status = gateway.command(&["status"]);
    assert!(
        status.contains("metadata") && status.contains("version=v2"),
        "{status}"
    );
    renew(one, "v2", 1);
    renew(two, "v2", 0);
    wait_until("another one", || gateway.get() == "one");
    for _ in 0..5 {
        assert_eq!(gateway.get(), "one", "who drains gets nothing new");
    }
}

#[test]
fn listed_endpoints_renew_themselves_and_others_are_not_taken() {
    let (listed, other) = (server("listed"), server("other"));
    let upstream = format!(
        "endpoints = [{{ address = '{listed}', weight = 3 }}]\nhealth = {{ heartbeat = {{ pushed = true }} }}"
    );
    let gateway = Gateway::start("pushed", &upstream);
    wait_until("the listener", || gateway.get() == "listed");
    assert_eq!(gateway.endpoint(listed)["readiness"], json!("unknown"));
    let renewed = gateway.renew(listed, r#"{ "ttl": "1m", "weight": 9 }"#);
    assert_eq!(
        (renewed.0, &renewed.1["weight"]),
        (200, &json!(3)),
        "the file's weight stands"
    );
    wait_until("ready", || {
        gateway.endpoint(listed)["readiness"] == json!("ready")
    });
    let refused = gateway.renew(other, r#"{ "ttl": "1m" }"#);
    assert_eq!(refused.0, 409, "{refused:?}");
    let path = format!("/v1/upstreams/users/endpoints/{listed}");
    assert_eq!(gateway.admin("DELETE", &path, "").0, 200);
    wait_until("failing", || {
        gateway.endpoint(listed)["readiness"] == json!("failing")
    });
}

#[test]
fn status_shows_what_each_kind_of_check_says() {
    let one = server("one");
    let upstream = format!(
        "endpoints = [{{ address = '{one}' }}]\n[upstream.health]\nheartbeat = {{ tcp = true, interval = '100ms' }}\n\
         liveness = {{ command = ['/bin/false'], interval = '100ms' }}\nreadiness = {{ http = '/', interval = '100ms' }}\n\
         startup = {{ http = '/', interval = '100ms' }}"
    );
    let gateway = Gateway::start("kinds", &upstream);
    wait_until("the checks", || {
        let endpoint = gateway.endpoint(one);
        let checks = endpoint["checks"].as_array().cloned().unwrap_or_default();
        let states: Vec<Value> = checks.iter().map(|check| check["state"].clone()).collect();
        states == [json!("ready"), json!("failing"), json!("ready"), json!("ready")]
    });
    assert_eq!(
        gateway.endpoint(one)["readiness"],
        json!("ready"),
        "liveness takes nothing away"
    );
    let text = gateway.command(&["status"]);
    assert!(text.contains("the command ended with exit status: 1"), "{text}");
    let path = format!("/v1/upstreams/users/endpoints/{one}");
    let refused = gateway.admin("PUT", &path, r#"{ "ttl": "10s" }"#);
    assert_eq!(refused.0, 409, "its heartbeat is not pushed: {refused:?}");
}

#[test]
fn breakers_are_forced_and_released_by_the_api_and_by_the_command() {
    let (one, none) = (server("one"), "192.0.2.1:80");
    let upstream = format!("endpoints = [{{ address = '{one}' }}]\ncircuit_breaker = {{ open_for = '1m' }}");
    let gateway = Gateway::start("breakers", &upstream);
    wait_until("the listener", || gateway.get() == "one");
    assert_eq!(gateway.endpoint(one)["breaker"], json!("closed"));
    let whole = "/v1/upstreams/users/breaker".to_owned();
    let of_one = format!("/v1/upstreams/users/endpoints/{one}/breaker");
    let open = r#"{ "force": "open" }"#;
    let closed = r#"{ "force": "closed" }"#;
    let rows = [
        ("PUT", &whole, open, "forced-open", "the whole, open"),
        ("PUT", &whole, open, "forced-open", "once more"),
        ("PUT", &whole, closed, "forced-closed", "the whole, closed"),
        ("DELETE", &whole, "", "closed", "the whole, released"),
        (
            "DELETE",
            &whole,
            "",
            "closed",
            "released though nothing was forced",
        ),
        ("PUT", &of_one, open, "forced-open", "an endpoint, open"),
        ("DELETE", &of_one, "", "half-open", "an endpoint, released"),
    ];
    for (method, path, body, state, why) in rows {
        let answer = gateway.admin(method, path, body);
        assert_eq!(answer, (200, json!({ "breaker": state })), "{why}");
        let (_, upstreams) = gateway.admin("GET", "/v1/upstreams", "");
        let shown = if *path == whole {
            upstreams["upstreams"][0]["breaker"].clone()
        } else {
            gateway.endpoint(one)["breaker"].clone()
        };
        assert_eq!(shown, json!(state), "shown: {why}");
    }
    for path in [
        "/v1/upstreams/none/breaker".to_owned(),
        format!("/v1/upstreams/users/endpoints/{none}/breaker"),
    ] {
        assert_eq!(gateway.admin("PUT", &path, open).0, 404, "{path}");
    }

    assert_eq!(
        gateway.command(&["breaker", "users", "--open"]),
        "the circuit breaker of upstream users is forced-open\n"
    );
    wait_until("no answer of the upstream", || gateway.get() != "one");
    let text = gateway.command(&["status"]);
    assert!(text.contains("breaker forced-open"), "{text}");
    let text = gateway.command(&["breaker", "users", "--release", "--json"]);
    assert_eq!(text, "{\n  \"breaker\": \"half-open\"\n}\n");
    wait_until("the upstream's answer", || gateway.get() == "one");
    let text = gateway.command(&["breaker", "users", "--endpoint", none, "--open"]);
    assert!(text.contains("192.0.2.1:80 is no endpoint of upstream"), "{text}");
}

#[test]
fn an_upstream_without_a_breaker_says_so() {
    let one = server("one");
    let gateway = Gateway::start("no-breaker", &format!("endpoints = [{{ address = '{one}' }}]"));
    let answer = gateway.admin("PUT", "/v1/upstreams/users/breaker", r#"{ "force": "open" }"#);
    let text = "Upstream \"users\" has no circuit breaker: [upstream.circuit_breaker] is missing there.";
    assert_eq!((answer.0, &answer.1["error"]["message"]), (404, &json!(text)));
    let endpoint = gateway.endpoint(one);
    assert_eq!(
        (endpoint.get("breaker"), &endpoint["ejected"]),
        (None, &json!(false))
    );
}

#[test]
fn changes_are_events_that_are_kept_and_followed_until_the_node_stops() {
    let one = server("one");
    let upstream = format!(
        "endpoints = [{{ address = '{one}' }}]\ncircuit_breaker = {{ open_for = '1m' }}\n\
         health = {{ readiness = {{ tcp = true, interval = '100ms' }} }}"
    );
    let mut gateway = Gateway::start("events", &upstream);
    wait_until("the check", || {
        gateway.endpoint(one)["readiness"] == json!("ready")
    });
    gateway.command(&["breaker", "users", "--open"]);
    let kept = gateway.command(&["events", "--json"]);
    let events: Vec<Value> = kept
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let has = |wanted: Value| {
        let is_it = |event: &Value| {
            let mut event = event.clone();
            event.as_object_mut().unwrap().remove("time");
            event == wanted
        };
        assert!(events.iter().any(is_it), "{wanted}:\n{kept}");
    };
    let address = one.to_string();
    has(json!({
        "kind": "check", "check": "readiness", "upstream": "users", "endpoint": address,
        "from": "unknown", "to": "ready", "why": "passed 1 in a row",
    }));
    has(json!({
        "kind": "check", "upstream": "users", "endpoint": address,
        "from": "unknown", "to": "ready", "why": "passed 1 in a row",
    }));
    has(json!({
        "kind": "breaker", "upstream": "users",
        "from": "closed", "to": "forced-open", "why": "forced by an operator",
    }));

    let (sender, lines) = mpsc::channel();
    let mut stream = gateway.connect();
    let token = std::fs::read_to_string(gateway.directory.join("token")).unwrap();
    let request = format!(
        "GET /v1/events?follow=true HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    stream.write_all(request.as_bytes()).unwrap();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            sender.send(line).unwrap();
        }
    });
    let next = |what: &str| loop {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        if line.contains(what) {
            return;
        }
    };
    next("content-type: application/jsonl");
    next("\"to\":\"forced-open\"");
    gateway.command(&["breaker", "users", "--release"]);
    next("\"to\":\"half-open\",\"why\":\"released by an operator\"");
    let told = Command::new("kill")
        .arg(gateway.child.id().to_string())
        .status()
        .unwrap();
    assert!(told.success());
    next("{\"end\":\"the node stops\"}");
    gateway.child.wait().unwrap();
}
