//! Judges a journal: what failed, why, and whether it was allowed to.
//!
//! Pure. The rule: a request may fail if its connection lived on a node that died. A connection attempt may fail if it
//! began before the death was a second old; so may the first request of a connection that was opened before then, if
//! no answer and no access log tells its node (see `owners`). Nothing else may fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::load::journal::{Failure, Record, Step};

/// Within this the other nodes must have noticed a death.
pub const DETECTION_MAX: Duration = Duration::from_secs(1);

/// Failures that are told one by one: enough to see what they have in common.
pub const QUOTED_MAX: usize = 20;

/// A node that died: its process was killed or its cable cut.
#[derive(Clone, Debug)]
pub struct Death {
    /// The node.
    pub node: String,
    /// When.
    pub at: Instant,
}

/// What a failure counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Its connection had lived on a node that died.
    LivedOnDead,
    /// The connection was opened before the death was noticed, and never told its node.
    DuringDetection,
    /// Nothing excuses it.
    Unexcused,
}

/// Figures of one journal.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests sent, whatever became of them.
    pub sent: u64,
    /// Requests answered well.
    pub answered: u64,
    /// Connection attempts, whatever became of them.
    pub attempts: u64,
    /// Connection attempts that failed.
    pub attempts_failed: u64,
    /// Failed requests and lost idle connections that nothing excuses.
    pub unexcused_requests: u64,
    /// Failed connection attempts that nothing excuses.
    pub unexcused_attempts: u64,
    /// Excused requests whose node nobody knows: neither an answer nor an access log has told.
    pub excused_of_unknown_node: u64,
    /// Failures by what was tried, reason and judgement.
    pub failures: BTreeMap<(&'static str, Failure, &'static str), u64>,
    /// Requests each node answered.
    pub per_node: BTreeMap<String, u64>,
    /// Connections that lived on a node when it died, by node.
    pub lost_with: BTreeMap<String, u64>,
    /// The first of what nothing excuses, one line each: [`QUOTED_MAX`] at most.
    pub quoted: Vec<String>,
}

/// Counts and judges all records.
pub fn tally(records: &[Record], deaths: &[Death]) -> Tally {
    let mut tally = Tally::default();
    let mut lost = BTreeSet::new();
    for record in records {
        match record.step {
            Step::Connect => tally.attempts += 1,
            Step::Request => tally.sent += 1,
            Step::Idle => {}
        }
        let Err(failure) = &record.outcome else {
            if record.step == Step::Request {
                tally.answered += 1;
                if let Some(node) = &record.node {
                    *tally.per_node.entry(node.to_string()).or_default() += 1;
                }
            }
            continue;
        };
        let killer = deaths.iter().find(|death| lived_on_dead(record, death));
        if let Some(death) = killer {
            lost.insert((death.node.clone(), record.connection));
        }
        // A server may close a connection between two requests.
        if record.step == Step::Idle && *failure == Failure::Closed {
            continue;
        }
        let judgement = judge(record, deaths);
        if record.step == Step::Connect {
            tally.attempts_failed += 1;
        }
        if judgement == Judgement::Unexcused {
            if tally.quoted.len() < QUOTED_MAX {
                tally.quoted.push(quote(record, failure, deaths, records));
            }
            match record.step {
                Step::Connect => tally.unexcused_attempts += 1,
                Step::Request | Step::Idle => tally.unexcused_requests += 1,
            }
        }
        if judgement == Judgement::DuringDetection && record.step != Step::Connect {
            tally.excused_of_unknown_node += 1;
        }
        let what = match record.step {
            Step::Connect => "connection attempt",
            Step::Request => "request",
            Step::Idle => "idle connection",
        };
        let why = match judgement {
            Judgement::LivedOnDead => "lived on the dead node",
            Judgement::DuringDetection => "opened before the death was noticed",
            Judgement::Unexcused => "NOT EXCUSED",
        };
        *tally.failures.entry((what, failure.clone(), why)).or_default() += 1;
    }
    for (node, _) in lost {
        *tally.lost_with.entry(node).or_default() += 1;
    }
    tally
}

/// What failed, on which node, and when: counted from the first death, else from the first record.
fn quote(record: &Record, failure: &Failure, deaths: &[Death], records: &[Record]) -> String {
    let deaths = deaths.iter().map(|death| death.at).min();
    let origin = deaths.or_else(|| records.iter().map(|record| record.opened).min());
    let origin = origin.unwrap_or(record.opened);
    let after = |at: Instant| match at.checked_duration_since(origin) {
        Some(time) => format!("+{:.3}", time.as_secs_f64()),
        None => format!("-{:.3}", (origin - at).as_secs_f64()),
    };
    format!(
        "{:?} on {}: opened {} s, begun {} s, {failure} {} s",
        record.step,
        record.node.as_deref().unwrap_or("a node that is not known"),
        after(record.opened),
        after(record.started),
        after(record.ended),
    )
}

