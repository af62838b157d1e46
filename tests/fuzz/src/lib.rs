//! The parts of the gateway that are fuzzed, taken in as source: the daemon itself takes minutes to build.
//!
//! What they are given, and what must hold, is for the targets in `src/bin`. `cargo xtask fuzz` runs them.

pub mod message;
pub mod naive;
pub mod naive_frames;
pub mod socket;
pub mod steering;
pub mod turns;

/// The gateway's own files, by their places there.
#[path = "../../../gateway-userspace/src"]
pub mod gateway {
    pub mod inspect;
    pub mod proxy_protocol;
    pub mod router;

    /// Of the layer of requests only what stands alone.
    pub mod l7 {
        pub mod client_hello;
        pub mod path;
    }
}
