//! The kernel's maps as they are now, read into tables that a decision can be made over.

use std::sync::Arc;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData, MapError};
use gateway_common::abi;
use gateway_common::flow::FlowKey;
use gateway_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use gateway_common::memory::MemoryTables;
use gateway_common::node::NodeId;
use gateway_common::prefix::Prefix;
use gateway_common::protection::{Protection, SOURCE_SET_WORDS, VIP_BUCKETS_WORDS, source_set, source_tag};
use gateway_common::tables::Socket;
use gateway_common::vip::Address;
use nix::net::if_::if_indextoname;

use super::{Decided, End, decide};
use crate::config::loops::serves;
use crate::config::snapshot::{Dataplane, Snapshot, Transport};
use crate::explain::packet::Question;
use crate::l4::descriptors::Descriptors;
use crate::l4::flows::{Flows, FlowsOf};
use crate::l4::maps::{Maps, now_ns, typed};
use crate::l4::{DataPlane, L4Error, interfaces, sockets};

/// What questions about packets are answered by: the kernel's maps, apart from the data plane that writes them.
#[derive(Debug)]
pub struct Reader {
    descriptors: Descriptors,
    /// Tables that the maps have room for.
    tables: u32,
    /// Where clients' packets come in.
    interface: Interface,
    /// The name of that.
    ingress: Option<String>,
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
        let is_for_clients = |name: &&String| !config.cluster_interfaces.contains(name);
        let mut interfaces = config.interfaces.iter();
        let interface = interfaces.find(is_for_clients).or(config.interfaces.first());
        let is_of_cluster = interface.is_some_and(|name| config.cluster_interfaces.contains(name));
        Self {
            descriptors,
            tables: config.tables,
            interface: if is_of_cluster {
                Interface::OfCluster
            } else {
                Interface::Foreign
            },
            ingress: interface.cloned(),
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
            ingress: self
                .ingress
                .as_deref()
                .map_or(Ok(0), interfaces::index)
                .unwrap_or(0),
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
        self.protection(&mut tables, &flow)?;
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
        let decided = decide(question, &tables);
        let exit = match decided.end {
            End::Send { interface, .. } if interface != 0 => {
                let name = if_indextoname(interface).ok();
                name.map(|name| name.to_string_lossy().into_owned())
            }
            _ => None,
        };
        Ok(Decided {
            socket_unknown,
            exit,
            ..decided
        })
    }

    /// What protects the VIPs from the flow's client: as much of the maps as is asked for it.
    fn protection(&self, tables: &mut MemoryTables, flow: &FlowKey) -> Result<(), L4Error> {
        let words: Array<MapData, Protection> =
            typed(self.descriptors.map(abi::PROTECTION)?, abi::PROTECTION)?;
        let bounds = |place: u32| words.get(&place, 0).map_err(unread(abi::PROTECTION));
        tables.protection = Some(bounds(0)?);
        let client = Prefix::host(flow.source);
        if let Some(until_ns) = self.listed(abi::DENIED, &flow.source)? {
            tables.denied.insert(client, until_ns);
        }
        if self.listed(abi::ALLOWED, &flow.source)?.is_some() {
            tables.allowed.push(client);
        }
        let Some(settings) = tables.settings else {
            return Ok(());
        };
        let tag = source_tag(settings.hash_key, &flow.source);
        let sets: Array<MapData, [u64; SOURCE_SET_WORDS]> =
            typed(self.descriptors.map(abi::SOURCES)?, abi::SOURCES)?;
        let buckets: Array<MapData, [u64; VIP_BUCKETS_WORDS]> =
            typed(self.descriptors.map(abi::VIP_BUCKETS)?, abi::VIP_BUCKETS)?;
        let of_address = tables
            .vips
            .iter()
            .filter(|(key, _)| key.address == flow.destination);
        let ids: Vec<_> = of_address.map(|(_, entry)| entry.id).collect();
        for id in ids {
            let bounds = bounds(u32::from(id.0))?;
            let index = source_set(tag ^ bounds.own_sources);
            let set = sets.get(&index, 0).map_err(unread(abi::SOURCES))?;
            tables.bounds.insert(id, bounds);
            tables.sources.insert(index, set.into());
            let words = buckets
                .get(&u32::from(id.0), 0)
                .map_err(unread(abi::VIP_BUCKETS))?;
            tables.vip_buckets.insert(id, words.into());
        }
        Ok(())
    }

    /// What the longest prefix of a list around an address says.
    fn listed(&self, name: &'static str, address: &Address) -> Result<Option<u64>, L4Error> {
        let trie: LpmTrie<MapData, Address, u64> = typed(self.descriptors.map(name)?, name)?;
        match trie.get(&Key::new(128, *address), 0) {
            Ok(until_ns) => Ok(Some(until_ns)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(unread(name)(source)),
        }
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