/// Judges one failed record.
pub fn judge(record: &Record, deaths: &[Death]) -> Judgement {
    if deaths.iter().any(|death| lived_on_dead(record, death)) {
        return Judgement::LivedOnDead;
    }
    // Requests on connections that told their node are judged by that node alone.
    let node_unknown = record.node.is_none();
    let undetected = |death: &Death| record.ended >= death.at && record.opened < death.at + DETECTION_MAX;
    if node_unknown && deaths.iter().any(undetected) {
        return Judgement::DuringDetection;
    }
    Judgement::Unexcused
}

fn lived_on_dead(record: &Record, death: &Death) -> bool {
    record.node.as_deref() == Some(death.node.as_str())
        && record.opened < death.at + DETECTION_MAX
        && record.ended >= death.at
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::load::journal::Journal;

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn only_what_a_death_explains_is_excused() {
        let start = Instant::now();
        let deaths = [Death {
            node: "node2".into(),
            at: at(start, 10_000),
        }];
        // Step, node, when opened, when ended, judgement.
        let rows = [
            (
                "lived on the dead",
                Step::Request,
                Some("node2"),
                1_000,
                10_100,
                Judgement::LivedOnDead,
            ),
            (
                "lived elsewhere",
                Step::Request,
                Some("node1"),
                1_000,
                10_100,
                Judgement::Unexcused,
            ),
            (
                "failed before the death",
                Step::Request,
                Some("node2"),
                1_000,
                9_900,
                Judgement::Unexcused,
            ),
            (
                "reset while idle",
                Step::Idle,
                Some("node2"),
                1_000,
                10_100,
                Judgement::LivedOnDead,
            ),
            (
                "on the node's next life",
                Step::Request,
                Some("node2"),
                14_000,
                15_000,
                Judgement::Unexcused,
            ),
            (
                "attempt within a second",
                Step::Connect,
                None,
                10_900,
                15_900,
                Judgement::DuringDetection,
            ),
            (
                "attempt after a second",
                Step::Connect,
                None,
                11_000,
                11_001,
                Judgement::Unexcused,
            ),
            (
                "attempt before, in flight",
                Step::Connect,
                None,
                9_990,
                14_990,
                Judgement::DuringDetection,
            ),
            (
                "attempt that ended before",
                Step::Connect,
                None,
                9_000,
                9_001,
                Judgement::Unexcused,
            ),
            (
                "first request, node unknown",
                Step::Request,
                None,
                9_999,
                10_050,
                Judgement::DuringDetection,
            ),
        ];
        let journal = Journal::default();
        for (what, step, node, opened, ended, expected) in rows {
            let record = Record {
                connection: journal.new_connection(),
                opened: at(start, opened),
                step,
                node: node.map(Arc::from),
                started: at(start, opened),
                ended: at(start, ended),
                outcome: Err(Failure::Reset),
            };
            assert_eq!(judge(&record, &deaths), expected, "{what}");
        }
    }

    #[test]
    fn a_server_may_close_an_idle_connection_but_not_reset_it() {
        let start = Instant::now();
        let journal = Journal::default();
        let idle = |failure| Record {
            connection: journal.new_connection(),
            opened: start,
            step: Step::Idle,
            node: Some("node1".into()),
            started: start,
            ended: at(start, 5),
            outcome: Err(failure),
        };
        let counted = tally(&[idle(Failure::Closed), idle(Failure::Reset)], &[]);
        assert_eq!(counted.unexcused_requests, 1);
        assert_eq!(counted.sent, 0);
    }

    #[test]
    fn a_connection_lost_with_its_node_counts_once() {
        let start = Instant::now();
        let deaths = [Death {
            node: "node1".into(),
            at: start,
        }];
        let journal = Journal::default();
        let connection = journal.new_connection();
        let record = |step| Record {
            connection,
            opened: start,
            step,
            node: Some("node1".into()),
            started: start,
            ended: at(start, 5),
            outcome: Err(Failure::Closed),
        };
        let counted = tally(&[record(Step::Request), record(Step::Idle)], &deaths);
        assert_eq!(counted.lost_with.get("node1"), Some(&1));
    }
}
