//! Metrics of upstreams, their endpoints, and what guards both.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{L7, counter, ends, seconds};
use crate::l7::metrics::{BUCKETS_MICROS, CLASSES, Cell64, UpstreamCounters};
use crate::l7::mirror::End;
use crate::registry::Readiness;
use crate::resilience::breaker::State;

/// One of an upstream's counters.
type OfUpstream = fn(&UpstreamCounters) -> &Cell64;

impl L7 {
    pub(super) fn upstreams(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let upstreams = self.0.metrics.upstreams().clone();
        let sum = |cells: &[Arc<UpstreamCounters>],
                   cell: &dyn Fn(&UpstreamCounters) -> Option<&Cell64>|
         -> u64 { cells.iter().filter_map(|one| cell(one)).map(Cell64::get).sum() };
        let mut metric = encoder.encode_descriptor(
            "gateway_upstream_requests",
            "Requests that were sent to an upstream, by the class of the status they got",
            None,
            MetricType::Counter,
        )?;
        for (upstream, cells) in &upstreams {
            for (index, class) in CLASSES.iter().enumerate() {
                let labels = [("upstream", upstream.as_str()), ("status", class)];
                counter(&mut metric, &labels, sum(cells, &|one| one.classes.get(index)))?;
            }
        }
        let rows: [(&str, &str, OfUpstream); 4] = [
            (
                "gateway_upstream_retries",
                "Tries after a request's first",
                |one| &one.retries,
            ),
            (
                "gateway_upstream_retries_denied",
                "Retries that the upstream's budget had no room for",
                |one| &one.retries_denied,
            ),
            (
                "gateway_upstream_fallbacks",
                "Requests that went on to the next fallback, as the upstream failed",
                |one| &one.fallbacks,
            ),
            (
                "gateway_upstream_reroutes",
                "Tries over another way to the same endpoint, as the communication failed",
                |one| &one.reroutes,
            ),
        ];
        for (name, help, cell) in rows {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (upstream, cells) in &upstreams {
                let value = sum(cells, &|one| Some(cell(one)));
                counter(&mut metric, &[("upstream", upstream.as_str())], value)?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_mirrored_requests",
            "Copies of requests for an upstream, by what became of them",
            None,
            MetricType::Counter,
        )?;
        for (upstream, cells) in &upstreams {
            for end in End::ALL {
                let labels = [("upstream", upstream.as_str()), ("result", end.name())];
                let value = sum(cells, &|one| one.mirrored.get(end.index()));
                counter(&mut metric, &labels, value)?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_upstream_first_byte_seconds",
            "From the request's head to the head of the upstream's response",
            None,
            MetricType::Histogram,
        )?;
        for (upstream, cells) in &upstreams {
            let buckets: Vec<(f64, u64)> = ends(&BUCKETS_MICROS)
                .enumerate()
                .map(|(index, end)| (end, sum(cells, &|one| one.buckets.get(index))))
                .collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let total = seconds(sum(cells, &|one| Some(&one.sum_micros)));
            metric
                .encode_family(&[("upstream", upstream.as_str())])?
                .encode_histogram::<NoLabelSet>(total, count, &buckets, None)?;
        }
        Ok(())
    }

    pub(super) fn endpoints(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
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
        let mut metric = encoder.encode_descriptor(
            "gateway_endpoint_ejected",
            "1: its calls failed, so that it gets none for a while",
            None,
            MetricType::Gauge,
        )?;
        for (upstream, endpoint, state) in &rows {
            let labels = [("upstream", *upstream), ("endpoint", endpoint.as_str())];
            metric
                .encode_family(&labels)?
                .encode_gauge(&i64::from(state.is_ejected()))?;
        }
        Ok(())
    }

    pub(super) fn guards(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot.load_full();
        let mut metric = encoder.encode_descriptor(
            "gateway_breaker",
            "0: closed, 1: ramping, 2: half-open, 3: open; of one that is forced, what it is forced to",
            None,
            MetricType::Gauge,
        )?;
        for upstream in &snapshot.upstreams {
            for breaker in upstream.state.breakers() {
                let endpoint = breaker.endpoint.map(|address| address.to_string());
                let endpoint = endpoint.as_deref().unwrap_or("all");
                let value = match breaker.state {
                    State::Closed | State::ForcedClosed => 0_i64,
                    State::Ramping => 1,
                    State::HalfOpen => 2,
                    State::Open | State::ForcedOpen => 3,
                };
                let labels = [("upstream", upstream.name.as_str()), ("endpoint", endpoint)];
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_breaker_openings",
            "Times that a breaker of an upstream or of an endpoint of it opened",
            None,
            MetricType::Counter,
        )?;
        for upstream in &snapshot.upstreams {
            let value = upstream.state.openings.load(Ordering::Relaxed);
            counter(&mut metric, &[("upstream", upstream.name.as_str())], value)?;
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_ejections",
            "Times that an endpoint was taken out, as its calls failed",
            None,
            MetricType::Counter,
        )?;
        for upstream in &snapshot.upstreams {
            let value = upstream.state.ejections.load(Ordering::Relaxed);
            counter(&mut metric, &[("upstream", upstream.name.as_str())], value)?;
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_channel_switches",
            "Times that another way to an endpoint was taken",
            None,
            MetricType::Counter,
        )?;
        for upstream in &snapshot.upstreams {
            let value = upstream.state.switches.load(Ordering::Relaxed);
            counter(&mut metric, &[("upstream", upstream.name.as_str())], value)?;
        }
        Ok(())
    }
}
