//! The packet's way.
#![cfg_attr(not(feature = "memory"), no_std)]
pub mod node;
