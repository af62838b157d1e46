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
use crate::l4::owners::OwnersCache;
use crate::l4::tables::{Eligible, steering};
use crate::view::{Fingerprint, HISTORY_VIEWS_MAX, Member, SetId, View};

const VIP: [u8; 4] = [10, 77, 0, 100];

/// Tables in memory that follow a plan as the kernel's maps do.
struct Kernel {
    tables: MemoryTables,
    /// Tables of which packets may still read the half that was live: it may not be written, nor nodes removed.
    unfreed: HashSet<TableId>,
    /// The same of nodes, and of the VIPs.
    unfreed_nodes: HashSet<NodeId>,
    unfreed_vips: bool,
}

impl Kernel {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Grace => {
                self.unfreed.clear();
                self.unfreed_nodes.clear();
                self.unfreed_vips = false;
            }
            Step::PutNode(id, node) => {
                assert!(
                    self.unfreed_nodes.insert(*id),
                    "a node's half is written while packets may still read it"
                );
                self.tables.nodes.insert(*id, *node);
            }
            Step::PutNodeAddress(address, id) => drop(self.tables.node_addresses.insert(*address, *id)),
            Step::PutNodeMac(mac, id) => drop(self.tables.node_macs.insert(*mac, *id)),
            Step::SwapSettings(settings) => {
                assert!(
                    self.unfreed.is_empty(),
                    "settings are written while packets may still read them"
                );
                self.tables.settings = Some(*settings);
            }
            Step::SwapTable(id, slots) => {
                assert!(
                    self.unfreed.insert(*id),
                    "a half is written while packets may still read it"
                );
                let halves = self
                    .tables
                    .slots
                    .entry(*id)
                    .or_insert_with(|| MemoryTables::uniform(Slot::default()));
                let half = 1 - self.tables.halves.get(id).copied().unwrap_or(0);
                halves[half] = slots.to_vec();
                self.tables.halves.insert(*id, half);
            }
            Step::SwapVips(changes) => {
                assert!(
                    !std::mem::replace(&mut self.unfreed_vips, true),
                    "the VIPs' half is written while packets may still read it"
                );
                for (key, vip) in changes {
                    match vip {
                        Some(vip) => drop(self.tables.vips.insert(*key, *vip)),
                        None => drop(self.tables.vips.remove(key)),
                    }
                }
            }
            Step::RemoveNodeAddress(address) => {
                assert!(
                    self.unfreed.is_empty(),
                    "a node is forgotten while its packets may still arrive"
                );
                self.tables.node_addresses.remove(address);
            }
            Step::RemoveNodeMac(mac) => drop(self.tables.node_macs.remove(mac)),
            Step::RemoveNode(id) => {
                assert!(
                    self.unfreed.is_empty(),
                    "a node is removed while packets may still go to it"
                );
                assert!(
                    self.unfreed_nodes.insert(*id),
                    "a node's half is written while packets may still read it"
                );
                self.tables.nodes.remove(id);
            }
        }
    }
}

fn address(id: u16) -> Address {
    Ipv4Addr::new(10, 77, 0, id as u8 + 10).into()
}

/// A cluster as it changes by chance: weights, sets of VIPs, nodes that come and go, and this node's own VIPs.
struct World {
    rng: StdRng,
    view: View,
    ports: Vec<u16>,
    /// How many tables there are.
    tables: u32,
    cache: OwnersCache,
}

const ME: NodeId = NodeId(1);

