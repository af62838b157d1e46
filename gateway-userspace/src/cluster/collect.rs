//! The view as metrics.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use tokio::sync::watch;

use crate::view::View;

/// Encodes the view at each scrape.
#[derive(Debug)]
pub(super) struct Views(pub(super) watch::Receiver<Arc<View>>);

impl Collector for Views {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let view = self.0.borrow().clone();
        let number = i64::try_from(view.number).unwrap_or(i64::MAX);
        let mut metric = encoder.encode_descriptor("gateway_view", "Number of the view in force", None, MetricType::Gauge)?;
        metric.encode_gauge(&number)?;
        let mut metric = encoder.encode_descriptor(
            "gateway_member_weight",
            "Share of new connections of each member of the view",
            None,
            MetricType::Gauge,
        )?;
        for member in &view.members {
            let labels = [("node", member.name.as_str())];
            metric.encode_family(&labels)?.encode_gauge(&i64::from(member.weight))?;
        }
        Ok(())
    }
}
