//! Test support: packet cases and the lab.

pub mod packets;
