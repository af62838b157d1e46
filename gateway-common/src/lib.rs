//! The packet's way: what the kernel program decides about a frame, as a plain library.
//!
//! `gateway-ebpf` runs [`forward::short`], and where that leaves a frame as it is [`forward::decide`] and [`forward::apply`],
//! over real frames and maps; tests and plans run the same functions over [`memory`]. No I/O, no clock, no randomness and, but for `memory`, no allocation.
//! Modules stand in the order in which a packet meets them.

#![cfg_attr(not(any(test, feature = "memory")), no_std)]
// For one instruction that `core` lacks there; aya-ebpf asks for the same feature.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod checksum;
pub mod encap;
pub mod flow;
pub mod forward;
pub mod fragment;
pub mod frame;
pub mod gue;
pub mod hash;
pub mod headers;
pub mod icmp;
pub mod maglev;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod node;
pub mod parse;
pub mod prefix;
pub mod protection;
pub mod quic;
pub mod tables;
pub mod trace;
pub mod verdict;
pub mod vip;
pub mod word;
