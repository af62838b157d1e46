//! What an operator is told: `gateway events --follow`, `gateway status` and the metrics, of breakers, ejections and limits.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};

use gateway_tests::servers::sick::Health;
use serde_json::Value;

use crate::http::gateway::{Gateway, sum};
use crate::http::within::run;

use super::load::Load;
use super::scene::{NO_RETRIES, setup, three, until};

/// A command that runs on, and the lines that it wrote so far. Dropping it ends it.
struct Follower {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Follower {
    fn start(gateway: &Gateway, arguments: &[&str]) -> Self {
        let mut process = gateway.command(arguments).spawn().expect("a process");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&lines);
        let output = process.stdout.take().expect("its output");
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                theirs.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { process, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What of the JSON lines is an event of that kind that leads there.
    fn events(&self, kind: &str, to: &str) -> Vec<Value> {
        let lines = self.lines();
        let events = lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        events
            .filter(|event| event["kind"] == kind && event["to"] == to)
            .collect()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        drop(self.process.kill());
        if let Err(error) = self.process.wait() {
            eprintln!("a command: {error}");
        }
    }
}

#[test]
fn events_come_as_they_happen_to_who_follows_and_end_with_the_node() {
    run(async {
        let servers = three().await;
        let addresses = servers.each_ref().map(|server| server.address());
        let guards = "outlier = { consecutive_failures = 5, base_ejection = \"1s\", success_rate = false }\n";
        let mut gateway = Gateway::start(&setup(&addresses, NO_RETRIES, guards));
        let json = Follower::start(&gateway, &["events", "--follow", "--json"]);
        let text = Follower::start(&gateway, &["events", "--follow"]);
        let load = Load::start(gateway.address());
        load.pass(50).await;
        assert_eq!(json.lines(), Vec::<String>::new(), "nothing happened yet");
        servers[1].set(Health::Fails);
        until("told of the ejection", || {
            !json.events("ejection", "ejected").is_empty()
        })
        .await;
        let ejected = json.events("ejection", "ejected").remove(0);
        assert_eq!(ejected["upstream"], "pool");
        assert_eq!(ejected["endpoint"], addresses[1].to_string());
        assert_eq!(ejected["from"], "in");
        servers[1].set(Health::Well);
        until("told of its return", || !json.events("ejection", "in").is_empty()).await;
        load.end().await;
        let expected = format!("pool  {}  ejection  in -> ejected: ", addresses[1]);
        until("the same for people", || {
            text.lines().iter().any(|line| line.contains(&expected))
        })
        .await;
        gateway.terminate();
        let mut json = json;
        tokio::task::block_in_place(|| {
            assert!(gateway.wait_end().success(), "{}", gateway.said());
            let ended = json.process.wait().expect("its end");
            assert!(!ended.success(), "who follows is told that the node ended it");
        });
        let last = json.lines().pop().expect("a line");
        let last: Value = serde_json::from_str(&last).expect("JSON");
        assert!(last["end"].is_string(), "{last}");
    });
}

#[test]
fn a_limit_that_is_reached_is_one_event_a_number_in_the_metrics_and_a_word_in_the_status() {
    run(async {
        let servers = three().await;
        let addresses = servers.each_ref().map(|server| server.address());
        let limits = "limits = { requests = 2, endpoint = { requests = 1 } }\n";
        let gateway = Gateway::start(&setup(&addresses, NO_RETRIES, limits));
        let follower = Follower::start(&gateway, &["events", "--follow", "--json"]);
        // Those that hang keep their places until the try ends.
        servers.iter().for_each(|server| server.set(Health::Hangs));
        let load = Load::start(gateway.address());
        until("told of the limit", || {
            !follower.events("limit", "reached").is_empty()
        })
        .await;
        until("shown as full", || {
            let shown = tokio::task::block_in_place(|| gateway.command(&["status"]).output());
            let shown = shown.expect("its output");
            String::from_utf8_lossy(&shown.stdout).contains("at its limit: 2 requests")
        })
        .await;
        let metrics = tokio::task::block_in_place(|| gateway.metrics());
        let limit = "gateway_upstream_limit{upstream=\"pool\",endpoint=\"all\",what=\"requests\"}";
        assert_eq!(sum(&metrics, limit), 2, "{metrics}");
        let limited = "gateway_upstream_limited_total{upstream=\"pool\",limit=\"requests\"}";
        assert!(sum(&metrics, limited) > 0, "{metrics}");
        let seen = load.end().await;
        let refused = seen.iter().filter(|seen| seen.status() == Some(503));
        assert!(refused.count() > 0);
        let told = follower.events("limit", "reached");
        assert!(told.len() == 1 && told[0]["upstream"] == "pool", "{told:?}");
        tokio::task::block_in_place(|| {
            assert!(gateway.counted("reason=\"upstream-overloaded\"") > 0);
            gateway.check_idle();
        });
    });
}
