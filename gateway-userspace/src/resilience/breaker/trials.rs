//! The trial calls of the half-open state: a round of them, handed out one by one, decided as soon as its end is certain.
//!
//! A trial that outlives its round keeps its place until it ends or its deadline passes, so that rounds that follow one
//! another never have more calls out than one round may.

use std::time::Duration;

use super::Settings;

/// A trial call's permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial(u64);

/// How a trial call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Well, but slowly.
    Slow,
    /// Failed.
    Failed,
    /// Nobody knows (the client went away): the place is free for another.
    Unknown,
}

/// What a round showed; `calls` are those that ended.
pub(super) enum Verdict {
    Passed { passed: u32, calls: u32 },
    Failed { failed: u32, calls: u32 },
    Slow { slow: u32, calls: u32 },
}

/// The round, and whatever of earlier ones is still out.
#[derive(Debug, Default)]
pub(super) struct Trials {
    /// Calls of the round, in all.
    max: u32,
    round: u64,
    next: u64,
    /// At most `max` of the largest round.
    out: Vec<Out>,
    passed: u32,
    failed: u32,
    /// Of those that passed.
    slow: u32,
}

#[derive(Debug)]
struct Out {
    trial: Trial,
    round: u64,
    deadline: Duration,
}

impl Trials {
    pub(super) fn begin(&mut self, max: u32) {
        self.max = max;
        self.round = self.round.wrapping_add(1);
        self.passed = 0;
        self.failed = 0;
        self.slow = 0;
    }

    /// Permits that are left.
    pub(super) fn left(&self) -> u32 {
        let mine = self.out.iter().filter(|out| out.round == self.round).count();
        let begun = self.ended().saturating_add(count(mine));
        let in_round = self.max.saturating_sub(begun);
        in_round.min(self.max.saturating_sub(count(self.out.len())))
    }

    pub(super) fn take(&mut self, deadline: Duration) -> Option<Trial> {
        if self.left() == 0 {
            return None;
        }
        let trial = Trial(self.next);
        self.next = self.next.wrapping_add(1);
        self.out.push(Out {
            trial,
            round: self.round,
            deadline,
        });
        Some(trial)
    }

    /// Takes the result, once; of a trial of an earlier round, only the place.
    pub(super) fn end(&mut self, trial: Trial, outcome: Outcome) {
        let Some(index) = self.out.iter().position(|out| out.trial == trial) else {
            return;
        };
        let out = self.out.swap_remove(index);
        if out.round != self.round {
            return;
        }
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Slow => {
                self.passed += 1;
                self.slow += 1;
            }
            Outcome::Failed => self.failed += 1,
            Outcome::Unknown => {}
        }
    }

    /// Those without a result in time count as failed.
    pub(super) fn expire(&mut self, now: Duration) {
        let round = self.round;
        let mut lost = 0;
        self.out.retain(|out| {
            let stays = now < out.deadline;
            lost += u32::from(!stays && out.round == round);
            stays
        });
        self.failed = self.failed.saturating_add(lost);
    }

    /// What the round shows, once calls that did not end yet could not change it.
    pub(super) fn verdict(&self, settings: &Settings) -> Option<Verdict> {
        let calls = self.ended();
        let open = self.max.saturating_sub(calls);
        let failed_max = threshold(settings.failure_ratio, self.max);
        let slow_max = settings.slow_ratio.map(|ratio| threshold(ratio, self.max));
        if self.failed >= failed_max {
            return Some(Verdict::Failed {
                failed: self.failed,
                calls,
            });
        }
        if slow_max.is_some_and(|max| self.slow >= max) {
            return Some(Verdict::Slow {
                slow: self.slow,
                calls,
            });
        }
        let certain = self.failed.saturating_add(open) < failed_max
            && slow_max.is_none_or(|max| self.slow.saturating_add(open) < max);
        certain.then_some(Verdict::Passed {
            passed: self.passed,
            calls,
        })
    }

    fn ended(&self) -> u32 {
        self.passed.saturating_add(self.failed)
    }
}

/// Fewest of `max` calls that reach the ratio.
fn threshold(ratio: f64, max: u32) -> u32 {
    // A cast from a float saturates.
    let least = (ratio * f64::from(max)).ceil() as u32;
    least.clamp(1, max.max(1))
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
