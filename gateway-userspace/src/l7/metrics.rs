//! Counters of the request's way: plain atomics, each written by one worker only, summed when they are read.
//!
//! A worker resolves the cells of a route once for each snapshot, so a request costs a few uncontended additions
//! and no look-up by label. `collect` turns them into text.

mod follow;
mod passed_on;
mod share;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::connection::Ending;
use super::error::ProxyError;
use super::mirror::End;
use super::transport::Kind;
use crate::inspect::Refusal;

pub(super) use passed_on::{DIRECTIONS, RESULTS};
pub(crate) use share::ShareCounters;

/// Upper ends of the duration histogram, in microseconds; beyond the last: infinity.
pub(super) const BUCKETS_MICROS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// Upper ends of the loop delay's histogram, in microseconds. Timers have steps of 1 ms.
pub(super) const DELAY_BUCKETS_MICROS: [u64; 8] =
    [1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000];

/// Routes, and upstreams, that are counted apart; the rest share one series, so that a configuration of any size makes
/// at most some 50,000 series.
const SERIES_MAX: usize = 1_000;
/// The labels of those that share one.
const OVERFLOW: &str = "overflow";

/// Status classes: none (the client got no answer), then 1xx to 5xx.
pub(super) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The route label of requests that no route took.
pub(super) const UNROUTED: &str = "-";

/// A number that one thread writes and any thread may read.
#[derive(Debug, Default)]
pub(crate) struct Cell64(AtomicU64);

