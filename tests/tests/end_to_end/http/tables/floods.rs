//! Floods of HTTP/2 frames end the connection, with one line in the log; other connections go on.

use super::super::frames::{Frames, Last, Outcome, data, frame, head};
use super::super::gateway::{Gateway, Setup, Speaks};
use super::super::peers::{Client, empty};
use super::super::recorder::Recorder;
use super::super::within::{run, within};

/// ENHANCE_YOUR_CALM of RFC 9113, section 7.
const ENHANCE_YOUR_CALM: u32 = 11;

/// Frames of a flood; no client has a use for a tenth of it.
const FLOOD_FRAMES: u32 = 50_000;

/// Frames that are sent before the peer's answer is looked at.
const BURST_FRAMES: u32 = 1_000;

/// A flood: what it is of, and its frames by number.
type Flood = (&'static str, fn(u32) -> Vec<u8>);

const FLOODS: [Flood; 9] = [
    ("PING", |number| frame(6, 0, 0, &u64::from(number).to_be_bytes())),
    ("SETTINGS", |_| frame(4, 0, 0, &[])),
    ("WINDOW_UPDATE", |_| frame(8, 0, 0, &1_u32.to_be_bytes())),
    ("PRIORITY", |number| frame(2, 0, 2 * number + 3, &[0, 0, 0, 0, 1])),
    ("unknown frames", |_| frame(0xfa, 0, 0, b"x")),
    ("empty DATA", |number| {
        if number == 0 {
            request(Last::No, 1)
        } else {
            data(1, b"", Last::No)
        }
    }),
    ("rapid reset", |number| {
        let stream = 2 * number + 1;
        [
            request(Last::Yes, stream),
            frame(3, 0, stream, &8_u32.to_be_bytes()),
        ]
        .concat()
    }),
    // A window that overflows is for the server to reset, not for the client (CVE-2025-8671).
    ("made you reset", |number| {
        let stream = 2 * number + 1;
        [
            request(Last::No, stream),
            frame(8, 0, stream, &0x7fff_ffff_u32.to_be_bytes()),
        ]
        .concat()
    }),
    ("CONTINUATION", |number| {
        if number == 0 {
            frame(1, 0, 1, b"")
        } else {
            frame(9, 0, 1, b"\x00\x03x-a\x011")
        }
    }),
];

fn request(last: Last, stream: u32) -> Vec<u8> {
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"a.example"),
        (b":path", b"/a"),
    ];
    head(stream, &fields, last)
}

#[test]
fn floods_of_frames_end_their_connection_and_no_other() {
    run(async {
        let recorder = Recorder::ok().await;
        let gateway = Gateway::start(&Setup::to(recorder.address(), Speaks::Http1));
        let mut bystander = Client::connect(gateway.address(), Speaks::Http2).await;
        let mut failures = Vec::new();
        for (what, make) in FLOODS {
            let mut frames = Frames::connect(gateway.address()).await;
            frames.settle().await;
            let mut sent = 0;
            while sent < FLOOD_FRAMES {
                let burst: Vec<u8> = (sent..sent + BURST_FRAMES).flat_map(make).collect();
                sent += BURST_FRAMES;
                if !frames.send(&burst).await {
                    break;
                }
                let ended = frames.poll_outcome().await;
                if matches!(ended, Outcome::Goaway(_) | Outcome::Closed) {
                    break;
                }
            }
            let outcome = within(what, frames.ending()).await;
            // Where the flood went on after GOAWAY, a reset may have taken it from us.
            if !matches!(outcome, Outcome::Goaway(ENHANCE_YOUR_CALM) | Outcome::Closed) {
                failures.push(format!("{what}: {outcome:?} after {sent} frames"));
                continue;
            }
            // The line is written when the connection is gone, which the gateway else gives a client time for.
            frames.raw.half_close().await;
            let entries = gateway.log.of(frames.raw.local(), 1);
            if entries.is_empty() {
                failures.push(format!("{what}: not a line"));
            }
            let plain = bystander.request("GET", "/").body(empty()).expect("a request");
            let answer = within(what, bystander.ask(plain)).await;
            assert!(
                answer.is_ok_and(|answer| answer.status() == 200),
                "{what}: the bystander"
            );
        }
        gateway.check_idle();
        assert!(
            failures.is_empty(),
            "{} fail:\n{}",
            failures.len(),
            failures.join("\n")
        );
    });
}
