//! The kernel's maps as they are now, read into tables that a decision can be made over.

use std::sync::Arc;

use aya::maps::{Array, MapData, MapError};
use gateway_common::abi;
use gateway_common::flow::FlowKey;
use gateway_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use gateway_common::memory::MemoryTables;
use gateway_common::node::NodeId;
use gateway_common::tables::Socket;
use gateway_common::vip::Address;

use super::{Decided, decide};
use crate::config::loops::serves;
use crate::config::snapshot::{Dataplane, Snapshot, Transport};
use crate::explain::packet::Question;
use crate::l4::descriptors::Descriptors;
use crate::l4::flows::{Flows, FlowsOf};
use crate::l4::maps::{Maps, now_ns, typed};
use crate::l4::{DataPlane, L4Error, sockets};

/// What questions about packets are answered by: the kernel's maps, apart from the data plane that writes them.
#[derive(Debug)]
pub struct Reader {
    descriptors: Descriptors,
    /// Tables that the maps have room for.
    tables: u32,
    /// Where clients' packets come in.
    interface: Interface,
}

impl DataPlane {
    /// By what questions about packets are answered, on another thread than this one's.
    pub fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.loaded.reader)
    }
}

/// Whether other nodes are reached by an interface, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interface {
    OfCluster,
    Foreign,
}

impl Reader {
    pub(in crate::l4) fn new(descriptors: Descriptors, config: &Dataplane) -> Self {
        let interface = config.interfaces.first();
        let is_of_cluster = interface.is_some_and(|name| config.cluster_interfaces.contains(name));
        Self {
            descriptors,
            tables: config.tables,
            interface: if is_of_cluster {
                Interface::OfCluster
            } else {
                Interface::Foreign
            },
        }
    }

    /// What becomes of a client's packet that comes in here now. Nothing is written. Blocks, for some milliseconds: not for
    /// the control loop.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn explain(&self, question: &Question, snapshot: &Snapshot) -> Result<Decided, L4Error> {
        let maps = Maps::again(&self.descriptors, self.tables)?;
        let contents = maps.contents()?;
        let mut tables = MemoryTables {
            // As the kernel program sees that nothing was written yet.
            settings: Some(maps.live_settings()?).filter(|settings| settings.hash_key != [0, 0]),
            vips: contents.vips,
            nodes: contents.nodes.into_iter().collect(),
            node_addresses: contents.node_addresses,
            node_macs: contents.node_macs,
            foreign_interface: self.interface == Interface::Foreign,
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
        let stamps = typed(self.descriptors.map(abi::HEARD)?, abi::HEARD)?;
        for id in tables.nodes.keys() {
            tables.heard.borrow_mut().insert(*id, heard(&stamps, *id)?);
        }
        let (remembered, of) = match question.protocol {
            Transport::Tcp => (&tables.flows, FlowsOf::Tcp),
            Transport::Udp => (&tables.udp_flows, FlowsOf::Udp),
        };
        if let Some(settings) = &tables.settings {
            let flows = Flows::open(of, |name| self.descriptors.map(name))?;
            if let Some(entry) = flows.get(settings.hash_key, &flow, tables.now_ns.get())? {
                remembered.borrow_mut().insert(flow, entry);
            }
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
}

fn heard(map: &Array<MapData, u64>, node: NodeId) -> Result<u64, L4Error> {
    map.get(&u32::from(node.0), 0).map_err(unread(abi::HEARD))
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
