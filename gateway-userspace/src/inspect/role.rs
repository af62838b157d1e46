//! What an inspected stream is to its peer, and how it judges bytes in that role.

use std::io;
use std::task::Context;

use super::counted::Counted;
use super::refusal::Refusal;
use super::report::Report;
use super::request::RequestInspector;
use super::response::{End, ResponseInspector};
use super::step::Step;

/// A stream's role.
#[derive(Debug)]
pub(super) enum Role {
    /// A server of HTTP/1.
    Requests(RequestInspector),
    /// A client of HTTP/1.
    Responses(ResponseInspector),
    /// A server of HTTP/1 that refused a head: what stands for it still passes, then nothing ever.
    Refused,
    /// A server of HTTP/2.
    Frames(Counted),
}

/// What is to be done with bytes that were judged.
pub(super) enum Verdict {
    /// So many pass.
    Pass(usize),
    /// They wait for more.
    Wait,
    /// Nothing passes, for now or ever.
    Hold,
    /// They begin with a head that the service is to refuse.
    Refuse(Refusal),
}

impl Role {
    /// Judges all bytes that have not passed.
    ///
    /// # Errors
    /// A broken body, or a bad response.
    pub(super) fn judge(
        &mut self,
        report: &Report,
        bytes: &[u8],
        context: &Context<'_>,
    ) -> io::Result<Verdict> {
        loop {
            let step = match self {
                Self::Requests(inspector) => {
                    let step = inspector.step(bytes);
                    if matches!(step, Step::Pass(_)) && inspector.heads() != report.heads() {
                        report.passed(inspector.heads(), inspector.summary().copied(), inspector.noted());
                    }
                    step
                }
                Self::Responses(inspector) => {
                    if let Some(answer) = report.take_asked() {
                        inspector.expect(answer);
                    }
                    let step = inspector.step(bytes);
                    if matches!(step, Step::Pass(_)) {
                        report.answered(inspector.interim(), inspector.is_until_close());
                        if inspector.heads() != report.heads() {
                            report.passed(inspector.heads(), None, inspector.noted());
                        }
                    }
                    step
                }
                Self::Refused => Step::Last,
                Self::Frames(_) if bytes.is_empty() => Step::Wait,
                Self::Frames(counted) => {
                    counted.received(bytes, report);
                    Step::Pass(bytes.len())
                }
            };
            return match (step, &mut *self) {
                (Step::Pass(count), _) => Ok(Verdict::Pass(count)),
                (Step::Wait, _) => Ok(Verdict::Wait),
                (Step::Hold, role) => match (report.hold(context.waker()), role) {
                    (Some(resume), Self::Requests(inspector)) => {
                        inspector.resume(resume);
                        continue;
                    }
                    (Some(resume), Self::Responses(inspector)) => {
                        inspector.resume(resume);
                        continue;
                    }
                    _ => Ok(Verdict::Hold),
                },
                (Step::Last, _) => Ok(Verdict::Hold),
                (Step::Refuse(refusal), Self::Requests(_)) => Ok(Verdict::Refuse(refusal)),
                (Step::Refuse(refusal) | Step::Break(refusal), _) => {
                    report.break_off(refusal);
                    Err(io::Error::new(io::ErrorKind::InvalidData, refusal))
                }
            };
        }
    }

    /// Whether even no bytes at all are worth a judgement: a hold may be over.
    pub(super) fn holds(&self) -> bool {
        match self {
            Self::Requests(inspector) => inspector.holds(),
            Self::Responses(inspector) => inspector.holds(),
            Self::Refused | Self::Frames(_) => false,
        }
    }

    /// Notes what the end of input cuts off; `withheld` has not passed.
    ///
    /// # Errors
    /// A response that is cut off.
    pub(super) fn ended(&self, report: &Report, withheld: &[u8]) -> io::Result<()> {
        match self {
            Self::Requests(inspector) if inspector.is_in_head(withheld) => report.cut_head(),
            Self::Responses(inspector) => {
                if let End::Truncated(refusal) = inspector.eof(withheld) {
                    report.break_off(refusal);
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, refusal));
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn is_being_cut(&self) -> bool {
        matches!(self, Self::Frames(counted) if counted.is_being_cut())
    }
}
