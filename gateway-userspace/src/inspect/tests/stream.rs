//! The stream: what reaches hyper, and what its report says.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::refusal::Refusal;
use super::super::response::Answer;
use super::super::{Flood, Inspected, Mode, Report, Resume, Rules};

/// A socket that reads what it is told to, and then waits or ends.
#[derive(Debug)]
struct Script {
    parts: VecDeque<Vec<u8>>,
    after: After,
    /// Bytes that one write takes; 0: none, for now.
    takes: usize,
    written: Rc<RefCell<Vec<u8>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Waits,
    Ends,
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(part) = self.parts.front_mut() else {
            return match self.after {
                After::Waits => Poll::Pending,
                After::Ends => Poll::Ready(Ok(())),
            };
        };
        let rest = part.split_off(part.len().min(buffer.remaining()));
        buffer.put_slice(part);
        *part = rest;
        if part.is_empty() {
            self.parts.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.takes == 0 {
            return Poll::Pending;
        }
        let taken = bytes.len().min(self.takes);
        self.written.borrow_mut().extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn script(parts: &[&[u8]], after: After) -> Script {
    Script {
        parts: parts
            .iter()
            .filter(|part| !part.is_empty())
            .map(|part| part.to_vec())
            .collect(),
        after,
        takes: usize::MAX,
        written: Rc::default(),
    }
}

/// What one read gives: bytes (none: the end), an error, or nothing yet.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Bytes(String),
    End,
    Error(String),
    Waits,
}

fn read(stream: &mut Inspected<Script>, room: usize) -> Read {
    let mut room = vec![0; room];
    let mut buffer = ReadBuf::new(&mut room);
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(stream).poll_read(&mut context, &mut buffer) {
        Poll::Pending => Read::Waits,
        Poll::Ready(Err(error)) => Read::Error(error.to_string()),
        Poll::Ready(Ok(())) if buffer.filled().is_empty() => Read::End,
        Poll::Ready(Ok(())) => Read::Bytes(String::from_utf8_lossy(buffer.filled()).into_owned()),
    }
}

fn write(stream: &mut Inspected<Script>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    Pin::new(stream).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
}

fn server(parts: &[&[u8]], after: After) -> (Inspected<Script>, Rc<Report>) {
    let report = Rc::<Report>::default();
    let stream = Inspected::server(
        script(parts, after),
        Vec::new(),
        Rules::default(),
        Rc::clone(&report),
    );
    (stream, report)
}

fn bytes(text: &str) -> Read {
    Read::Bytes(text.to_owned())
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const SUBSTITUTE: &str = "GET / HTTP/1.1\r\nHost: refused.invalid\r\nConnection: close\r\n\r\n";

#[test]
fn one_message_a_read_and_heads_only_when_whole() {
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    let input = format!("{GET}{post}body{GET}");
    for room in [1, 7, 60, 8_192] {
        for at in 0..input.len() {
            let (before, after) = input.as_bytes().split_at(at);
            let (mut stream, report) = server(&[before, after], After::Ends);
            let mut got = String::new();
            loop {
                match read(&mut stream, room) {
                    Read::Bytes(text) => {
                        got.push_str(&text);
                        assert!(text.matches("HTTP/1.1").count() <= 1, "one message: {text:?}");
                    }
                    end => {
                        assert_eq!(end, Read::End);
                        break;
                    }
                }
            }
            assert_eq!(got, input, "split at {at}, reads of {room}");
            assert_eq!((report.heads(), report.cut_heads()), (3, 0));
        }
    }
    let (mut stream, report) = server(&[b"GET / HT"], After::Ends);
    assert_eq!(read(&mut stream, 100), Read::End);
    assert_eq!(report.cut_heads(), 1, "a head that the end cut off");
    let first = GET.as_bytes().to_vec();
    let mut stream = Inspected::server(script(&[], After::Waits), first, Rules::default(), Rc::default());
    assert_eq!(read(&mut stream, 100), bytes(GET), "what was read before");
}

#[test]
fn a_refused_head_keeps_its_place_and_nothing_follows() {
    let bad = format!("GET /x HTTP/1.1\r\nHost : a\r\n\r\n{GET}");
    for at in 0..bad.len() {
        let (before, after) = bad.as_bytes().split_at(at);
        let first = [GET.as_bytes(), before].concat();
        let (mut stream, report) = server(&[&first, after], After::Ends);
        assert_eq!(read(&mut stream, 100), bytes(GET));
        assert_eq!(read(&mut stream, 20), bytes(&SUBSTITUTE[..20]));
        assert_eq!(read(&mut stream, 100), bytes(&SUBSTITUTE[20..]));
        assert_eq!(read(&mut stream, 100), Read::Waits, "not the end");
        let refused = report.refused().unwrap();
        assert_eq!((refused.index, refused.refusal), (1, Refusal::SpaceBeforeColon));
        assert_eq!(refused.start_line, "GET /x HTTP/1.1");
        assert_eq!(report.refusal_of(0), None);
        assert_eq!(report.refusal_of(1), Some(Refusal::SpaceBeforeColon));
    }
    let long = format!("\r\nHEAD /{}\u{e4} HTTP/1.1\r\n\r\n", "x".repeat(249));
    let (mut stream, report) = server(&[long.as_bytes()], After::Waits);
    assert_eq!(
        read(&mut stream, 100),
        bytes(&SUBSTITUTE.replace("GET", "HEAD")),
        "no body is waited for"
    );
    let line = report.refused().unwrap().start_line;
    assert!(
        line.starts_with("HEAD /xx") && line.ends_with("x\u{fffd}"),
        "{line}"
    );
}

#[test]
fn a_body_that_breaks_is_an_error_and_its_head_has_passed() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for at in head.len()..head.len() + 5 {
        let input = format!("{head}1\r\nxy");
        let (before, after) = input.as_bytes().split_at(at);
        let (mut stream, report) = server(&[before, after], After::Waits);
        let Read::Bytes(mut got) = read(&mut stream, 8_192) else {
            panic!("the head passes");
        };
        let error = loop {
            match read(&mut stream, 8_192) {
                Read::Bytes(more) => got.push_str(&more),
                other => break other,
            }
        };
        assert!(got.starts_with(head), "{got:?}");
        assert_eq!(error, Read::Error(Refusal::ChunkEndBad.to_string()));
        assert_eq!(report.broken(), Some(Refusal::ChunkEndBad));
    }
}

#[test]
fn a_hold_ends_when_the_service_says_how() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    for (why, resume, follows) in [
        ("refused", Resume::Http, GET),
        ("switched", Resume::Tunnel, "\0\x01 any bytes"),
    ] {
        let first = format!("{upgrade}{follows}");
        let (mut stream, report) = server(&[first.as_bytes(), b"more"], After::Waits);
        assert_eq!(read(&mut stream, 8_192), bytes(upgrade), "{why}");
        assert_eq!(read(&mut stream, 8_192), Read::Waits, "{why}");
        assert!(report.holds(), "{why}");
        report.resume(resume);
        let expected = if resume == Resume::Tunnel {
            format!("{follows}more")
        } else {
            follows.to_owned()
        };
        assert_eq!(read(&mut stream, 8_192), bytes(&expected), "{why}");
        assert!(!report.holds(), "{why}");
    }
    let (mut stream, report) = server(&[upgrade.as_bytes(), b"early"], After::Ends);
    assert_eq!(read(&mut stream, 8_192), bytes(upgrade));
    report.resume(Resume::Tunnel);
    assert_eq!(
        read(&mut stream, 8_192),
        bytes("early"),
        "said before it was asked"
    );
    let (mut stream, report) = server(&[upgrade.as_bytes(), b"early"], After::Ends);
    assert_eq!(read(&mut stream, 8_192), bytes(upgrade));
    assert_eq!(
        read(&mut stream, 8_192),
        Read::End,
        "a client that goes away is noticed"
    );
    drop(report);
    let (_, left) = stream.into_inner();
    assert_eq!(left, b"early", "what was read belongs to the tunnel");
}

