//! Requests: each head withheld until it is whole and judged, each body followed to the next head.
//!
//! Source: RFC 9112, sections 2.2, 3 and 6.3; RFC 9110, sections 7.2, 7.8 and 10.1.1.

use super::chunked::{Chunked, Followed};
use super::fields::{self, Framing};
use super::lines::{Ending, Line, Lines};
use super::refusal::{Noted, Refusal};
use super::request_line::{self, MethodKind, RequestLine};
use super::rules::Rules;
use super::step::{Body, Offered, Resume, Step, Version};
use super::table::{self, UNDERSCORE};
use super::target::Form;

/// Empty lines before a request line: old clients send one after a body (RFC 9112, section 2.2).
const EMPTY_LINES_MAX: u8 = 2;
/// What the inspector knows of a head that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadSummary {
    /// Its method.
    pub method: MethodKind,
    /// Its version.
    pub version: Version,
    /// Its body; never [`Body::UntilClose`].
    pub body: Body,
    /// Whether it offers a protocol to switch to; CONNECT is told by the method.
    pub offered: Offered,
    /// Whether the client waits for 100 before its body.
    pub expects_continue: bool,
    /// Whether another request may follow.
    pub persists: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before or inside the request line.
    Line,
    /// Inside the fields.
    Fields,
    Length(u64),
    Chunked(Chunked),
    Hold,
    Last,
    Tunnel,
    Refused(Refusal),
    Broken(Refusal),
}

/// What fields say that only requests have.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    host: bool,
    offers: bool,
    expects_continue: bool,
}

/// Follows the requests of one connection.
#[derive(Clone, Debug)]
pub struct RequestInspector {
    rules: Rules,
    state: State,
    lines: Lines,
    empty_lines: u8,
    line: RequestLine,
    framing: Framing,
    own: Own,
    noted: Noted,
    heads: u64,
    summary: Option<HeadSummary>,
}

