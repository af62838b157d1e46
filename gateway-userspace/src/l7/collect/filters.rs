//! Metrics of filters: what they refused, and what they forgot.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::{L7, counter};
use crate::filters::{Filter, NamedFilter};

impl L7 {
    pub(super) fn filters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot.load_full();
        // A route stands in each of its listeners.
        let mut filters = BTreeMap::new();
        for listener in &snapshot.listeners {
            let routes = listener.routes.iter().flat_map(|route| &route.filters);
            for filter in listener.filters.iter().chain(routes) {
                let (kind, of) = filter.id.owner.texts();
                filters.insert((kind, of, filter.id.name.as_str()), filter.as_ref());
            }
        }
        type Value = fn(&NamedFilter) -> Option<u64>;
        let families: [(&str, &str, Value); 3] = [
            (
                "gateway_filter_refused",
                "Requests that a filter refused",
                |filter| Some(filter.counts.refused()),
            ),
            (
                "gateway_filter_would_refuse",
                "Requests that a filter would have refused, but for its dry run",
                |filter| Some(filter.counts.would_refuse()),
            ),
            (
                "gateway_rate_limit_keys_forgotten",
                "Keys of a rate limit that were forgotten before they had recovered, as others needed their place",
                |filter| match &filter.filter {
                    Filter::RateLimit(limit) => Some(limit.forgotten()),
                    _ => None,
                },
            ),
        ];
        for (name, help, value) in families {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for ((kind, of, name), filter) in &filters {
                let labels = [("in", *kind), ("of", *of), ("filter", *name)];
                if let Some(value) = value(filter) {
                    counter(&mut metric, &labels, value)?;
                }
            }
        }
        Ok(())
    }
}
