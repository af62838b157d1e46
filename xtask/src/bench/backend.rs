//! The backend that every subject forwards to: one thread, epoll, three fixed answers over HTTP/1.1 keep-alive, and one
//! to each gRPC call over HTTP/2 with prior knowledge (`http2`).
//!
//! As little work as a server can do, so that the generator beside it on the core has the rest. A GET never has a body
//! here, as no load sends one; other bodies, those of uploads, are `body`'s matter: read and forgotten. It
//! listens on a free port, prints it as its first line, and ends when whoever started it ends (the bench sees to that).

mod body;
mod http2;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use body::Body;
use http2::{BEGINNING, Http2};

pub use http2::CALL;

/// The small answer's body.
const SMALL: &[u8] = b"Hello, world!";
/// Path of the large answer, and its size in bytes.
pub const LARGE_PATH: &str = "/64k";
const LARGE_BYTES: usize = 65_536;
/// Path of the answer in chunks, each of this size in bytes.
pub const CHUNKED_PATH: &str = "/chunked";
const CHUNK_BYTES: usize = 2_048;
const CHUNKS: usize = 4;

/// Connections at once; a subject that opens more has no pool. Others are closed.
const CONNECTIONS_MAX: usize = 10_000;
/// Bytes that are read at once.
const READ_BYTES: usize = 65_536;
/// What may be kept of a connection, in bytes: a head or a frame that is not whole, of 16 kB at most, and one read.
const INPUT_BYTES_MAX: usize = READ_BYTES + 20_000;
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
    let mut buffer = vec![0; READ_BYTES];
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
            match connection.advance(&answers, &mut buffer) {
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
    chunked: Vec<u8>,
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
            chunked: chunked(),
            last: whole(SMALL, "connection: close\r\n"),
        }
    }

    fn bytes(&self, answer: Answer) -> &[u8] {
        match answer {
            Answer::Small => &self.small,
            Answer::Large => &self.large,
            Answer::Chunked => &self.chunked,
            Answer::Last => &self.last,
        }
    }
}

fn chunked() -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{CHUNK_BYTES:x}\r\n{}\r\n", "x".repeat(CHUNK_BYTES));
    format!("{head}{}0\r\n\r\n", chunk.repeat(CHUNKS)).into_bytes()
}

/// Which answer a request gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    Small,
    Large,
    Chunked,
    Last,
}

impl Answer {
    /// By the end of the path, so that a route's prefix may stand before it.
    fn to(head: &[u8], closing: Closing) -> Self {
        if closing == Closing::AfterAnswer {
            return Self::Last;
        }
        let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if path.ends_with(LARGE_PATH.as_bytes()) {
            Self::Large
        } else if path.ends_with(CHUNKED_PATH.as_bytes()) {
            Self::Chunked
        } else {
            Self::Small
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
    /// A body that is being read, and the answer that follows it.
    upload: Option<(Body, Answer)>,
    /// Where it speaks HTTP/2.
    http2: Option<Http2>,
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
            upload: None,
            http2: None,
            closing: Closing::No,
        }
    }

    /// Sends what is left, else reads once and answers every whole request.
    fn advance(&mut self, answers: &Answers, buffer: &mut [u8]) -> io::Result<State> {
        if !self.unsent.is_empty() {
            let sent = send(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..sent);
            if !self.unsent.is_empty() {
                return Ok(State::Open(EpollFlags::EPOLLOUT));
            }
        } else if self.read(buffer)?.is_none() {
            return Ok(State::Done);
        }
        self.answer(answers)?;
        Ok(match (self.unsent.is_empty(), self.closing) {
            (false, _) => State::Open(EpollFlags::EPOLLOUT),
            (true, Closing::AfterAnswer) if self.upload.is_none() => State::Done,
            (true, _) => State::Open(EpollFlags::EPOLLIN),
        })
    }

