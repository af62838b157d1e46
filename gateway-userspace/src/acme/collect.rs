//! Orders as metrics text. When certificates end, `gateway_tls_certificate_expiry_seconds` says for all of them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::shown::{Board, Last, Shown};

/// Encodes what is had at each scrape.
#[derive(Debug)]
pub(super) struct Collected(pub(super) Board);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.shown();
        if all.is_empty() {
            return Ok(());
        }
        let help = "Orders of certificates that have ended, by first name and outcome";
        let mut metric = encoder.encode_descriptor("gateway_acme_orders", help, None, MetricType::Counter)?;
        for shown in &all {
            for (outcome, count) in [(Last::Issued, shown.issued), (Last::Failed, shown.failed)] {
                metric
                    .encode_family(&[("name", name(shown)), ("outcome", outcome.word())])?
                    .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
            }
        }
        let help = "Whether the last order of a certificate failed; absent before the first";
        let mut metric =
            encoder.encode_descriptor("gateway_acme_last_order_failed", help, None, MetricType::Gauge)?;
        for shown in &all {
            if let Some((outcome, ..)) = &shown.last {
                let failed = i64::from(*outcome == Last::Failed);
                metric
                    .encode_family(&[("name", name(shown))])?
                    .encode_gauge(&failed)?;
            }
        }
        let help = "When a certificate is ordered next at the earliest, in seconds since 1970";
        let mut metric =
            encoder.encode_descriptor("gateway_acme_next_order_seconds", help, None, MetricType::Gauge)?;
        for shown in &all {
            if let Some((at, _)) = &shown.next {
                metric
                    .encode_family(&[("name", name(shown))])?
                    .encode_gauge(&seconds(*at))?;
            }
        }
        Ok(())
    }
}

/// Of several files with one first name the counters stand side by side; validation lets a name stand in one only.
fn name(shown: &Shown) -> &str {
    shown.wanted.names.first().map_or("", String::as_str)
}

fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