#[test]
fn what_is_held_is_bounded() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let flood = vec![b'x'; 1 << 20];
    let (mut stream, _report) = server(&[upgrade.as_bytes(), &flood], After::Waits);
    assert_eq!(read(&mut stream, 8_192), bytes(upgrade));
    assert_eq!(read(&mut stream, 8_192), Read::Waits);
    assert!(stream.into_inner().1.len() <= 65_536 + 8_192);
}

#[test]
fn faults_of_syntax_that_pass_are_counted_once() {
    let report = Rc::<Report>::default();
    let rules = Rules {
        mode: Mode::Monitor,
        ..Rules::default()
    };
    let first = b"get / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".to_vec();
    let mut stream = Inspected::server(script(&[], After::Waits), first, rules, Rc::clone(&report));
    assert!(matches!(read(&mut stream, 40), Read::Bytes(_)));
    assert!(matches!(read(&mut stream, 40), Read::Bytes(_)));
    let noted: Vec<_> = report.take_noted().iter().collect();
    assert_eq!(noted, [Refusal::MethodLowerCase]);
    assert!(report.take_noted().is_empty());
}

#[test]
fn a_bad_response_is_an_error() {
    type Row<'r> = (&'r str, &'r [&'r [u8]], After, Option<Refusal>);
    let rows: &[Row<'_>] = &[
        ("a good one", &[b"HTTP/1.1 204 No\r\n\r\n"], After::Waits, None),
        (
            "two lengths",
            &[
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n",
                b"Content-Length: 1\r\n\r\nx",
            ],
            After::Waits,
            Some(Refusal::ContentLengthRepeated),
        ),
        (
            "bytes after it",
            &[b"HTTP/1.1 204 No\r\n\r\nx"],
            After::Waits,
            Some(Refusal::Unsolicited),
        ),
        (
            "a chunk that spills",
            &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy"],
            After::Waits,
            Some(Refusal::ChunkEndBad),
        ),
        (
            "a body cut off",
            &[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"x"],
            After::Ends,
            Some(Refusal::BodyTruncated),
        ),
        (
            "a head cut off",
            &[b"HTTP/1.1 200"],
            After::Ends,
            Some(Refusal::HeadTruncated),
        ),
    ];
    for (why, parts, after, expected) in rows {
        let report = Rc::<Report>::default();
        let mut stream = Inspected::client(script(parts, *after), Rules::default(), Rc::clone(&report));
        report.expect(Answer::ToOther);
        let end = loop {
            match read(&mut stream, 8_192) {
                Read::Bytes(_) => {}
                end => break end,
            }
        };
        assert_eq!(report.broken(), *expected, "{why}");
        let said = expected.map_or(Read::Waits, |refusal| Read::Error(refusal.to_string()));
        assert_eq!(end, said, "{why}");
    }
}

