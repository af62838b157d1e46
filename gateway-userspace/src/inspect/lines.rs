//! The lines of a withheld head, found without ever looking at a byte twice.

use memchr::memchr;

/// How far into the bytes that have not passed the lines of a head are found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    /// Where the line begins that is not whole yet.
    start: usize,
    /// No line feed lies between `start` and here.
    scanned: usize,
}

/// A whole line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'b> {
    /// Without its end.
    pub(super) text: &'b [u8],
    /// Its end.
    pub(super) ending: Ending,
}

/// How a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// As it should.
    CrLf,
    /// A line feed alone.
    BareLf,
}

impl Lines {
    /// The next whole line; `None`: there is none yet.
    #[inline]
    pub(super) fn next<'b>(&mut self, bytes: &'b [u8]) -> Option<Line<'b>> {
        let Some(at) = memchr(b'\n', bytes.get(self.scanned..)?) else {
            self.scanned = bytes.len();
            return None;
        };
        let end = self.scanned + at;
        let raw = bytes.get(self.start..end)?;
        self.start = end + 1;
        self.scanned = self.start;
        Some(match raw {
            [text @ .., b'\r'] => Line {
                text,
                ending: Ending::CrLf,
            },
            text => Line {
                text,
                ending: Ending::BareLf,
            },
        })
    }

    /// Bytes of all whole lines so far, their ends included.
    #[inline]
    pub(super) fn passed(&self) -> usize {
        self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_once_however_they_arrive() {
        let text = b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\nrest";
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for end in 0..=text.len() {
            while let Some(line) = lines.next(&text[..end]) {
                found.push((String::from_utf8_lossy(line.text).into_owned(), line.ending));
            }
        }
        let expected = [
            ("GET / HTTP/1.1", Ending::CrLf),
            ("A: b", Ending::BareLf),
            ("C: d", Ending::CrLf),
            ("", Ending::CrLf),
        ];
        assert_eq!(found, expected.map(|(text, ending)| (text.to_owned(), ending)));
        assert_eq!(lines.passed(), text.len() - b"rest".len());
    }
}
