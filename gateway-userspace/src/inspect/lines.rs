//! The lines of a withheld head, found without ever looking at a byte twice.

use super::table;

/// How far into the bytes that have not passed the lines of a head are found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    /// Where the line begins that is not whole yet.
    start: usize,
    /// No line ends between `start` and here.
    scanned: usize,
    /// What lies between the two.
    text: Text,
}

/// Whether a line has control characters other than tabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// It has none.
    Clean,
    /// It has some.
    Control,
}

/// A whole line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'b> {
    /// Without its end.
    pub(super) bytes: &'b [u8],
    /// What is in it.
    pub(super) text: Text,
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
    /// Before the first line.
    pub(super) fn new() -> Self {
        Self {
            start: 0,
            scanned: 0,
            text: Text::Clean,
        }
    }

    /// The next whole line; `None`: there is none yet.
    #[inline]
    pub(super) fn next<'b>(&mut self, bytes: &'b [u8]) -> Option<Line<'b>> {
        loop {
            let at = table::next_control(bytes, self.scanned);
            self.scanned = at;
            let (ending, length) = match bytes.get(at..)? {
                [b'\r', b'\n', ..] => (Ending::CrLf, 2),
                [b'\n', ..] => (Ending::BareLf, 1),
                // Its line feed may be still to come.
                [] | [b'\r'] => return None,
                [b'\t', ..] => {
                    self.scanned += 1;
                    continue;
                }
                _ => {
                    self.text = Text::Control;
                    self.scanned += 1;
                    continue;
                }
            };
            let line = Line {
                bytes: bytes.get(self.start..at)?,
                text: self.text,
                ending,
            };
            self.start = at + length;
            self.scanned = self.start;
            self.text = Text::Clean;
            return Some(line);
        }
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
        let mut lines = Lines::new();
        let mut found = Vec::new();
        for end in 0..=text.len() {
            while let Some(line) = lines.next(&text[..end]) {
                found.push((String::from_utf8_lossy(line.bytes).into_owned(), line.ending));
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
