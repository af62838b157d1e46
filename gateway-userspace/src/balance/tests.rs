//! Balancing as a whole: weights, levels, keys and loads, each over rows, with seeded random numbers.

mod intake;
mod keys;
mod levels;
mod loads;
mod weights;

use std::cell::Cell;
use std::sync::Arc;

use super::*;

/// Every balancer.
const ALL: [Balancer; 9] = [
    Balancer::RoundRobin,
    Balancer::Random,
    Balancer::LeastRequests,
    Balancer::IpHash(Hashing::Maglev),
    Balancer::IpHash(RING),
    Balancer::ConsistentHash(Hashing::Maglev),
    Balancer::ConsistentHash(RING),
    Balancer::TwoChoices,
    Balancer::PeakEwma,
];

const RING: Hashing = Hashing::Ring {
    load_max_per_cent: LOAD_MAX_PER_CENT,
};

/// Loads that a test sets.
struct Fake(Vec<(Cell<u32>, Cell<u32>)>);

impl Fake {
    /// Nobody is busy, and all answer in 5 ms.
    fn idle(members: usize) -> Self {
        Self((0..members).map(|_| (Cell::new(0), Cell::new(5_000))).collect())
    }

    fn add(&self, index: usize) {
        self.0[index].0.update(|active| active + 1);
    }

    fn end(&self, index: usize) {
        self.0[index].0.update(|active| active - 1);
    }
}

impl Loads for Fake {
    fn active(&self, index: usize) -> u32 {
        self.0[index].0.get()
    }

    fn latency(&self, index: usize) -> u32 {
        self.0[index].1.get()
    }
}

/// Seeded bits.
struct Bits(u64);

impl Bits {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }
}

/// Members of those weights, each with an identity of its own.
fn members(weights: &[u32]) -> Vec<Member> {
    let identity = |index: usize| mix(0x0a00_0101 + index as u64);
    let member = |(index, weight): (usize, &u32)| Member::new(identity(index), *weight);
    weights.iter().enumerate().map(member).collect()
}

/// A picker of the first worker, and the roster of the same members.
fn ready(balancer: Balancer, members: &[Member], terms: &RosterTerms) -> (Picker, Roster) {
    let plan = Arc::new(Plan::new(balancer, members, terms));
    (Picker::new(plan, 0), Roster::new(members, terms))
}

/// How many of `count` picks each member got, while nobody is busy.
fn count(balancer: Balancer, members: &[Member], terms: &RosterTerms, count: usize) -> Vec<usize> {
    let (picker, roster) = ready(balancer, members, terms);
    let loads = Fake::idle(members.len());
    let mut bits = Bits(7);
    let mut picked = vec![0; members.len()];
    for _ in 0..count {
        let pick = picker.pick(&roster, &loads, Some(bits.next()), &[], bits.next());
        picked[pick.unwrap().index] += 1;
    }
    picked
}
