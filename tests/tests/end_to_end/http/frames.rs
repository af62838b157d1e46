//! HTTP/2 as frames that the test chooses: heads that no library would send, and floods.
//!
//! Heads are written as literals without any table, and only as much of an answer is read as tells what it was.
//! Source: RFC 9113, RFC 7541.

use std::net::SocketAddr;
use std::time::Duration;

use super::raw::{End, Raw};
use super::within::PATIENCE;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const FRAME_HEAD_BYTES: usize = 9;

/// A flood is cut while it lasts; this is for the rest of it.
const END_PATIENCE: Duration = Duration::from_secs(4);

/// The connection's first bytes.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Names and values, in order, of any bytes shorter than 127.
pub type Fields<'f> = &'f [(&'f [u8], &'f [u8])];

/// What came of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer of that status.
    Answer(u16),
    /// The stream was reset, with that code.
    Reset(u32),
    /// The connection was ended, with that code.
    Goaway(u32),
    /// The connection was closed without a word.
    Closed,
    /// Nothing in time.
    Nothing,
}

/// A connection that speaks HTTP/2 as the test likes.
#[derive(Debug)]
pub struct Frames {
    /// The bytes below.
    pub raw: Raw,
}

impl Frames {
    /// Connects and sends the preface.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut raw = Raw::connect(address).await;
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        Self { raw }
    }

    /// Waits for the peer's settings, and acknowledges them.
    pub async fn settle(&mut self) {
        let told = |got: &[u8]| frames(got).any(|(kind, flags, _, _)| kind == SETTINGS && flags & ACK == 0);
        self.raw.read_until(PATIENCE, told).await;
        self.raw.send(&frame(SETTINGS, ACK, 0, &[])).await;
    }

    /// Sends frames as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.raw.send(bytes).await
    }

    /// What came of the connection so far, streams left out.
    pub async fn poll_outcome(&mut self) -> Outcome {
        self.raw.read_until(Duration::ZERO, |_| false).await;
        ending(self.raw.got(), self.raw.end())
    }

    /// Waits for the end of the connection.
    pub async fn ending(&mut self) -> Outcome {
        self.raw
            .read_until(END_PATIENCE, |got| ending(got, End::Open) != Outcome::Nothing)
            .await;
        ending(self.raw.got(), self.raw.end())
    }

    /// The peer's first settings, number and value, and what it adds to the connection's window.
    pub fn told(&self) -> (Vec<(u16, u32)>, u32) {
        let mut settings = Vec::new();
        let mut window = 0;
        for (kind, flags, stream, payload) in frames(self.raw.got()) {
            match kind {
                SETTINGS if flags & ACK == 0 => {
                    let read = payload.as_chunks::<6>().0;
                    settings.extend(read.iter().map(|[a, b, c, d, e, f]| {
                        (u16::from_be_bytes([*a, *b]), u32::from_be_bytes([*c, *d, *e, *f]))
                    }));
                }
                WINDOW_UPDATE if stream == 0 => window += code(payload, 0),
                _ => {}
            }
        }
        (settings, window)
    }

    /// Waits for what becomes of stream 1.
    pub async fn outcome(&mut self) -> Outcome {
        self.raw
            .read_until(PATIENCE, |got| outcome(got, End::Open) != Outcome::Nothing)
            .await;
        outcome(self.raw.got(), self.raw.end())
    }
}

/// A whole frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let [_, a, b, c] = length.to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Whether a head or a frame of data ends the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// It does.
    Yes,
    /// More follows.
    No,
}

impl Last {
    fn flag(self) -> u8 {
        match self {
            Self::Yes => END_STREAM,
            Self::No => 0,
        }
    }
}

/// A head, or trailers.
pub fn head(stream: u32, fields: Fields<'_>, last: Last) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let length = u8::try_from(text.len()).expect("a short text");
            assert!(length < 127, "longer texts want another form");
            block.push(length);
            block.extend_from_slice(text);
        }
    }
    frame(HEADERS, END_HEADERS | last.flag(), stream, &block)
}

