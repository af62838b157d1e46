//! The rules of HTTP/2 floods once more: every byte is kept, each direction read from one list of its frames.
//!
//! The numbers are written down a second time on purpose: one that changes by accident shows.

use crate::gateway::inspect::Flood;

/// Milliseconds of a window.
const WINDOW_MS: u64 = 10_000;
/// Bytes before the client's first frame.
const PREFACE_BYTES: usize = 24;
/// Bytes of a frame's header.
const HEADER_BYTES: usize = 9;

/// All bytes of one direction.
#[derive(Debug, Default)]
struct Direction {
    bytes: Vec<u8>,
    /// Where the next frame begins, perhaps beyond what is there.
    next: usize,
}

impl Direction {
    /// Adds bytes; returns kind and stream of each frame whose header is now whole.
    fn add(&mut self, bytes: &[u8]) -> Vec<(u8, u32)> {
        self.bytes.extend_from_slice(bytes);
        let mut found = Vec::new();
        while let Some(header) = self.bytes.get(self.next..self.next + HEADER_BYTES) {
            let length = header[..3]
                .iter()
                .fold(0, |length, &byte| length << 8 | usize::from(byte));
            let stream = header[5..]
                .iter()
                .fold(0, |stream, &byte| stream << 8 | u32::from(byte));
            found.push((header[3], stream % (1 << 31)));
            self.next += HEADER_BYTES + length;
        }
        found
    }

    /// Bytes that complete the payload, or else the header, under way.
    fn owed(&self) -> usize {
        match self.bytes.len().checked_sub(self.next) {
            None => self.next - self.bytes.len(),
            Some(0) => 0,
            Some(begun) => HEADER_BYTES - begun,
        }
    }
}

/// What was done in a window.
#[derive(Debug, Default)]
struct Window {
    began_ms: u64,
    /// Every frame of the client that may be part of a flood.
    frames: Vec<Flood>,
    streams: usize,
    data: usize,
}

/// As `Frames`, for scripts that are short.
#[derive(Debug)]
pub struct NaiveFrames {
    incoming: Direction,
    outgoing: Direction,
    windows: Vec<Window>,
    last_stream: u32,
    flood: Option<Flood>,
}

impl Default for NaiveFrames {
    fn default() -> Self {
        Self {
            incoming: Direction {
                bytes: Vec::new(),
                next: PREFACE_BYTES,
            },
            outgoing: Direction::default(),
            windows: vec![Window::default()],
            last_stream: 0,
            flood: None,
        }
    }
}

impl NaiveFrames {
    /// As `Frames::received`.
    pub fn received(&mut self, bytes: &[u8], now_ms: u64) -> Result<(), Flood> {
        if now_ms - self.window().began_ms >= WINDOW_MS {
            self.windows.push(Window {
                began_ms: now_ms,
                ..Window::default()
            });
        }
        for (kind, stream) in self.incoming.add(bytes) {
            let flood = match kind {
                2 => Flood::Priority,
                4 => Flood::Settings,
                6 => Flood::Ping,
                8 => Flood::WindowUpdate,
                1 => {
                    if stream > self.last_stream {
                        self.last_stream = stream;
                        self.window().streams += 1;
                    }
                    continue;
                }
                0 | 3 | 5 | 7 | 9 => continue,
                _ => Flood::Unknown,
            };
            self.window().frames.push(flood);
            let count = self
                .window()
                .frames
                .iter()
                .filter(|frame| **frame == flood)
                .count();
            if count > self.allowed(flood) && self.flood.is_none() {
                self.flood = Some(flood);
            }
        }
        self.flood.map_or(Ok(()), Err)
    }

    /// As `Frames::sent`.
    pub fn sent(&mut self, bytes: &[u8]) {
        let data = self
            .outgoing
            .add(bytes)
            .iter()
            .filter(|(kind, _)| *kind == 0)
            .count();
        self.window().data += data;
    }

    /// As `Frames::owed`.
    pub fn owed(&self) -> usize {
        self.outgoing.owed()
    }

    /// As `Frames::last_stream`.
    pub fn last_stream(&self) -> u32 {
        self.last_stream
    }

    fn window(&mut self) -> &mut Window {
        self.windows.last_mut().expect("there is always one")
    }

    /// What this window and, where it has only just passed, the one before earn.
    fn allowed(&self, flood: Flood) -> usize {
        let now = self.windows.last().expect("there is always one");
        let near = |window: &&Window| now.began_ms - window.began_ms < 2 * WINDOW_MS;
        let counted = self.windows.iter().rev().take(2).filter(near);
        let (streams, data) = counted.fold((0, 0), |(streams, data), window| {
            (streams + window.streams, data + window.data)
        });
        match flood {
            Flood::Ping => 200 + streams + data,
            Flood::Settings => 100,
            Flood::WindowUpdate => 1_000 + 2 * streams + 20 * data,
            Flood::Priority => 500 + 100 * streams,
            Flood::Unknown => 500 + 10 * streams,
        }
    }
}
