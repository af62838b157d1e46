//! The checks' counters as metrics text.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{Counters, Shared};

/// Encodes all of `health` at each scrape.
#[derive(Debug)]
pub(super) struct Health(pub(super) Arc<Shared>);

type Reader = fn(&Counters) -> &AtomicU64;

impl Collector for Health {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let rows: [(&str, &str, Reader); 3] = [
            ("gateway_checks_passed", "Readiness checks that passed", |c| {
                &c.passed
            }),
            ("gateway_checks_failed", "Readiness checks that failed", |c| {
                &c.failed
            }),
            (
                "gateway_check_transitions",
                "Changes of an endpoint's readiness",
                |c| &c.transitions,
            ),
        ];
        let counters = self.0.counters().clone();
        for (name, help, read) in rows {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for ((upstream, endpoint), cells) in &counters {
                let endpoint = endpoint.to_string();
                let labels = [("upstream", upstream.as_str()), ("endpoint", endpoint.as_str())];
                let value = read(cells).load(Ordering::Relaxed);
                metric
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
            }
        }
        Ok(())
    }
}
