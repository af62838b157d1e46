//! Snapshots that were in force, until the workers have left them.
//!
//! Whoever drops the last reference frees it, which takes milliseconds for 10,000 routes: no worker is to be that one.

use std::sync::{Arc, Mutex, PoisonError};

use crate::config::snapshot::{Listener, Snapshot};

/// Bounded by what workers hold: each leaves a snapshot with its next sweep, but for requests under way, of which it keeps no
/// more than `ends` allows.
#[derive(Debug, Default)]
pub(super) struct Retired(Mutex<Vec<Arc<Snapshot>>>);

impl Retired {
    /// One that another has replaced.
    pub(super) fn push(&self, snapshot: Arc<Snapshot>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(snapshot);
    }

    /// Takes out those of which nobody else has any part that no newer one has.
    pub(super) fn left_behind(&self, current: Arc<Snapshot>) -> Vec<Arc<Snapshot>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newer = vec![current];
        let mut left = Vec::new();
        while let Some(snapshot) = all.pop() {
            // Nobody can come by an old one any more, so that counts only fall.
            let is_left = Arc::strong_count(&snapshot) == 1
                && snapshot.listeners.iter().all(|listener| {
                    Arc::strong_count(listener) == 1 || newer.iter().any(|newer| has(newer, listener))
                });
            if is_left {
                left.push(snapshot);
            } else {
                newer.push(snapshot);
            }
        }
        all.extend(newer.drain(1..).rev());
        left
    }
}

fn has(snapshot: &Snapshot, listener: &Arc<Listener>) -> bool {
    snapshot
        .listeners
        .iter()
        .any(|other| Arc::ptr_eq(other, listener))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::answers::Answers;
    use crate::config::compile;
    use crate::config::load::load_text;
    use crate::config::surroundings::{Invalid, Surroundings};
    use crate::registry::Registry;

    fn snapshot(number: u64) -> Snapshot {
        let text = "[node]\nname='a'\n[[listener]]\nname='web'\naddress='127.0.0.1:80'\n";
        let surroundings = Surroundings {
            cores: 1,
            state_directory: "/state".into(),
            invalid: Invalid::Refused,
        };
        let settings = load_text(Path::new("t.toml"), text, &surroundings).unwrap();
        compile(&settings, &Registry::default(), &Answers::default(), number)
    }

    fn numbers(snapshots: &[Arc<Snapshot>]) -> Vec<u64> {
        snapshots.iter().map(|snapshot| snapshot.number).collect()
    }

    #[test]
    fn a_snapshot_is_left_once_nobody_has_it_or_a_listener_that_is_only_its_own() {
        let one = Arc::new(snapshot(1));
        let mut two = snapshot(2);
        two.listeners.clone_from(&one.listeners);
        let (two, three) = (Arc::new(two), Arc::new(snapshot(3)));
        let retired = Retired::default();
        let (request, listener) = (Arc::clone(&one), Arc::clone(&one.listeners[0]));
        retired.push(one);
        assert!(
            retired.left_behind(Arc::clone(&two)).is_empty(),
            "a request has it"
        );
        drop(request);
        assert_eq!(
            numbers(&retired.left_behind(Arc::clone(&two))),
            [1],
            "its listener is in force"
        );
        retired.push(two);
        assert!(
            retired.left_behind(Arc::clone(&three)).is_empty(),
            "a connection has its listener"
        );
        drop(listener);
        assert_eq!(numbers(&retired.left_behind(Arc::clone(&three))), [2]);
        assert!(retired.left_behind(three).is_empty());
    }
}