impl Cell64 {
    /// Adds, as the only writer: no locked instruction.
    pub(crate) fn add(&self, value: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(value),
            Ordering::Relaxed,
        );
    }

    /// Subtracts one, as the only writer.
    pub(crate) fn less(&self) {
        self.0.store(
            self.0.load(Ordering::Relaxed).saturating_sub(1),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One worker's counters of one route of one listener.
#[derive(Debug, Default)]
pub(crate) struct RouteCounters {
    pub(super) classes: [Cell64; CLASSES.len()],
    /// Requests at most as long as the bucket and longer than the one before.
    pub(super) buckets: [Cell64; BUCKETS_MICROS.len() + 1],
    pub(super) sum_micros: Cell64,
    /// Connections that were passed on and ended well, and others.
    pub(super) connections: [Cell64; RESULTS.len()],
    /// Bytes of these from clients, and to them.
    pub(super) bytes: [Cell64; DIRECTIONS.len()],
}

impl RouteCounters {
    /// Counts a request that ended.
    pub(crate) fn count(&self, status: Option<u16>, total: Duration) {
        let class = status.map_or(0, |status| usize::from(status / 100));
        if let Some(cell) = self.classes.get(class) {
            cell.add(1);
        }
        let micros = u64::try_from(total.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MICROS.partition_point(|&end| end < micros);
        if let Some(cell) = self.buckets.get(bucket) {
            cell.add(1);
        }
        self.sum_micros.add(micros);
    }
}

/// One worker's counters of one upstream: of tries, where those of a route are of requests.
#[derive(Debug, Default)]
pub(crate) struct UpstreamCounters {
    /// By the status of the response's head; none: there was no head.
    pub(super) classes: [Cell64; CLASSES.len()],
    /// From the request's head to the response's.
    pub(super) buckets: [Cell64; BUCKETS_MICROS.len() + 1],
    pub(super) sum_micros: Cell64,
    /// Tries after the first.
    pub(crate) retries: Cell64,
    /// Retries that the budget had no room for.
    pub(crate) retries_denied: Cell64,
    /// Requests that went on to the next fallback.
    pub(crate) fallbacks: Cell64,
    /// Tries over another way to the same endpoint.
    pub(crate) reroutes: Cell64,
    /// Connections that were passed on to it, and those that no endpoint took.
    pub(super) connections: [Cell64; RESULTS.len()],
    /// Copies of requests for it, by what became of them ([`End`]).
    pub(super) mirrored: [Cell64; End::ALL.len()],
}

impl UpstreamCounters {
    /// Counts a request that was sent there.
    pub(crate) fn count(&self, status: Option<u16>, first_byte: Option<Duration>) {
        let class = status.map_or(0, |status| usize::from(status / 100));
        if let Some(cell) = self.classes.get(class) {
            cell.add(1);
        }
        let Some(first_byte) = first_byte else { return };
        let micros = u64::try_from(first_byte.as_micros()).unwrap_or(u64::MAX);
        if let Some(cell) = self
            .buckets
            .get(BUCKETS_MICROS.partition_point(|&end| end < micros))
        {
            cell.add(1);
        }
        self.sum_micros.add(micros);
    }
}

/// One worker's counters that belong to no route.
#[derive(Debug)]
pub(crate) struct WorkerCounters {
    /// Connections under way.
    pub(crate) open: Cell64,
    pub(crate) accepted: Cell64,
    pub(crate) accept_errors: Cell64,
    /// Times that accepting paused because the worker held its most connections.
    pub(crate) full: Cell64,
    /// Connections whose bytes were no HTTP; the client got a bare 400 or 431.
    pub(crate) unreadable: Cell64,
    /// Connections that were closed for a time limit.
    pub(crate) timed_out: Cell64,
    /// Connection tasks that panicked.
    pub(crate) panics_connection: Cell64,
    /// Stream tasks (HTTP/2) that panicked.
    pub(crate) panics_stream: Cell64,
    /// Picks among endpoints that all fail.
    pub(crate) panic_picks: Cell64,
    /// Requests sent again because a reused connection was gone.
    pub(crate) resent: Cell64,
    /// By [`ProxyError::index`].
    pub(crate) failures: Box<[Cell64]>,
    /// By [`Refusal::index`]: what the inspector refused, or only noted.
    pub(crate) refused: Box<[Cell64]>,
    pub(crate) noted: Box<[Cell64]>,
    /// By [`Ending::index`]: connections that never made a request.
    pub(crate) endings: Box<[Cell64]>,
    /// Connections given to a worker that had fewer.
    pub(crate) handed_over: Cell64,
    /// Interim answers (1xx) of endpoints, which go no further.
    pub(crate) interim: Cell64,
    /// Times that an idle connection gave its buffers up.
    pub(crate) rests: Cell64,
    /// Connections closed at once, as their client had its most already.
    pub(crate) client_full: Cell64,
    /// Upper ends as [`DELAY_BUCKETS_MICROS`].
    pub(crate) delays: [Cell64; DELAY_BUCKETS_MICROS.len() + 1],
    pub(crate) delay_sum_micros: Cell64,
    /// Requests that ended, in whatever way.
    pub(crate) ended: Cell64,
    /// TLS handshakes that came to their end with certificates.
    pub(crate) handshakes_full: Cell64,
    /// And those that a ticket made short.
    pub(crate) handshakes_resumed: Cell64,
    /// The node's snapshots that requests hold although they are not in force, as the last sweep found.
    pub(crate) old_snapshots: Cell64,
}

impl Default for WorkerCounters {
    fn default() -> Self {
        let cell = Cell64::default;
        Self {
            open: cell(),
            accepted: cell(),
            accept_errors: cell(),
            full: cell(),
            unreadable: cell(),
            timed_out: cell(),
            panics_connection: cell(),
            panics_stream: cell(),
            panic_picks: cell(),
            resent: cell(),
            failures: ProxyError::ALL.iter().map(|_| cell()).collect(),
            refused: Refusal::ALL.iter().map(|_| cell()).collect(),
            noted: Refusal::ALL.iter().map(|_| cell()).collect(),
            endings: Ending::all().map(|_| cell()).collect(),
            handed_over: cell(),
            rests: cell(),
            interim: cell(),
            client_full: cell(),
            delays: Default::default(),
            delay_sum_micros: cell(),
            ended: cell(),
            handshakes_full: cell(),
            handshakes_resumed: cell(),
            old_snapshots: cell(),
        }
    }
}

impl WorkerCounters {
    pub(crate) fn failed(&self, error: ProxyError) {
        let cell = match error {
            ProxyError::Refused(refusal) => self.refused.get(refusal.index()),
            _ => self.failures.get(error.index()),
        };
        if let Some(cell) = cell {
            cell.add(1);
        }
    }

    /// A fault of syntax that the listener's mode let pass.
    pub(crate) fn noted(&self, refusal: Refusal) {
        if let Some(cell) = self.noted.get(refusal.index()) {
            cell.add(1);
        }
    }

    pub(crate) fn ended_without_request(&self, ending: Ending) {
        if let Some(cell) = self.endings.get(ending.index()) {
            cell.add(1);
        }
    }

    pub(crate) fn shook_hands(&self, kind: Kind) {
        match kind {
            Kind::Full => self.handshakes_full.add(1),
            Kind::Resumed => self.handshakes_resumed.add(1),
        }
    }

    /// A task of the worker ran so much later than it was due.
    pub(crate) fn delayed(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let bucket = DELAY_BUCKETS_MICROS.partition_point(|&end| end < micros);
        if let Some(cell) = self.delays.get(bucket) {
            cell.add(1);
        }
        self.delay_sum_micros.add(micros);
    }
}

/// Listener and route.
type RouteKey = (String, String);
type RouteCells = BTreeMap<RouteKey, Vec<Arc<RouteCounters>>>;
/// By listener, route and upstream.
type ShareCells = BTreeMap<(String, String, String), Vec<Arc<ShareCounters>>>;
type UpstreamCells = BTreeMap<String, Vec<Arc<UpstreamCounters>>>;

/// A worker's cell among those of all workers, made if it is new.
fn cell<C: Default>(cells: &mut Vec<Arc<C>>, worker: usize) -> Arc<C> {
    while cells.len() <= worker {
        cells.push(Arc::default());
    }
    cells.get(worker).cloned().unwrap_or_default()
}

/// All counters of the node's workers.
#[derive(Debug, Default)]
pub struct Metrics {
    workers: Mutex<Vec<Arc<WorkerCounters>>>,
    /// By route, one cell for each worker; routes that are configured no more are forgotten.
    routes: Mutex<RouteCells>,
    /// By share of a route, likewise.
    shares: Mutex<ShareCells>,
    /// By upstream, likewise.
    upstreams: Mutex<UpstreamCells>,
}

impl Metrics {
    /// A new worker's cells.
    pub(super) fn add_worker(&self) -> Arc<WorkerCounters> {
        let counters = Arc::new(WorkerCounters::default());
        self.workers().push(Arc::clone(&counters));
        counters
    }

    /// The cell of that worker, made if it is new. Called once for each route and snapshot, by its first request.
    pub(super) fn route(&self, listener: &str, route: &str, worker: usize) -> Arc<RouteCounters> {
        let mut routes = self.routes();
        let mut key = (listener.to_owned(), route.to_owned());
        if routes.len() >= SERIES_MAX && !routes.contains_key(&key) {
            key = (OVERFLOW.to_owned(), OVERFLOW.to_owned());
        }
        cell(routes.entry(key).or_default(), worker)
    }

    /// The same for an upstream's share of a route.
    pub(super) fn share(&self, of: (&str, &str, &str), worker: usize) -> Arc<ShareCounters> {
        let mut shares = self.shares();
        let mut key = (of.0.to_owned(), of.1.to_owned(), of.2.to_owned());
        if shares.len() >= SERIES_MAX && !shares.contains_key(&key) {
            key = (OVERFLOW.to_owned(), OVERFLOW.to_owned(), OVERFLOW.to_owned());
        }
        cell(shares.entry(key).or_default(), worker)
    }

    /// The same for an upstream.
    pub(super) fn upstream(&self, upstream: &str, worker: usize) -> Arc<UpstreamCounters> {
        let mut upstreams = self.upstreams();
        let is_known = upstreams.len() < SERIES_MAX || upstreams.contains_key(upstream);
        let key = if is_known { upstream } else { OVERFLOW };
        cell(upstreams.entry(key.to_owned()).or_default(), worker)
    }

    pub(super) fn workers(&self) -> MutexGuard<'_, Vec<Arc<WorkerCounters>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn routes(&self) -> MutexGuard<'_, RouteCells> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shares(&self) -> MutexGuard<'_, ShareCells> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn upstreams(&self) -> MutexGuard<'_, UpstreamCells> {
        self.upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections under way on all workers.
    pub fn connections_open(&self) -> u64 {
        self.workers().iter().map(|worker| worker.open.get()).sum()
    }

    /// Panics caught since the start, on all workers.
    pub fn panics(&self) -> u64 {
        let sum = |w: &Arc<WorkerCounters>| w.panics_connection.get() + w.panics_stream.get();
        self.workers().iter().map(sum).sum()
    }

    /// Requests that failed for that reason, on all workers.
    pub fn failures(&self, error: ProxyError) -> u64 {
        let one = |w: &Arc<WorkerCounters>| w.failures.get(error.index()).map_or(0, Cell64::get);
        self.workers().iter().map(one).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_falls_into_one_class_and_one_bucket() {
        let rows = [
            (Some(200), 0, 2, 0),
            (Some(204), 1_000, 2, 0),
            (Some(404), 1_001, 4, 1),
            (Some(599), 10_000_000, 5, 12),
            (None, 10_000_001, 0, 13),
        ];
        for (status, micros, class, bucket) in rows {
            let counters = RouteCounters::default();
            counters.count(status, Duration::from_micros(micros));
            assert_eq!(counters.classes[class].get(), 1, "{status:?}");
            assert_eq!(counters.buckets[bucket].get(), 1, "{micros} µs");
            assert_eq!(counters.sum_micros.get(), micros);
        }
    }

    #[test]
    fn cells_survive_as_long_as_their_route_is_configured() {
        let metrics = Metrics::default();
        metrics.route("web", "users", 1).count(Some(200), Duration::ZERO);
        assert_eq!(metrics.route("web", "users", 1).classes[2].get(), 1);
        assert_eq!(metrics.route("web", "users", 0).classes[2].get(), 0);
    }
}
