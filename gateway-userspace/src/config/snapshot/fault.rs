//! `route.fault`: requests that are made late or to fail, to see how those behind and before the gateway take it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::Respond;

/// What is done to a route's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// They wait for so long before an upstream is asked.
    pub delay: Option<(Duration, Odds)>,
    /// They are answered so, and no upstream is asked.
    pub abort: Option<(Arc<Respond>, Odds)>,
    /// Only those that have this field.
    pub only_with: Option<HeaderName>,
}

impl Faults {
    /// Whether anything may be done to a request with these fields.
    pub fn are_for(&self, headers: &HeaderMap) -> bool {
        self.only_with
            .as_ref()
            .is_none_or(|name| headers.contains_key(name))
    }
}

/// A share of requests that chance picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Odds {
    per_million: u32,
}

impl Odds {
    /// 0 to 100 per cent, exact to a ten-thousandth of one.
    pub fn per_cent(share: f64) -> Self {
        Self {
            per_million: (share.clamp(0.0, 100.0) * 10_000.0).round() as u32,
        }
    }

    /// Of a hundred requests.
    pub fn share(self) -> f64 {
        f64::from(self.per_million) / 10_000.0
    }

    /// Whether chance picks a request, by 64 random bits.
    pub fn hit(self, random: u64) -> bool {
        random % 1_000_000 < u64::from(self.per_million)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_are_shares_of_all_requests() {
        for (share, expected) in [
            (0.0, 0),
            (0.0001, 1),
            (0.5, 5_000),
            (50.0, 500_000),
            (100.0, 1_000_000),
        ] {
            let odds = Odds::per_cent(share);
            let hits = (0..1_000_000).filter(|random| odds.hit(*random)).count();
            assert_eq!(hits, expected, "{share} %");
        }
    }

    #[test]
    fn a_field_may_be_asked_for() {
        let mut faults = Faults {
            delay: None,
            abort: None,
            only_with: None,
        };
        let (mut with, without) = (HeaderMap::new(), HeaderMap::new());
        with.insert("x-fault", http::HeaderValue::from_static(""));
        assert!(faults.are_for(&with) && faults.are_for(&without));
        faults.only_with = Some(HeaderName::from_static("x-fault"));
        assert!(faults.are_for(&with) && !faults.are_for(&without));
    }
}
