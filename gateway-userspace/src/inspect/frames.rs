//! HTTP/2 frames, counted in both directions: the floods that h2 takes are cut here.
//!
//! h2 itself cuts rapid reset, CONTINUATION, empty DATA and MadeYouReset; of PING, SETTINGS, WINDOW_UPDATE, PRIORITY
//! and unknown frames it takes any number. What a client needs of these grows with what it does, so each allowance is
//! a base and a share of streams opened and DATA frames sent, in this window of time and the one before (answers to
//! what was sent late come in the next). The shares are Envoy's, whose allowances have no windows
//! (`max_inbound_priority_frames_per_stream`, `max_inbound_window_update_frames_per_data_frame_sent`).
//! Source: RFC 9113, sections 4.1 and 6; CVE-2019-9512, 9513 and 9515.

use std::fmt;

/// Length of a window in milliseconds.
const WINDOW_MS: u64 = 10_000;
/// Bytes of a client's connection preface before its first frame.
const PREFACE_BYTES: u32 = 24;
/// ENHANCE_YOUR_CALM.
const CALM: u32 = 0xb;
/// PINGs in a window. grpc-go sends one after a DATA frame it got, while it measures the connection.
const PINGS_MAX: u64 = 200;
/// SETTINGS in a window, acknowledgements included; clients send a handful in a connection's life.
const SETTINGS_MAX: u64 = 100;
/// WINDOW_UPDATEs in a window, beside those for streams and DATA.
const WINDOW_UPDATES_MAX: u64 = 1_000;
/// WINDOW_UPDATEs for each stream opened.
const WINDOW_UPDATES_PER_STREAM: u64 = 2;
/// WINDOW_UPDATEs for each DATA frame sent: a client may give back what it got in pieces, twice (stream, connection).
const WINDOW_UPDATES_PER_DATA: u64 = 20;
/// PRIORITY frames in a window; Firefox sends a few at the start.
const PRIORITIES_MAX: u64 = 500;
/// PRIORITY frames for each stream opened; browsers change their mind as a page loads.
const PRIORITIES_PER_STREAM: u64 = 100;
/// Frames of unknown types in a window; Chrome sends one now and then to keep servers tolerant.
const UNKNOWN_MAX: u64 = 500;
/// Frames of unknown types for each stream opened: PRIORITY_UPDATE (RFC 9218) is one.
const UNKNOWN_PER_STREAM: u64 = 10;

