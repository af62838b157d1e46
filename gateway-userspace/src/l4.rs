//! The packet's side of a node: the kernel program, its maps, and what must stand in them.
//!
//! [`desired::desired`] says purely what should be in the maps, [`plan::plan`] in which order to get there, and
//! [`dataplane::DataPlane`] does it. Knows the snapshot and the view, and nothing of `l7` or `cluster`.

pub mod addresses;
mod bpf;
pub mod collect;
pub mod counters;
pub mod dataplane;
pub mod deny;
mod descriptors;
pub mod desired;
pub mod error;
pub mod explain;
pub mod flows;
pub mod host;
pub mod interfaces;
mod kept;
pub mod kernel_log;
pub mod loader;
pub mod mapped;
pub mod maps;
pub mod neighbours;
pub mod object;
pub mod others;
pub mod owners;
pub mod pins;
pub mod plan;
pub mod sockets;
pub mod tables;
pub mod trace;

pub use dataplane::{DataPlane, Status};
pub use error::L4Error;

/// Adds the metrics of the kernel program; names begin with `gateway_`.
pub fn register_metrics(registry: &mut prometheus_client::registry::Registry, dataplane: &DataPlane) {
    registry.register_collector(Box::new(collect::L4(dataplane.collected(), dataplane.tracer())));
}
