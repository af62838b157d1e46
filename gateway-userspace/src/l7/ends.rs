//! When requests must have ended that hold on to something which is gone: an endpoint that was taken out, or an old
//! snapshot when too many of them are alive.
//!
//! What is gone carries an [`Ends`]; each request holds those of its endpoint and snapshot, and the sweep looks at
//! them. So nobody searches for the requests of a thing, and a snapshot is alive as long as somebody holds its `Ends`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// Old snapshots that may be alive at once: each may hold all routes and upstreams of a large configuration.
const OLD_SNAPSHOTS_MAX: usize = 8;
/// How long the requests of the oldest may go on once there are more.
const SNAPSHOT_DRAIN: Duration = Duration::from_secs(30);

/// By when the requests of something must have ended, if by any time.
#[derive(Debug, Default)]
pub(super) struct Ends(OnceLock<Instant>);

impl Ends {
    /// Sets the time, if there is none yet.
    pub(super) fn by(&self, at: Instant) {
        self.0.get_or_init(|| at);
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.0.get().is_some_and(|at| *at <= now)
    }
}

/// The node's snapshots, by number: that in force, and those that requests of any worker still hold.
#[derive(Debug, Default)]
pub(super) struct Snapshots(Mutex<BTreeMap<u64, Weak<Ends>>>);

impl Snapshots {
    /// What the requests of a snapshot hold, the same for all workers.
    pub(super) fn ends(&self, number: u64) -> Arc<Ends> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.get(&number).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let ends = Arc::<Ends>::default();
            held.insert(number, Arc::downgrade(&ends));
            ends
        })
    }

    /// Forgets those that are gone, gives the oldest of too many a time to end by, and says how many are alive
    /// besides the one in force.
    pub(super) fn check(&self, in_force: u64, now: Instant) -> usize {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, ends| ends.strong_count() > 0);
        let old = held.range(..in_force).count();
        let surplus = old.saturating_sub(OLD_SNAPSHOTS_MAX);
        for ends in held.values().take(surplus).filter_map(Weak::upgrade) {
            ends.by(now + SNAPSHOT_DRAIN);
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_old_snapshots_the_oldest_end_after_their_grace() {
        let now = Instant::now();
        let snapshots = Snapshots::default();
        let mut held: Vec<Arc<Ends>> = (1..=9).map(|number| snapshots.ends(number)).collect();
        assert!(Arc::ptr_eq(&held[3], &snapshots.ends(4)), "one for all workers");
        assert_eq!(snapshots.check(9, now), 8);
        let due = |held: &[Arc<Ends>], at: Instant| held.iter().filter(|ends| ends.is_due(at)).count();
        assert_eq!(due(&held, now + 2 * SNAPSHOT_DRAIN), 0, "as many as may be");
        held.extend([10, 11].map(|number| snapshots.ends(number)));
        assert_eq!(snapshots.check(11, now), 10);
        assert_eq!(snapshots.check(11, now + SNAPSHOT_DRAIN / 2), 10);
        assert_eq!(due(&held, now + SNAPSHOT_DRAIN - Duration::from_millis(1)), 0);
        assert_eq!(
            due(&held, now + SNAPSHOT_DRAIN),
            2,
            "counted from the first time that they were too many"
        );
        assert!(held[1].is_due(now + SNAPSHOT_DRAIN) && !held[2].is_due(now + SNAPSHOT_DRAIN));
        held.drain(..3);
        assert_eq!(snapshots.check(11, now), 7, "what nobody holds is forgotten");
    }
}
