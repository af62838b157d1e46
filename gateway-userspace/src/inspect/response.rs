//! Responses: read as strictly as requests, for an upstream's answer is somebody else's next request's answer, too.
//!
//! Source: RFC 9112, sections 4 and 6.3; RFC 9110, section 15.

use super::chunked::{Chunked, Followed};
use super::fields::{self, Framing};
use super::lines::{Ending, Line, Lines, Text};
use super::refusal::{Noted, Refusal};
use super::request_line::MethodKind;
use super::rules::Rules;
use super::step::{Body, Resume, Step, Version};
use super::table;

/// Heads of 1xx before a final one; hyper would skip any number.
const INTERIM_MAX: u64 = 100;

/// What the request was, for that decides whether its answer has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer never has a body.
    ToHead,
    /// A success is a tunnel.
    ToConnect,
    /// Any other.
    ToOther,
}

impl From<MethodKind> for Answer {
    fn from(method: MethodKind) -> Self {
        match method {
            MethodKind::Head => Self::ToHead,
            MethodKind::Connect => Self::ToConnect,
            MethodKind::Options | MethodKind::Other => Self::ToOther,
        }
    }
}

/// What the end of input means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is cut off: between messages, or after a body that lasts until the end.
    Clean,
    /// An answer was asked for, and nothing came.
    Unanswered,
    /// A head or body is cut off.
    Truncated(Refusal),
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before or inside the status line.
    Line,
    /// Inside the fields.
    Fields,
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Hold,
    Tunnel,
    Refused(Refusal),
    Broken(Refusal),
}

/// Follows the responses on one connection to an upstream.
#[derive(Clone, Debug)]
pub struct ResponseInspector {
    rules: Rules,
    state: State,
    lines: Lines,
    /// HTTP/1 without pipelining: one request is under way at most.
    asked: Option<Answer>,
    version: Version,
    status: u16,
    framing: Framing,
    noted: Noted,
    heads: u64,
    interim: u64,
    /// Heads of 1xx since the last final one.
    interim_now: u64,
    body: Body,
}

