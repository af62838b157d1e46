//! The kernel's maps as they are now, read into tables that a decision can be made over.

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use gateway_common::abi;
use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use gateway_common::memory::MemoryTables;
use gateway_common::node::NodeId;
use gateway_common::tables::Socket;
use gateway_common::vip::Address;

use super::{Decided, decide};
use crate::config::loops::serves;
use crate::config::snapshot::{Snapshot, Transport};
use crate::explain::packet::Question;
use crate::l4::maps::now_ns;
use crate::l4::{DataPlane, L4Error, sockets};

impl DataPlane {
    /// What becomes of a client's packet that comes in here now. Nothing is written.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn explain(&self, question: &Question, snapshot: &Snapshot) -> Result<Decided, L4Error> {
        let maps = &self.loaded.maps;
        let contents = maps.contents()?;
        let interface = self.config.interfaces.first();
        let is_of_cluster = interface.is_some_and(|name| self.config.cluster_interfaces.contains(name));
        let mut tables = MemoryTables {
            // As the kernel program sees that nothing was written yet.
            settings: Some(maps.live_settings()?).filter(|settings| settings.hash_key != [0, 0]),
            vips: contents.vips,
            nodes: contents.nodes.into_iter().collect(),
            node_addresses: contents.node_addresses,
            node_macs: contents.node_macs,
            foreign_interface: !is_of_cluster,
            lease_ns: maps.lease_ns(),
            ..MemoryTables::default()
        };
        tables.now_ns.set(now_ns()?);
        let flow = flow(question);
        let of_address = tables
            .vips
            .iter()
            .filter(|(key, _)| key.address == flow.destination);
        let wanted: Vec<_> = of_address.map(|(_, entry)| entry.table).collect();
        for table in wanted {
            let live = || [maps.live_slots(table), Vec::new()];
            tables.slots.entry(table).or_insert_with(live);
        }
        for id in tables.nodes.keys() {
            tables.heard.borrow_mut().insert(*id, self.heard(*id)?);
        }
        let (remembered, name) = match question.protocol {
            Transport::Tcp => (&tables.flows, abi::FLOWS),
            Transport::Udp => (&tables.udp_flows, abi::UDP_FLOWS),
        };
        if let Some(entry) = self.remembered(name, &flow)? {
            remembered.borrow_mut().insert(flow, entry);
        }
        let mut socket_unknown = None;
        match sockets::look_up(question.from, question.to, question.protocol) {
            Ok(Socket::None) => {}
            Ok(socket) => drop(tables.sockets.insert(flow, socket)),
            Err(error) => {
                socket_unknown = Some(error.to_string());
                let mut listeners = snapshot.listeners.iter();
                let serves = listeners.any(|listener| serves(listener.address, question.to));
                if question.protocol == Transport::Tcp && serves {
                    tables.sockets.insert(flow, Socket::Listener);
                }
            }
        }
        Ok(Decided {
            socket_unknown,
            ..decide(question, &tables)
        })
    }

    fn map(&self, name: &'static str) -> Result<&Map, L4Error> {
        let found = self.loaded.object.map(name);
        found.ok_or(L4Error::Missing { kind: "map", name })
    }

    fn remembered(&self, name: &'static str, flow: &FlowKey) -> Result<Option<FlowEntry>, L4Error> {
        let map = HashMap::<&MapData, FlowKey, FlowEntry>::try_from(self.map(name)?);
        match map.map_err(unread(name))?.get(flow, 0) {
            Ok(entry) => Ok(Some(entry)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(unread(name)(source)),
        }
    }

    fn heard(&self, node: NodeId) -> Result<u64, L4Error> {
        let map = Array::<&MapData, u64>::try_from(self.map(abi::HEARD)?).map_err(unread(abi::HEARD))?;
        map.get(&u32::from(node.0), 0).map_err(unread(abi::HEARD))
    }
}

fn unread(map: &'static str) -> impl Fn(MapError) -> L4Error {
    move |source| L4Error::Map {
        action: "read",
        map,
        source,
    }
}

/// The flow of such a packet.
pub(super) fn flow(question: &Question) -> FlowKey {
    let protocol = match question.protocol {
        Transport::Tcp => PROTOCOL_TCP,
        Transport::Udp => PROTOCOL_UDP,
    };
    FlowKey {
        source: Address::from(question.from.ip().to_canonical()),
        destination: Address::from(question.to.ip().to_canonical()),
        ports: [question.from.port().to_be(), question.to.port().to_be()],
        protocol: u16::from(protocol),
        zero: 0,
    }
}
