//! Upstream servers that misbehave: those that end-to-end tests and `cargo xtask bench resilience` put behind a proxy.

pub mod http;
pub mod sick;
pub mod tamper;
