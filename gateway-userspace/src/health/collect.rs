//! The checks' states and counters as metrics text.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::record::{Counters, Record};
use super::{Key, Shared};
use crate::registry::Readiness;

/// Encodes all of `health` at each scrape.
#[derive(Debug)]
pub(super) struct Collected(pub(super) Arc<Shared>);

type Reader = fn(&Counters) -> &AtomicU64;

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let records: Vec<(Key, Arc<Record>)> = {
            let records = self.0.records();
            let both = records.iter();
            both.map(|(key, record)| (key.clone(), Arc::clone(record)))
                .collect()
        };
        let rows: [(&str, &str, Reader); 2] = [
            ("gateway_checks_passed", "Checks that passed", |c| &c.passed),
            ("gateway_checks_failed", "Checks that failed", |c| &c.failed),
        ];
        for (name, help, read) in rows {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for ((upstream, endpoint), record) in &records {
                let endpoint = endpoint.to_string();
                for (kind, _) in record.kinds() {
                    let value = record
                        .counters(kind)
                        .map_or(0, |counters| read(counters).load(Ordering::Relaxed));
                    let labels = [
                        ("upstream", upstream.as_str()),
                        ("endpoint", endpoint.as_str()),
                        ("kind", kind.word()),
                    ];
                    metric
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
                }
            }
        }
        let help =
            "What each kind of check says of an endpoint: 1 ready, 0 not known yet or starting, -1 failing";
        let mut metric = encoder.encode_descriptor("gateway_check_state", help, None, MetricType::Gauge)?;
        for ((upstream, endpoint), record) in &records {
            let endpoint = endpoint.to_string();
            for (kind, known) in record.kinds() {
                let value = match known.state {
                    Readiness::Ready => 1_i64,
                    Readiness::Unknown => 0,
                    Readiness::Failing => -1,
                };
                let labels = [
                    ("upstream", upstream.as_str()),
                    ("endpoint", endpoint.as_str()),
                    ("kind", kind.word()),
                ];
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        let help = "Changes of what a kind of check says, or of the endpoint as a whole (kind endpoint)";
        let mut metric =
            encoder.encode_descriptor("gateway_check_transitions", help, None, MetricType::Counter)?;
        for ((upstream, endpoint), record) in &records {
            let endpoint = endpoint.to_string();
            for (transition, count) in record.transitions() {
                let labels = [
                    ("upstream", upstream.as_str()),
                    ("endpoint", endpoint.as_str()),
                    ("kind", transition.kind),
                    ("from", transition.from),
                    ("to", transition.to),
                    ("why", transition.why),
                ];
                metric
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
            }
        }
        Ok(())
    }
}