    /// How many bytes it read; nothing when the peer has ended the connection, or sends nonsense.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let count = match self.stream.read(buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Some(0)),
            Err(error) => return Err(error),
        };
        let mut bytes = buffer.get(..count).unwrap_or_default();
        // Of an upload nothing is kept.
        if let Some((body, _)) = &mut self.upload
            && self.input.is_empty()
        {
            let used = body.discard(bytes)?;
            bytes = bytes.get(used..).unwrap_or_default();
        }
        self.input.extend_from_slice(bytes);
        Ok((self.input.len() <= INPUT_BYTES_MAX).then_some(count))
    }

    /// Answers every whole request, as long as the socket takes it.
    fn answer(&mut self, answers: &Answers) -> io::Result<()> {
        while self.unsent.is_empty() && (self.closing == Closing::No || self.upload.is_some()) {
            if let Some((body, answer)) = &mut self.upload {
                let used = body.discard(&self.input)?;
                self.input.drain(..used);
                if *body != Body::Whole {
                    break;
                }
                let answer = *answer;
                self.upload = None;
                self.say(answers.bytes(answer))?;
                continue;
            }
            if self.http2.is_none() && self.input.starts_with(BEGINNING) {
                self.http2 = Some(Http2::new());
            }
            if let Some(http2) = &mut self.http2 {
                let mut output = Vec::new();
                let used = http2.take(&self.input, &mut output)?;
                self.input.drain(..used);
                return self.say(&output);
            }
            let Some(end) = head_end(&self.input) else { break };
            let head = self.input.get(..end).unwrap_or_default();
            if asks_to_close(head) {
                self.closing = Closing::AfterAnswer;
            }
            let answer = Answer::to(head, self.closing);
            if !head.starts_with(b"GET ") {
                self.upload = Some((Body::announced(head)?, answer));
            }
            self.input.drain(..end);
            if self.upload.is_none() {
                self.say(answers.bytes(answer))?;
            }
        }
        Ok(())
    }

    fn say(&mut self, answer: &[u8]) -> io::Result<()> {
        let sent = send(&mut self.stream, answer)?;
        self.unsent
            .extend_from_slice(answer.get(sent..).unwrap_or_default());
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
        let rows = [
            ("GET /64k HTTP/1.1\r\n", Closing::No, Answer::Large),
            ("GET /peer/64k HTTP/1.1\r\n", Closing::No, Answer::Large),
            ("GET /chunked HTTP/1.1\r\n", Closing::No, Answer::Chunked),
            ("POST / HTTP/1.1\r\n", Closing::No, Answer::Small),
            ("GET /64k HTTP/1.1\r\n", Closing::AfterAnswer, Answer::Last),
        ];
        for (head, closing, expected) in rows {
            assert_eq!(Answer::to(head.as_bytes(), closing), expected, "{head}");
        }
        assert!(asks_to_close(b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n"));
        assert!(!asks_to_close(
            b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n"
        ));
    }

    #[test]
    fn every_answer_is_whole() {
        let answers = Answers::new();
        assert!(answers.bytes(Answer::Large).len() > LARGE_BYTES);
        assert!(answers.bytes(Answer::Small).ends_with(SMALL));
        let mut body = Body::announced(answers.bytes(Answer::Chunked)).unwrap();
        let whole = answers.bytes(Answer::Chunked);
        let rest = whole.get(head_end(whole).unwrap()..).unwrap();
        assert_eq!(body.discard(rest).unwrap(), rest.len());
        assert_eq!(body, Body::Whole);
    }

    #[test]
    fn a_request_with_a_body_is_answered_once_the_body_is_read() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let mut connection = Connection::new(stream, EpollFlags::EPOLLIN);
        let answers = Answers::new();
        let mut answered = |text: &str| {
            client.write_all(text.as_bytes()).unwrap();
            // The socket blocks here, so that all that was sent has been read after this.
            let (mut read, mut buffer) = (0, [0; 1_024]);
            while read < text.len() {
                read += connection.read(&mut buffer).unwrap().unwrap();
            }
            connection.answer(&answers).unwrap();
            let at_rest = connection.input.is_empty() && connection.upload.is_none();
            let mut bytes = [0; 1_024];
            client.set_nonblocking(true).unwrap();
            let count = client.read(&mut bytes).unwrap_or(0);
            client.set_nonblocking(false).unwrap();
            let count = String::from_utf8_lossy(bytes.get(..count).unwrap())
                .matches("HTTP/1.1 200")
                .count();
            (count, at_rest)
        };
        assert_eq!(
            answered("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel"),
            (0, false)
        );
        assert_eq!(
            answered("loGET / HTTP/1.1\r\n\r\n"),
            (2, true),
            "the rest, and another request"
        );
        let head = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n";
        assert_eq!(answered(head), (0, false));
        assert_eq!(answered("0\r\n\r\n"), (1, true), "the last of its connection");
    }
}
