//! Rows of a table: bytes from a client, what it gets for them, and what the upstream saw.
//!
//! All failures of a table are told together, each with what was sent, got and logged.

use std::net::SocketAddr;

use super::gateway::{Gateway, Setup, Speaks, route, upstream};
use super::log::Entry;
use super::message::{Message, shown};
use super::raw::{End, Raw};
use super::recorder::Recorder;
use super::within::within;

/// What follows a first answer on a connection that is kept.
const FOLLOWING: &[u8] = b"GET /following HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// Longest row that is sent byte by byte, too.
const BYTEWISE_MAX: usize = 600;

/// What becomes of a connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is closed in order.
    Closed,
    /// It takes the next request.
    Kept,
    /// Nobody promised either.
    Either,
}

/// What a request comes to.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Our own answer; the upstream saw nothing.
    Refused(&'static [u16], After),
    /// The upstream answered what it saw.
    Passed(Saw),
}

/// What the upstream saw of a request.
#[derive(Clone, Debug, Default)]
pub struct Saw {
    /// The whole request line.
    pub line: String,
    /// Fields that are there once, with these values.
    pub with: Vec<(&'static str, String)>,
    /// Fields that are not there.
    pub without: Vec<&'static str>,
    /// The content.
    pub body: Vec<u8>,
}

impl Saw {
    /// A request line, and nothing else that would matter.
    pub fn line(line: impl Into<String>) -> Self {
        Self {
            line: line.into(),
            ..Self::default()
        }
    }

    /// With that field.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.with.push((name, value.into()));
        self
    }

    /// Without those fields.
    pub fn without(mut self, names: &[&'static str]) -> Self {
        self.without.extend(names);
        self
    }

    /// With that content.
    pub fn body(mut self, body: &[u8]) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// What differs, if something does.
    pub fn difference(&self, seen: &Message) -> Option<String> {
        if seen.head.start != self.line {
            return Some(format!("the line {:?}, not {:?}", seen.head.start, self.line));
        }
        for (name, value) in &self.with {
            let found: Vec<_> = seen.head.all(name).collect();
            if found != [value.as_str()] {
                return Some(format!("{name}: {found:?}, not {value:?}"));
            }
        }
        for name in &self.without {
            if let Some(value) = seen.head.get(name) {
                return Some(format!("{name}: {value:?}, which must not be there"));
            }
        }
        (seen.body != self.body).then(|| format!("the body {:?}, not {:?}", shown(&seen.body), self.body))
    }
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is odd about it.
    pub what: String,
    /// The request.
    pub sent: Vec<u8>,
    /// What comes of it.
    pub expected: Expected,
}

/// A row that is refused with one of these statuses.
pub fn refused(
    what: impl Into<String>,
    sent: impl AsRef<[u8]>,
    statuses: &'static [u16],
    after: After,
) -> Row {
    Row {
        what: what.into(),
        sent: sent.as_ref().to_vec(),
        expected: Expected::Refused(statuses, after),
    }
}

/// A row that passes.
pub fn passed(what: impl Into<String>, sent: impl AsRef<[u8]>, saw: Saw) -> Row {
    Row {
        what: what.into(),
        sent: sent.as_ref().to_vec(),
        expected: Expected::Passed(saw),
    }
}

/// A gateway for tables and the upstream behind it.
#[derive(Debug)]
pub struct Stand {
    /// Under test.
    pub gateway: Gateway,
    /// What it forwards to.
    pub recorder: Recorder,
}

impl Stand {
    /// With that line for the listener, or none.
    pub async fn start(listener: &str) -> Self {
        let recorder = Recorder::ok().await;
        let setup = Setup::to(recorder.address(), Speaks::Http1).listener(listener);
        let gateway = Gateway::start(&setup);
        Self { gateway, recorder }
    }

    /// Which takes no method but GET.
    pub async fn get_only() -> Self {
        let recorder = Recorder::ok().await;
        let tables = route("all", "path_prefix = \"/\", methods = [\"GET\"]", "pool", "")
            + &upstream("pool", recorder.address(), Speaks::Http1);
        let gateway = Gateway::start(&Setup {
            tables,
            ..Setup::to(recorder.address(), Speaks::Http1)
        });
        Self { gateway, recorder }
    }

    /// With further routes: `/keep` takes encoded slashes, `/unmerged` several slashes.
    pub async fn with_routes(listener: &str) -> Self {
        let recorder = Recorder::ok().await;
        let tables = route(
            "keep",
            "path_prefix = \"/keep\"",
            "pool",
            "encoded_slash = \"keep\"",
        ) + &route(
            "unmerged",
            "path_prefix = \"/unmerged\"",
            "pool",
            "merge_slashes = false",
        );
        let setup = Setup::to(recorder.address(), Speaks::Http1)
            .listener(listener)
            .tables(&tables);
        let gateway = Gateway::start(&setup);
        Self { gateway, recorder }
    }

