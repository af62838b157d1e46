//! When certificates end: those of listeners, and our own for endpoints. Of each kind those that end soonest.

use std::fmt;
use std::time::UNIX_EPOCH;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::{L7, signed};
use crate::tls::Facts;

/// Certificates of each kind whose end is told.
const EXPIRIES_MAX: usize = 1_000;

impl L7 {
    pub(super) fn expiries(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot.load();
        let mut all = Vec::new();
        for listener in &snapshot.listeners {
            let held = listener.tls.iter().flat_map(|tls| tls.choice.all());
            let pairs = held
                .enumerate()
                .filter_map(|(index, held)| Some((index, held.pair()?)));
            for (index, pair) in pairs {
                all.push((end(&pair.facts), listener.name.as_str(), index, &pair.facts));
            }
        }
        all.sort_unstable_by_key(|(until, listener, index, _)| (*until, *listener, *index));
        let mut metric = encoder.encode_descriptor(
            "gateway_tls_certificate_expiry_seconds",
            "When a certificate ends, in seconds since 1970; by listener, place in its list, and first name",
            None,
            MetricType::Gauge,
        )?;
        for (until, listener, index, facts) in all.into_iter().take(EXPIRIES_MAX) {
            let place = index.to_string();
            let name = name(facts);
            let labels = [
                ("listener", listener),
                ("index", place.as_str()),
                ("name", name.as_str()),
            ];
            metric.encode_family(&labels)?.encode_gauge(&signed(until))?;
        }
        let mut all = Vec::new();
        for upstream in &snapshot.upstreams {
            let tls = upstream.tls.as_ref();
            let pair = tls.and_then(|tls| tls.settings().pair.as_ref());
            all.extend(pair.map(|pair| (end(&pair.facts), upstream.name.as_str(), &pair.facts)));
        }
        all.sort_unstable_by_key(|(until, upstream, _)| (*until, *upstream));
        let mut metric = encoder.encode_descriptor(
            "gateway_upstream_certificate_expiry_seconds",
            "When the certificate ends that endpoints are shown, in seconds since 1970; by upstream and first name",
            None,
            MetricType::Gauge,
        )?;
        for (until, upstream, facts) in all.into_iter().take(EXPIRIES_MAX) {
            let name = name(facts);
            let labels = [("upstream", upstream), ("name", name.as_str())];
            metric.encode_family(&labels)?.encode_gauge(&signed(until))?;
        }
        Ok(())
    }
}

fn end(facts: &Facts) -> u64 {
    let until = facts.not_after.duration_since(UNIX_EPOCH);
    until.unwrap_or_default().as_secs()
}

/// Whoever issued it chose the name; the text format has quotes around it.
fn name(facts: &Facts) -> String {
    let name = facts.dns_names.first().unwrap_or(&facts.subject);
    name.replace(['"', '\\', '\n'], "?")
}
