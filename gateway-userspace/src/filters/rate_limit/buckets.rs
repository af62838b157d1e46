//! What a rate limit remembers of its keys: bounded, by hash, in sets of a few slots each.
//!
//! A key has its place in one set, where it takes the slot that is free, or else that of the key which has recovered
//! most: that one begins anew with a whole burst, which is the least that can be lost. There are twice as many slots as
//! keys, so that hardly a set is full before as many keys as are allowed ask at the same time.

use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use governor::clock::Clock;
use governor::nanos::Nanos;
use governor::state::StateStore;
use tokio::time::Instant;

/// Slots of a set: 256 bytes, looked through in some 10 ns.
const WAYS: usize = 16;
/// Slots for each key that is to have room.
const SLOTS_PER_KEY: usize = 2;

/// One key's.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Hash of the key; 0: free.
    key: u64,
    /// When it has recovered (the theoretical arrival time), in nanoseconds since the epoch.
    until: u64,
}

/// All keys of one filter. 32 bytes for each, taken at once.
#[derive(Debug)]
pub struct Buckets {
    sets: Box<[Mutex<[Slot; WAYS]>]>,
    /// Keyed at random: nobody can choose keys that share a set.
    hasher: RandomState,
    epoch: Instant,
    forgotten: AtomicU64,
}

impl Buckets {
    /// With room for so many keys.
    pub fn new(keys_max: usize) -> Self {
        let sets = keys_max.saturating_mul(SLOTS_PER_KEY).div_ceil(WAYS).max(1);
        Self {
            sets: (0..sets).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            epoch: Instant::now(),
            forgotten: AtomicU64::new(0),
        }
    }

    /// What keys are hashed by.
    pub(super) fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    /// Keys that were forgotten before they had recovered, as others needed their place.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Decides by what is remembered of a key, and remembers what comes of it; one after the other for each set.
    fn decide<T, E>(
        &self,
        key: u64,
        decide: impl FnOnce(Option<u64>) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        let key = key.max(1);
        let sets = self.sets.len() as u128;
        let index = usize::try_from((u128::from(key) * sets) >> 64).unwrap_or(0);
        let Some(set) = self.sets.get(index) else {
            return decide(None).map(|(decided, _)| decided);
        };
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = set.iter_mut().find(|slot| slot.key == key) {
            let (decided, until) = decide(Some(slot.until))?;
            slot.until = until;
            return Ok(decided);
        }
        let (decided, until) = decide(None)?;
        if let Some(slot) = set.iter_mut().min_by_key(|slot| slot.until) {
            if slot.key != 0 && slot.until > self.now() {
                self.forgotten.fetch_add(1, Ordering::Relaxed);
            }
            *slot = Slot { key, until };
        }
        Ok(decided)
    }
}

/// The buckets as one limiter sees them, whose time begins when it is made.
#[derive(Debug)]
pub(super) struct Shifted {
    buckets: Arc<Buckets>,
    start: u64,
}

impl Shifted {
    /// To be made together with its limiter.
    pub(super) fn new(buckets: &Arc<Buckets>) -> Self {
        Self {
            start: buckets.now(),
            buckets: Arc::clone(buckets),
        }
    }
}

impl StateStore for Shifted {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.buckets.decide(*key, |until| {
            // What had recovered before the limiter was made owes nothing.
            let until = until.map(|until| Nanos::new(until.saturating_sub(self.start)));
            let (decided, until) = f(until)?;
            Ok((decided, until.as_u64().saturating_add(self.start)))
        })
    }
}

/// The time of the buckets.
#[derive(Clone, Debug)]
pub(super) struct Ticks(Arc<Buckets>);

impl Ticks {
    pub(super) fn new(buckets: &Arc<Buckets>) -> Self {
        Self(Arc::clone(buckets))
    }
}

impl Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::hash::BuildHasher;
    use std::time::Duration;

    /// What is remembered of a key, which then is to recover at that time.
    fn put(buckets: &Buckets, key: u64, until: u64) -> Option<u64> {
        let done: Result<_, Infallible> = buckets.decide(key, |before| Ok((before, until)));
        done.unwrap_or_else(|never| match never {})
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_recovered_most_makes_room_and_only_early_losses_are_counted() {
        let buckets = Buckets::new(1);
        let second = 1_000_000_000;
        let ways = u64::try_from(WAYS).unwrap();
        for key in 1..=ways {
            assert_eq!(put(&buckets, key, key * second), None);
        }
        assert_eq!(put(&buckets, 99, 50 * second), None);
        assert_eq!(buckets.forgotten(), 1, "key 1 had a second to go");
        for key in 2..=ways {
            assert_eq!(
                put(&buckets, key, key * second),
                Some(key * second),
                "{key} stays"
            );
        }
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(put(&buckets, 98, 60 * second), None);
        assert_eq!(put(&buckets, 97, 60 * second), None);
        assert_eq!(buckets.forgotten(), 1, "keys 2 and 3 owed nothing");
        assert_eq!(put(&buckets, 99, 0), Some(50 * second));
    }

    #[test]
    fn a_refusal_is_not_remembered() {
        let buckets = Buckets::new(1);
        assert_eq!(buckets.decide(7, |_| Err::<((), u64), _>("no")), Err("no"));
        assert_eq!(put(&buckets, 7, 1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_keys_as_are_allowed_have_room() {
        let buckets = Buckets::new(10_000);
        let hash = |index: u64| buckets.hasher().hash_one(index);
        for index in 0..10_000 {
            put(&buckets, hash(index), u64::MAX);
        }
        // By chance some sets are full: of 1,250 with eight keys each on average, those with more than sixteen.
        assert!(buckets.forgotten() < 50, "{}", buckets.forgotten());
        let bytes = size_of::<Mutex<[Slot; WAYS]>>() * buckets.sets.len();
        assert!(bytes <= 34 * 10_000, "{bytes}");
    }

    #[test]
    fn threads_together_get_what_one_would() {
        let buckets = Buckets::new(100);
        let take = || {
            let more = |before: Option<u64>| match before.unwrap_or(0) {
                1_000.. => Err(()),
                taken => Ok(((), taken + 1)),
            };
            (0..1_000).filter(|_| buckets.decide(5, more).is_ok()).count()
        };
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1_000);
    }
}
