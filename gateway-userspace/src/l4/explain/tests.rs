//! What is decided and told over tables in memory: one VIP, three nodes.

use std::path::Path;
use std::sync::Arc;

use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::maglev::Slot;
use gateway_common::memory::MemoryTables;
use gateway_common::node::{NodeEntry, Settings};
use gateway_common::protection::{Lists, Protection};
use gateway_common::tables::Socket;
use gateway_common::vip::{Address, TableId, VipEntry, VipKey};

use super::live::flow;
use super::*;
use crate::config::answers::Answers;
use crate::config::load::load_text;
use crate::config::snapshot::{Snapshot, Transport};
use crate::config::surroundings::{Invalid, Surroundings};
use crate::config::{Places, compile, validate};
use crate::explain::packet::{Explained, Flags};
use crate::registry::Registry;
use crate::view::{Member, SetId, View};

const TEXT: &str = "[node]
name = 'gw-1'
address = '10.0.0.1'
[dataplane]
interfaces = ['eth0']
[[vip]]
name = 'public'
address = '203.0.113.10'
ports = [443]
[[listener]]
name = 'web'
address = '0.0.0.0:443'
";

fn snapshot() -> (Arc<Snapshot>, Places) {
    let surroundings = Surroundings {
        cores: 1,
        state_directory: "/state".into(),
        invalid: Invalid::Refused,
    };
    let path = Path::new("t.toml");
    let settings = load_text(path, TEXT, &surroundings).unwrap();
    let snapshot = compile(&settings, &Registry::default(), &Answers::default(), 4);
    (Arc::new(snapshot), Places::read(path, TEXT).unwrap())
}

fn view() -> View {
    let member = |id: u16| Member {
        id: NodeId(id),
        name: format!("gw-{id}"),
        address: None,
        address_v6: None,
        weight: 1,
        incarnation: 7,
        serves: SetId::ALL,
    };
    View {
        number: 9,
        members: (1..=3).map(member).collect(),
        ..View::default()
    }
}

/// Node 1, where every slot is of that owner, then of node 3.
fn tables(owner: u16) -> MemoryTables {
    let address = |text: &str| Address::from(text.parse::<std::net::IpAddr>().unwrap());
    let mut tables = MemoryTables {
        settings: Some(Settings {
            address: address("10.0.0.1"),
            node: NodeId(1),
            udp_idle_ns: 30_000_000_000,
            ..Settings::default()
        }),
        ..MemoryTables::default()
    };
    tables.now_ns.set(1 << 40);
    for id in 1..=3_u16 {
        let entry = NodeEntry {
            address: address(&format!("10.0.0.{id}")),
            mac: [2, 0, id],
            incarnation: 7,
            mtu: 1_500,
            ..NodeEntry::default()
        };
        tables.nodes.insert(NodeId(id), entry);
    }
    let slot = Slot::new(NodeId(owner), [NodeId(3), NodeId(0)], NodeId(0));
    tables.slots.insert(TableId(1), MemoryTables::uniform(slot));
    let vip = address("203.0.113.10");
    for key in [VipKey::of_address(vip), VipKey::new(vip, 443_u16.to_be(), 6)] {
        let entry = VipEntry {
            table: TableId(1),
            ..VipEntry::default()
        };
        tables.vips.insert(key, entry);
    }
    tables
}

fn question(to: &str, flags: Flags) -> Question {
    Question {
        from: "192.0.2.1:40000".parse().unwrap(),
        to: to.parse().unwrap(),
        protocol: Transport::Tcp,
        flags,
    }
}

fn told(question: &Question, tables: &MemoryTables) -> Explained {
    let (snapshot, places) = snapshot();
    let around = Around {
        snapshot: &snapshot,
        view: &view(),
        places: &places,
    };
    tell(question, &decide(question, tables), around)
}

const VIP: &str = "203.0.113.10:443";

