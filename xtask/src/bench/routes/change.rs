//! One change of the gateway after the other, each timed until it holds.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Kind;
use crate::bench::client::Client;
use crate::bench::scenario::ROUTES;
use crate::bench::subject::{Running, Subject};
use crate::bench::template::{gateway_route, last_path};

/// Longest wait for the admin API.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The name of the route that the admin API sets.
const ROUTE: &str = "changed";

/// Changes of a running gateway.
pub struct Change<'r> {
    kind: Kind,
    gateway: &'r Path,
    folder: &'r Path,
    configuration: PathBuf,
    original: String,
    token: String,
    number: usize,
}

impl<'r> Change<'r> {
    /// None yet.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn of(kind: Kind, running: &'r Running, gateway: &'r Path) -> Result<Self> {
        let configuration = running.folder().join(Subject::Gateway.template());
        let original = fs::read_to_string(&configuration)?;
        let token = fs::read_to_string(running.folder().join("admin.token"))?;
        Ok(Self {
            kind,
            gateway,
            folder: running.folder(),
            configuration,
            original,
            token: token.trim().to_owned(),
            number: 0,
        })
    }

    /// Has one route answer with another text by itself, and says how long it took until it does.
    ///
    /// # Errors
    /// When it is refused, or does not hold when it should.
    pub fn once(&mut self, port: u16) -> Result<Duration> {
        self.number += 1;
        let body = format!("change {}", self.number);
        match self.kind {
            Kind::File => self.reload(port, &body),
            Kind::Route => self.set(port, &body),
        }
    }

    /// By the last route of the file.
    fn reload(&self, port: u16, body: &str) -> Result<Duration> {
        let text = changed(&self.original, body).context("the file has not the route that is changed")?;
        fs::write(&self.configuration, text)?;
        let start = Instant::now();
        let output = Command::new(self.gateway)
            .args(["reload", "--admin"])
            .arg(format!("unix:{}", self.folder.join("admin.sock").display()))
            .arg("--token-file")
            .arg(self.folder.join("admin.token"))
            .output()
            .context("starting `gateway reload`")?;
        let took = start.elapsed();
        if !output.status.success() {
            bail!(
                "`gateway reload` says: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        holds(&mut Client::connect(port)?, &last_path(ROUTES), body)?;
        Ok(took)
    }

    /// By a route of the admin API, whose path changes with every other change: then the lookup is made anew, too.
    fn set(&self, port: u16, body: &str) -> Result<Duration> {
        // Connected before, as clients are.
        let mut client = Client::connect(port)?;
        let mut stream = UnixStream::connect(self.folder.join("admin.sock"))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let path = format!("/set/{}", self.number / 2);
        let request = put(&self.token, &path, body);
        let start = Instant::now();
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .context("reading the admin API's answer")?;
        if answer.get(9..12) != Some("200") {
            bail!("the admin API says: {answer}");
        }
        holds(&mut client, &path, body)?;
        Ok(start.elapsed())
    }
}

/// Whether a path is answered with that text.
fn holds(client: &mut Client, path: &str, body: &str) -> Result<()> {
    let found = client.body(path)?;
    if found != body {
        bail!("after a change its route answers {found:?} instead of {body:?}");
    }
    Ok(())
}

fn put(token: &str, path: &str, body: &str) -> String {
    let route = format!(
        "{{\"listeners\":[\"web\"],\"match\":{{\"path\":\"{path}\"}},\
         \"respond\":{{\"status\":200,\"body\":\"{body}\"}}}}"
    );
    format!(
        "PUT /v1/routes/{ROUTE} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{route}",
        route.len()
    )
}

/// The configuration with an answer of its own in the last route.
fn changed(original: &str, body: &str) -> Option<String> {
    let route = gateway_route(ROUTES - 1);
    let answer = format!("respond = {{ status = 200, body = \"{body}\" }}");
    let other = route.replace("upstream = \"backend\"", &answer);
    original
        .contains(&route)
        .then(|| original.replace(&route, &other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_route_is_changed_and_no_other() {
        let original = format!("{}{}", gateway_route(ROUTES - 2), gateway_route(ROUTES - 1));
        let text = changed(&original, "change 1").unwrap();
        assert!(text.starts_with(&gateway_route(ROUTES - 2)));
        assert!(text.contains("respond = { status = 200, body = \"change 1\" }"));
        assert_eq!(text.matches("upstream").count(), 1);
        assert_eq!(changed("", "x"), None);
    }

    #[test]
    fn a_route_is_sent_as_json_of_its_length() {
        let text = put("t", "/set/1", "change 2");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert_eq!(
            body,
            "{\"listeners\":[\"web\"],\"match\":{\"path\":\"/set/1\"},\"respond\":{\"status\":200,\"body\":\"change 2\"}}"
        );
    }
}
