//! The steady load: kept connections that ask at a fixed rate, and new connections at another.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Pattern;
use super::connection::{After, Connection};
use super::journal::Journal;

/// New connections under way at once: at 100 a second, more than all that can pile up in a failover.
const FRESH_IN_FLIGHT_MAX: usize = 1_024;

/// Before a kept connection is opened anew after a failed attempt; a client that waits less floods a dead address.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// What is asked for: goes through a route and an upstream, and is small.
const PATH: &str = "/load";

/// Sends until `stopped` says so, then waits for what is under way.
///
/// # Errors
/// None yet; failed requests are in the journal.
pub async fn run(pattern: Pattern, journal: Arc<Journal>, stopped: watch::Receiver<bool>) -> Result<()> {
    let mut tasks = JoinSet::new();
    if pattern.kept > 0 && pattern.requests_per_second > 0 {
        let period = Duration::from_secs(1) * pattern.kept / pattern.requests_per_second;
        for number in 0..pattern.kept {
            let first = period * number / pattern.kept;
            tasks.spawn(keep(
                pattern.clone(),
                Arc::clone(&journal),
                stopped.clone(),
                first,
                period,
            ));
        }
    }
    if pattern.fresh_per_second > 0 {
        tasks.spawn(open_fresh(pattern, journal, stopped));
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}

/// One kept connection, opened again whenever it ends; its requests are `period` apart.
async fn keep(
    pattern: Pattern,
    journal: Arc<Journal>,
    stopped: watch::Receiver<bool>,
    first: Duration,
    period: Duration,
) {
    sleep(first).await;
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stopped.borrow() {
        let Some(mut connection) = Connection::open(&journal, pattern.target, None).await else {
            sleep(REOPEN_PAUSE).await;
            continue;
        };
        loop {
            ticks.tick().await;
            if *stopped.borrow() || connection.get(PATH).await == After::Ended {
                break;
            }
        }
    }
}

/// Connections for one request each, at the pattern's rate.
async fn open_fresh(pattern: Pattern, journal: Arc<Journal>, stopped: watch::Receiver<bool>) {
    let mut ticks = interval(Duration::from_secs(1) / pattern.fresh_per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let room = Arc::new(Semaphore::new(FRESH_IN_FLIGHT_MAX));
    let mut tasks = JoinSet::new();
    while !*stopped.borrow() {
        ticks.tick().await;
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            break;
        };
        let journal = Arc::clone(&journal);
        let target = pattern.target;
        tasks.spawn(async move {
            if let Some(mut connection) = Connection::open(&journal, target, None).await {
                connection.get(PATH).await;
            }
            drop(permit);
        });
        while tasks.try_join_next().is_some() {}
    }
    tasks.join_all().await;
}
