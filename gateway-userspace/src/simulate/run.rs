//! The replay: requests come, wait for a slot, are worked on, and end.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use super::trace::uniform;
use super::{Endpoint, Endpoints, Outcome, Request, Times};
use crate::balance::{
    Balancer, Ewma, Hashing, LOAD_MAX_PER_CENT, Loads, Member, Picker, Plan, Roster, RosterTerms, mix,
};

/// Every balancer, with what the tables call it.
pub const BALANCERS: [(&str, Balancer); 8] = [
    ("round-robin", Balancer::RoundRobin),
    ("random", Balancer::Random),
    ("least-requests", Balancer::LeastRequests),
    ("ip-hash (maglev)", Balancer::IpHash(Hashing::Maglev)),
    (
        "consistent-hash (maglev)",
        Balancer::ConsistentHash(Hashing::Maglev),
    ),
    (
        "consistent-hash (ring)",
        Balancer::ConsistentHash(Hashing::Ring {
            load_max_per_cent: LOAD_MAX_PER_CENT,
        }),
    ),
    ("two-choices", Balancer::TwoChoices),
    ("peak-ewma", Balancer::PeakEwma),
];

/// What a request's draws are told apart by.
const WORK: u64 = 1;
const FAILURE: u64 = 2;
const PICK: u64 = 3;

/// Replays the requests against every balancer.
pub fn run(endpoints: &Endpoints, requests: &[Request], seed: u64) -> Vec<Outcome> {
    let one = |(name, balancer): &(&str, Balancer)| replay(name, *balancer, endpoints.all(), requests, seed);
    BALANCERS.iter().map(one).collect()
}

fn replay(
    name: &str,
    balancer: Balancer,
    endpoints: &[Endpoint],
    requests: &[Request],
    seed: u64,
) -> Outcome {
    let member = |endpoint: &Endpoint| {
        let identity = endpoint
            .name
            .bytes()
            .fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
        Member::new(identity, endpoint.weight)
    };
    let members: Vec<Member> = endpoints.iter().map(member).collect();
    let terms = RosterTerms::default();
    let roster = Roster::new(&members, &terms);
    let picker = Picker::new(Arc::new(Plan::new(balancer, &members, &terms)), 0);
    let mut world = World::new(endpoints, requests, seed);
    for (number, request) in requests.iter().enumerate() {
        world.pass(request.at_us);
        let bits = world.bits(number, PICK);
        if let Some(pick) = picker.pick(&roster, &world.stations, Some(request.key), &[], bits) {
            world.send(pick.index, number);
        }
    }
    world.pass(u64::MAX);
    let counts: Vec<_> = world.stations.all.iter().map(|station| station.counts).collect();
    Outcome::new(name.to_owned(), endpoints, &counts, world.latencies_us)
}

struct World<'a> {
    endpoints: &'a [Endpoint],
    requests: &'a [Request],
    seed: u64,
    stations: Stations,
    /// When what is worked on ends: the time, the request's number, the endpoint. No more than there are requests.
    ends: BinaryHeap<Reverse<(u64, usize, usize)>>,
    /// Of those that were answered.
    latencies_us: Vec<u64>,
}

struct Stations {
    all: Vec<Station>,
    ewma: Ewma,
    now_us: u64,
}

/// An endpoint at work.
#[derive(Default)]
struct Station {
    /// Waiting and worked on.
    active: u32,
    worked_on: usize,
    waiting: VecDeque<usize>,
    latency: Cell<u64>,
    /// All that ended, and of these the failed.
    counts: (usize, usize),
}

impl Loads for Stations {
    fn active(&self, index: usize) -> u32 {
        self.all.get(index).map_or(0, |station| station.active)
    }

    fn latency(&self, index: usize) -> u32 {
        let word = self.all.get(index).map_or(0, |station| station.latency.get());
        self.ewma.read(word, self.now_us / 1000)
    }
}

impl<'a> World<'a> {
    fn new(endpoints: &'a [Endpoint], requests: &'a [Request], seed: u64) -> Self {
        Self {
            endpoints,
            requests,
            seed,
            stations: Stations {
                all: endpoints.iter().map(|_| Station::default()).collect(),
                ewma: Ewma::default(),
                now_us: 0,
            },
            ends: BinaryHeap::new(),
            latencies_us: Vec::with_capacity(requests.len()),
        }
    }

    /// The luck of a request, the same for every balancer.
    fn bits(&self, number: usize, draw: u64) -> u64 {
        mix(mix(self.seed ^ draw) ^ mix(number as u64))
    }

    /// Ends all that ends until then.
    fn pass(&mut self, until_us: u64) {
        while let Some(Reverse((at_us, number, index))) = self.ends.peek().copied() {
            if at_us > until_us {
                break;
            }
            self.ends.pop();
            self.stations.now_us = at_us;
            self.end(index, number);
        }
        self.stations.now_us = until_us;
    }

    fn send(&mut self, index: usize, number: usize) {
        let (Some(station), Some(endpoint)) = (self.stations.all.get_mut(index), self.endpoints.get(index))
        else {
            return;
        };
        station.active += 1;
        if station.worked_on < endpoint.slots {
            station.worked_on += 1;
            self.work(index, number);
        } else {
            station.waiting.push_back(number);
        }
    }