    /// Checks all rows, each as a whole and byte by byte, then their log lines.
    pub async fn check(&self, table: &str, rows: &[Row]) {
        let mut failures = Vec::new();
        let mut logged = Vec::new();
        for row in rows {
            for manner in [Manner::Whole, Manner::Bytewise] {
                if manner == Manner::Bytewise && row.sent.len() > BYTEWISE_MAX {
                    continue;
                }
                let before = self.recorder.requests().len();
                let mut raw = Raw::connect(self.gateway.address()).await;
                let outcome = within(&row.what, self.run(row, manner, &mut raw, before)).await;
                match outcome {
                    Ok(lines) => logged.push((row, raw.local(), lines)),
                    Err(why) => failures.push(self.failure(row, manner, &raw, &why)),
                }
            }
        }
        for (row, client, expected) in logged {
            let entries = self.gateway.log.of(client, expected.len());
            let told = |entry: &Entry| (status_of(entry), entry.reason().to_owned());
            let found: Vec<_> = entries.iter().map(told).collect();
            if found != expected {
                failures.push(format!("{}: logged {found:?}, not {expected:?}", row.what));
            }
        }
        assert!(
            failures.is_empty(),
            "{table}: {} of {} rows fail\n\n{}\n",
            failures.len(),
            rows.len(),
            failures.join("\n\n")
        );
    }

    /// Sends one row and judges what came; the statuses and reasons that its log lines must have.
    async fn run(
        &self,
        row: &Row,
        manner: Manner,
        raw: &mut Raw,
        before: usize,
    ) -> Result<Vec<(u16, String)>, String> {
        send(raw, &row.sent, manner).await;
        let first = raw.read_answers(1).await;
        let status = first.first().map_or(0, |answer| answer.head.status());
        let seen = self.recorder.requests();
        let new = seen.get(before..).unwrap_or_default();
        let mut lines = Vec::new();
        let after = match &row.expected {
            Expected::Refused(statuses, after) => {
                if !statuses.contains(&status) {
                    return Err(format!("the answer is {status}, not {statuses:?}"));
                }
                if !new.is_empty() {
                    return Err(format!("the upstream saw {new:?}"));
                }
                let reason = first.first().map(Message::reason).unwrap_or_default();
                let is_code = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
                if reason.is_empty() || !reason.bytes().all(is_code) {
                    return Err(format!("the answer gives no reason but {reason:?}"));
                }
                lines.push((status, reason));
                *after
            }
            Expected::Passed(saw) => {
                if status != 200 {
                    return Err(format!("the answer is {status}, not the upstream's 200"));
                }
                let [seen] = new else {
                    return Err(format!("the upstream saw {new:?}, not one request"));
                };
                if let Some(difference) = saw.difference(seen) {
                    return Err(format!("the upstream saw {difference} in {seen:?}"));
                }
                lines.push((200, "ok".to_owned()));
                After::Either
            }
        };
        if after == After::Kept {
            raw.send(FOLLOWING).await;
            lines.push((200, "ok".to_owned()));
        }
        if after == After::Either {
            return Ok(lines);
        }
        let answers = raw.read_to_end().await;
        if raw.end() != End::Closed {
            return Err("the connection did not end in order".to_owned());
        }
        let statuses: Vec<_> = answers.iter().map(|answer| answer.head.status()).collect();
        let expected: Vec<_> = lines.iter().map(|(status, _)| *status).collect();
        if statuses != expected {
            return Err(format!("the answers are {statuses:?}, not {expected:?}"));
        }
        let forwarded = self.recorder.requests().len() - before;
        if forwarded != lines.len() - 1 {
            return Err(format!("in the end the upstream saw {forwarded} requests"));
        }
        Ok(lines)
    }

    fn failure(&self, row: &Row, manner: Manner, raw: &Raw, why: &str) -> String {
        let logged = self.gateway.log.all();
        let client: SocketAddr = raw.local();
        let client = client.to_string();
        let logged: Vec<_> = logged
            .iter()
            .filter(|entry| entry.peer() == Some(client.as_str()))
            .collect();
        format!(
            "{} ({manner:?}): {why}\n  sent:\n    {}\n  {}\n  logged so far: {logged:?}",
            row.what,
            shown(&row.sent),
            raw.told()
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Whole,
    Bytewise,
}

async fn send(raw: &mut Raw, bytes: &[u8], manner: Manner) {
    let size = match manner {
        Manner::Whole => bytes.len().max(1),
        Manner::Bytewise => 1,
    };
    for piece in bytes.chunks(size) {
        if !raw.send(piece).await {
            // Refused before its end: the answer must be there all the same.
            return;
        }
    }
}

fn status_of(entry: &Entry) -> u16 {
    let status = entry.get("status").and_then(|status| status.parse().ok());
    status.unwrap_or(0)
}
