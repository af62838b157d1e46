//! The maps of interfaces: where encapsulated packets are taken from, and by which a frame may leave that came in by another.

use aya::maps::MapError;
use aya::maps::xdp::XdpMapError;
use gateway_common::abi;

use super::{Maps, absent_is_fine};
use crate::l4::L4Error;

impl Maps {
    /// Says by which interfaces nodes are reached.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn set_cluster_interfaces(&mut self, indices: &[u32]) -> Result<(), L4Error> {
        let old: Result<Vec<u32>, _> = self.cluster_interfaces.keys().collect();
        let old = old.map_err(failed("read", abi::CLUSTER_INTERFACES))?;
        for index in old.iter().filter(|index| !indices.contains(index)) {
            self.cluster_interfaces
                .remove(index)
                .map_err(failed("write", abi::CLUSTER_INTERFACES))?;
        }
        for index in indices {
            self.cluster_interfaces
                .insert(index, 1, 0)
                .map_err(failed("write", abi::CLUSTER_INTERFACES))?;
        }
        Ok(())
    }

    /// Says by which interfaces packets may leave that came in by another.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn set_exits(&mut self, indices: &[u32]) -> Result<(), L4Error> {
        let Some(exits) = &mut self.exits else {
            return Ok(());
        };
        let old: Result<Vec<u32>, _> = exits.keys().collect();
        let old = old.map_err(failed("read", abi::EXITS))?;
        for index in old.iter().filter(|index| !indices.contains(index)) {
            // The kernel itself takes out interfaces that go.
            absent_is_fine(exits.remove(*index)).map_err(failed("write", abi::EXITS))?;
        }
        for index in indices {
            exits.insert(*index, *index, None, 0).map_err(|error| {
                let error = match error {
                    XdpMapError::MapError(error) => error,
                    // No program was named.
                    XdpMapError::ChainedProgramNotSupported => MapError::KeyNotFound,
                };
                failed("write", abi::EXITS)(error)
            })?;
        }
        Ok(())
    }
}

fn failed(action: &'static str, map: &'static str) -> impl Fn(MapError) -> L4Error {
    move |source| L4Error::Map { action, map, source }
}
