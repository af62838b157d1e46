//! A stream between a socket and hyper that lets through what the inspectors let through.
//!
//! A server of HTTP/1 sees whole heads, each judged, and at most one message a read. A refused head is replaced by
//! one fixed request, so that its answer keeps its place among others and goes through the service like any; after it
//! nothing comes. A client's responses are judged likewise, but a refusal is an error of the stream. A server of
//! HTTP/2 sees everything, until a flood: then the frame under way is finished, GOAWAY is written, and reading fails.
//! The usual read, of one whole head into an empty buffer, copies nothing and allocates nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::counted::Counted;
use super::refusal::Refusal;
use super::report::{Refused, Report};
use super::request::RequestInspector;
use super::response::ResponseInspector;
use super::role::{Role, Verdict};
use super::rules::Rules;

/// What the service gets in place of a refused head.
const REFUSED: &[u8] = b"GET / HTTP/1.1\r\nHost: refused.invalid\r\nConnection: close\r\n\r\n";
/// The same where the client asked with HEAD and waits for no body.
const REFUSED_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: refused.invalid\r\nConnection: close\r\n\r\n";
/// Bytes of a refused head's first line that are kept for the log.
const START_LINE_BYTES_MAX: usize = 256;
/// Bytes that are read while nothing may pass, so that a client that goes away is noticed.
const HELD_BYTES_MAX: usize = 65_536;

/// Room for held bytes that stays with a connection.
const HELD_BYTES_KEPT: usize = 4_096;

/// A socket's stream, inspected.
#[derive(Debug)]
pub struct Inspected<S> {
    stream: S,
    report: Rc<Report>,
    role: Role,
    /// Bytes that were read and have not passed, from `start`; `allowed` of them may.
    held: Vec<u8>,
    start: usize,
    allowed: usize,
}

/// Where the input of a connection stands when HTTP on it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Between two messages: closing loses nothing.
    Whole,
    /// Something was sent, or is still being sent, that nobody reads: closing at once would reset the connection.
    Owed,
}

/// What is to be done after bytes were judged.
enum Outcome {
    /// Give it to the caller.
    Pass,
    /// Read more.
    Wait,
    /// Read on only to notice the end.
    Hold,
    /// What stands for a refused head lies ready.
    Replaced,
}

impl<S> Inspected<S> {
    /// The server's side of an HTTP/1 connection of which `first` was read already.
    pub fn server(stream: S, first: Vec<u8>, rules: Rules, report: Rc<Report>) -> Self {
        Self::new(
            stream,
            first,
            Role::Requests(RequestInspector::new(rules)),
            report,
        )
    }

    /// The client's side of an HTTP/1 connection.
    pub fn client(stream: S, rules: Rules, report: Rc<Report>) -> Self {
        Self::new(
            stream,
            Vec::new(),
            Role::Responses(ResponseInspector::new(rules)),
            report,
        )
    }

    /// The server's side of an HTTP/2 connection of which `first` was read already.
    pub fn server_http2(stream: S, first: Vec<u8>, report: Rc<Report>) -> Self {
        Self::new(stream, first, Role::Frames(Counted::new()), report)
    }

    fn new(stream: S, held: Vec<u8>, role: Role, report: Rc<Report>) -> Self {
        Self {
            stream,
            report,
            role,
            held,
            start: 0,
            allowed: 0,
        }
    }

    /// The stream, and the bytes that were read from it and have not passed.
    pub fn into_inner(mut self) -> (S, Vec<u8>) {
        if matches!(self.role, Role::Refused) {
            // What stands for the refused head was never read.
            return (self.stream, Vec::new());
        }
        self.held.drain(..self.start.min(self.held.len()));
        (self.stream, self.held)
    }

    /// Whether the other side is in the middle of something, or sent more than was read.
    pub fn input(&self) -> Input {
        let is_owed = match &self.role {
            Role::Requests(inspector) => {
                inspector.is_in_body() || self.report.broken().is_some() || !self.withheld().is_empty()
            }
            Role::Responses(_) => false,
            Role::Refused | Role::Frames(_) => true,
        };
        if is_owed { Input::Owed } else { Input::Whole }
    }

