//! The packet's way, fuzzed: four nodes in memory, frames for them, and what must hold of each step.
//!
//! Bytes are written and read here by offsets alone, so that no fault of the gateway's own headers hides itself.

pub mod frame;
pub mod naive;
pub mod packets;
pub mod script;
pub mod step;
pub mod world;
