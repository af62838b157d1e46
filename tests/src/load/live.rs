//! Many live connections that move data, cheap enough for a small machine: each asks its node for a few bytes, round and
//! round, and one thread does it for all of them.
//!
//! What broke, when and on which node is written down; what went well is only counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::journal::Failure;
use super::plain::{After, Plain};
use crate::lab::Lab;
use crate::lab::netns::block_on;
use crate::lab::wait::wait_until;

/// Between two questions on one connection: each moves data at least once a second.
///
/// Well below the second that a node which drains gives an idle HTTP/1 connection before it closes it (`LEAVE_GRACE` of
/// `l7`): at 900 ms on a busy machine, 17 to 63 of 2,000 questions crossed that close and were reset. No steering helps
/// there, and this load does not show it: a client that asks once in about a second can lose a request to a drain.
const PERIOD: Duration = Duration::from_millis(600);

/// All connections are opened within this: in one instant, they would overflow accept queues.
const OPEN_WITHIN: Duration = Duration::from_secs(3);

/// From the start to the moment when every connection has moved data.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Before a connection is opened anew after a failure.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// Broken connections that are written down one by one: more is not read by anyone, and still counted.
const BROKEN_MAX: usize = 10_000;

/// A connection that broke, or that could not be opened.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The client's number of it.
    pub number: u32,
    /// The node that it ended on, once an answer has told; `None` for one that was not answered yet.
    pub node: Option<Arc<str>>,
    /// When it began.
    pub opened: Instant,
    /// When the question was sent that got no answer; for one that could not be opened, as `opened`.
    pub asked: Instant,
    /// When the client noticed.
    pub at: Instant,
    /// How.
    pub why: Failure,
}

/// What is known of all connections.
#[derive(Debug, Default)]
pub struct Ledger {
    stop: AtomicBool,
    exchanges: AtomicU64,
    handed_over: AtomicU64,
    slowest_us: AtomicU64,
    broken_count: AtomicU64,
    broken: Mutex<Vec<Broken>>,
    nodes: Mutex<Vec<Option<Arc<str>>>>,
}

impl Ledger {
    /// Questions answered.
    pub fn exchanges(&self) -> u64 {
        self.exchanges.load(Ordering::Relaxed)
    }

    /// Connections that their node ended in order, after an answer, and that were opened anew.
    pub fn handed_over(&self) -> u64 {
        self.handed_over.load(Ordering::Relaxed)
    }

