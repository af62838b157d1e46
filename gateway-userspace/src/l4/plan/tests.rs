//! Every prefix of a plan forwards: seeded changes, applied step by step to tables in memory, with packets in between.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use gateway_common::flow::FlowKey;
use gateway_common::forward::{Notes, decide};
use gateway_common::maglev::SLOTS;
use gateway_common::memory::{MemoryFrame, MemoryTables};
use gateway_common::tables::Socket;
use gateway_common::verdict::{Action, Reason};
use gateway_common::vip::{SteeringCode, VipId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const VIP: [u8; 4] = [10, 77, 0, 100];

/// Tables in memory that follow a plan as the kernel's maps do.
struct Kernel {
    tables: MemoryTables,
    /// Half of the settings and tables that the grace period has not freed yet may not be written.
    unfreed: bool,
}

impl Kernel {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Grace => self.unfreed = false,
            Step::PutNode(id, node) => drop(self.tables.nodes.insert(*id, *node)),
            Step::PutNodeAddress(address, id) => drop(self.tables.node_addresses.insert(*address, *id)),
            Step::PutNodeMac(mac, id) => drop(self.tables.node_macs.insert(*mac, *id)),
            Step::SwapSettings(settings) => {
                assert!(
                    !self.unfreed,
                    "settings are written while packets may still read them"
                );
                self.tables.settings = Some(*settings);
            }
            Step::SwapTable(id, slots) => {
                assert!(!self.unfreed, "a half is written while packets may still read it");
                let halves = self
                    .tables
                    .slots
                    .entry(*id)
                    .or_insert_with(|| MemoryTables::uniform(Slot::default()));
                let half = 1 - self.tables.halves.get(id).copied().unwrap_or(0);
                halves[half] = slots.to_vec();
                self.tables.halves.insert(*id, half);
            }
            Step::PutVip(key, vip) => drop(self.tables.vips.insert(*key, *vip)),
            Step::RemoveVip(key) => drop(self.tables.vips.remove(key)),
            Step::RemoveNodeAddress(address) => {
                assert!(
                    !self.unfreed,
                    "a node is forgotten while its packets may still arrive"
                );
                self.tables.node_addresses.remove(address);
            }
            Step::RemoveNodeMac(mac) => drop(self.tables.node_macs.remove(mac)),
            Step::RemoveNode(id) => {
                assert!(
                    !self.unfreed,
                    "a node is removed while packets may still go to it"
                );
                self.tables.nodes.remove(id);
            }
        }
        if matches!(step, Step::SwapTable(..)) {
            self.unfreed = true;
        }
    }
}

fn address(id: u16) -> Address {
    Ipv4Addr::new(10, 77, 0, id as u8 + 10).into()
}

fn random(rng: &mut StdRng) -> Desired {
    let me = NodeId(1);
    let mut members: Vec<u16> = (2..8).filter(|_| rng.random_bool(0.5)).collect();
    members.push(1);
    let slot = |rng: &mut StdRng| {
        let mut pick = || NodeId(members[rng.random_range(0..members.len())]);
        Slot::new(pick(), [pick(), NodeId(0)], NodeId(0))
    };
    // A few different slots, repeated: what matters is that all of them name members only.
    let few: Vec<Slot> = (0..16).map(|_| slot(rng)).collect();
    let slots: Arc<[Slot]> = (0..SLOTS as usize).map(|index| few[index % few.len()]).collect();
    let node = |id: &u16| NodeEntry {
        address: address(*id),
        mac: [1, 2, 3],
        incarnation: rng.random_range(1..3),
        ..NodeEntry::default()
    };
    let nodes = members
        .iter()
        .map(node)
        .zip(&members)
        .map(|(node, id)| (NodeId(*id), node))
        .collect();
    let vip = |table| VipEntry {
        id: VipId(1),
        steering: SteeringCode::FLOW_HASH,
        table: TableId(table),
        ..VipEntry::default()
    };
    let ports = [80_u16, 81, 82, 83];
    let vips: HashMap<VipKey, VipEntry> = (ports.iter().filter(|port| **port == 80 || rng.random_bool(0.5)))
        .map(|port| (VipKey::new(IpAddr::from(VIP).into(), port.to_be(), 6), vip(0)))
        .collect();
    Desired {
        settings: Settings {
            hash_key: [7, 7],
            address: address(1),
            node: me,
            ..Settings::default()
        },
        nodes,
        node_addresses: members.iter().map(|id| (address(*id), NodeId(*id))).collect(),
        tables: BTreeMap::from([(TableId(0), slots)]),
        vips,
        ..Desired::default()
    }
}

/// An Ethernet, IPv4 and TCP SYN to port 80 of the VIP.
fn syn(source_port: u16) -> MemoryFrame {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
    bytes.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 1]);
    bytes.extend(VIP);
    bytes.extend(source_port.to_be_bytes());
    bytes.extend([0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    MemoryFrame::new(bytes)
}

fn forwards(tables: &MemoryTables) -> Result<(), String> {
    let mut notes = Notes::default();
    for port in 1000..1064 {
        let verdict = decide(&syn(port), tables, &mut notes);
        match verdict.action {
            Action::Pass if verdict.reason == Reason::ListenerHere => {}
            Action::Send(_) => {}
            _ => {
                return Err(format!(
                    "a SYN from port {port} ends as {}",
                    verdict.reason.name()
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn every_prefix_forwards() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let listener = FlowKey {
            destination: IpAddr::from(VIP).into(),
            ports: [0, 80_u16.to_be()],
            protocol: 6,
            ..FlowKey::default()
        };
        let mut kernel = Kernel {
            tables: MemoryTables::default(),
            unfreed: false,
        };
        kernel.tables.sockets.insert(listener, Socket::Listener);
        let mut now = Desired::default();
        for change in 0..6 {
            let next = random(&mut rng);
            for (index, step) in plan(&now, &next).iter().enumerate() {
                kernel.step(step);
                // Before the first VIP is there, nothing is to be forwarded.
                if change > 0 {
                    let fault = forwards(&kernel.tables);
                    assert_eq!(
                        fault,
                        Ok(()),
                        "seed {seed}, change {change}, after step {index}: {step:?}"
                    );
                }
            }
            assert_eq!(forwards(&kernel.tables), Ok(()), "seed {seed}, change {change}");
            now = next;
        }
    }
}

#[test]
fn nothing_to_change_needs_no_step() {
    let mut rng = StdRng::seed_from_u64(1);
    let desired = random(&mut rng);
    assert!(plan(&desired, &desired.clone()).is_empty());
}
