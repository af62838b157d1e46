//! The backend that every subject forwards to: one thread, epoll, two fixed answers over HTTP/1.1 keep-alive.
//!
//! As little work as a server can do, so that the generator beside it on the core has the rest. It knows requests
//! without a body only: what the bench sends. It listens on a free port, prints it as its first line, and ends when
//! whoever started it ends (the bench sees to that).

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// The small answer's body.
const SMALL: &[u8] = b"Hello, world!";
/// Path of the large answer, and its size in bytes.
pub const LARGE_PATH: &str = "/64k";
const LARGE_BYTES: usize = 65_536;

/// Connections at once; a subject that opens more has no pool. Others are closed.
const CONNECTIONS_MAX: usize = 10_000;
/// Longest request head, in bytes; a connection that sends a longer one is closed.
const HEAD_BYTES_MAX: usize = 16_384;
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;
/// The listening socket's mark among the events; connections count from 1.
const LISTENER: u64 = 0;

/// Serves until the process is ended.
///
/// # Errors
/// When it cannot listen, or epoll fails.
pub fn serve() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening on a free port")?;
    listener.set_nonblocking(true)?;
    let mut output = io::stdout();
    writeln!(output, "{}", listener.local_addr()?.port())?;
    output.flush()?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let answers = Answers::new();
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut next = LISTENER;
    let mut events = [EpollEvent::empty(); EVENTS_MAX];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error).context("waiting for events"),
        };
        for event in events.iter().take(count) {
            if event.data() == LISTENER {
                next = accept(&listener, &epoll, &mut connections, next)?;
                continue;
            }
            let Some(connection) = connections.get_mut(&event.data()) else {
                continue;
            };
            match connection.advance(&answers) {
                Ok(State::Open(interest)) if interest == connection.interest => {}
                Ok(State::Open(interest)) => {
                    connection.interest = interest;
                    epoll.modify(&connection.stream, &mut EpollEvent::new(interest, event.data()))?;
                }
                // The peer is gone, or done: closing the socket takes it out of the epoll set.
                Ok(State::Done) | Err(_) => {
                    connections.remove(&event.data());
                }
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut HashMap<u64, Connection>,
    mut last: u64,
) -> Result<u64> {
    loop {
        match listener.accept() {
            Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                last += 1;
                let interest = EpollFlags::EPOLLIN;
                epoll.add(&stream, EpollEvent::new(interest, last))?;
                connections.insert(last, Connection::new(stream, interest));
            }
            Ok((stream, _)) => drop(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(last),
            // The peer left before it was accepted.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error).context("accepting a connection"),
        }
    }
}

/// The whole answers, made once.
struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    /// The small one, which says that it is the last of its connection.
    last: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        let whole = |body: &[u8], more: &str| {
            let length = body.len();
            let mut bytes = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n{more}\r\n"
            )
            .into_bytes();
            bytes.extend_from_slice(body);
            bytes
        };
        Self {
            small: whole(SMALL, ""),
            large: whole(&[b'x'; LARGE_BYTES], ""),
            last: whole(SMALL, "connection: close\r\n"),
        }
    }

    fn of(&self, head: &[u8], closing: Closing) -> &[u8] {
        if closing == Closing::AfterAnswer {
            return &self.last;
        }
        let path = head.split(|byte| *byte == b' ').nth(1);
        if path == Some(LARGE_PATH.as_bytes()) {
            &self.large
        } else {
            &self.small
        }
    }
}

/// What becomes of a connection after it was looked at.
enum State {
    Open(EpollFlags),
    Done,
}

struct Connection {
    stream: TcpStream,
    interest: EpollFlags,
    input: Vec<u8>,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
    closing: Closing,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Closing {
    No,
    AfterAnswer,
}

impl Connection {
    fn new(stream: TcpStream, interest: EpollFlags) -> Self {
        Self {
            stream,
            interest,
            input: Vec::new(),
            unsent: Vec::new(),
            closing: Closing::No,
        }
    }

    /// Sends what is left, else reads once and answers every whole request.
    fn advance(&mut self, answers: &Answers) -> io::Result<State> {
        if !self.unsent.is_empty() {
            let sent = send(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..sent);
            if !self.unsent.is_empty() {
                return Ok(State::Open(EpollFlags::EPOLLOUT));
            }
        } else if !self.read()? {
            return Ok(State::Done);
        }
        self.answer(answers)?;
        Ok(match (self.unsent.is_empty(), self.closing) {
            (false, _) => State::Open(EpollFlags::EPOLLOUT),
            (true, Closing::AfterAnswer) => State::Done,
            (true, Closing::No) => State::Open(EpollFlags::EPOLLIN),
        })
    }

    /// False when the peer has ended the connection, or sends nonsense.
    fn read(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 4_096];
        match self.stream.read(&mut bytes) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.input.extend(bytes.iter().take(count));
                Ok(self.input.len() <= HEAD_BYTES_MAX)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn answer(&mut self, answers: &Answers) -> io::Result<()> {
        while self.unsent.is_empty() && self.closing == Closing::No {
            let Some(end) = head_end(&self.input) else { break };
            let head = self.input.get(..end).unwrap_or_default();
            if asks_to_close(head) {
                self.closing = Closing::AfterAnswer;
            }
            let answer = answers.of(head, self.closing);
            let sent = send(&mut self.stream, answer)?;
            self.unsent.extend(answer.iter().skip(sent));
            self.input.drain(..end);
        }
        Ok(())
    }
}

/// Writes until all is sent or the socket is full; returns how much was sent.
fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// Where the first head ends, behind its empty line.
fn head_end(input: &[u8]) -> Option<usize> {
    let at = input.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

fn asks_to_close(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n')
        .any(|line| line.trim_ascii().eq_ignore_ascii_case(b"connection: close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_one_after_the_other() {
        let rows: [(&[u8], Option<usize>, &str); 4] = [
            (b"GET / HTTP/1.1\r\n\r\n", Some(18), "one whole head"),
            (b"GET / HTTP/1.1\r\n", None, "half a head"),
            (b"A\r\n\r\nB\r\n\r\n", Some(5), "the first of two"),
            (b"", None, "nothing"),
        ];
        for (input, expected, description) in rows {
            assert_eq!(head_end(input), expected, "{description}");
        }
    }

    #[test]
    fn path_and_wish_to_close_are_read_from_the_head() {
        let answers = Answers::new();
        assert!(answers.of(b"GET /64k HTTP/1.1\r\n", Closing::No).len() > LARGE_BYTES);
        assert!(answers.of(b"GET / HTTP/1.1\r\n", Closing::No).ends_with(SMALL));
        assert!(asks_to_close(b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n"));
        assert!(!asks_to_close(
            b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n"
        ));
    }
}
