//! HTTP/2 frames: however they are cut, the counter finds the floods that a plain count of all frames finds.
//!
//! An input's first byte says how to cut what is received and sent (`0`: not at all); the rest is a script. Its steps:
//! `r` and a length, then so many bytes received; `s`: likewise, sent; `f` and kind, stream (times two, plus one),
//! length and number of frames, which are received; `d`: likewise, sent; `t` and tenths of a second that pass. `p`: the
//! client's preface. Any other byte stands for nothing.

#![no_main]

use gateway_fuzz::gateway::inspect::Frames;
use gateway_fuzz::naive_frames::NaiveFrames;
use gateway_fuzz::socket::Splits;
use libfuzzer_sys::fuzz_target;

/// Bytes of a connection's counter: it keeps counts, and never what it counted.
const FRAMES_BYTES_MAX: usize = 256;
const _: () = assert!(size_of::<Frames>() <= FRAMES_BYTES_MAX && !std::mem::needs_drop::<Frames>());

/// Bytes of all steps of a script together: the plain count keeps them, and goes over them again and again.
const SCRIPT_BYTES_MAX: usize = 1 << 16;

/// One unit of a script's time.
const TIME_UNIT_MS: u64 = 100;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One step of a script.
#[derive(Debug)]
enum Step {
    Received(Vec<u8>),
    Sent(Vec<u8>),
    Passes(u64),
}

fuzz_target!(|input: &[u8]| {
    let Some((way, script)) = input.split_first() else {
        return;
    };
    let mut splits = Splits::new(way.wrapping_sub(b'0'));
    let mut whole = Frames::new(0);
    let mut split = Frames::new(0);
    let mut naive = NaiveFrames::default();
    let mut now_ms = 0;
    for step in steps(script) {
        match step {
            Step::Passes(ms) => now_ms += ms,
            Step::Received(bytes) => {
                let verdict = whole.received(&bytes, now_ms);
                assert_eq!(verdict, naive.received(&bytes, now_ms), "the plain count differs");
                let mut in_pieces = split.received(b"", now_ms);
                for piece in cut(&bytes, &mut splits) {
                    in_pieces = split.received(piece, now_ms);
                }
                assert_eq!(verdict, in_pieces, "the count hangs on the splits");
            }
            Step::Sent(bytes) => {
                whole.sent(&bytes);
                naive.sent(&bytes);
                for piece in cut(&bytes, &mut splits) {
                    split.sent(piece);
                }
            }
        }
        for frames in [&whole, &split] {
            assert_eq!(frames.owed(), naive.owed(), "where the frame under way ends");
            assert_eq!(
                frames.at_boundary(),
                naive.owed() == 0,
                "whether one is under way"
            );
            assert_eq!(
                frames.last_stream(),
                naive.last_stream(),
                "the client's last stream"
            );
            let goaway = frames.goaway();
            assert_eq!(
                goaway[..9],
                [0, 0, 8, 7, 0, 0, 0, 0, 0],
                "GOAWAY, of 8 bytes, for the connection"
            );
            assert_eq!(goaway[9..13], naive.last_stream().to_be_bytes());
        }
    }
});

/// Reads a script as far as it goes.
fn steps(script: &[u8]) -> Vec<Step> {
    let mut bytes = script.iter().copied();
    let mut steps = Vec::new();
    let mut total = 0;
    while let Some(step) = next(&mut bytes) {
        if let Step::Received(bytes) | Step::Sent(bytes) = &step {
            total += bytes.len();
        }
        if total > SCRIPT_BYTES_MAX {
            break;
        }
        steps.push(step);
    }
    steps
}

fn next(bytes: &mut impl Iterator<Item = u8>) -> Option<Step> {
    loop {
        return Some(match bytes.next()? {
            b'p' => Step::Received(PREFACE.to_vec()),
            b'r' => Step::Received(raw(bytes)?),
            b's' => Step::Sent(raw(bytes)?),
            b'f' => Step::Received(frames(bytes)?),
            b'd' => Step::Sent(frames(bytes)?),
            b't' => Step::Passes(u64::from(bytes.next()?) * TIME_UNIT_MS),
            _ => continue,
        });
    }
}

fn raw(bytes: &mut impl Iterator<Item = u8>) -> Option<Vec<u8>> {
    let length = bytes.next()?;
    Some(bytes.take(length.into()).collect())
}

fn frames(bytes: &mut impl Iterator<Item = u8>) -> Option<Vec<u8>> {
    let (kind, stream, length, count) = (bytes.next()?, bytes.next()?, bytes.next()?, bytes.next()?);
    let mut frame = vec![0, 0, length, kind, 0];
    frame.extend((u32::from(stream) * 2 + 1).to_be_bytes());
    frame.resize(frame.len() + usize::from(length), b'x');
    Some(frame.repeat(count.into()))
}

fn cut<'b>(mut bytes: &'b [u8], splits: &mut Splits) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(splits.next_len().min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
