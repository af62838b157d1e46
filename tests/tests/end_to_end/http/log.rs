//! The access log of a running gateway, read as it is written.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::within::PATIENCE;

/// One line: a request that ended, or a connection that never made one.
#[derive(Clone, Debug)]
pub struct Entry(String);

impl Entry {
    /// The value of a key; a quoted value without its quotes, but with its escapes.
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut rest = self.0.as_str();
        while let Some((name, after)) = rest.split_once('=') {
            let value = match after.strip_prefix('"') {
                Some(quoted) => quoted.get(..end_of_quoted(quoted))?,
                None => after.split(' ').next()?,
            };
            if name.trim_start() == key {
                return Some(value);
            }
            let quotes = if after.starts_with('"') { 2 } else { 0 };
            rest = after.get(value.len() + quotes..)?;
        }
        None
    }

    /// The client's end of the connection; `client` is another where a trusted proxy names one.
    pub fn peer(&self) -> Option<&str> {
        self.get("peer").or_else(|| self.get("client"))
    }

    /// `ok`, or why the request failed.
    pub fn reason(&self) -> &str {
        self.get("reason").unwrap_or_default()
    }
}

fn end_of_quoted(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}

/// Lines that were written so far.
#[derive(Debug, Default)]
struct Lines {
    all: Mutex<Vec<Entry>>,
    more: Condvar,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reader of one gateway's access log. It ends with the process.
#[derive(Debug)]
pub struct Log {
    lines: Arc<Lines>,
    _reader: JoinHandle<()>,
}

impl Log {
    /// Reads what a process writes.
    pub fn read(output: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Lines::default());
        let theirs = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                theirs.lock().push(Entry(line));
                theirs.more.notify_all();
            }
        });
        Self {
            lines,
            _reader: reader,
        }
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<Entry> {
        self.lines.lock().clone()
    }

    /// Lines of the client's connection at `client`, in the order in which they were written: once there are `count`,
    /// or those that came in time.
    pub fn of(&self, client: SocketAddr, count: usize) -> Vec<Entry> {
        let client = client.to_string();
        self.wait(count, |entry| entry.peer() == Some(client.as_str()))
    }

    /// Lines that `wanted` takes: once there are `count`, or those that came in time.
    pub fn wait(&self, count: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let deadline = Instant::now() + PATIENCE;
        let mut all = self.lines.lock();
        loop {
            let found: Vec<_> = all.iter().filter(|entry| wanted(entry)).cloned().collect();
            let left = deadline.saturating_duration_since(Instant::now());
            if found.len() >= count || left.is_zero() {
                return found;
            }
            all = self
                .lines
                .more
                .wait_timeout(all, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

#[test]
fn entries_are_read_with_their_quotes() {
    let entry = Entry(r#"time=1 path="/a b=\"c\" d" host=a reason=ok fault="""#.to_owned());
    for (key, expected) in [
        ("time", Some("1")),
        ("path", Some(r#"/a b=\"c\" d"#)),
        ("host", Some("a")),
        ("reason", Some("ok")),
        ("fault", Some("")),
        ("b", None),
    ] {
        assert_eq!(entry.get(key), expected, "{key}");
    }
}
