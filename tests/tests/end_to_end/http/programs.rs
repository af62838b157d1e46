//! Programs that people use: curl, HAProxy, nghttp, h2load, wrk, Pebble, and scanners of TLS. They must be there: `cargo xtask test`
//! installs them.

#[path = "programs/acme.rs"]
mod acme;
#[path = "programs/authority.rs"]
mod authority;
#[path = "programs/curl.rs"]
mod curl;
#[path = "programs/haproxy.rs"]
mod haproxy;
#[path = "programs/load.rs"]
mod load;
#[path = "programs/scanners.rs"]
mod scanners;
#[path = "programs/secrets.rs"]
mod secrets;
#[path = "programs/sticky.rs"]
mod sticky;
#[path = "programs/tls.rs"]
mod tls;
#[path = "programs/upstream_tls.rs"]
mod upstream_tls;

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::peers::{Body, Server, full};
use super::within::within_time;

/// Longest run of a program.
const PROGRAM_LIMIT: Duration = Duration::from_secs(30);

/// Runs a program to its end beside the servers of the test, and gives its output.
async fn output(program: &str, arguments: &[&str]) -> Output {
    output_within(program, arguments, PROGRAM_LIMIT).await
}

/// As [`output`], for what may take longer.
async fn output_within(program: &str, arguments: &[&str], limit: Duration) -> Output {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = command.spawn();
    assert!(started.is_ok(), "{program}: {:?}; install it", started.err());
    let child = started.expect("checked above");
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let ended = within_time(program, limit, ended).await;
    ended.expect("a thread").expect("its output")
}

/// Standard output of a program that must succeed.
async fn told(program: &str, arguments: &[&str]) -> String {
    let output = output(program, arguments).await;
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{out}\n{err}",
        output.status
    );
    out.into_owned()
}

/// Answers with what it got: `METHOD target VERSION`, the fields, an empty line, and how long the body was.
async fn echo() -> Server {
    Server::start(|request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
        for (name, value) in &head.headers {
            text.push_str(&format!(
                "{name}: {}\n",
                String::from_utf8_lossy(value.as_bytes())
            ));
        }
        let bytes = body.collect().await.map_or(0, |body| body.to_bytes().len());
        text.push_str(&format!("\n{bytes} bytes"));
        Response::<Body>::new(full(text))
    })
    .await
}
