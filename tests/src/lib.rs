//! Test support: packet cases, the lab of network namespaces, its load, and the demo that is made of both.

pub mod demo;
pub mod lab;
pub mod load;
pub mod packet_rows;
pub mod packets;
