//! Which endpoint of an upstream takes a request.
//!
//! Pure: no clock, no random source, no lock; time and random numbers are arguments, and what is shared between
//! workers is read through [`Loads`]. Three parts, by how often they change: a [`Plan`] for each configuration (hash
//! tables), a [`Roster`] for each change of what is known of the endpoints (who may be picked, and how the traffic is
//! split over priorities and zones), and a [`Picker`] for each worker, which picks.
//!
//! Left to the caller: what makes an endpoint ready or failing, when a roster is out of date, which part of a request
//! is its key, which endpoint a sticky cookie names ([`Roster::admits`] tells whether it may be used), and what belongs
//! to a subset ([`Intake::None`] leaves the others out: each subset has a plan and a roster of its own).

mod choices;
mod ewma;
mod group;
mod hashed;
mod level;
mod maglev;
mod member;
mod mix;
mod picker;
mod ring;
mod roster;
mod slow_start;
mod split;
#[cfg(test)]
mod tests;
mod turn;

pub use ewma::Ewma;
pub use member::{Intake, MEMBERS_MAX, Member, SHARE_WHOLE, Standing, Zone};
pub use mix::mix;
pub use picker::{Pick, Picker, Plan};
pub use roster::{LevelLoad, Roster, RosterTerms, Zones};
pub use slow_start::share as slow_start;

/// What the workers share of an endpoint, by its index among the members.
///
/// Values may change between two calls: other workers send requests, too.
pub trait Loads {
    /// Requests under way.
    fn active(&self, index: usize) -> u32;
    /// Microseconds that an answer takes, decayed until now ([`Ewma::read`]); 0 where nothing is known.
    fn latency(&self, index: usize) -> u32;
}

/// How a request's endpoint is chosen. Weights apply to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balancer {
    /// One after the other, smoothly.
    RoundRobin,
    /// Anyone.
    Random,
    /// Who has the fewest requests under way for its weight.
    LeastRequests,
    /// By the hash of the client's address.
    IpHash(Hashing),
    /// By the hash of a header, cookie, query parameter, path or the client's address.
    ConsistentHash(Hashing),
    /// The less busy of two at random.
    TwoChoices,
    /// The cheaper of two at random: by latency, and requests under way.
    PeakEwma,
}

impl Balancer {
    /// As the file has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Random => "random",
            Self::LeastRequests => "least-requests",
            Self::IpHash(_) => "ip-hash",
            Self::ConsistentHash(_) => "consistent-hash",
            Self::TwoChoices => "two-choices",
            Self::PeakEwma => "peak-ewma",
        }
    }
}

/// How a key finds its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hashing {
    /// A Maglev table: even, and one look-up.
    Maglev,
    /// A ring on which an endpoint that is too busy is passed over.
    Ring {
        /// How many requests an endpoint may have under way, in per cent of its fair part; at least
        /// [`LOAD_MAX_PER_CENT_MIN`], which lower values are taken for.
        load_max_per_cent: u16,
    },
}

/// The bound on an endpoint's load where none is given.
///
/// Source: Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018; 1.25 is what
/// its users settled on: less moves many keys, more bounds little.
pub const LOAD_MAX_PER_CENT: u16 = 125;

/// The tightest bound: below it nearly every key is passed on, and nothing is consistent any more.
pub const LOAD_MAX_PER_CENT_MIN: u16 = 101;

/// Whether an endpoint was picked though it is known to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Only those are picked that are known or presumed good.
    Normal,
    /// So few are good that all are used: a check may be wrong, and the few would not bear it.
    Panic,
}