    /// The longest that an answer took.
    pub fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest_us.load(Ordering::Relaxed))
    }

    /// Connections that broke or could not be opened.
    pub fn broken_count(&self) -> u64 {
        self.broken_count.load(Ordering::Relaxed)
    }

    /// The first of them.
    pub fn broken(&self) -> Vec<Broken> {
        lock(&self.broken).clone()
    }

    /// How many open connections each node has.
    pub fn by_node(&self) -> BTreeMap<Arc<str>, usize> {
        let mut counts = BTreeMap::new();
        for node in lock(&self.nodes).iter().flatten() {
            *counts.entry(Arc::clone(node)).or_default() += 1;
        }
        counts
    }

    fn set_node(&self, number: u32, node: Option<Arc<str>>) {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(place) = lock(&self.nodes).get_mut(index) {
            *place = node;
        }
    }

    fn answered(&self, took: Duration) {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.slowest_us.fetch_max(micros, Ordering::Relaxed);
    }

    fn broke(&self, broken: Broken) {
        self.broken_count.fetch_add(1, Ordering::Relaxed);
        let mut list = lock(&self.broken);
        if list.len() < BROKEN_MAX {
            list.push(broken);
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is whole.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections that live until they are ended.
#[derive(Debug)]
pub struct Live {
    ledger: Arc<Ledger>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Live {
    /// Opens connections from the client of a lab, and waits until each has moved data.
    ///
    /// # Errors
    /// Where one breaks before all live, or they do not within a minute.
    pub fn start(lab: &Lab, target: SocketAddr, connections: u32) -> Result<Self> {
        let ledger = Arc::new(Ledger::default());
        *lock(&ledger.nodes) = (0..connections).map(|_| None).collect();
        let kept = Arc::clone(&ledger);
        let thread = lab
            .client()
            .spawn("live", move || block_on(run(target, connections, kept)))?;
        let live = Self {
            ledger,
            thread: Some(thread),
        };
        let all = usize::try_from(connections)?;
        let settled = wait_until(Instant::now() + SETTLE_TIMEOUT, || {
            (live.ledger.by_node().values().sum::<usize>() == all || live.ledger.broken_count() > 0)
                .then_some(())
        });
        if let Some(broken) = live.ledger.broken().first() {
            bail!("a connection broke before all of them lived: {broken:?}");
        }
        if settled.is_none() {
            bail!("of {all} connections, only {:?} live", live.ledger.by_node());
        }
        Ok(live)
    }

    /// What is known of them.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Waits until each connection has been asked that many more times, by their number in all.
    ///
    /// # Errors
    /// Where they take a minute for it.
    pub fn wait_rounds(&self, rounds: u64) -> Result<()> {
        let connections = u64::try_from(lock(&self.ledger.nodes).len())?;
        let until = self.ledger.exchanges() + rounds * connections;
        let enough = wait_until(Instant::now() + SETTLE_TIMEOUT, || {
            (self.ledger.exchanges() >= until).then_some(())
        });
        if enough.is_none() {
            bail!(
                "only {} of {until} exchanges after {SETTLE_TIMEOUT:?}",
                self.ledger.exchanges()
            );
        }
        Ok(())
    }

    /// Ends the connections, after the answers that are under way, and hands out what is known.
    ///
    /// # Errors
    /// Where the load itself failed.
    pub fn end(mut self) -> Result<Arc<Ledger>> {
        self.stop()?;
        Ok(Arc::clone(&self.ledger))
    }

    fn stop(&mut self) -> Result<()> {
        self.ledger.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(anyhow!("the thread of the live connections panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("load: {error:#}");
        }
    }
}

async fn run(target: SocketAddr, connections: u32, ledger: Arc<Ledger>) -> Result<()> {
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let first = OPEN_WITHIN * number / connections.max(1);
        let ledger = Arc::clone(&ledger);
        tasks.spawn(async move {
            sleep(first).await;
            keep(target, number, &ledger).await;
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}

/// Keeps one connection alive until the end, by another one where its node ended it.
async fn keep(target: SocketAddr, number: u32, ledger: &Ledger) {
    while !ledger.stop.load(Ordering::Relaxed) {
        let opened = Instant::now();
        let broken = |node, asked, why| Broken {
            number,
            node,
            opened,
            asked,
            at: Instant::now(),
            why,
        };
        let mut connection = match Plain::open(target).await {
            Ok(connection) => connection,
            Err(why) => {
                ledger.broke(broken(None, opened, why));
                sleep(REOPEN_PAUSE).await;
                continue;
            }
        };
        let mut node: Option<Arc<str>> = None;
        loop {
            let asked = Instant::now();
            match connection.ask().await {
                Ok((who, after)) => {
                    ledger.answered(asked.elapsed());
                    if node.as_ref().is_some_and(|before| *before != who) {
                        ledger.broke(broken(node, asked, Failure::Moved));
                        break;
                    }
                    if node.is_none() {
                        ledger.set_node(number, Some(Arc::clone(&who)));
                        node = Some(who);
                    }
                    if after == After::Ended {
                        ledger.handed_over.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                }
                Err(why) => {
                    ledger.broke(broken(node, asked, why));
                    break;
                }
            }
            if ledger.stop.load(Ordering::Relaxed) {
                return;
            }
            sleep_until((asked + PERIOD).into()).await;
            if connection.is_ended_in_order() {
                ledger.handed_over.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        ledger.set_node(number, None);
    }
}
