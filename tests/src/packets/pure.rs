//! The cases on the pure function.

use gateway_common::abi::{Budget, mac_key};
use gateway_common::flow::FlowKey;
use gateway_common::forward::{Notes, TABLE_OF_ALL, apply, decide, short};
use gateway_common::headers::mac_words;
use gateway_common::memory::{MemoryFrame, MemoryTables};
use gateway_common::node::NodeId;
use gateway_common::protection::{SourceSet, source_set, source_tag};
use gateway_common::tables::Socket;
use gateway_common::verdict::{Fate, Reason, Verdict};
use gateway_common::vip::VipId;

use super::cases::{After, Case, ErrorsLeft, Interface, Outcome, Spent, Written};
use super::world::{
    self, ANY_PORT_LISTENER, CONNECTED_PORT, COOKIE_PORT, ENDED_PORT, HOT_VIP, QUIC_PORT, SITUATION_VIPS,
    SITUATIONS, Version,
};

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
            if !address.is_unset() {
                tables.node_addresses.insert(address, id);
            }
        }
        let mac = mac_words(world::node_mac(id.0));
        tables.node_macs.insert(mac_key(mac), id);
    }
    tables.vips.extend(world::vips());
    for situation in SITUATIONS {
        tables
            .slots
            .insert(situation.table(), [situation.slots(), Vec::new()]);
    }
    for version in Version::BOTH {
        sockets(&mut tables, version);
    }
    tables
}

/// The sockets that the kernel has, too.
fn sockets(tables: &mut MemoryTables, version: Version) {
    let mut listen = |address: std::net::IpAddr, port: u16, protocol| {
        let key = FlowKey {
            destination: address.into(),
            ports: [0, port.to_be()],
            protocol,
            ..FlowKey::default()
        };
        tables.sockets.insert(key, Socket::Listener);
    };
    for situation in SITUATIONS {
        listen(version.vip(), situation.port(), 6);
        listen(version.vip(), situation.port(), 17);
    }
    listen(version.vip(), QUIC_PORT, 17);
    listen(version.vip_of_all_ports(), ANY_PORT_LISTENER, 6);
    for situation in SITUATIONS {
        for protocol in [6, 17] {
            let mut connection = world::flow(version, CONNECTED_PORT, situation.port());
            connection.protocol = protocol;
            tables.sockets.insert(connection, Socket::Connection);
        }
        let ended = world::flow(version, ENDED_PORT, situation.port());
        tables.sockets.insert(ended, Socket::TimeWait);
    }
    let handshake = world::flow(version, COOKIE_PORT, world::Situation::Mine.port());
    tables.sockets.insert(handshake, Socket::Handshake);
}

/// Runs one case, by the long way.
pub fn run(tables: &mut MemoryTables, case: &Case) -> Outcome {
    prepare(tables, case);
    let mut frame = MemoryFrame::new(case.frame.clone());
    let mut notes = Notes::default();
    let mut verdict = decide(&frame, tables, &mut notes);
    let fate = apply(&mut frame, &mut verdict, &notes);
    outcome(tables, frame, verdict.reason, fate)
}

/// Runs one case by the short way; `None`, if that does not take its frame.
pub fn run_short(tables: &mut MemoryTables, case: &Case) -> Option<Outcome> {
    prepare(tables, case);
    let mut frame = MemoryFrame::new(case.frame.clone());
    let untouched = outcome(
        tables,
        MemoryFrame::new(case.frame.clone()),
        Reason::NotIp,
        Fate::Pass,
    );
    let mut verdict = Verdict::early(Reason::NotAVip);
    let Some(fate) = short(&mut frame, tables, &mut verdict) else {
        let left = outcome(tables, frame, Reason::NotIp, Fate::Pass);
        assert_eq!(
            left, untouched,
            "`{}`: what is left to the long way was changed",
            case.name
        );
        return None;
    };
    Some(outcome(tables, frame, verdict.reason, fate))
}

/// Has the tables as they are before a case.
fn prepare(tables: &mut MemoryTables, case: &Case) {
    let before = &case.before;
    tables.settings = before.settings;
    tables.foreign_interface = before.interface == Interface::Foreign;
    let all = tables.slots.entry(TABLE_OF_ALL).or_default();
    let [live, _] = all;
    if !live.starts_with(&before.table_of_all.turns()) {
        *live = before.table_of_all.slots();
    }
    tables.lease_ns = before.lease_age_ns.map_or(0, |age| NOW_NS - age);
    // What was there before is older than what the run writes, if only by a moment.
    let at = |age_ns: u64| NOW_NS - 1 - age_ns;
    *tables.heard.borrow_mut() = (before.heard.iter())
        .map(|(node, age)| (NodeId(*node), at(*age)))
        .collect();
    *tables.flows.borrow_mut() = before.flows(at).collect();
    *tables.udp_flows.borrow_mut() = before.udp_flows(at).collect();
    *tables.fragments.borrow_mut() = before.fragments(at).collect();
    tables.budget.set(match before.errors_left {
        ErrorsLeft::Some => Budget::default(),
        ErrorsLeft::None => Budget { empty_at_ns: NOW_NS },
    });
    tables.protection = Some(before.protection);
    tables.bounds = before.bounds.iter().copied().collect();
    let denied = before.denied.iter();
    tables.denied = denied
        .map(|(prefix, lasts)| (*prefix, lasts.until_ns(NOW_NS)))
        .collect();
    tables.allowed = before.allowed.clone();
    let spent = before.spent.unwrap_or(Spent::Nothing);
    tables.sources.clear();
    for version in Version::BOTH {
        for host in [version.client(), version.host(201)] {
            let tag = source_tag(world::settings().hash_key, &host.into());
            tables.sources.insert(source_set(tag), SourceSet::default());
        }
        let tag = source_tag(world::settings().hash_key, &version.client().into());
        tables
            .sources
            .insert(source_set(tag), spent.source(tag, NOW_NS).into());
    }
    for vip in SITUATION_VIPS.chain([HOT_VIP]) {
        tables.vip_buckets.insert(VipId(vip), spent.vip(NOW_NS).into());
    }
}

fn outcome(tables: &MemoryTables, frame: MemoryFrame, reason: Reason, fate: Fate) -> Outcome {
    let after = After::new(
        tables.flows.borrow().iter().map(|(key, entry)| (*key, *entry)),
        tables
            .udp_flows
            .borrow()
            .iter()
            .map(|(key, entry)| (*key, *entry)),
        tables
            .fragments
            .borrow()
            .iter()
            .map(|(key, entry)| (*key, *entry)),
        tables.heard.borrow().iter().map(|(node, at)| (node.0, *at)),
        |at| {
            if at >= NOW_NS {
                Written::Now
            } else {
                Written::Before
            }
        },
    );
    Outcome {
        fate,
        reason,
        bytes: frame.bytes,
        after,
    }
}
