//! Metrics of connections that were passed on. Those of listeners and upstreams that had none are left out.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::{L7, counter, sum};
use crate::l7::metrics::{Cell64, DIRECTIONS, RESULTS, RouteCounters};

impl L7 {
    pub(super) fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let routes = self.0.metrics.routes().clone();
        let mut metric = encoder.encode_descriptor(
            "gateway_tcp_connections",
            "Connections that were passed on and have ended, by how",
            None,
            MetricType::Counter,
        )?;
        let used = |cells: &[Arc<RouteCounters>]| {
            (0..RESULTS.len()).any(|index| sum(cells, |one| one.connections.get(index)) > 0)
        };
        for ((listener, route), cells) in routes.iter().filter(|(_, cells)| used(cells)) {
            for (index, result) in RESULTS.iter().enumerate() {
                let labels = [
                    ("listener", listener.as_str()),
                    ("route", route.as_str()),
                    ("result", result),
                ];
                counter(&mut metric, &labels, sum(cells, |one| one.connections.get(index)))?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_tcp_bytes",
            "Bytes of connections that were passed on and have ended, from clients (in) and to them (out)",
            None,
            MetricType::Counter,
        )?;
        for ((listener, route), cells) in routes.iter().filter(|(_, cells)| used(cells)) {
            for (index, direction) in DIRECTIONS.iter().enumerate() {
                let labels = [
                    ("listener", listener.as_str()),
                    ("route", route.as_str()),
                    ("direction", direction),
                ];
                counter(&mut metric, &labels, sum(cells, |one| one.bytes.get(index)))?;
            }
        }
        let upstreams = self.0.metrics.upstreams().clone();
        let mut metric = encoder.encode_descriptor(
            "gateway_upstream_tcp_connections",
            "Connections that an upstream was to take, and did (ok) or not (failed)",
            None,
            MetricType::Counter,
        )?;
        for (upstream, cells) in &upstreams {
            let value = |index: usize| -> u64 {
                let cells = cells.iter().filter_map(|one| one.connections.get(index));
                cells.map(Cell64::get).sum()
            };
            if (0..RESULTS.len()).all(|index| value(index) == 0) {
                continue;
            }
            for (index, result) in RESULTS.iter().enumerate() {
                let labels = [("upstream", upstream.as_str()), ("result", result)];
                counter(&mut metric, &labels, value(index))?;
            }
        }
        Ok(())
    }
}
