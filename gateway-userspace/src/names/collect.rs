//! The names' counters as metrics text: four series for each name of the configuration.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{Counters, Shared};

/// Encodes all of `names` at each scrape.
#[derive(Debug)]
pub(super) struct Collected(pub(super) Arc<Shared>);

type Reader = fn(&Counters) -> u64;

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counters = self.0.counters().clone();
        let rows: [(&str, &str, Reader); 2] = [
            (
                "gateway_name_resolutions",
                "Times that a host name of endpoints was asked for",
                |counters| counters.asked.load(Ordering::Relaxed),
            ),
            (
                "gateway_name_failures",
                "Of these, without a whole answer",
                |counters| counters.failed.load(Ordering::Relaxed),
            ),
        ];
        for (name, help, read) in rows {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (host, counters) in &counters {
                metric
                    .encode_family(&[("host", &**host)])?
                    .encode_counter::<NoLabelSet, u64, u64>(&read(counters), None)?;
            }
        }
        let help = "Time since the last whole answer; absent before the first";
        let mut metric =
            encoder.encode_descriptor("gateway_name_answer_age_seconds", help, None, MetricType::Gauge)?;
        for (host, counters) in &counters {
            let answered = *counters.answered.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(answered) = answered {
                metric
                    .encode_family(&[("host", &**host)])?
                    .encode_gauge(&answered.elapsed().as_secs_f64())?;
            }
        }
        let answers = self.0.answers.borrow().clone();
        let help = "Addresses that are known of a host name";
        let mut metric =
            encoder.encode_descriptor("gateway_name_addresses", help, None, MetricType::Gauge)?;
        for host in counters.keys() {
            let count = i64::try_from(answers.of(host).len()).unwrap_or(i64::MAX);
            metric.encode_family(&[("host", &**host)])?.encode_gauge(&count)?;
        }
        Ok(())
    }
}
