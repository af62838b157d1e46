//! The control thread of a running node: what it publishes, and what operators ask of it.
//!
//! One loop owns all parts that change ([`controller`]); the admin API talks to it by commands ([`handle`]), so that a
//! reload, a new view and a drain never overlap.

mod breakers;
mod certificates;
pub mod command;
pub mod controller;
pub mod deny;
mod endpoints;
mod explain;
pub mod handle;
pub mod health;
mod interfaces;
mod names;
mod publish;
pub mod registrations;
pub mod reload;
pub mod report;
mod routes;
pub mod stop;
mod trace;

pub use controller::{Controller, Ended, Parts};
pub use handle::Handle;