/// Content.
pub fn data(stream: u32, bytes: &[u8], last: Last) -> Vec<u8> {
    frame(DATA, last.flag(), stream, bytes)
}

/// Kind, flags, stream and payload of each whole frame.
fn frames(mut got: &[u8]) -> impl Iterator<Item = (u8, u8, u32, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = got.split_at_checked(FRAME_HEAD_BYTES)?;
        let [a, b, c, kind, flags, s, t, u, v] = *head else {
            return None;
        };
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
        let (payload, rest) = rest.split_at_checked(length)?;
        got = rest;
        Some((kind, flags, u32::from_be_bytes([s & 0x7f, t, u, v]), payload))
    })
}

/// The code that stands at that place of a payload.
fn code(payload: &[u8], at: usize) -> u32 {
    let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(u32::MAX, u32::from_be_bytes)
}

fn outcome(got: &[u8], end: End) -> Outcome {
    let of_stream = frames(got).find_map(|(kind, _, stream, payload)| match (kind, stream) {
        (HEADERS, 1) => Some(Outcome::Answer(status(payload).unwrap_or(0))),
        (RST_STREAM, 1) => Some(Outcome::Reset(code(payload, 0))),
        _ => None,
    });
    of_stream.unwrap_or_else(|| ending(got, end))
}

fn ending(got: &[u8], end: End) -> Outcome {
    // A GOAWAY without an error comes before the answers of a connection that leaves.
    let goaway = frames(got)
        .filter(|(kind, ..)| *kind == GOAWAY)
        .map(|(_, _, _, payload)| code(payload, 4))
        .find(|code| *code != 0);
    match (goaway, end) {
        (Some(code), _) => Outcome::Goaway(code),
        (None, End::Closed | End::Reset) => Outcome::Closed,
        (None, End::Open) => Outcome::Nothing,
    }
}

/// The status, which comes first in a block.
fn status(block: &[u8]) -> Option<u16> {
    let mut block = block;
    // Sizes of the table may be set before: five bits, or more in bytes that go on while their highest bit is set.
    while let Some((first, rest)) = block.split_first()
        && first & 0xe0 == 0x20
    {
        let more = rest.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        block = rest.get(if first & 0x1f == 0x1f { more } else { 0 }..)?;
    }
    let (first, rest) = block.split_first()?;
    match first {
        0x88 => return Some(200),
        0x89 => return Some(204),
        0x8a => return Some(206),
        0x8b => return Some(304),
        0x8c => return Some(400),
        0x8d => return Some(404),
        0x8e => return Some(500),
        _ => {}
    }
    let (length, rest) = rest.split_first()?;
    let text = rest.get(..usize::from(length & 0x7f))?;
    if length & 0x80 == 0 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    digits(text).parse().ok()
}

/// Digits in the code of RFC 7541, appendix B: 0 to 2 are 00000 to 00010, the others six bits from 011001.
fn digits(text: &[u8]) -> String {
    let bits: Vec<u8> = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
        .collect();
    let mut bits = bits.as_slice();
    let mut digits = String::new();
    let value = |bits: &[u8]| bits.iter().fold(0_u8, |value, bit| value << 1 | bit);
    while let Some((five, rest)) = bits.split_at_checked(5) {
        if value(five) <= 2 {
            digits.push(char::from(b'0' + value(five)));
            bits = rest;
            continue;
        }
        match bits.split_at_checked(6) {
            Some((six, rest)) if (0b01_1001..=0b01_1111).contains(&value(six)) => {
                digits.push(char::from(b'3' + value(six) - 0b01_1001));
                bits = rest;
            }
            _ => break,
        }
    }
    digits
}

#[test]
fn statuses_are_read_in_every_form() {
    for (block, expected) in [
        (&b"\x88"[..], 200),
        (b"\x3f\xe1\x1f\x8c", 400),
        (b"\x08\x03421", 421),
        // 4, 0, 5: 011010 00000 011011, and padding.
        (b"\x48\x83\x68\x0d\xff", 405),
        // 5, 0, 2: 011011 00000 00010.
        (b"\x48\x82\x6c\x02", 502),
    ] {
        assert_eq!(status(block), Some(expected), "{block:?}");
    }
}