    /// The stream itself, to set its options or look at its state.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    fn withheld(&self) -> &[u8] {
        self.held.get(self.start..).unwrap_or_default()
    }

    /// Gives the caller as much as is allowed and fits.
    fn deliver(&mut self, buffer: &mut ReadBuf<'_>) {
        let wanted = self.allowed.min(buffer.remaining());
        let bytes = self.withheld().get(..wanted).unwrap_or_default();
        buffer.put_slice(bytes);
        self.start += wanted;
        self.allowed -= wanted;
        if self.start >= self.held.len() {
            self.held.clear();
            // Idle connections are many: a long pipeline must not stay with each.
            self.held.shrink_to(HELD_BYTES_KEPT);
            self.start = 0;
        }
    }

    /// Keeps bytes that do not pass yet.
    fn withhold(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.held.drain(..self.start.min(self.held.len()));
            self.start = 0;
        }
        self.held.extend_from_slice(bytes);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inspected<S> {
    /// Puts the fixed request in the place of a refused head.
    fn replace(&mut self, head: &[u8], refusal: Refusal) {
        let line = head
            .split(|byte| matches!(byte, b'\r' | b'\n'))
            .find(|line| !line.is_empty());
        let line = line.unwrap_or_default();
        let kept = line.get(..START_LINE_BYTES_MAX).unwrap_or(line);
        self.report.refuse(Refused {
            index: self.report.heads(),
            refusal,
            start_line: String::from_utf8_lossy(kept).into_owned(),
        });
        let substitute = if line.starts_with(b"HEAD ") {
            REFUSED_HEAD
        } else {
            REFUSED
        };
        self.role = Role::Refused;
        self.held = substitute.to_vec();
        self.start = 0;
        self.allowed = substitute.len();
    }

    /// Judges bytes that were just read into the caller's buffer, and leaves there what passes.
    fn judge_in_place(
        &mut self,
        buffer: &mut ReadBuf<'_>,
        before: usize,
        context: &Context<'_>,
    ) -> io::Result<Outcome> {
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        let (passed, outcome) = match self.role.judge(&self.report, fresh, context) {
            Ok(Verdict::Pass(passed)) => (passed, Ok(Outcome::Pass)),
            Ok(Verdict::Wait) => (0, Ok(Outcome::Wait)),
            Ok(Verdict::Hold) => (0, Ok(Outcome::Hold)),
            Ok(Verdict::Refuse(refusal)) => {
                self.replace(fresh, refusal);
                buffer.set_filled(before);
                return Ok(Outcome::Replaced);
            }
            Err(error) => (0, Err(error)),
        };
        if let Some(rest @ [_, ..]) = fresh.get(passed..) {
            self.held.extend_from_slice(rest);
        }
        buffer.set_filled(before + passed);
        outcome
    }

    /// Judges bytes that are withheld.
    fn judge_held(&mut self, context: &Context<'_>) -> io::Result<Outcome> {
        let bytes = self.held.get(self.start..).unwrap_or_default();
        match self.role.judge(&self.report, bytes, context)? {
            Verdict::Pass(passed) => {
                self.allowed = passed;
                Ok(Outcome::Pass)
            }
            Verdict::Wait => Ok(Outcome::Wait),
            Verdict::Hold => Ok(Outcome::Hold),
            Verdict::Refuse(refusal) => {
                let head = std::mem::take(&mut self.held);
                self.replace(head.get(self.start..).unwrap_or_default(), refusal);
                Ok(Outcome::Replaced)
            }
        }
    }

    /// Finishes the frame under way and writes GOAWAY; ready when it is written.
    fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Role::Frames(counted) = &mut self.role else {
            return Poll::Ready(Ok(()));
        };
        counted.poll_cut(&mut self.stream, &self.report, context)
    }

    fn wrote(&mut self, written: usize, slices: &[IoSlice<'_>]) {
        let Role::Frames(counted) = &mut self.role else {
            return;
        };
        let mut left = written;
        for slice in slices {
            let part = slice.get(..left.min(slice.len())).unwrap_or_default();
            counted.sent(part);
            left -= part.len();
            if left == 0 {
                break;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Inspected<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.allowed > 0 {
                this.deliver(buffer);
                return Poll::Ready(Ok(()));
            }
            if matches!(this.role, Role::Refused) {
                // Not the end: hyper would take the exchange for broken.
                return Poll::Pending;
            }
            if this.role.is_being_cut() {
                return this.poll_cut(context);
            }
            if !this.held.is_empty() || this.role.holds() {
                match this.judge_held(context)? {
                    Outcome::Pass | Outcome::Replaced => continue,
                    Outcome::Hold if this.withheld().len() >= HELD_BYTES_MAX => return Poll::Pending,
                    Outcome::Hold | Outcome::Wait => {}
                }
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(this.role.ended(&this.report, this.withheld()));
            }
            if this.withheld().is_empty() {
                if let Outcome::Pass = this.judge_in_place(buffer, before, context)? {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let fresh = buffer.filled().get(before..).unwrap_or_default();
                this.withhold(fresh);
                buffer.set_filled(before);
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Inspected<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let bytes = match &mut this.role {
            Role::Frames(counted) if counted.is_being_cut() => {
                let owed = bytes.get(..counted.owed().min(bytes.len())).unwrap_or_default();
                if owed.is_empty() {
                    ready!(this.poll_cut(context))?;
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                owed
            }
            _ => bytes,
        };
        let written = ready!(Pin::new(&mut this.stream).poll_write(context, bytes))?;
        this.wrote(written, &[IoSlice::new(bytes)]);
        if this.role.is_being_cut() {
            this.report.wake();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.role.is_being_cut() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[], |slice| slice));
        }
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, slices))?;
        this.wrote(written, slices);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
