//! Packet cases: one table, run on the pure function and in the kernel; verdict, reason and bytes must agree.

pub mod build;
pub mod cases;
pub mod kernel;
pub mod pure;
pub mod world;
