//! The backend's HTTP/2: each request on a connection is a gRPC call, and all get one answer.
//!
//! Pure: it is shown what has arrived, says how much of that it took, and adds what is to be sent. Heads need not be
//! decoded, as nothing depends on them. Source: RFC 9113; RFC 7541, sections 6.1 and 6.2.2, for the answer's heads.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

/// The message of a call and of its answer: no compression, four bytes of length, 13 of a message.
pub const CALL: &[u8] = b"\0\0\0\0\x0dHello, world!";
/// Its length, as windows count.
const CALL_BYTES: i64 = 18;

/// What a client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How a connection begins that is one of HTTP/2: no method of HTTP/1.1 does.
pub const BEGINNING: &[u8] = b"PRI ";

/// `:status: 200`, `content-type: application/grpc`.
const HEAD: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// `grpc-status: 0`.
const TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";

/// A frame's head, in bytes.
const FRAME_HEAD: usize = 9;
/// Longest frame, in bytes: what holds for all who agreed on nothing else.
const FRAME_BYTES_MAX: usize = 16_384;
/// Bytes that a connection may send before it hears of a window, and what is added at once.
const WINDOW: i64 = 65_535;
const WINDOW_MORE: u32 = 1 << 30;
/// Streams at once that are offered.
const STREAMS_MAX: u32 = 1_000;
/// Answers that wait for the client's window, at most.
const WAITING_MAX: usize = 10_000;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// One connection.
#[derive(Debug)]
pub struct Http2 {
    begun: Begun,
    /// Bytes of bodies that the client takes now.
    window: i64,
    /// Bytes of bodies that were taken, and of which it has not been told.
    taken: u32,
    /// The stream whose head ends a request, but is not whole yet.
    ending: Option<u32>,
    /// Streams whose answers wait for the window.
    waiting: VecDeque<u32>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Begun {
    No,
    Yes,
}

impl Http2 {
    /// A connection of which nothing has been read.
    pub fn new() -> Self {
        Self {
            begun: Begun::No,
            window: WINDOW,
            taken: 0,
            ending: None,
            waiting: VecDeque::new(),
        }
    }

    /// Takes whole frames from the front of `input`, says how many bytes that is, and adds answers to `output`.
    ///
    /// # Errors
    /// When it is no HTTP/2, or asks for what is not here.
    pub fn take(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        let mut used = 0;
        if self.begun == Begun::No {
            let Some(beginning) = input.get(..PREFACE.len()) else {
                return Ok(0);
            };
            if beginning != PREFACE {
                return Err(nonsense("this beginning"));
            }
            self.begun = Begun::Yes;
            used = PREFACE.len();
            let mut settings = vec![0, 3];
            settings.extend_from_slice(&STREAMS_MAX.to_be_bytes());
            frame(output, SETTINGS, 0, 0, &settings);
            frame(output, WINDOW_UPDATE, 0, 0, &WINDOW_MORE.to_be_bytes());
        }
        while let Some((head, payload)) = next(input.get(used..).unwrap_or_default())? {
            used += FRAME_HEAD + payload.len();
            self.heard(head, payload, output)?;
        }
        Ok(used)
    }

