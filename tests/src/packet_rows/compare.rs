//! Whether a frame is the expected one: byte for byte, or but for what another right program might choose.

use super::checksum::State;
use super::decode::{Decoded, Loose, decode};
use super::diff;

/// What a frame may differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leeway {
    /// Nothing.
    None,
    /// What the sender of a packet chooses: outer source address, GUE source port, IP id, flow label, next hops.
    OfSenders,
}

/// How a frame compares with the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// Byte for byte.
    Equal,
    /// But for these fields, and every checksum over them is right.
    EqualAfterNormalisation(Vec<&'static str>),
    /// In more than that: why, and both frames side by side.
    Different {
        /// What is wrong that a comparison of fields does not show.
        faults: Vec<String>,
        /// The fields that differ, line by line.
        diff: Vec<String>,
    },
}

impl Likeness {
    /// Whether it is as good as the expected one.
    pub fn holds(&self) -> bool {
        !matches!(self, Self::Different { .. })
    }
}

/// Compares a frame with the expected one.
pub fn compare(expected: &[u8], found: &[u8], leeway: Leeway) -> Likeness {
    if expected == found {
        return Likeness::Equal;
    }
    let [wanted, seen] = [expected, found].map(decode);
    let mut faults = Vec::new();
    if leeway == Leeway::OfSenders && is_alike((expected, &wanted), (found, &seen)) {
        faults = wrong_checksums(&seen);
        if faults.is_empty() {
            return Likeness::EqualAfterNormalisation(differing(expected, found, &seen.loose));
        }
    }
    if expected.len() != found.len() {
        faults.push(format!(
            "{} bytes expected, {} found",
            expected.len(),
            found.len()
        ));
    }
    Likeness::Different {
        faults,
        diff: diff::diff((expected, &wanted), (found, &seen)),
    }
}

fn is_alike((expected, wanted): (&[u8], &Decoded), (found, seen): (&[u8], &Decoded)) -> bool {
    wanted.loose == seen.loose && normalised(expected, &wanted.loose) == normalised(found, &seen.loose)
}

/// A frame without what it may differ in.
fn normalised(frame: &[u8], loose: &[Loose]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for field in loose {
        for (index, byte) in frame.iter_mut().skip(field.at).take(field.bytes).enumerate() {
            *byte &= !mask(field, index);
        }
    }
    frame
}

fn mask(field: &Loose, index: usize) -> u8 {
    if index + 1 == field.bytes {
        field.last_mask
    } else {
        0xff
    }
}

/// The loose fields that do differ; checksums follow from the others.
fn differing(expected: &[u8], found: &[u8], loose: &[Loose]) -> Vec<&'static str> {
    let differs = |field: &&Loose| {
        let bytes = |frame: &'_ [u8]| frame.get(field.at..field.at + field.bytes).map(<[u8]>::to_vec);
        bytes(expected) != bytes(found)
    };
    loose
        .iter()
        .filter(differs)
        .map(|field| field.name)
        .filter(|name| !name.ends_with("checksum"))
        .collect()
}

/// Checksums among the loose fields cannot be compared: each must be right by itself.
fn wrong_checksums(seen: &Decoded) -> Vec<String> {
    let is_loose = |at: usize| seen.loose.iter().any(|field| field.at == at);
    (seen.checksums.iter())
        .filter(|checksum| is_loose(checksum.at) && matches!(checksum.state, State::Wrong(_)))
        .map(|checksum| format!("the checksum of {} is {}", checksum.name, checksum.shown()))
        .collect()
}
