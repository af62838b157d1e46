//! What keeps a request alive when an upstream is slow, sick or gone: pure state machines, each `step(event, now) -> actions`.
//!
//! No clock, socket, lock or spawn in here: `now` is the time since an origin that the caller chose and never moves,
//! random numbers are arguments, and what an endpoint did comes as [`Totals`] that only grow. Workers add to these on
//! their way; whoever sees a failure, and the control thread ten times a second, takes the machine's lock and steps it.
//! The two counters that workers share, [`limits`] and [`budget`], are atomics instead of machines.
//! Who picks an endpoint, sends the request and logs the change is the caller's. `docs/resilience.md` has the figures.

pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod channel;
pub mod limits;
pub mod outliers;
#[cfg(test)]
mod seeded;
mod totals;
pub mod window;

pub use totals::{Totals, Tracker};
