//! The L7 core from outside: one process on loopback, real clients before it, real and scripted servers behind it.
//!
//! No namespaces and no root. First what the tests stand on, then the tests, from bytes to programs. The tables are
//! those of what the edge refuses and rewrites: a row sends bytes, and says what the client and the upstream see.

#[path = "http/frames.rs"]
mod frames;
#[path = "http/gateway.rs"]
pub mod gateway;
#[path = "http/lives.rs"]
mod lives;
#[path = "http/log.rs"]
mod log;
#[path = "http/message.rs"]
mod message;
#[path = "http/peers.rs"]
pub mod peers;
#[path = "http/raw.rs"]
mod raw;
#[path = "http/recorder.rs"]
pub mod recorder;
#[path = "http/rows.rs"]
mod rows;
#[path = "http/within.rs"]
pub mod within;

#[path = "http/aborts.rs"]
mod aborts;
#[path = "http/differential.rs"]
mod differential;
#[path = "http/events.rs"]
mod events;
#[path = "http/grpc.rs"]
mod grpc;
#[path = "http/leaving.rs"]
mod leaving;

#[path = "http/matrix.rs"]
mod matrix;
#[path = "http/programs.rs"]
mod programs;
#[path = "http/routes.rs"]
mod routes;
#[path = "http/tables.rs"]
mod tables;
#[path = "http/websocket.rs"]
mod websocket;