impl ResponseInspector {
    /// At the start of a connection.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Line,
            lines: Lines::new(),
            asked: None,
            version: Version::Http11,
            status: 0,
            framing: Framing::default(),
            noted: Noted::default(),
            heads: 0,
            interim: 0,
            interim_now: 0,
            body: Body::None,
        }
    }

    /// A request is sent. One at a time: a second before the first is answered replaces it.
    pub fn expect(&mut self, answer: Answer) {
        self.asked = Some(answer);
    }

    /// Judges `bytes`: everything that has not passed yet, in one piece.
    pub fn step(&mut self, bytes: &[u8]) -> Step {
        if bytes.is_empty() && !matches!(self.state, State::Hold | State::Refused(_) | State::Broken(_)) {
            return Step::Wait;
        }
        match self.state {
            State::Line | State::Fields => match self.head(bytes) {
                Ok(None) => Step::Wait,
                Ok(Some(passed)) => {
                    let body = bytes.get(passed..).unwrap_or_default();
                    Step::Pass(passed + self.follow(body))
                }
                Err(refusal) => {
                    self.state = State::Refused(refusal);
                    Step::Refuse(refusal)
                }
            },
            State::Hold => Step::Hold,
            State::Tunnel => Step::Pass(bytes.len()),
            State::Refused(refusal) => Step::Refuse(refusal),
            State::Broken(refusal) => Step::Break(refusal),
            State::Length(_) | State::Chunked(_) | State::UntilClose => match self.follow(bytes) {
                0 => match self.state {
                    State::Broken(refusal) => Step::Break(refusal),
                    _ => Step::Wait,
                },
                passed => Step::Pass(passed),
            },
        }
    }

    /// Final heads that passed.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Heads of 1xx that passed, but for 101; hyper skips them.
    pub fn interim(&self) -> u64 {
        self.interim
    }

    /// The status of the last head that passed.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Faults of syntax that were let through, of the head that passed last or is withheld.
    pub fn noted(&self) -> Noted {
        self.noted
    }

    /// Whether the last body lasts until the connection ends, which can then not be used again.
    pub fn is_until_close(&self) -> bool {
        self.body == Body::UntilClose
    }

    /// What an end of input here means; `withheld` is what has not passed.
    pub fn eof(&self, withheld: &[u8]) -> End {
        match self.state {
            State::Line | State::Fields if !withheld.is_empty() => End::Truncated(Refusal::HeadTruncated),
            State::Line | State::Fields if self.asked.is_some() => End::Unanswered,
            State::Length(_) | State::Chunked(_) => End::Truncated(Refusal::BodyTruncated),
            State::Refused(refusal) | State::Broken(refusal) => End::Truncated(refusal),
            State::Line | State::Fields | State::UntilClose | State::Hold | State::Tunnel => End::Clean,
        }
    }

    /// Whether nothing passes, whatever comes: [`Step::Hold`].
    pub fn holds(&self) -> bool {
        matches!(self.state, State::Hold)
    }

    /// Ends a [`Step::Hold`]; without one it does nothing.
    pub fn resume(&mut self, resume: Resume) {
        if matches!(self.state, State::Hold) {
            self.state = match resume {
                Resume::Tunnel => State::Tunnel,
                Resume::Http => State::Line,
            };
        }
    }

    /// Follows a body; returns how many bytes pass.
    fn follow(&mut self, bytes: &[u8]) -> usize {
        match &mut self.state {
            State::Length(left) => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Line;
                }
                taken
            }
            State::Chunked(chunked) => match chunked.follow(bytes, self.rules.fields_max) {
                Ok(Followed::All) => bytes.len(),
                Ok(Followed::Ends(taken)) => {
                    self.state = State::Line;
                    taken
                }
                Err(refusal) => {
                    self.state = State::Broken(refusal);
                    0
                }
            },
            State::UntilClose => bytes.len(),
            _ => 0,
        }
    }

    /// Reads on in a head; returns its length as soon as it is whole.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let asked = self.asked.ok_or(Refusal::Unsolicited)?;
        if self.lines.passed() == 0 && matches!(self.state, State::Line) {
            self.noted = Noted::default();
        }
        loop {
            let line = self.lines.next(bytes);
            let end = if line.is_some() {
                self.lines.passed() - 1
            } else {
                bytes.len()
            };
            if end >= self.rules.head_bytes_max {
                return Err(Refusal::HeadTooLarge);
            }
            let Some(line) = line else { return Ok(None) };
            if line.ending == Ending::BareLf {
                self.rules.judge(Refusal::BareLf, &mut self.noted)?;
            }
            match self.state {
                State::Line => {
                    self.status_line(&line)?;
                    self.framing = Framing::default();
                    self.state = State::Fields;
                }
                _ if line.bytes.is_empty() => {
                    self.finish(asked)?;
                    let passed = self.lines.passed();
                    self.lines = Lines::new();
                    return Ok(Some(passed));
                }
                _ => self.field(&line)?,
            }
        }
    }

    fn status_line(&mut self, line: &Line<'_>) -> Result<(), Refusal> {
        let bad = || table::control_in(line.bytes, Refusal::StatusLineBad);
        let (version, rest) = line.bytes.split_at_checked(9).ok_or_else(bad)?;
        self.version = match version {
            b"HTTP/1.1 " => Version::Http11,
            b"HTTP/1.0 " => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b' '] => {
                return Err(Refusal::VersionUnsupported);
            }
            _ => return Err(bad()),
        };
        let (code, reason) = rest.split_at_checked(3).ok_or_else(bad)?;
        let readable = matches!(code, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']);
        // Many leave out the space before an empty reason.
        let separate = matches!(reason, [] | [b' ', ..]);
        if !readable || !separate || line.text == Text::Control {
            return Err(bad());
        }
        self.status = code
            .iter()
            .fold(0, |status, &digit| status * 10 + u16::from(digit - b'0'));
        Ok(())
    }

    #[inline]
    fn field(&mut self, line: &Line<'_>) -> Result<(), Refusal> {
        let field = fields::read(line)?;
        self.framing.count(self.rules.fields_max)?;
        let is = |name: &[u8]| table::is_name(field.name, name);
        match field.name.len() {
            14 if is(b"content-length") => self.framing.length(field.value),
            17 if is(b"transfer-encoding") => self.framing.encoding(field.value, self.version),
            _ => Ok(()),
        }
    }

    /// The head is whole.
    fn finish(&mut self, asked: Answer) -> Result<(), Refusal> {
        self.body = Body::None;
        match (self.status, asked) {
            (101, _) | (200..=299, Answer::ToConnect) => {
                self.heads += 1;
                self.asked = None;
                self.state = State::Hold;
                return Ok(());
            }
            (100..=199, _) => {
                self.interim += 1;
                self.interim_now += 1;
                self.state = State::Line;
                return if self.interim_now > INTERIM_MAX {
                    Err(Refusal::InterimMany)
                } else {
                    Ok(())
                };
            }
            (204 | 304, _) | (_, Answer::ToHead) => {}
            _ => self.body = self.framing.body().unwrap_or(Body::UntilClose),
        }
        self.heads += 1;
        self.interim_now = 0;
        self.asked = None;
        self.state = match self.body {
            Body::Length(length) if length > 0 => State::Length(length),
            Body::Chunked => State::Chunked(Chunked::new()),
            Body::UntilClose => State::UntilClose,
            Body::None | Body::Length(_) => State::Line,
        };
        Ok(())
    }
}