fn key(port: u16) -> VipKey {
    VipKey::new(IpAddr::from(VIP).into(), port.to_be(), 6)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut sets: Vec<Vec<Fingerprint>> = [&[80, 81][..], &[82, 83], &[80, 82, 84], &[81], &[85, 86, 87]]
            .iter()
            .map(|ports| {
                let mut set: Vec<_> = ports.iter().map(|port| Fingerprint::of(&key(*port))).collect();
                set.sort_unstable();
                set
            })
            .collect();
        sets.sort();
        let tables = rng.random_range(1..8);
        let view = View {
            sets,
            hash_key: [7, 7],
            ..View::default()
        };
        Self {
            rng,
            view,
            ports: Vec::new(),
            tables,
            cache: OwnersCache::default(),
        }
    }

    fn change(&mut self) {
        let before = self.view.shares();
        let rng = &mut self.rng;
        let all = self.view.members.is_empty();
        self.view
            .members
            .retain(|member| member.id == ME || rng.random_bool(0.8));
        for id in 1..8 {
            let known = self.view.members.iter().position(|member| member.id.0 == id);
            if known.is_none() && (all || id == 1 || rng.random_bool(0.3)) {
                self.view.members.push(Member {
                    id: NodeId(id),
                    name: format!("gw-{id}"),
                    address: None,
                    address_v6: None,
                    weight: 1,
                    incarnation: rng.random_range(1..3),
                    serves: SetId::ALL,
                });
            }
        }
        self.view.members.sort_by_key(|member| member.id);
        for member in &mut self.view.members {
            if rng.random_bool(0.3) {
                member.weight = rng.random_range(0..4);
            }
            if rng.random_bool(0.4) {
                member.serves = SetId(rng.random_range(0..=5));
            }
        }
        if self.view.shares().0.is_empty() {
            self.view.members[0].weight = 1;
        }
        let after = self.view.shares();
        if !before.0.is_empty() && before != after {
            self.view
                .history
                .retain(|earlier| *earlier != before && *earlier != after);
            self.view.history.insert(0, before);
            self.view.history.truncate(HISTORY_VIEWS_MAX);
        }
        self.ports = (80..88)
            .filter(|port| *port == 80 || rng.random_bool(0.6))
            .collect();
    }

    fn desired(&mut self, now: &Desired) -> Desired {
        let keys: Vec<VipKey> = self.ports.iter().map(|port| key(*port)).collect();
        let steering = steering(&self.view, ME, &keys, &now.vips, self.tables, &mut self.cache);
        let node = |member: &Member| NodeEntry {
            address: address(member.id.0),
            mac: [1, 2, 3],
            incarnation: member.incarnation,
            ..NodeEntry::default()
        };
        let vip = |key: &VipKey| VipEntry {
            id: VipId(1),
            steering: SteeringCode::FLOW_HASH,
            table: steering.table_of[key],
            ..VipEntry::default()
        };
        let members = &self.view.members;
        Desired {
            settings: Settings {
                hash_key: self.view.hash_key,
                address: address(1),
                node: ME,
                ..Settings::default()
            },
            nodes: members.iter().map(|member| (member.id, node(member))).collect(),
            node_addresses: members
                .iter()
                .map(|member| (address(member.id.0), member.id))
                .collect(),
            vips: keys.iter().map(|key| (*key, vip(key))).collect(),
            tables: steering.tables,
            ..Desired::default()
        }
    }

    /// The nodes to which a VIP's connections may go, by this view.
    fn eligible(&self, key: &VipKey) -> Vec<NodeId> {
        let shares = Eligible::new(&self.view, ME).shares(key);
        shares.now.iter().map(|(id, _)| *id).collect()
    }
}

/// An Ethernet, IPv4 and TCP SYN to a port of the VIP.
fn syn(source_port: u16, port: u16) -> MemoryFrame {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
    bytes.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 1]);
    bytes.extend(VIP);
    bytes.extend(source_port.to_be_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    MemoryFrame::new(bytes)
}