#[test]
fn the_function_of_the_kernel_decides_and_is_told_step_by_step() {
    type Prepare = fn(&mut MemoryTables, FlowKey);
    /// Owner of all slots, where to, flags, what else is known; action, reason, node, and a step.
    type Row = (
        u16,
        &'static str,
        Flags,
        Prepare,
        &'static str,
        &'static str,
        Option<&'static str>,
        &'static str,
    );
    let nothing: Prepare = |_, _| {};
    let listens: Prepare = |tables, flow| {
        tables.sockets.insert(flow, Socket::Listener);
    };
    let remembered: Prepare = |tables, flow| {
        let entry = FlowEntry::new(NodeId(3), 7, 0);
        tables.flows.borrow_mut().insert(flow, entry);
    };
    let old: Prepare = |tables, flow| {
        let entry = FlowEntry::new(NodeId(3), 6, 0);
        tables.flows.borrow_mut().insert(flow, entry);
    };
    let rows: [Row; 8] = [
        (
            2,
            VIP,
            Flags::Syn,
            nothing,
            "send",
            "to-owner",
            Some("gw-2"),
            "owner gw-2, previous owner gw-3",
        ),
        (
            2,
            VIP,
            Flags::Syn,
            nothing,
            "send",
            "to-owner",
            Some("gw-2"),
            "would be remembered as gw-2's",
        ),
        (
            1,
            VIP,
            Flags::Syn,
            listens,
            "pass",
            "listener-here",
            None,
            "owner gw-1 (this node)",
        ),
        (
            1,
            VIP,
            Flags::Ack,
            listens,
            "send",
            "to-previous-owner",
            Some("gw-3"),
            "has no such connection",
        ),
        (
            2,
            VIP,
            Flags::Ack,
            remembered,
            "send",
            "to-flow-owner",
            Some("gw-3"),
            "the flow is gw-3's",
        ),
        (
            2,
            VIP,
            Flags::Ack,
            old,
            "send",
            "to-owner",
            Some("gw-2"),
            "in an earlier life",
        ),
        (
            2,
            "203.0.113.10:80",
            Flags::Syn,
            nothing,
            "pass",
            "not-a-vip",
            None,
            "203.0.113.10:80 is none",
        ),
        (
            0,
            VIP,
            Flags::Syn,
            nothing,
            "drop",
            "no-owner",
            None,
            "owner nobody",
        ),
    ];
    for (owner, to, flags, prepare, action, reason, node, step) in rows {
        let question = question(to, flags);
        let mut tables = tables(owner);
        prepare(&mut tables, flow(&question));
        let told = told(&question, &tables);
        let verdict = &told.verdict;
        assert_eq!(
            (
                verdict.action.as_str(),
                verdict.reason.as_str(),
                verdict.node.as_deref()
            ),
            (action, reason, node),
            "{told:#?}"
        );
        assert!(
            told.steps.iter().any(|told| told.says.contains(step)),
            "{step}: {told:#?}"
        );
    }
}

#[test]
fn names_and_lines_are_those_of_the_file_and_nothing_is_remembered() {
    let tables = tables(2);
    let told = told(&question(VIP, Flags::Syn), &tables);
    let vip = told.steps.iter().find(|step| step.step == "vip").unwrap();
    let place = vip.place.as_ref().unwrap();
    assert_eq!((place.path.as_str(), place.line), ("vip[0]", 6), "{told:#?}");
    assert_eq!(told.verdict.vip.as_deref(), Some("public"));
    assert_eq!((told.node.as_str(), told.view, told.snapshot), ("gw-1", 9, 4));
    assert!(tables.flows.borrow().is_empty());
}

#[test]
fn a_packet_that_cannot_be_is_no_question() {
    let mixed = Question {
        to: "[2001:db8::1]:443".parse().unwrap(),
        ..question(VIP, Flags::Syn)
    };
    assert!(
        mixed
            .check()
            .unwrap_err()
            .to_string()
            .contains("different families")
    );
    assert!(question("203.0.113.10:0", Flags::Syn).check().is_err());
    assert!(question(VIP, Flags::Syn).check().is_ok());
}

#[test]
fn what_the_filter_decides_is_told_with_what_it_was_decided_by() {
    let listed = Some(Protection {
        lists: Lists::DENIES_IPV4,
        ..Protection::default()
    });
    let prefix = |text: &str| validate::prefix(text).unwrap();
    let second = 1_000_000_000;
    /// Until when the client is denied, what is allowed; action, reason, and a step.
    type Row = (
        Option<u64>,
        Option<&'static str>,
        &'static str,
        &'static str,
        &'static str,
    );
    let rows: [Row; 5] = [
        (
            None,
            None,
            "send",
            "to-owner",
            "no denied prefix is around its sender",
        ),
        (Some(u64::MAX), None, "drop", "denied", "its sender is denied"),
        (
            Some((1 << 40) + 90 * second),
            None,
            "drop",
            "denied",
            "its sender is denied for 1m 30s more",
        ),
        (
            Some(1 << 40),
            None,
            "send",
            "to-owner",
            "its sender was denied until a moment ago",
        ),
        (
            Some(u64::MAX),
            Some("192.0.2.0/24"),
            "send",
            "to-owner",
            "but protection.allow has its sender",
        ),
    ];
    for (until_ns, allowed, action, reason, step) in rows {
        let mut tables = tables(2);
        tables.protection = listed;
        tables.denied = until_ns
            .into_iter()
            .map(|until_ns| (prefix("192.0.2.0/24"), until_ns))
            .collect();
        tables.allowed = allowed.into_iter().map(prefix).collect();
        let told = told(&question(VIP, Flags::Syn), &tables);
        assert_eq!(
            (told.verdict.action.as_str(), told.verdict.reason.as_str()),
            (action, reason),
            "{step}"
        );
        assert!(
            told.steps.iter().any(|told| told.says.contains(step)),
            "{step}: {told:#?}"
        );
    }
}
