//! `cargo xtask bench l4`: what the kernel program costs a packet, by `BPF_PROG_TEST_RUN`.
//!
//! Reading order: `world` (nodes and VIPs), `frames`, `scenario` (what is measured), `kernel` (the programs, and a check
//! that they do what the pure function says), `rounds` (the clock), `table` (what the flow table forgets, and how long
//! tables take). Limits and verdicts are `xtask`'s.

pub mod figures;
pub mod frames;
pub mod kernel;
pub mod rounds;
pub mod scenario;
pub mod table;
pub mod world;