#[test]
fn a_flood_ends_in_goaway_at_a_frame_boundary() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let pings = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].repeat(300);
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
    let data = [0, 0, 4, 0, 0, 0, 0, 0, 1, b'd', b'a', b't', b'a'];
    for half in 0..=data.len() {
        let report = Rc::<Report>::default();
        let socket = script(&[preface, &pings], After::Waits);
        let written = Rc::clone(&socket.written);
        let mut stream = Inspected::server_http2(socket, Vec::new(), Rc::clone(&report));
        if half > 0 {
            assert!(matches!(write(&mut stream, &data[..half]), Poll::Ready(Ok(n)) if n == half));
        }
        while let Read::Bytes(_) = read(&mut stream, 8_192) {
            assert!(report.flood().is_none() || half > 0 || written.borrow().is_empty());
        }
        assert_eq!(report.flood(), Some(Flood::Ping));
        let mut rest = [&data[half..], &data].concat();
        if half == 0 || half == data.len() {
            rest.clear();
        }
        while !rest.is_empty() {
            match write(&mut stream, &rest) {
                Poll::Ready(Ok(taken)) => drop(rest.drain(..taken)),
                Poll::Ready(Err(_)) => break,
                Poll::Pending => panic!("the socket takes everything"),
            }
        }
        assert_eq!(
            read(&mut stream, 8_192),
            Read::Error(Flood::Ping.to_string()),
            "half {half}"
        );
        let whole = if half == 0 { [].as_slice() } else { &data };
        assert_eq!(
            *written.borrow(),
            [whole, &goaway].concat(),
            "half {half}: the frame, GOAWAY, and no more"
        );
        assert!(
            matches!(write(&mut stream, b"more"), Poll::Ready(Err(_))),
            "half {half}"
        );
    }
}