impl RequestInspector {
    /// At the start of a connection.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Line,
            lines: Lines::new(),
            empty_lines: 0,
            line: RequestLine {
                method: MethodKind::Other,
                version: Version::Http11,
                form: Form::Relative,
            },
            framing: Framing::default(),
            own: Own::default(),
            noted: Noted::default(),
            heads: 0,
            summary: None,
        }
    }

    /// Judges `bytes`: everything that has not passed yet, in one piece.
    pub fn step(&mut self, bytes: &[u8]) -> Step {
        match self.state {
            State::Line | State::Fields => match self.head(bytes) {
                Ok(None) => Step::Wait,
                Ok(Some(passed)) => {
                    let body = bytes.get(passed..).unwrap_or_default();
                    Step::Pass(passed + self.body(body))
                }
                Err(refusal) => {
                    self.state = State::Refused(refusal);
                    Step::Refuse(refusal)
                }
            },
            State::Hold => Step::Hold,
            State::Last => Step::Last,
            State::Tunnel if bytes.is_empty() => Step::Wait,
            State::Tunnel => Step::Pass(bytes.len()),
            State::Refused(refusal) => Step::Refuse(refusal),
            State::Broken(refusal) => Step::Break(refusal),
            State::Length(_) | State::Chunked(_) => match self.body(bytes) {
                0 => match self.state {
                    State::Broken(refusal) => Step::Break(refusal),
                    _ => Step::Wait,
                },
                passed => Step::Pass(passed),
            },
        }
    }

    /// Heads that passed.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// The last head that passed.
    pub fn summary(&self) -> Option<&HeadSummary> {
        self.summary.as_ref()
    }

    /// Faults of syntax that were let through, of the head that passed last or is withheld.
    pub fn noted(&self) -> Noted {
        self.noted
    }

    /// Whether the bytes of a head are withheld: an end of input now would cut it off. Empty lines are no head.
    pub fn is_in_head(&self, withheld: &[u8]) -> bool {
        matches!(self.state, State::Line | State::Fields)
            && !withheld.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }

    /// Whether an end of input now would cut a body off.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Length(_) | State::Chunked(_))
    }

    /// Whether nothing passes, whatever comes: [`Step::Hold`] or [`Step::Last`].
    pub fn holds(&self) -> bool {
        matches!(self.state, State::Hold | State::Last)
    }

    /// Ends a [`Step::Hold`]; without one it does nothing.
    pub fn resume(&mut self, resume: Resume) {
        if !matches!(self.state, State::Hold) {
            return;
        }
        self.state = match resume {
            Resume::Tunnel => State::Tunnel,
            Resume::Http if self.summary.is_some_and(|summary| summary.persists) => State::Line,
            Resume::Http => State::Last,
        };
    }

    /// Follows a body; returns how many bytes pass.
    fn body(&mut self, bytes: &[u8]) -> usize {
        match &mut self.state {
            State::Length(left) => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                if *left == 0 {
                    self.end();
                }
                taken
            }
            State::Chunked(chunked) => match chunked.follow(bytes, self.rules.fields_max) {
                Ok(Followed::All) => bytes.len(),
                Ok(Followed::Ends(taken)) => {
                    self.end();
                    taken
                }
                Err(refusal) => {
                    self.state = State::Broken(refusal);
                    0
                }
            },
            _ => 0,
        }
    }

    /// The message is over.
    fn end(&mut self) {
        let Some(summary) = &self.summary else { return };
        self.state = if summary.method == MethodKind::Connect || summary.offered == Offered::Upgrade {
            State::Hold
        } else if summary.persists {
            State::Line
        } else {
            State::Last
        };
    }

    /// Reads on in a head; returns its length as soon as it is whole.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        if self.lines.passed() == 0 && matches!(self.state, State::Line) {
            self.noted = Noted::default();
        }
        loop {
            let start = self.lines.passed();
            let line = self.lines.next(bytes);
            let end = if line.is_some() {
                self.lines.passed() - 1
            } else {
                bytes.len()
            };
            self.check_size(start, end)?;
            let Some(line) = line else { return Ok(None) };
            if line.ending == Ending::BareLf {
                self.rules.judge(Refusal::BareLf, &mut self.noted)?;
            }
            match self.state {
                State::Line if line.bytes.is_empty() => {
                    self.empty_lines += 1;
                    if self.empty_lines > EMPTY_LINES_MAX {
                        return Err(Refusal::RequestLineBad);
                    }
                }
                State::Line => {
                    self.line = request_line::read(line.bytes, &self.rules, &mut self.noted)?;
                    self.framing = Framing::default();
                    self.own = Own::default();
                    self.state = State::Fields;
                }
                _ if line.bytes.is_empty() => {
                    self.finish()?;
                    let passed = self.lines.passed();
                    self.lines = Lines::new();
                    self.empty_lines = 0;
                    return Ok(Some(passed));
                }
                _ => self.field(&line)?,
            }
        }
    }

    /// Refuses what is too long already, so that the verdict does not hang on how the bytes arrived.
    /// `end` is where the line that begins at `start` ends, or where the bytes do.
    #[inline]
    fn check_size(&self, start: usize, end: usize) -> Result<(), Refusal> {
        if matches!(self.state, State::Line) {
            let line_end_max = start + self.rules.target_bytes_max + request_line::BYTES_BESIDE;
            if line_end_max < self.rules.head_bytes_max && end > line_end_max {
                return Err(Refusal::TargetTooLong);
            }
        }
        if end >= self.rules.head_bytes_max {
            return Err(Refusal::HeadTooLarge);
        }
        Ok(())
    }

    #[inline]
    fn field(&mut self, line: &Line<'_>) -> Result<(), Refusal> {
        let field = fields::read(line)?;
        self.framing.count(self.rules.fields_max)?;
        let is = |name: &[u8]| table::is_name(field.name, name);
        match field.name.len() {
            4 if is(b"host") => {
                if self.own.host {
                    return Err(Refusal::HostRepeated);
                }
                super::authority::read(field.value).ok_or(Refusal::HostBad)?;
                self.own.host = true;
            }
            6 if is(b"expect") => {
                if !field.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::ExpectUnknown);
                }
                self.own.expects_continue = true;
            }
            7 if is(b"upgrade") => self.own.offers |= fields::offers_protocol(field.value),
            10 if is(b"connection") => self.framing.connection(field.value),
            14 if is(b"content-length") => self.framing.length(field.value)?,
            17 if is(b"transfer-encoding") => self.framing.encoding(field.value, self.line.version)?,
            _ if field.classes & UNDERSCORE != 0 && fields::shadows(field.name) => {
                self.rules.judge(Refusal::UnderscoreShadow, &mut self.noted)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The head is whole.
    fn finish(&mut self) -> Result<(), Refusal> {
        let RequestLine {
            method,
            version,
            form,
        } = self.line;
        if !self.own.host && (version == Version::Http11 || form == Form::Relative) {
            return Err(Refusal::HostMissing);
        }
        let body = self.framing.body().unwrap_or(Body::None);
        if method == MethodKind::Connect && !matches!(body, Body::None | Body::Length(0)) {
            return Err(Refusal::ConnectBody);
        }
        let is_new = version == Version::Http11;
        let offered = if is_new && self.own.offers && self.framing.names_upgrade() {
            Offered::Upgrade
        } else {
            Offered::Nothing
        };
        self.heads += 1;
        self.summary = Some(HeadSummary {
            method,
            version,
            body,
            offered,
            expects_continue: is_new && self.own.expects_continue,
            persists: self.framing.persists(version),
        });
        match body {
            Body::Length(length) if length > 0 => self.state = State::Length(length),
            Body::Chunked => self.state = State::Chunked(Chunked::new()),
            _ => self.end(),
        }
        Ok(())
    }
}