macro_rules! floods {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $sentence:literal;)*) => {
        /// Which frames a client sent too many of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Flood {
            $($(#[$doc])* $variant,)*
        }

        impl Flood {
            /// Every one, in the order of [`Flood::index`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable code: metric label, and log field.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

floods! {
    /// PING.
    Ping = "flood-ping", "the client sends too many PING frames";
    /// SETTINGS.
    Settings = "flood-settings", "the client sends too many SETTINGS frames";
    /// WINDOW_UPDATE.
    WindowUpdate = "flood-window-update", "the client sends too many WINDOW_UPDATE frames";
    /// PRIORITY.
    Priority = "flood-priority", "the client sends too many PRIORITY frames";
    /// Types that RFC 9113 does not have.
    Unknown = "flood-unknown", "the client sends too many frames of unknown types";
}

impl Flood {
    /// Position in [`Flood::ALL`], for tables of counters.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for Flood {}

/// Finds the frame headers in one direction, however the bytes are split.
#[derive(Clone, Copy, Debug)]
struct Follower {
    header: [u8; 9],
    /// Bytes of the header that are there.
    have: usize,
    /// Bytes of the preface or of a payload that are still to come.
    left: u32,
}

/// What a frame header says.
#[derive(Clone, Copy, Debug)]
struct Header {
    kind: u8,
    stream: u32,
}

impl Follower {
    fn new(left: u32) -> Self {
        Self {
            header: [0; 9],
            have: 0,
            left,
        }
    }

    fn is_at_boundary(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// How many more bytes belong to the frame under way; a header that is not whole counts by itself.
    fn owed(&self) -> usize {
        if self.left > 0 {
            self.left as usize
        } else if self.have > 0 {
            self.header.len() - self.have
        } else {
            0
        }
    }

    fn follow(&mut self, mut bytes: &[u8], mut found: impl FnMut(Header)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = bytes.len().min(self.left as usize);
                // Never more than `left`, so it fits.
                self.left -= skipped as u32;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let wanted = (self.header.len() - self.have).min(bytes.len());
            let Some((part, rest)) = bytes.split_at_checked(wanted) else {
                return;
            };
            if let Some(room) = self.header.get_mut(self.have..self.have + wanted) {
                room.copy_from_slice(part);
            }
            self.have += wanted;
            bytes = rest;
            if self.have == self.header.len() {
                self.have = 0;
                let [l0, l1, l2, kind, _flags, s0, s1, s2, s3] = self.header;
                self.left = u32::from_be_bytes([0, l0, l1, l2]);
                found(Header {
                    kind,
                    stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
                });
            }
        }
    }
}

/// Counts of one window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    floods: [u64; Flood::ALL.len()],
    streams: u64,
    data_sent: u64,
}

/// The frames of one client's connection.
#[derive(Clone, Debug)]
pub struct Frames {
    incoming: Follower,
    outgoing: Follower,
    began_ms: u64,
    now: Window,
    before: Window,
    last_stream: u32,
    flood: Option<Flood>,
}

impl Frames {
    /// At the start of a connection whose preface is still to come.
    pub fn new(now_ms: u64) -> Self {
        Self {
            incoming: Follower::new(PREFACE_BYTES),
            outgoing: Follower::new(0),
            began_ms: now_ms,
            now: Window::default(),
            before: Window::default(),
            last_stream: 0,
            flood: None,
        }
    }

    /// Counts what the client sent. `now_ms` is any clock that does not go back.
    ///
    /// # Errors
    /// The first flood, and that one again ever after.
    pub fn received(&mut self, bytes: &[u8], now_ms: u64) -> Result<(), Flood> {
        self.turn(now_ms);
        let Self {
            incoming,
            now,
            before,
            last_stream,
            flood,
            ..
        } = self;
        incoming.follow(bytes, |header| {
            let kind = match header.kind {
                // DATA, RST_STREAM, PUSH_PROMISE, GOAWAY, CONTINUATION: h2 bounds or refuses them.
                0x0 | 0x3 | 0x5 | 0x7 | 0x9 => return,
                0x1 => {
                    now.streams += u64::from(header.stream > *last_stream);
                    *last_stream = header.stream.max(*last_stream);
                    return;
                }
                0x2 => Flood::Priority,
                0x4 => Flood::Settings,
                0x6 => Flood::Ping,
                0x8 => Flood::WindowUpdate,
                _ => Flood::Unknown,
            };
            if let Some(count) = now.floods.get_mut(kind.index()) {
                *count += 1;
                if *count
                    > allowance(
                        kind,
                        now.streams + before.streams,
                        now.data_sent + before.data_sent,
                    )
                {
                    flood.get_or_insert(kind);
                }
            }
        });
        self.flood.map_or(Ok(()), Err)
    }

    /// Counts what was written to the client.
    pub fn sent(&mut self, bytes: &[u8]) {
        let data_sent = &mut self.now.data_sent;
        self.outgoing
            .follow(bytes, |header| *data_sent += u64::from(header.kind == 0x0));
    }

    /// Whether a frame of ours may be written now: no other is half written.
    pub fn at_boundary(&self) -> bool {
        self.outgoing.is_at_boundary()
    }

    /// Bytes of the outgoing frame under way that may be written before the next look; 0 at a boundary.
    pub fn owed(&self) -> usize {
        self.outgoing.owed()
    }

    /// The client's highest stream so far.
    pub fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// GOAWAY (ENHANCE_YOUR_CALM), to be written at a boundary.
    pub fn goaway(&self) -> [u8; 17] {
        let [s0, s1, s2, s3] = self.last_stream.to_be_bytes();
        let [e0, e1, e2, e3] = CALM.to_be_bytes();
        [0, 0, 8, 0x7, 0, 0, 0, 0, 0, s0, s1, s2, s3, e0, e1, e2, e3]
    }

    fn turn(&mut self, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.began_ms);
        if passed < WINDOW_MS {
            return;
        }
        let last = std::mem::take(&mut self.now);
        self.before = if passed < 2 * WINDOW_MS {
            last
        } else {
            Window::default()
        };
        self.began_ms = now_ms;
    }
}

/// How many frames of a kind a client may send in a window in which so much was done.
fn allowance(kind: Flood, streams: u64, data_sent: u64) -> u64 {
    match kind {
        Flood::Ping => PINGS_MAX + streams + data_sent,
        Flood::Settings => SETTINGS_MAX,
        Flood::WindowUpdate => {
            WINDOW_UPDATES_MAX + WINDOW_UPDATES_PER_STREAM * streams + WINDOW_UPDATES_PER_DATA * data_sent
        }
        Flood::Priority => PRIORITIES_MAX + PRIORITIES_PER_STREAM * streams,
        Flood::Unknown => UNKNOWN_MAX + UNKNOWN_PER_STREAM * streams,
    }
}