    fn work(&mut self, index: usize, number: usize) {
        let (Some(endpoint), Some(request)) = (self.endpoints.get(index), self.requests.get(number)) else {
            return;
        };
        let took_us = if self.fails(endpoint, number) {
            endpoint.fail_us
        } else {
            let factor = match endpoint.times {
                Times::Fixed => 1.0,
                Times::Exponential => -uniform(self.bits(number, WORK)).ln(),
            };
            endpoint.mean_us * factor + request.cost_us as f64
        };
        let at_us = self.stations.now_us + (took_us as u64).max(1);
        self.ends.push(Reverse((at_us, number, index)));
    }

    fn fails(&self, endpoint: &Endpoint, number: usize) -> bool {
        // Above 0, so that a part of 0 never fails, and 1 always.
        uniform(self.bits(number, FAILURE)) <= endpoint.fail
    }

    fn end(&mut self, index: usize, number: usize) {
        let (Some(endpoint), Some(request)) = (self.endpoints.get(index), self.requests.get(number)) else {
            return;
        };
        let fails = self.fails(endpoint, number);
        let Stations { all, ewma, now_us } = &mut self.stations;
        let Some(station) = all.get_mut(index) else {
            return;
        };
        let took_us = now_us.saturating_sub(request.at_us);
        let sample = u32::try_from(took_us).unwrap_or(u32::MAX);
        let (word, now_ms) = (station.latency.get(), *now_us / 1000);
        station.counts.0 += 1;
        if fails {
            station.counts.1 += 1;
            station.latency.set(ewma.observe_failure(word, now_ms, sample));
        } else {
            self.latencies_us.push(took_us);
            station.latency.set(ewma.observe(word, now_ms, sample));
        }
        station.active -= 1;
        station.worked_on -= 1;
        if let Some(next) = station.waiting.pop_front() {
            station.worked_on += 1;
            self.work(index, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Arrivals, generate};
    use super::*;

    fn outcomes(endpoints: &str, rate: f64, seconds: f64) -> Vec<Outcome> {
        let arrivals = Arrivals {
            rate,
            seconds,
            keys: 5_000,
            seed: 1,
        };
        run(&endpoints.parse().unwrap(), &generate(&arrivals).unwrap(), 1)
    }

    fn of<'a>(outcomes: &'a [Outcome], name: &str) -> &'a Outcome {
        outcomes.iter().find(|outcome| outcome.balancer == name).unwrap()
    }

    #[test]
    fn every_request_ends_and_the_same_seed_gives_the_same_figures() {
        let endpoints = "a:weight=2;b:ms=20,slots=4;c:fail=0.3";
        let first = outcomes(endpoints, 500.0, 20.0);
        assert_eq!(first, outcomes(endpoints, 500.0, 20.0));
        assert_eq!(first.len(), BALANCERS.len());
        let requests = first[0].requests;
        assert!(requests > 9_000, "{requests}");
        for outcome in &first {
            assert_eq!(outcome.requests, requests, "{}", outcome.balancer);
            let shares: f64 = outcome.endpoints.iter().map(|spread| spread.share_per_cent).sum();
            assert!((shares - 100.0).abs() < 1e-6, "{}", outcome.balancer);
        }
    }

    #[test]
    fn peak_ewma_has_a_shorter_tail_than_round_robin_where_one_endpoint_is_slow() {
        let outcomes = outcomes("a*3:ms=5;slow:ms=300", 300.0, 60.0);
        let tail = |name| of(&outcomes, name).p99_ms.unwrap();
        assert!(tail("peak-ewma") * 10.0 < tail("round-robin"), "{outcomes:#?}");
        assert!(tail("two-choices") < tail("round-robin"), "{outcomes:#?}");
    }

    #[test]
    fn peak_ewma_fails_least_where_one_endpoint_fails_fast() {
        let outcomes = outcomes("a*2:ms=20;bad:fail=1,fail_ms=1", 300.0, 60.0);
        let failed = |name| of(&outcomes, name).failed;
        assert!(failed("peak-ewma") * 100 < failed("round-robin"), "{outcomes:#?}");
        assert!(failed("least-requests") > failed("round-robin"), "{outcomes:#?}");
    }

    #[test]
    fn weights_hold_where_all_are_as_fast_as_their_weight() {
        let outcomes = outcomes("a:weight=3,times=fixed;b:times=fixed", 500.0, 60.0);
        for (name, points) in [
            ("round-robin", 0.1),
            ("random", 1.0),
            ("least-requests", 8.0),
            ("ip-hash (maglev)", 3.0),
            ("consistent-hash (maglev)", 3.0),
            ("consistent-hash (ring)", 5.0),
            ("two-choices", 8.0),
            ("peak-ewma", 8.0),
        ] {
            let found = of(&outcomes, name).deviation_points;
            assert!(found <= points, "{name}: {found}");
        }
    }

    #[test]
    fn who_has_no_free_slot_lets_wait() {
        let requests: Vec<Request> = (0..3)
            .map(|key| Request {
                at_us: 0,
                key,
                cost_us: 2_000,
            })
            .collect();
        let outcomes = run(&"a:slots=1,ms=3,times=fixed".parse().unwrap(), &requests, 1);
        for outcome in outcomes {
            assert_eq!(
                (outcome.p50_ms, outcome.max_ms),
                (Some(10.0), Some(15.0)),
                "{}",
                outcome.balancer
            );
        }
    }
}
