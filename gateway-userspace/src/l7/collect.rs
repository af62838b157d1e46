//! The counters as metrics text: sums over workers, and what the snapshot's endpoints say of themselves.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Shared;
use super::error::ProxyError;
use super::metrics::{BUCKETS_MICROS, CLASSES, Cell64, RouteCounters, WorkerCounters};
use crate::registry::Readiness;

/// Encodes all of `l7` at each scrape.
#[derive(Debug)]
pub(super) struct L7(pub(super) Arc<Shared>);

impl Collector for L7 {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.routes(&mut encoder)?;
        self.workers(&mut encoder)?;
        self.endpoints(&mut encoder)
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
        let mut metric = encoder.encode_descriptor(
            "gateway_request_duration_seconds",
            "From the request's head to the end of its response",
            None,
            MetricType::Histogram,
        )?;
        for ((listener, route), cells) in &routes {
            let ends = BUCKETS_MICROS
                .iter()
                .map(|&micros| seconds(micros))
                .chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = ends
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
        for (name, help, value) in plain {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }

    fn endpoints(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot.load_full();
        let mut rows = Vec::new();
        let mut known = BTreeSet::new();
        for upstream in &snapshot.upstreams {
            for endpoint in &upstream.endpoints {
                if known.insert((upstream.name.as_str(), endpoint.address)) {
                    rows.push((
                        upstream.name.as_str(),
                        endpoint.address.to_string(),
                        &endpoint.state,
                    ));
                }
            }
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_endpoint_ready",
            "1: may get traffic, 0: not known yet, -1: its checks fail",
            None,
            MetricType::Gauge,
        )?;
        for (upstream, endpoint, state) in &rows {
            let value = match state.readiness() {
                Readiness::Ready => 1_i64,
                Readiness::Unknown => 0,
                Readiness::Failing => -1,
            };
            let labels = [("upstream", *upstream), ("endpoint", endpoint.as_str())];
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_endpoint_active",
            "Requests under way",
            None,
            MetricType::Gauge,
        )?;
        for (upstream, endpoint, state) in &rows {
            let labels = [("upstream", *upstream), ("endpoint", endpoint.as_str())];
            let value = i64::from(state.active.load(Ordering::Relaxed));
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_endpoint_requests",
            "Attempts at an endpoint",
            None,
            MetricType::Counter,
        )?;
        for (upstream, endpoint, state) in &rows {
            let labels = [("upstream", *upstream), ("endpoint", endpoint.as_str())];
            counter(&mut metric, &labels, state.requests.load(Ordering::Relaxed))?;
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_endpoint_failures",
            "Attempts that failed before a response head came",
            None,
            MetricType::Counter,
        )?;
        for (upstream, endpoint, state) in &rows {
            let labels = [("upstream", *upstream), ("endpoint", endpoint.as_str())];
            counter(&mut metric, &labels, state.failures.load(Ordering::Relaxed))?;
        }
        Ok(())
    }
}

/// Exact up to 2^53 microseconds, some 285 years.
#[expect(clippy::cast_precision_loss, reason = "see the doc comment")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
