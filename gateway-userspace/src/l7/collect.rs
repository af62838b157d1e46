//! The counters as metrics text: sums over workers, and what the snapshot's endpoints say of themselves.

mod certificates;
mod filters;
mod limits;
mod upstreams;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Shared;
use super::connection::Ending;
use super::error::ProxyError;
use super::metrics::{BUCKETS_MICROS, CLASSES, Cell64, DELAY_BUCKETS_MICROS, RouteCounters, WorkerCounters};
use crate::inspect::Refusal;

/// Encodes all of `l7` at each scrape.
#[derive(Debug)]
pub(super) struct L7(pub(super) Arc<Shared>);

impl Collector for L7 {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.routes(&mut encoder)?;
        self.upstreams(&mut encoder)?;
        self.workers(&mut encoder)?;
        self.inspector(&mut encoder)?;
        self.endpoints(&mut encoder)?;
        self.guards(&mut encoder)?;
        self.limits(&mut encoder)?;
        self.filters(&mut encoder)
    }
}

fn counter<S: EncodeLabelSet>(metric: &mut MetricEncoder<'_>, labels: &S, value: u64) -> fmt::Result {
    metric
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, u64, u64>(&value, None)
}

fn sum(cells: &[Arc<RouteCounters>], cell: impl Fn(&RouteCounters) -> Option<&Cell64>) -> u64 {
    cells.iter().filter_map(|one| cell(one)).map(Cell64::get).sum()
}

impl L7 {
    fn routes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let routes = self.0.metrics.routes().clone();
        let mut metric = encoder.encode_descriptor(
            "gateway_requests",
            "Requests that ended, by the class of their status",
            None,
            MetricType::Counter,
        )?;
        for ((listener, route), cells) in &routes {
            for (index, class) in CLASSES.iter().enumerate() {
                let value = sum(cells, |one| one.classes.get(index));
                let labels = [
                    ("listener", listener.as_str()),
                    ("route", route.as_str()),
                    ("status", class),
                ];
                counter(&mut metric, &labels, value)?;
            }
        }
        let shares = self.0.metrics.shares().clone();
        let mut metric = encoder.encode_descriptor(
            "gateway_split_requests",
            "Requests of routes that split them, by the upstream that was chosen and the class of their status",
            None,
            MetricType::Counter,
        )?;
        for ((listener, route, upstream), cells) in &shares {
            for (index, class) in CLASSES.iter().enumerate() {
                let cells = cells.iter().filter_map(|one| one.classes.get(index));
                let labels = [
                    ("listener", listener.as_str()),
                    ("route", route.as_str()),
                    ("upstream", upstream.as_str()),
                    ("status", class),
                ];
                counter(&mut metric, &labels, cells.map(Cell64::get).sum())?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_request_duration_seconds",
            "From the request's head to the end of its response",
            None,
            MetricType::Histogram,
        )?;
        for ((listener, route), cells) in &routes {
            let buckets: Vec<(f64, u64)> = ends(&BUCKETS_MICROS)
                .enumerate()
                .map(|(index, end)| (end, sum(cells, |one| one.buckets.get(index))))
                .collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let total = seconds(sum(cells, |one| Some(&one.sum_micros)));
            let labels = [("listener", listener.as_str()), ("route", route.as_str())];
            metric
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(total, count, &buckets, None)?;
        }
        Ok(())
    }

