//! HTTP/2: what clients need passes, floods do not, however the bytes are split.

use super::super::{Flood, Frames};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend_from_slice(&[kind, 0]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn opened() -> Frames {
    let mut frames = Frames::new(0);
    frames.received(PREFACE, 0).unwrap();
    frames
}

/// Sends frames of a kind until one is too many; `None`: a hundred thousand were not.
fn taken(frames: &mut Frames, kind: u8, payload: &[u8], now_ms: u64) -> Option<(u32, Flood)> {
    let bytes = frame(kind, 0, payload);
    (0..100_000).find_map(|count| frames.received(&bytes, now_ms).err().map(|flood| (count, flood)))
}

#[test]
fn floods_are_cut_and_stay_cut() {
    for (why, kind, payload, flood) in [
        ("PING", 0x6, [0; 8].as_slice(), Flood::Ping),
        ("SETTINGS", 0x4, &[], Flood::Settings),
        ("WINDOW_UPDATE", 0x8, &[0, 0, 0, 1], Flood::WindowUpdate),
        ("PRIORITY", 0x2, &[0, 0, 0, 0, 1], Flood::Priority),
        ("PRIORITY_UPDATE", 0x10, &[0, 0, 0, 1], Flood::Unknown),
        ("a frame nobody knows", 0xbb, &[], Flood::Unknown),
    ] {
        let mut frames = opened();
        let (count, found) = taken(&mut frames, kind, payload, 0).expect(why);
        assert_eq!(found, flood, "{why}");
        assert!((100..=1_000).contains(&count), "{why}: {count}");
        assert_eq!(frames.received(b"", 1_000_000), Err(flood), "{why}: also later");
    }
    for (why, kind) in [("DATA", 0x0), ("RST_STREAM", 0x3), ("CONTINUATION", 0x9)] {
        assert_eq!(taken(&mut opened(), kind, &[], 0), None, "{why} is h2's to bound");
    }
}

#[test]
fn allowances_grow_with_what_is_done_and_return_with_time() {
    let grown = |work: &dyn Fn(&mut Frames), kind: u8| {
        let mut frames = opened();
        let before = taken(&mut frames.clone(), kind, &[0; 8], 0).unwrap().0;
        work(&mut frames);
        (before, taken(&mut frames, kind, &[0; 8], 9_999).unwrap().0)
    };
    let data: &dyn Fn(&mut Frames) = &|frames| (0..100).for_each(|_| frames.sent(&frame(0x0, 1, b"data")));
    let streams: &dyn Fn(&mut Frames) =
        &|frames| (0..100).for_each(|n| frames.received(&frame(0x1, 2 * n + 1, b"head"), 0).unwrap());
    for (why, kind, work, least) in [
        ("WINDOW_UPDATE for DATA we sent", 0x8, data, 1_000),
        ("PING for DATA we sent", 0x6, data, 100),
        ("WINDOW_UPDATE for streams", 0x8, streams, 100),
        ("PRIORITY for streams", 0x2, streams, 1_000),
        ("PRIORITY_UPDATE for streams", 0x10, streams, 500),
    ] {
        let (before, after) = grown(work, kind);
        assert!(after >= before + least, "{why}: {before} before, {after} after");
    }
    let mut frames = opened();
    for window in 0..20 {
        let ping = frame(0x6, 0, &[0; 8]);
        for _ in 0..150 {
            assert_eq!(
                frames.received(&ping, window * 10_000),
                Ok(()),
                "15 PINGs a second"
            );
        }
    }
    let mut frames = opened();
    data(&mut frames);
    assert!(
        taken(&mut frames.clone(), 0x8, &[], 15_000).unwrap().0 > 2_000,
        "credit lasts a window more"
    );
    assert!(
        taken(&mut frames, 0x8, &[], 25_000).unwrap().0 <= 1_000,
        "and no longer"
    );
}

#[test]
fn headers_are_found_over_every_split() {
    let mut input = PREFACE.to_vec();
    input.extend(frame(0x4, 0, &[0; 18]));
    input.extend(frame(0x1, 7, b"head"));
    input.extend(frame(0x1, 0x8000_0005, b""));
    input.extend(frame(0x6, 0, &[0; 8]).repeat(200));
    for at in 0..=input.len() {
        let mut frames = Frames::new(0);
        let (before, after) = input.split_at(at);
        let first = frames.received(before, 0);
        assert_eq!(
            frames.received(after, 0),
            Ok(()),
            "split at {at}: 200 PINGs, and one for a stream"
        );
        assert_eq!(first, Ok(()));
        assert_eq!(
            frames.last_stream(),
            7,
            "split at {at}: the reserved bit is none of the stream"
        );
        assert_eq!(frames.received(&frame(0x6, 0, &[0; 8]), 0), Ok(()));
        assert_eq!(
            frames.received(&frame(0x6, 0, &[0; 8]), 0),
            Err(Flood::Ping),
            "split at {at}"
        );
    }
}

#[test]
fn goaway_is_for_boundaries_and_names_the_last_stream() {
    let mut frames = opened();
    frames.received(&frame(0x1, 0x0102_0305, b""), 0).unwrap();
    assert_eq!(
        frames.goaway(),
        [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x01, 0x02, 0x03, 0x05, 0, 0, 0, 11]
    );
    assert!(frames.at_boundary());
    let sent = frame(0x0, 1, b"payload");
    for (at, byte) in sent.iter().enumerate() {
        frames.sent(&[*byte]);
        assert_eq!(
            frames.at_boundary(),
            at + 1 == sent.len(),
            "after {} bytes",
            at + 1
        );
        let owed = if at < 8 { 8 - at } else { sent.len() - 1 - at };
        assert_eq!(frames.owed(), owed, "after {} bytes", at + 1);
    }
}
