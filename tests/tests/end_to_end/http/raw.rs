//! A client that sends bytes in given pieces and keeps what comes back, to the end.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::message::{Input, Kind, Message, read_all, shown};
use super::recorder::set_reset;
use super::within::PATIENCE;

/// What is to be closed is closed at once; a table with many rows that are not must still end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(4);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// By a reset: the client may have lost what was on its way.
    Reset,
    /// Not at all within the time given.
    Open,
}

/// A connection whose bytes the test chooses.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    local: SocketAddr,
    got: Vec<u8>,
    end: End,
}

impl Raw {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let local = stream.local_addr().expect("its address");
        Self {
            stream,
            local,
            got: Vec::new(),
            end: End::Open,
        }
    }

    /// This side's address, by which the access log knows it.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Writes all of `bytes`, without reading; whether that worked.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let written = tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await;
        written.is_ok_and(|written| written.is_ok())
    }

    /// Ends this side's output.
    pub async fn half_close(&mut self) {
        drop(self.stream.shutdown().await);
    }

    /// Closes with a reset.
    pub fn reset(self) {
        drop(set_reset(&self.stream));
    }

    /// All bytes that came so far.
    pub fn got(&self) -> &[u8] {
        &self.got
    }

    /// How the connection ended so far.
    pub fn end(&self) -> End {
        self.end
    }

    /// Reads until `done` says so of all that came, or the connection ends, or the time is over.
    pub async fn read_until(&mut self, limit: Duration, done: impl Fn(&[u8]) -> bool) {
        let reading = async {
            let mut chunk = vec![0; 64 * 1024];
            while !done(&self.got) {
                match self.stream.read(&mut chunk).await {
                    Ok(0) => return Some(End::Closed),
                    Ok(count) => self.got.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => return Some(End::Reset),
                    Err(_) => return Some(End::Reset),
                }
            }
            None
        };
        if let Ok(Some(end)) = tokio::time::timeout(limit, reading).await {
            self.end = end;
        }
    }

    /// Reads until that many answers are whole, interim ones (100) left out.
    pub async fn read_answers(&mut self, count: usize) -> Vec<Message> {
        self.read_until(PATIENCE, |got| finals(got, Input::Open).len() >= count)
            .await;
        self.answers()
    }

    /// Reads to the end of the connection.
    pub async fn read_to_end(&mut self) -> Vec<Message> {
        self.read_until(CLOSE_PATIENCE, |_| false).await;
        self.answers()
    }

    /// The final answers that came whole so far.
    pub fn answers(&self) -> Vec<Message> {
        let input = if self.end == End::Closed {
            Input::Ended
        } else {
            Input::Open
        };
        finals(&self.got, input)
    }

    /// What came and how it ended, for messages.
    pub fn told(&self) -> String {
        format!("got ({:?}):\n    {}", self.end, shown(&self.got))
    }
}

fn finals(got: &[u8], input: Input) -> Vec<Message> {
    let (mut all, _) = read_all(got, Kind::Response, input);
    all.retain(|message| message.head.status() >= 200);
    all
}

/// Sends everything at once on a connection of its own and reads to the end.
pub async fn exchange(address: SocketAddr, sent: &[u8]) -> Raw {
    let mut raw = Raw::connect(address).await;
    raw.send(sent).await;
    raw.read_to_end().await;
    raw
}
