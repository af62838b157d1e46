//! `gateway simulate balance`: how each balancer would have spread a trace of requests, and how long these would have
//! taken.
//!
//! Pure and event-driven: the clock is the trace's, and the same seed gives the same figures. It uses the balancers
//! themselves, not models of them. All balancers meet the same requests with the same luck: how long the request of a
//! number takes at an endpoint, and whether it fails there, does not depend on who sent it.
//!
//! Ideal and reality: no connections, retries, time-outs or checks are simulated, and one worker picks.

mod endpoints;
mod error;
mod outcome;
mod run;
mod trace;

pub use endpoints::{ENDPOINTS_MAX, Endpoint, Endpoints, Times};
pub use error::SimulateError;
pub use outcome::{Outcome, Spread};
pub use run::{BALANCERS, run};
pub use trace::{Arrivals, REQUESTS_MAX, Request, generate, read};