    fn heard(&mut self, head: Head, payload: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        let has = |flag| head.flags & flag != 0;
        match head.kind {
            DATA => {
                self.take_data(head, payload.len(), output);
                if has(END_STREAM) {
                    self.answer(head.stream, output)?;
                }
            }
            HEADERS if has(END_STREAM) && !has(END_HEADERS) => self.ending = Some(head.stream),
            HEADERS if has(END_STREAM) => self.answer(head.stream, output)?,
            CONTINUATION if has(END_HEADERS) => {
                if let Some(stream) = self.ending.take() {
                    self.answer(stream, output)?;
                }
            }
            RST_STREAM => self.waiting.retain(|stream| *stream != head.stream),
            SETTINGS if !has(ACK) => frame(output, SETTINGS, ACK, 0, &[]),
            PING if !has(ACK) => frame(output, PING, ACK, 0, payload),
            WINDOW_UPDATE if head.stream == 0 => {
                let more = number(payload).ok_or_else(|| nonsense("a window"))?;
                self.window += i64::from(more & 0x7fff_ffff);
                while self.has_window()
                    && let Some(stream) = self.waiting.pop_front()
                {
                    self.say(stream, output);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives windows back: the connection's now and then, a stream's where it goes on.
    fn take_data(&mut self, head: Head, bytes: usize, output: &mut Vec<u8>) {
        let bytes = u32::try_from(bytes).unwrap_or(0);
        self.taken += bytes;
        if self.taken > WINDOW_MORE / 2 {
            frame(output, WINDOW_UPDATE, 0, 0, &self.taken.to_be_bytes());
            self.taken = 0;
        }
        if bytes > 0 && head.flags & END_STREAM == 0 {
            frame(output, WINDOW_UPDATE, 0, head.stream, &bytes.to_be_bytes());
        }
    }

    fn answer(&mut self, stream: u32, output: &mut Vec<u8>) -> io::Result<()> {
        if self.has_window() {
            self.say(stream, output);
            return Ok(());
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(nonsense("so many calls without a window"));
        }
        self.waiting.push_back(stream);
        Ok(())
    }

    fn has_window(&self) -> bool {
        self.window >= CALL_BYTES
    }

    fn say(&mut self, stream: u32, output: &mut Vec<u8>) {
        self.window -= CALL_BYTES;
        frame(output, HEADERS, END_HEADERS, stream, HEAD);
        frame(output, DATA, 0, stream, CALL);
        frame(output, HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS);
    }
}

#[derive(Clone, Copy, Debug)]
struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
}

/// The first frame, if it is whole.
fn next(input: &[u8]) -> io::Result<Option<(Head, &[u8])>> {
    let Some((head, rest)) = input.split_first_chunk::<FRAME_HEAD>() else {
        return Ok(None);
    };
    let [one, two, three, kind, flags, stream @ ..] = *head;
    let length = u32::from_be_bytes([0, one, two, three]) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(nonsense("so long a frame"));
    }
    let head = Head {
        kind,
        flags,
        stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
    };
    Ok(rest.get(..length).map(|payload| (head, payload)))
}

fn number(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Adds a frame; all that is sent here is shorter than a frame may be.
fn frame(output: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    output.extend_from_slice(length.get(1..).unwrap_or_default());
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&stream.to_be_bytes());
    output.extend_from_slice(payload);
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("the backend does not understand {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, u32, Vec<u8>)> {
        let mut found = Vec::new();
        while let Some((head, payload)) = next(bytes).unwrap() {
            found.push((head.kind, head.flags, head.stream, payload.to_vec()));
            bytes = &bytes[FRAME_HEAD + payload.len()..];
        }
        assert!(bytes.is_empty());
        found
    }

    /// A connection that has begun, and whose beginning is out.
    fn begun() -> Http2 {
        let mut http2 = Http2::new();
        let mut output = Vec::new();
        assert_eq!(http2.take(PREFACE, &mut output).unwrap(), PREFACE.len());
        let kinds: Vec<u8> = frames(&output).iter().map(|frame| frame.0).collect();
        assert_eq!(kinds, [SETTINGS, WINDOW_UPDATE]);
        http2
    }

    #[test]
    fn a_call_is_answered_once_it_is_whole() {
        assert_eq!(i64::try_from(CALL.len()), Ok(CALL_BYTES));
        let mut input = Vec::new();
        frame(&mut input, SETTINGS, 0, 0, &[]);
        frame(&mut input, HEADERS, 0, 1, b"\x82");
        frame(&mut input, CONTINUATION, END_HEADERS, 1, b"\x84");
        frame(&mut input, DATA, 0, 1, CALL);
        let whole = input.len();
        frame(&mut input, DATA, END_STREAM, 1, &[]);
        for size in [1, 7, 1_000] {
            let mut http2 = begun();
            let (mut kept, mut output) = (Vec::new(), Vec::new());
            for piece in input.chunks(size) {
                kept.extend_from_slice(piece);
                let used = http2.take(&kept, &mut output).unwrap();
                kept.drain(..used);
            }
            let expected = [
                (SETTINGS, ACK, 0, vec![]),
                (WINDOW_UPDATE, 0, 1, vec![0, 0, 0, 18]),
                (HEADERS, END_HEADERS, 1, HEAD.to_vec()),
                (DATA, 0, 1, CALL.to_vec()),
                (HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS.to_vec()),
            ];
            assert_eq!(frames(&output), expected, "in pieces of {size}");
        }
        let mut output = Vec::new();
        begun().take(&input[..whole], &mut output).unwrap();
        assert_eq!(frames(&output).len(), 2, "no answer before its end");
    }

    #[test]
    fn answers_wait_for_the_window_and_not_for_a_stream_that_is_gone() {
        let mut http2 = begun();
        http2.window = CALL_BYTES;
        let mut input = Vec::new();
        for stream in [1, 3, 5] {
            frame(&mut input, HEADERS, END_HEADERS | END_STREAM, stream, b"\x82");
        }
        let mut output = Vec::new();
        http2.take(&input, &mut output).unwrap();
        assert!(frames(&output).iter().all(|frame| frame.2 == 1), "room for one");
        let mut input = Vec::new();
        frame(&mut input, RST_STREAM, 0, 3, &[0; 4]);
        frame(&mut input, WINDOW_UPDATE, 0, 0, &1_000_u32.to_be_bytes());
        output.clear();
        http2.take(&input, &mut output).unwrap();
        assert_eq!(frames(&output).len(), 3);
        assert!(frames(&output).iter().all(|frame| frame.2 == 5));
    }

    #[test]
    fn pings_come_back_and_nonsense_is_refused() {
        let mut http2 = begun();
        let (mut input, mut output) = (Vec::new(), Vec::new());
        frame(&mut input, PING, 0, 0, b"12345678");
        http2.take(&input, &mut output).unwrap();
        assert_eq!(frames(&output), [(PING, ACK, 0, b"12345678".to_vec())]);
        let long = [0, 0x40, 1, 0, 0, 0, 0, 0, 1];
        assert!(
            http2.take(&long, &mut output).is_err(),
            "a frame over 16,384 bytes"
        );
        let other = b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n";
        assert!(Http2::new().take(other, &mut output).is_err());
    }
}
