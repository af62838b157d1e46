//! The request's way against real servers and clients on loopback.

mod drain;
mod fail;
mod forward;
mod harness;
mod limits;
mod stream;
