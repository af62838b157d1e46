//! What a balancer made of the requests.

use serde::Serialize;

use super::Endpoint;

/// One balancer's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The balancer's name, with its hashing where it has one.
    pub balancer: String,
    /// All requests.
    pub requests: usize,
    /// Those that failed.
    pub failed: usize,
    /// Who got how many.
    pub endpoints: Vec<Spread>,
    /// The greatest difference between an endpoint's share and what its weight says, in points of a per cent.
    pub deviation_points: f64,
    /// Milliseconds of the median of those that were answered; `None` where none was.
    pub p50_ms: Option<f64>,
    /// Milliseconds that 99% stayed below.
    pub p99_ms: Option<f64>,
    /// The longest, in milliseconds.
    pub max_ms: Option<f64>,
}

/// One endpoint's part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Its name.
    pub name: String,
    /// Requests that it got.
    pub requests: usize,
    /// Of these, failed.
    pub failed: usize,
    /// Its share of all requests, in per cent.
    pub share_per_cent: f64,
}

impl Outcome {
    /// From counts (all, failed) in the order of the endpoints, and the latencies of what was answered.
    pub(super) fn new(
        balancer: String,
        endpoints: &[Endpoint],
        counts: &[(usize, usize)],
        mut latencies_us: Vec<u64>,
    ) -> Self {
        latencies_us.sort_unstable();
        let requests: usize = counts.iter().map(|(all, _)| all).sum();
        let weights: u32 = endpoints.iter().map(|endpoint| endpoint.weight).sum();
        let per_cent = |part: f64, whole: f64| part * 100.0 / whole.max(1.0);
        let spreads = endpoints
            .iter()
            .zip(counts)
            .map(|(endpoint, (all, failed))| Spread {
                name: endpoint.name.clone(),
                requests: *all,
                failed: *failed,
                share_per_cent: per_cent(*all as f64, requests as f64),
            });
        let spreads: Vec<Spread> = spreads.collect();
        let off = endpoints.iter().zip(&spreads).map(|(endpoint, spread)| {
            (spread.share_per_cent - per_cent(f64::from(endpoint.weight), f64::from(weights))).abs()
        });
        // The nearest rank: the least latency that so many are not above.
        let rank = |per_cent: usize| {
            let rank = (latencies_us.len() * per_cent).div_ceil(100);
            latencies_us
                .get(rank.checked_sub(1)?)
                .map(|us| *us as f64 / 1000.0)
        };
        Self {
            balancer,
            requests,
            failed: counts.iter().map(|(_, failed)| failed).sum(),
            deviation_points: off.fold(0.0, f64::max),
            p50_ms: rank(50),
            p99_ms: rank(99),
            max_ms: rank(100),
            endpoints: spreads,
        }
    }
}
