//! One HTTP/1.1 connection with a fixed question and nothing more than is needed to read its answer: thousands of them
//! must not cost the client more than the gateway.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::{NODE_HEADER, of_io};
use super::journal::Failure;
use super::{CONNECT_TIMEOUT, REQUEST_TIMEOUT};
use crate::lab::exchange::connect;

/// What is asked: the node answers it by itself.
const QUESTION: &[u8] = b"GET /hello HTTP/1.1\r\nhost: lab\r\n\r\n";

/// An answer to it is far shorter.
const ANSWER_BYTES_MAX: usize = 4_096;

/// An open connection.
#[derive(Debug)]
pub struct Plain {
    stream: TcpStream,
}

/// Whether a connection can take another question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It can.
    Open,
    /// The node ends it with this answer.
    Ended,
}

impl Plain {
    /// Opens a connection.
    ///
    /// # Errors
    /// How it failed.
    pub async fn open(target: SocketAddr) -> Result<Self, Failure> {
        match timeout(CONNECT_TIMEOUT, connect(target, None)).await {
            Ok(Ok(stream)) => Ok(Self { stream }),
            Ok(Err(error)) => Err(of_io(&error)),
            Err(_) => Err(Failure::TimedOut),
        }
    }

    /// Asks, and reads the whole answer: the node that gave it, and what becomes of the connection.
    ///
    /// # Errors
    /// How it failed; other answers than 200 are failures.
    pub async fn ask(&mut self) -> Result<(Arc<str>, After), Failure> {
        timeout(REQUEST_TIMEOUT, self.exchange())
            .await
            .unwrap_or(Err(Failure::TimedOut))
    }

    /// Whether the node has ended the connection since the last answer, with nothing lost.
    ///
    /// Asks the kernel: tokio knows of an end only after it has looked at all sockets again.
    pub fn is_ended_in_order(&self) -> bool {
        let mut byte = [0];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(recv(self.stream.as_raw_fd(), &mut byte, flags), Ok(0))
    }

    async fn exchange(&mut self) -> Result<(Arc<str>, After), Failure> {
        self.stream
            .write_all(QUESTION)
            .await
            .map_err(|error| of_io(&error))?;
        let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
        loop {
            let read = self.stream.read_buf(&mut answer).await;
            if read.map_err(|error| of_io(&error))? == 0 {
                return Err(Failure::Closed);
            }
            if let Some(found) = parse(&answer)? {
                return Ok(found);
            }
            if answer.len() >= ANSWER_BYTES_MAX {
                return Err(Failure::Other("an answer without end".to_owned()));
            }
        }
    }
}

/// Reads an answer; `None` while it is not whole.
fn parse(answer: &[u8]) -> Result<Option<(Arc<str>, After)>, Failure> {
    let Ok(text) = std::str::from_utf8(answer) else {
        return Err(Failure::Other("an answer that is no text".to_owned()));
    };
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let (mut node, mut body_bytes, mut after) = (None, None, After::Open);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if name.eq_ignore_ascii_case(NODE_HEADER) {
            node = Some(Arc::from(value));
        } else if name.eq_ignore_ascii_case("content-length") {
            body_bytes = value.parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
            after = After::Ended;
        }
    }
    match status {
        Some("200") => {}
        other => {
            let status = other.and_then(|text| text.parse().ok()).unwrap_or(0);
            return Err(Failure::Status(status));
        }
    }
    let (Some(node), Some(body_bytes)) = (node, body_bytes) else {
        return Err(Failure::Other(format!(
            "an answer without node or length: {head}"
        )));
    };
    Ok((body.len() >= body_bytes).then_some((node, after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_tell_node_and_whether_the_connection_goes_on() {
        let head = "HTTP/1.1 200 OK\r\nX-Gateway-Node: node2\r\ncontent-length: 5\r\n";
        let of = |text: String| parse(text.as_bytes());
        let whole = format!("{head}\r\nhello");
        assert_eq!(of(whole), Ok(Some(("node2".into(), After::Open))));
        let last = format!("{head}connection: close\r\n\r\nhello");
        assert_eq!(of(last), Ok(Some(("node2".into(), After::Ended))));
        for part in [head.to_owned(), format!("{head}\r\nhell"), String::new()] {
            assert_eq!(of(part.clone()), Ok(None), "{part:?}");
        }
        let bad = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(of(bad.to_owned()), Err(Failure::Status(503)));
    }
}
