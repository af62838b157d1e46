//! Where lines are written: a buffer of fixed size, so that a line costs no allocation and little checking.

use std::time::Duration;

/// A buffer that is filled from its start.
#[derive(Debug)]
pub struct Out<'b> {
    buffer: &'b mut [u8],
    /// Written so far; more than there is room for: the line does not fit.
    len: usize,
}

/// Digits of the numbers from 0 to 99, in pairs.
static PAIRS: [u8; 200] = pairs();

const fn pairs() -> [u8; 200] {
    let mut pairs = [b'0'; 200];
    let mut number: u8 = 0;
    while number < 100 {
        pairs[number as usize * 2] = b'0' + number / 10;
        pairs[number as usize * 2 + 1] = b'0' + number % 10;
        number += 1;
    }
    pairs
}

fn pair(number: u64) -> [u8; 2] {
    let at = usize::try_from(number % 100).unwrap_or(0) * 2;
    match PAIRS.get(at..at + 2) {
        Some(&[tens, ones]) => [tens, ones],
        _ => [b'0', b'0'],
    }
}

impl<'b> Out<'b> {
    /// Nothing is written yet.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// How many bytes were written; `None`: there was no room for all of them.
    pub fn written(&self) -> Option<usize> {
        (self.len <= self.buffer.len()).then_some(self.len)
    }

    /// Writes bytes, or notes that there is no room.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        match self.buffer.get_mut(self.len..end) {
            Some(space) => {
                space.copy_from_slice(bytes);
                self.len = end;
            }
            None => self.len = usize::MAX,
        }
    }

    /// Writes a key, with what stands around it, and its value.
    #[inline]
    pub fn pair(&mut self, key: &[u8], value: &[u8]) {
        self.put(key);
        self.put(value);
    }

    /// Writes a key and a decimal number.
    #[inline]
    pub fn number(&mut self, key: &[u8], value: u64) {
        self.put(key);
        self.digits(value);
    }

    /// Writes a key and a time with three decimals, `-` if there is none.
    pub fn milliseconds(&mut self, key: &[u8], value: Option<Duration>) {
        self.put(key);
        let Some(value) = value else {
            self.put(b"-");
            return;
        };
        let seconds = value.as_secs();
        let micros = u64::from(value.subsec_micros());
        self.digits(seconds.saturating_mul(1000).saturating_add(micros / 1000));
        let rest = micros % 1000;
        let [tens, ones] = pair(rest);
        let [_, hundreds] = pair(rest / 100);
        self.put(&[b'.', hundreds, tens, ones]);
    }

    fn digits(&mut self, mut value: u64) {
        if let Ok(digit @ 0..=9) = u8::try_from(value) {
            self.put(&[b'0' + digit]);
            return;
        }
        // 2^64 has 20 digits.
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        for space in digits.rchunks_exact_mut(2) {
            if value == 0 {
                break;
            }
            space.copy_from_slice(&pair(value));
            start -= 2;
            value /= 100;
        }
        let mut written = digits.get(start..).unwrap_or_default();
        if let [b'0', rest @ ..] = written {
            written = rest;
        }
        self.put(written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Out<'_>)) -> String {
        let mut buffer = [0; 64];
        let mut out = Out::new(&mut buffer);
        write(&mut out);
        let len = out.written().unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for value in [0, 7, 10, 99, 100, 101, 12_345, 1_000_000, u64::MAX] {
            assert_eq!(written(|out| out.number(b"n=", value)), format!("n={value}"));
        }
        let rows = [
            (0, "t=0.000"),
            (7, "t=0.007"),
            (1_070, "t=1.070"),
            (12_003_904, "t=12003.904"),
        ];
        for (micros, expected) in rows {
            let time = Some(Duration::from_micros(micros));
            assert_eq!(written(|out| out.milliseconds(b"t=", time)), expected);
        }
        assert_eq!(written(|out| out.milliseconds(b"t=", None)), "t=-");
    }

    #[test]
    fn what_has_no_room_is_noted_and_stays_so() {
        let mut buffer = [0; 4];
        let mut out = Out::new(&mut buffer);
        out.put(b"abcd");
        assert_eq!(out.written(), Some(4));
        out.put(b"e");
        out.put(b"");
        assert_eq!(out.written(), None);
    }
}