    /// What the inspector refused and noted, connections without a request, and how late the workers' tasks ran.
    fn inspector(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let workers = self.0.metrics.workers().clone();
        type Cells = fn(&WorkerCounters) -> &[Cell64];
        let total = |cells: Cells, index: usize| -> u64 {
            let cell = |w: &Arc<WorkerCounters>| cells(w).get(index).map_or(0, Cell64::get);
            workers.iter().map(cell).sum()
        };
        let families: [(&str, &str, Cells); 2] = [
            (
                "gateway_requests_refused",
                "Heads that were refused before they were read as HTTP",
                |w| &w.refused,
            ),
            (
                "gateway_requests_noted",
                "Faults of syntax that the mode of a listener let pass",
                |w| &w.noted,
            ),
        ];
        for (name, help, cells) in families {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for refusal in Refusal::ALL {
                counter(
                    &mut metric,
                    &[("reason", refusal.reason())],
                    total(cells, refusal.index()),
                )?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_connections_without_request",
            "Client connections that never made a request, by how they ended",
            None,
            MetricType::Counter,
        )?;
        for ending in Ending::all() {
            counter(
                &mut metric,
                &[("reason", ending.reason())],
                total(|w| &w.endings, ending.index()),
            )?;
        }
        let buckets: Vec<(f64, u64)> = ends(&DELAY_BUCKETS_MICROS)
            .enumerate()
            .map(|(index, end)| (end, total(|w| &w.delays, index)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum: u64 = workers.iter().map(|w| w.delay_sum_micros.get()).sum();
        encoder
            .encode_descriptor(
                "gateway_loop_delay_seconds",
                "How much later than due a worker ran a task of its own",
                None,
                MetricType::Histogram,
            )?
            .encode_histogram::<NoLabelSet>(seconds(sum), count, &buckets, None)
    }

    fn workers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let workers = self.0.metrics.workers().clone();
        let total =
            |cell: fn(&WorkerCounters) -> &Cell64| -> u64 { workers.iter().map(|w| cell(w).get()).sum() };
        let mut metric = encoder.encode_descriptor(
            "gateway_request_failures",
            "Requests that failed, by reason and whose fault it was",
            None,
            MetricType::Counter,
        )?;
        for error in ProxyError::ALL {
            let labels = [("reason", error.reason()), ("fault", error.fault().as_str())];
            counter(&mut metric, &labels, self.0.metrics.failures(*error))?;
        }
        encoder
            .encode_descriptor(
                "gateway_connections_open",
                "Client connections under way",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&signed(total(|w| &w.open)))?;
        // Each says the node's, as its last sweep found them.
        let old = workers.iter().map(|w| w.old_snapshots.get()).max();
        encoder
            .encode_descriptor(
                "gateway_snapshots_old",
                "Snapshots not in force that requests still hold",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&signed(old.unwrap_or(0)))?;
        let mut metric = encoder.encode_descriptor(
            "gateway_panics",
            "Panics caught, by place: a fault in this program",
            None,
            MetricType::Counter,
        )?;
        counter(
            &mut metric,
            &[("place", "connection")],
            total(|w| &w.panics_connection),
        )?;
        counter(&mut metric, &[("place", "stream")], total(|w| &w.panics_stream))?;
        let plain = [
            (
                "gateway_connections_accepted",
                "Client connections accepted",
                total(|w| &w.accepted),
            ),
            (
                "gateway_connections_unreadable",
                "Client connections whose bytes were no HTTP",
                total(|w| &w.unreadable),
            ),
            (
                "gateway_connections_timed_out",
                "Client connections closed for a time limit",
                total(|w| &w.timed_out),
            ),
            (
                "gateway_accept_errors",
                "Accepts that failed; each is followed by a pause",
                total(|w| &w.accept_errors),
            ),
            (
                "gateway_accept_pauses",
                "Times a worker held its most connections",
                total(|w| &w.full),
            ),
            (
                "gateway_panic_picks",
                "Picks among endpoints that all fail their checks",
                total(|w| &w.panic_picks),
            ),
            (
                "gateway_connections_handed_over",
                "Client connections given to a worker that had fewer",
                total(|w| &w.handed_over),
            ),
            (
                "gateway_connections_rested",
                "Times an idle client connection gave its buffers up",
                total(|w| &w.rests),
            ),
            (
                "gateway_responses_interim",
                "Interim answers (1xx) of HTTP/1 endpoints, which are dropped",
                total(|w| &w.interim),
            ),
            (
                "gateway_connections_client_full",
                "Client connections closed as their client had its most",
                total(|w| &w.client_full),
            ),
            (
                "gateway_requests_resent",
                "Requests sent again as a reused connection was gone",
                total(|w| &w.resent),
            ),
            (
                "gateway_access_log_dropped",
                "Lines lost as the writer was behind",
                self.0.access_log.dropped(),
            ),
            (
                "gateway_access_log_written",
                "Lines written",
                self.0.access_log.written(),
            ),
        ];
        self.expiries(encoder)?;
        let mut metric = encoder.encode_descriptor(
            "gateway_tls_handshakes",
            "TLS handshakes that came to their end, in full or made short by a ticket",
            None,
            MetricType::Counter,
        )?;
        counter(&mut metric, &[("kind", "full")], total(|w| &w.handshakes_full))?;
        counter(
            &mut metric,
            &[("kind", "resumed")],
            total(|w| &w.handshakes_resumed),
        )?;
        for (name, help, value) in plain {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }
}

/// Upper ends of a histogram's buckets, the last one without.
fn ends(micros: &[u64]) -> impl Iterator<Item = f64> {
    micros
        .iter()
        .map(|&micros| seconds(micros))
        .chain([f64::INFINITY])
}

/// Exact up to 2^53 microseconds, some 285 years.
#[expect(clippy::cast_precision_loss, reason = "see the doc comment")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
