//! The time of a line: RFC 3339 in UTC with milliseconds, its date and seconds written once a second.

use std::cell::Cell;

/// Up to the seconds: `2024-02-29T12:34:56`.
const SECONDS_BYTES: usize = 19;
/// In all: `2024-02-29T12:34:56.007Z`.
const STAMP_BYTES: usize = 24;

/// A written time.
#[derive(Clone, Copy, Debug)]
pub struct Stamp(pub [u8; STAMP_BYTES]);

/// Writes times, and keeps the last second.
#[derive(Debug)]
pub struct Stamps {
    last: Cell<(u64, [u8; STAMP_BYTES])>,
}

impl Default for Stamps {
    fn default() -> Self {
        Self {
            last: Cell::new((0, seconds(0))),
        }
    }
}

impl Stamps {
    /// A time, in milliseconds since 1970.
    pub fn at(&self, millis: u64) -> Stamp {
        let (second, mut text) = self.last.get();
        if second != millis / 1000 {
            text = seconds(millis / 1000);
            self.last.set((millis / 1000, text));
        }
        put(&mut text, SECONDS_BYTES + 1, 3, millis % 1000);
        Stamp(text)
    }
}

fn seconds(seconds: u64) -> [u8; STAMP_BYTES] {
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let (year, month, day) = civil(seconds / 86_400);
    put(&mut text, 0, 4, year);
    put(&mut text, 5, 2, month);
    put(&mut text, 8, 2, day);
    put(&mut text, 11, 2, seconds / 3600 % 24);
    put(&mut text, 14, 2, seconds / 60 % 60);
    put(&mut text, 17, 2, seconds % 60);
    text
}

/// The lowest digits of a number, as many as asked for.
fn put(text: &mut [u8; STAMP_BYTES], at: usize, digits: usize, mut value: u64) {
    let space = text.get_mut(at..at + digits).unwrap_or_default();
    for digit in space.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a day since 1970.
///
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_and_each_millisecond_is_right() {
        let stamps = Stamps::default();
        let rows = [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_709_210_096_007, "2024-02-29T12:34:56.007Z"),
            (1_709_210_096_999, "2024-02-29T12:34:56.999Z"),
            (1_709_210_097_000, "2024-02-29T12:34:57.000Z"),
            (1_709_210_096_001, "2024-02-29T12:34:56.001Z"),
        ];
        for (millis, expected) in rows {
            assert_eq!(stamps.at(millis).0, expected.as_bytes(), "{millis}");
        }
    }

    #[test]
    fn dates_follow_the_calendar() {
        let rows = [
            (0, (1970, 1, 1)),
            (11_016, (2000, 2, 29)),
            (19_782, (2024, 2, 29)),
            (20_454, (2026, 1, 1)),
        ];
        for (days, expected) in rows {
            assert_eq!(civil(days), expected, "day {days}");
        }
    }
}
