//! The table of packets: tab-separated lines of name, expected action, frame, expected frame.

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use gateway::config::limits::PROBLEMS_MAX;
use gateway::config::problem::nearest;

use super::problems::{Problem, Refused, problem_of_file, problem_of_line};

/// Bytes of a file that are read: some 20,000 frames of full size.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a frame: a test run has one page for it, less the headroom of 256 bytes and what the kernel keeps behind.
pub const FRAME_BYTES_MAX: usize = 3_520;

/// Bytes that the program can add before a frame.
const HEADROOM_BYTES: usize = 256;

/// Bytes of the shortest frame that the kernel runs a program on: an Ethernet header.
pub const FRAME_BYTES_MIN: usize = 14;

/// What the kernel does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpAction {
    /// Nobody gets it.
    Drop,
    /// The stack gets it.
    Pass,
    /// It goes out of the interface that it came in by.
    Tx,
}

impl XdpAction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Drop, Self::Tx];

    /// Its name in the kernel.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "XDP_DROP",
            Self::Pass => "XDP_PASS",
            Self::Tx => "XDP_TX",
        }
    }
}

impl fmt::Display for XdpAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it shows.
    pub name: String,
    /// The line that it stands in, counted from 1.
    pub line: usize,
    /// What must become of the frame.
    pub action: XdpAction,
    /// The frame that comes in.
    pub frame: Vec<u8>,
    /// The frame that must come out; `None`: any.
    pub expected: Option<Vec<u8>>,
}

/// Reads a file of rows.
///
/// # Errors
/// All problems at once.
pub fn read(file: &Path) -> Result<Vec<Row>, Refused> {
    let unreadable = |error| Refused::unreadable(file, &error);
    let bytes = std::fs::metadata(file).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        let fault = format!("has {bytes} bytes");
        let remedy = format!("split it into files of at most {FILE_BYTES_MAX} bytes");
        return Err(Refused::new(vec![problem_of_file(file, fault, &remedy)]));
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    parse(file, &text)
}

/// Reads the text of such a file.
///
/// # Errors
/// All problems at once, at most [`PROBLEMS_MAX`].
pub fn parse(file: &Path, text: &str) -> Result<Vec<Row>, Refused> {
    let mut problems = Vec::new();
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // A file from elsewhere may begin with a byte order mark.
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let mut reader = LineReader {
            file,
            line: index + 1,
            problems: &mut problems,
        };
        rows.extend(reader.row(line));
    }
    if problems.is_empty() && rows.is_empty() {
        let remedy = "write a line of four columns for each packet";
        problems.push(problem_of_file(file, "has no rows".to_owned(), remedy));
    }
    if problems.is_empty() {
        return Ok(rows);
    }
    problems.truncate(PROBLEMS_MAX);
    Err(Refused::new(problems))
}

/// One line, and what is wrong with it.
struct LineReader<'a> {
    file: &'a Path,
    line: usize,
    problems: &'a mut Vec<Problem>,
}

impl LineReader<'_> {
    fn row(&mut self, text: &str) -> Option<Row> {
        let columns: Vec<&str> = text.split('\t').map(str::trim).collect();
        let &[name, action, frame, expected] = columns.as_slice() else {
            let remedy =
                "write name, action, frame and expected frame (or -) with one tab between each two of them";
            return self.refuse(format!("{} columns", columns.len()), remedy);
        };
        if name.is_empty() {
            self.refuse::<()>("the name is empty".to_owned(), "say what the row shows");
        }
        let action = self.action(action);
        let frame = self.frame("frame", frame, FRAME_BYTES_MAX);
        let expected = match expected {
            "-" => Some(None),
            text => self
                .frame("expected frame", text, FRAME_BYTES_MAX + HEADROOM_BYTES)
                .map(Some),
        };
        Some(Row {
            name: name.to_owned(),
            line: self.line,
            action: action?,
            frame: frame?,
            expected: expected?,
        })
    }

    fn action(&mut self, text: &str) -> Option<XdpAction> {
        let known = || XdpAction::ALL.iter().map(|action| action.name());
        if let Some(action) = XdpAction::ALL.iter().find(|action| action.name() == text) {
            return Some(*action);
        }
        let meant = nearest(text, known()).map_or_else(String::new, |name| format!("did you mean {name}? "));
        let remedy = format!("{meant}write XDP_PASS, XDP_DROP or XDP_TX");
        self.refuse(format!("unknown action {text:?}"), &remedy)
    }

    fn frame(&mut self, what: &str, text: &str, bytes_max: usize) -> Option<Vec<u8>> {
        let padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        match GeneralPurpose::new(&alphabet::STANDARD, padding).decode(text) {
            Ok(bytes) if (FRAME_BYTES_MIN..=bytes_max).contains(&bytes.len()) => Some(bytes),
            Ok(bytes) => self.refuse(
                format!("the {what} has {} bytes", bytes.len()),
                &format!(
                    "give {FRAME_BYTES_MIN} to {bytes_max} bytes, from the Ethernet header on: the kernel \
                     runs no others"
                ),
            ),
            Err(error) => self.refuse(
                format!("the {what} is no base64: {error}"),
                "write the bytes in base64 (RFC 4648, 4) on one line, or - for no expected frame",
            ),
        }
    }

    fn refuse<T>(&mut self, fault: String, remedy: &str) -> Option<T> {
        self.problems
            .push(problem_of_line(self.file, self.line, fault, remedy));
        None
    }
}
