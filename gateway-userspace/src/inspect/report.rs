//! What an inspected stream tells those who serve its connection, and what they tell it.
//!
//! hyper owns the stream; this is shared beside it, by `Rc`: a connection lives on one thread.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use super::frames::Flood;
use super::refusal::{Noted, Refusal};
use super::request::HeadSummary;
use super::response::Answer;
use super::step::Resume;

/// A refused head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Heads that passed before it on the connection: the service's request of that number (from 0) stands for it.
    pub index: u64,
    /// Why.
    pub refusal: Refusal,
    /// Its first line as far as it was read, at most 256 bytes, for the log; what is not UTF-8 is replaced.
    pub start_line: String,
}

/// What is shared between an inspected stream and those who serve its connection.
#[derive(Debug, Default)]
pub struct Report {
    heads: Cell<u64>,
    interim: Cell<u64>,
    summary: Cell<Option<HeadSummary>>,
    noted: Cell<Noted>,
    refused: RefCell<Option<Refused>>,
    broken: Cell<Option<Refusal>>,
    flood: Cell<Option<Flood>>,
    cut_heads: Cell<u64>,
    asked: Cell<Option<Answer>>,
    resume: Cell<Option<Resume>>,
    holds: Cell<bool>,
    until_close: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Report {
    /// HTTP begins on the connection, or begins anew after a rest between two messages.
    pub fn begin(&self) {
        self.heads.set(0);
        self.summary.set(None);
        self.resume.set(None);
        self.holds.set(false);
    }

    /// Heads that passed: of requests, or of final responses. hyper may read one request ahead of its service.
    pub fn heads(&self) -> u64 {
        self.heads.get()
    }

    /// Responses: heads of 1xx that passed.
    pub fn interim(&self) -> u64 {
        self.interim.get()
    }

    /// Requests: the last head that passed. None passes after one that offers an upgrade or asks for a tunnel,
    /// until [`Report::resume`], so for those this is the request under way.
    pub fn summary(&self) -> Option<HeadSummary> {
        self.summary.get()
    }

    /// Faults of syntax let through since the last call: to be counted.
    pub fn take_noted(&self) -> Noted {
        self.noted.take()
    }

    /// The refused head; there is one at most, for nothing is read after it.
    pub fn refused(&self) -> Option<Refused> {
        self.refused.borrow().clone()
    }

    /// Why the head that the service gets as its request of this number (from 0) is refused, if it is.
    pub fn refusal_of(&self, index: u64) -> Option<Refusal> {
        let refused = self.refused.borrow();
        let refused = refused.as_ref()?;
        (refused.index == index).then_some(refused.refusal)
    }

    /// What is wrong with a body whose head had passed, or, of responses, with anything.
    pub fn broken(&self) -> Option<Refusal> {
        self.broken.get()
    }

    /// The flood for which the connection was cut.
    pub fn flood(&self) -> Option<Flood> {
        self.flood.get()
    }

    /// Heads that the end of input cut off: 0 or 1.
    pub fn cut_heads(&self) -> u64 {
        self.cut_heads.get()
    }

    /// Whether nothing passes until [`Report::resume`].
    pub fn holds(&self) -> bool {
        self.holds.get()
    }

    /// Responses: whether the last body lasts until the connection ends.
    pub fn is_until_close(&self) -> bool {
        self.until_close.get()
    }

    /// Says how the request under way, which offers an upgrade or asks for a tunnel, was answered. Call it once for
    /// each such request, also before its body is over.
    pub fn resume(&self, resume: Resume) {
        self.resume.set(Some(resume));
        self.wake();
    }

    /// Responses: a request of that kind is about to be sent.
    pub fn expect(&self, answer: Answer) {
        self.asked.set(Some(answer));
    }

    pub(super) fn passed(&self, heads: u64, summary: Option<HeadSummary>, noted: Noted) {
        self.heads.set(heads);
        self.summary.set(summary);
        // What was said of an earlier head says nothing of this one.
        self.resume.set(None);
        let mut all = self.noted.get();
        all.merge(noted);
        self.noted.set(all);
    }

    pub(super) fn answered(&self, interim: u64, until_close: bool) {
        self.interim.set(interim);
        self.until_close.set(until_close);
    }

    pub(super) fn refuse(&self, refused: Refused) {
        *self.refused.borrow_mut() = Some(refused);
    }

    pub(super) fn break_off(&self, refusal: Refusal) {
        self.broken.set(Some(refusal));
    }

    pub(super) fn cut(&self, flood: Flood) {
        self.flood.set(Some(flood));
    }

    pub(super) fn cut_head(&self) {
        self.cut_heads.set(1);
    }

    pub(super) fn take_asked(&self) -> Option<Answer> {
        self.asked.take()
    }

    /// What ends the hold, if anybody said; else the caller is woken when they do.
    pub(super) fn hold(&self, waker: &Waker) -> Option<Resume> {
        let resume = self.resume.take();
        self.holds.set(resume.is_none());
        if resume.is_none() {
            self.park(waker);
        }
        resume
    }

    pub(super) fn park(&self, waker: &Waker) {
        let mut parked = self.waker.borrow_mut();
        match &mut *parked {
            Some(held) if held.will_wake(waker) => {}
            held => *held = Some(waker.clone()),
        }
    }

    pub(super) fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
