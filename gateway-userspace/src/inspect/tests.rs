//! The tables of what is refused, as rows; each input also in every split into two parts.

mod frames;
mod requests;
mod responses;
mod stream;

use super::step::Step;
use super::{RequestInspector, ResponseInspector};

/// Longer inputs are split at some places only behind this one.
const SPLITS_MAX: usize = 500;

/// What both inspectors can do.
trait Inspector: Clone {
    fn judge(&mut self, bytes: &[u8]) -> Step;
    fn heads(&self) -> u64;
}

impl Inspector for RequestInspector {
    fn judge(&mut self, bytes: &[u8]) -> Step {
        self.step(bytes)
    }

    fn heads(&self) -> u64 {
        self.heads()
    }
}

impl Inspector for ResponseInspector {
    fn judge(&mut self, bytes: &[u8]) -> Step {
        self.step(bytes)
    }

    fn heads(&self) -> u64 {
        self.heads()
    }
}

/// What came of an input.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    heads: u64,
    /// The last word: never [`Step::Pass`].
    end: Step,
    /// Bytes that passed; not compared where a body broke, for what passes before depends on the split.
    passed: Option<usize>,
}

/// Shows an inspector the parts of an input one after the other, as a stream would.
fn run<I: Inspector>(inspector: &mut I, parts: &[&[u8]]) -> Verdict {
    let (mut withheld, mut passed) = (Vec::new(), 0);
    let mut end = Step::Wait;
    for part in parts {
        withheld.extend_from_slice(part);
        loop {
            end = inspector.judge(&withheld);
            let Step::Pass(count) = end else { break };
            assert!(
                count > 0 && count <= withheld.len(),
                "passes {count} of {}",
                withheld.len()
            );
            passed += count;
            withheld.drain(..count);
            if withheld.is_empty() {
                end = Step::Wait;
                break;
            }
        }
    }
    Verdict {
        heads: inspector.heads(),
        end,
        passed: (!matches!(end, Step::Break(_))).then_some(passed),
    }
}

/// As [`run`], with the input whole, in every split into two, and byte by byte: all must agree.
fn run_all_splits<I: Inspector>(inspector: &I, input: &[u8], why: &str) -> (Verdict, I) {
    let mut first = inspector.clone();
    let whole = run(&mut first, &[input]);
    for at in (0..=input.len()).filter(|at| *at < SPLITS_MAX || at % 61 == 0 || at + 100 > input.len()) {
        let (before, after) = input.split_at(at);
        let verdict = run(&mut inspector.clone(), &[before, after]);
        assert_eq!(
            verdict,
            whole,
            "{why}: split at {at}: {:?}",
            String::from_utf8_lossy(input)
        );
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    let verdict = run(&mut inspector.clone(), &bytes);
    assert_eq!(
        verdict,
        whole,
        "{why}: byte by byte: {:?}",
        String::from_utf8_lossy(input)
    );
    (whole, first)
}
