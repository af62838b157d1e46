//! Test support: packet cases, the lab of network namespaces, its load, the demo that is made of both, servers that misbehave,
//! and the benchmark that puts them behind proxies.

pub mod demo;
pub mod lab;
pub mod load;
pub mod packet_rows;
pub mod packets;
pub mod resilience;
pub mod servers;
pub mod speed;
