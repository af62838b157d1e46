//! Why a check says what it says: a code for counters, and a text for people.

/// Bytes of a text from outside, as of a command's output: a line of a log, not a log.
const TEXT_BYTES_MAX: usize = 200;

/// A reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// Stable, one of few: it is a label of metrics.
    pub(super) code: &'static str,
    /// For people; may carry what the endpoint said, bounded and without control characters.
    pub(super) text: String,
}

impl Reason {
    pub(super) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

/// What came from outside as text that can be shown: its first line, bounded, without control characters.
pub(super) fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let line = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    line.trim().chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_outside_are_one_bounded_line_without_control_characters() {
        let long = "x".repeat(1000);
        let rows = [
            ("", ""),
            ("\n \n disk full \nmore", "disk full"),
            ("a\u{1b}[31mb\tc", "a[31mbc"),
            (long.as_str(), &long[..TEXT_BYTES_MAX]),
        ];
        for (text, expected) in rows {
            assert_eq!(shown(text.as_bytes()), expected);
        }
        assert_eq!(shown(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }
}
