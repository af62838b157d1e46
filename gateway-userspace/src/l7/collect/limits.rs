//! Metrics of what is under way at upstreams, and of its limits.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::{L7, counter};
use crate::resilience::limits::{Limit, UNLIMITED};

// In the place of an endpoint: all of the upstream together; the limit of each.
const ALL: &str = "all";
const EACH: &str = "each";

fn labels<'l>(upstream: &'l str, endpoint: &'l str, limit: Limit) -> [(&'static str, &'l str); 3] {
    [
        ("upstream", upstream),
        ("endpoint", endpoint),
        ("what", limit.name()),
    ]
}

impl L7 {
    pub(super) fn limits(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot.load_full();
        let mut metric = encoder.encode_descriptor(
            "gateway_upstream_under_way",
            "Open connections, requests that wait for one, requests, and retries of what was sent already",
            None,
            MetricType::Gauge,
        )?;
        for upstream in &snapshot.upstreams {
            for limit in Limit::ALL {
                metric
                    .encode_family(&labels(&upstream.name, ALL, limit))?
                    .encode_gauge(&i64::from(upstream.under_way(limit)))?;
                for endpoint in &upstream.endpoints {
                    let address = endpoint.address.to_string();
                    metric
                        .encode_family(&labels(&upstream.name, &address, limit))?
                        .encode_gauge(&i64::from(endpoint.under_way(limit)))?;
                }
            }
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_upstream_limit",
            "How much of that may be under way, where it is limited",
            None,
            MetricType::Gauge,
        )?;
        for upstream in &snapshot.upstreams {
            let limits = &upstream.limits;
            for (endpoint, maxima) in [(ALL, &limits.whole), (EACH, &limits.endpoint)] {
                for limit in Limit::ALL {
                    let max = maxima.of(limit);
                    if max == UNLIMITED || limit == Limit::Pending && !limits.bounds_connections() {
                        continue;
                    }
                    let labels = labels(&upstream.name, endpoint, limit);
                    metric.encode_family(&labels)?.encode_gauge(&i64::from(max))?;
                }
            }
        }
        let mut metric = encoder.encode_descriptor(
            "gateway_upstream_limited",
            "Times that a limit of an upstream, or of an endpoint of it, kept something back",
            None,
            MetricType::Counter,
        )?;
        for upstream in &snapshot.upstreams {
            for limit in Limit::ALL {
                let labels = [("upstream", upstream.name.as_str()), ("limit", limit.name())];
                counter(&mut metric, &labels, upstream.state.times_limited(limit))?;
            }
        }
        Ok(())
    }
}