/// Whether SYNs to every VIP that is there go to a node that serves it, before or after the change. By the table of all
/// members, any member will do.
fn forwards(tables: &MemoryTables, allowed: &HashMap<VipKey, Vec<NodeId>>) -> Result<(), String> {
    for (key, vip) in &tables.vips {
        for source_port in 1000..1016 {
            let port = u16::from_be(key.port);
            let verdict = decide(&syn(source_port, port), tables, &mut Notes::default());
            let owner = match verdict.action {
                Action::Pass if verdict.reason == Reason::ListenerHere => ME,
                Action::Send => verdict.node,
                _ => return Err(format!("a SYN to {port} ends as {}", verdict.reason.name())),
            };
            let is_allowed = allowed.get(key).is_some_and(|nodes| nodes.contains(&owner));
            if vip.table != TABLE_OF_ALL && !is_allowed {
                return Err(format!(
                    "a SYN to {port} goes to {owner:?}, which does not serve it"
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn every_prefix_forwards() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        let mut kernel = Kernel {
            tables: MemoryTables::default(),
            unfreed: HashSet::new(),
            unfreed_nodes: HashSet::new(),
            unfreed_vips: false,
        };
        for port in 80..88_u16 {
            let listener = FlowKey {
                destination: IpAddr::from(VIP).into(),
                ports: [0, port.to_be()],
                protocol: 6,
                ..FlowKey::default()
            };
            kernel.tables.sockets.insert(listener, Socket::Listener);
        }
        let mut now = Desired::default();
        for change in 0..6 {
            let mut allowed: HashMap<VipKey, Vec<NodeId>> = HashMap::new();
            let mut allow = |world: &World| {
                for port in 80..88 {
                    allowed
                        .entry(key(port))
                        .or_default()
                        .extend(world.eligible(&key(port)));
                }
            };
            allow(&world);
            world.change();
            allow(&world);
            let next = world.desired(&now);
            assert!(next.tables.keys().all(|id| id.0 < world.tables), "seed {seed}");
            for (index, step) in plan(&now, &next).iter().enumerate() {
                kernel.step(step);
                record(&mut now, step);
                let fault = forwards(&kernel.tables, &allowed);
                let step = match step {
                    Step::SwapTable(id, _) => format!("{id:?}"),
                    other => format!("{other:?}"),
                };
                assert_eq!(
                    fault,
                    Ok(()),
                    "seed {seed}, change {change}, after step {index}: {step}"
                );
            }
            assert_eq!(kernel.tables.vips, next.vips, "seed {seed}, change {change}");
            for (id, slots) in &next.tables {
                assert!(
                    now.tables.get(id) == Some(slots),
                    "seed {seed}, change {change}: {id:?}"
                );
            }
            assert!(
                plan(&now, &next).is_empty(),
                "seed {seed}, change {change}: nothing is left to do"
            );
        }
    }
}

#[test]
fn vips_that_swap_their_tables_go_by_all_members_meanwhile() {
    let slots = |owner| -> Arc<[Slot]> {
        vec![Slot::new(NodeId(owner), [NodeId(0); 2], NodeId(0)); SLOTS as usize].into()
    };
    let vip = |table| VipEntry {
        table: TableId(table),
        ..VipEntry::default()
    };
    let desired = |first, second, one, other| Desired {
        tables: BTreeMap::from([
            (TableId(0), slots(9)),
            (TableId(1), slots(one)),
            (TableId(2), slots(other)),
        ]),
        vips: HashMap::from([(key(80), vip(first)), (key(81), vip(second))]),
        ..Desired::default()
    };
    let steps = plan(&desired(1, 2, 5, 6), &desired(2, 1, 6, 5));
    let moves: Vec<Option<u32>> = steps
        .iter()
        .filter(|step| !matches!(step, Step::Grace))
        .flat_map(|step| match step {
            Step::SwapVips(changes) => changes
                .iter()
                .map(|(_, vip)| vip.map(|vip| vip.table.0))
                .collect(),
            _ => vec![None],
        })
        .collect();
    assert_eq!(moves[..4], [Some(0), Some(0), None, None], "{moves:?}");
    let mut last: Vec<_> = moves[4..].iter().flatten().copied().collect();
    last.sort_unstable();
    assert_eq!(last, [1, 2]);
}

#[test]
fn nothing_to_change_needs_no_step() {
    let mut world = World::new(1);
    world.change();
    let desired = world.desired(&Desired::default());
    assert!(plan(&desired, &desired.clone()).is_empty());
    let again = world.desired(&desired);
    assert!(plan(&desired, &again).is_empty());
}
