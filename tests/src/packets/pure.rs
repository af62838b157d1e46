//! The cases on the pure function.

use gateway_common::flow::FlowKey;
use gateway_common::forward::{apply, decide};
use gateway_common::memory::{MemoryFrame, MemoryTables};
use gateway_common::tables::Socket;
use gateway_common::vip::TableId;

use super::cases::{Case, Outcome, Twist};
use super::world::{self, CONNECTED_PORT, SITUATIONS, Version};

/// Time since the boot in these cases: long enough for all entries to have an age.
const NOW_NS: u64 = 1_000_000_000_000;

/// The world in memory.
pub fn tables() -> MemoryTables {
    let mut tables = MemoryTables {
        settings: Some(world::settings()),
        ..MemoryTables::default()
    };
    tables.now_ns.set(NOW_NS);
    for (id, node) in world::nodes() {
        tables.nodes.insert(id, node);
        for address in [node.address, node.address_v6] {
            tables.node_addresses.insert(address, id);
        }
    }
    tables.vips.extend(world::vips());
    for situation in SITUATIONS {
        let table = TableId(u32::from(situation as u16));
        tables
            .slots
            .insert(table, MemoryTables::uniform(situation.slot()));
        for version in Version::BOTH {
            let connection = world::flow(version, CONNECTED_PORT, situation.port());
            tables.sockets.insert(connection, Socket::Connection);
            let listener = FlowKey {
                source: Default::default(),
                ports: [0, connection.ports[1]],
                ..connection
            };
            tables.sockets.insert(listener, Socket::Listener);
        }
    }
    tables
}

/// Runs one case.
pub fn run(tables: &mut MemoryTables, case: &Case) -> Outcome {
    tables.flows.borrow_mut().clear();
    tables.foreign_interface = case.twist == Twist::ForeignInterface;
    tables.settings = (case.twist != Twist::NotConfigured).then(world::settings);
    if let Some((key, mut entry, age_ns)) = case.remembered {
        entry.since_ns = NOW_NS - age_ns;
        tables.flows.borrow_mut().insert(key, entry);
    }
    let mut frame = MemoryFrame::new(case.frame.clone());
    let mut verdict = decide(&frame, tables);
    let fate = apply(&mut frame, &mut verdict);
    let remembers = case.watched.and_then(|key| {
        tables
            .flows
            .borrow()
            .get(&key)
            .map(|entry| (entry.node, entry.phase))
    });
    Outcome {
        fate,
        reason: verdict.reason,
        bytes: frame.bytes,
        remembers,
    }
}
