//! Groups, their numbers, and what holds for the slots of every view.

use gateway_common::flow::FlowKey;
use gateway_common::hash::{spread, vip_salt};
use gateway_common::maglev::SLOTS;
use gateway_common::vip::Address;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::cluster::lineage::Lineage;
use crate::cluster::message::{Profile, Standing, State};
use crate::view::{HISTORY_VIEWS_MAX, Member, Served, Share};

fn key(port: u16) -> VipKey {
    VipKey::new(
        Address::from(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        port.to_be(),
        6,
    )
}

fn set(ports: &[u16]) -> Vec<Fingerprint> {
    let mut set: Vec<_> = ports.iter().map(|port| Fingerprint::of(&key(*port))).collect();
    set.sort_unstable();
    set
}

/// A view of nodes by weight and number of their set.
fn view(nodes: &[(u32, u8)], sets: &[&[u16]]) -> View {
    let member = |(index, (weight, serves)): (usize, &(u32, u8))| Member {
        id: NodeId(index as u16 + 1),
        name: format!("gw-{index}"),
        address: None,
        address_v6: None,
        weight: *weight,
        incarnation: 1,
        serves: SetId(*serves),
    };
    View {
        number: 1,
        members: nodes.iter().enumerate().map(member).collect(),
        sets: sets.iter().map(|ports| set(ports)).collect(),
        ..View::default()
    }
}

fn equal(nodes: impl IntoIterator<Item = u16>) -> NodeShares {
    nodes.into_iter().map(|id| (NodeId(id), 1)).collect()
}

/// Tables of these shares, of now alone.
fn owners(all: Vec<NodeShares>) -> Vec<Vec<NodeId>> {
    let shares: Vec<TableShares> = (all.into_iter())
        .map(|now| TableShares {
            now,
            history: Vec::new(),
        })
        .collect();
    let wanted: Vec<&TableShares> = shares.iter().collect();
    let tables = OwnersCache::default().tables(&View::default(), NodeId::NOBODY, &wanted);
    tables
        .iter()
        .map(|slots| slots.iter().map(|slot| slot.owner()).collect())
        .collect()
}

fn moved(before: &[NodeId], after: &[NodeId]) -> f64 {
    let differ = before.iter().zip(after).filter(|(before, after)| before != after);
    differ.count() as f64 / f64::from(SLOTS)
}

#[test]
fn removing_one_of_equal_nodes_moves_little_more_than_its_share() {
    let mut rng = StdRng::seed_from_u64(1);
    for nodes in (2..=64).chain([256, 1_024]) {
        let gone = rng.random_range(1..=nodes);
        let tables = owners(vec![
            equal(1..=nodes),
            equal((1..=nodes).filter(|id| *id != gone)),
        ]);
        let share = moved(&tables[0], &tables[1]);
        assert!(
            share <= 1.0 / f64::from(nodes) + 0.01,
            "{share} moved of {nodes} nodes without {gone}"
        );
    }
}

#[test]
fn slots_follow_weights_and_a_change_of_weight_moves_little_more_than_its_share() {
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let nodes = rng.random_range(2..20);
        let before: NodeShares = (1..=nodes)
            .map(|id| (NodeId(id), rng.random_range(1..10)))
            .collect();
        let mut after = before.clone();
        after[rng.random_range(0..usize::from(nodes))].1 = rng.random_range(1..10);
        let tables = owners(vec![before.clone(), after.clone()]);
        let sum = |shares: &NodeShares| shares.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>();
        let mut due = 0.0;
        for ((id, was), (_, is)) in before.iter().zip(&after) {
            let (was, is) = (f64::from(*was) / sum(&before), f64::from(*is) / sum(&after));
            due += (is - was).abs() / 2.0;
            let count = tables[1].iter().filter(|owner| *owner == id).count() as f64;
            assert!(
                (count - is * f64::from(SLOTS)).abs() <= 2.0,
                "seed {seed}: {id:?} has {count} slots"
            );
        }
        let share = moved(&tables[0], &tables[1]);
        assert!(share <= due + 0.01, "seed {seed}: {share} moved, {due} was due");
    }
}

#[test]
fn a_vip_goes_to_the_nodes_that_serve_it() {
    let sets: &[&[u16]] = &[&[80, 443], &[443], &[0]];
    /// Name; weight and set of each node; port; who takes it.
    type Row = (&'static str, &'static [(u32, u8)], u16, &'static [u16]);
    let rows: [Row; 8] = [
        ("named by two", &[(1, 1), (1, 2), (1, 1)], 80, &[1, 3]),
        (
            "named by one, and one serves all",
            &[(1, 1), (1, 2), (1, 0)],
            80,
            &[1, 3],
        ),
        ("one has all ports", &[(1, 2), (1, 3), (1, 2)], 80, &[2]),
        ("a port beside all ports", &[(1, 2), (1, 3)], 443, &[1, 2]),
        ("who drains gets none", &[(0, 1), (1, 1)], 80, &[2]),
        (
            "if all drain that serve it, they go on",
            &[(0, 1), (1, 2), (0, 1)],
            80,
            &[1, 3],
        ),
        ("new, and no view says so yet", &[(1, 2), (1, 2)], 80, &[2]),
        ("of no set, all serve it", &[(1, 0), (1, 0)], 9, &[1, 2]),
    ];
    for (what, nodes, port, expected) in rows {
        let view = view(nodes, sets);
        let shares = Eligible::new(&view, NodeId(2)).shares(&key(port));
        let found: Vec<u16> = shares.now.iter().map(|(id, _)| id.0).collect();
        assert_eq!(found, expected, "{what}");
    }
}

fn table_of(steering: &Steering, port: u16) -> u32 {
    steering.table_of[&key(port)].0
}

/// The VIPs that would stand in the maps.
fn standing(steering: &Steering) -> HashMap<VipKey, VipEntry> {
    let entry = |table: &TableId| VipEntry {
        table: *table,
        ..VipEntry::default()
    };
    steering
        .table_of
        .iter()
        .map(|(key, table)| (*key, entry(table)))
        .collect()
}

#[test]
fn groups_keep_their_numbers_and_the_rest_goes_by_the_table_of_all() {
    let mut cache = OwnersCache::default();
    let keys: Vec<VipKey> = [80, 81, 82, 83].map(key).into();
    let mut steer = |view: &View, keys: &[VipKey], now: &Steering, tables| {
        steering(view, NodeId(1), keys, &standing(now), tables, &mut cache)
    };
    let one = view(&[(1, 1), (1, 2), (1, 0)], &[&[80, 81], &[82]]);
    let first = steer(&one, &keys, &Steering::default(), 64);
    let ids = [80, 81, 82, 83].map(|port| table_of(&first, port));
    assert_eq!(ids[0], ids[1], "equal nodes share a table");
    assert_eq!(first.tables.len(), 4);
    assert_eq!(first.without_table, 0);

    let again = steer(&one, &[key(83), key(82), key(80)], &first, 64);
    assert_eq!(
        table_of(&again, 80),
        ids[0],
        "whatever the order and the other VIPs"
    );
    assert_eq!(table_of(&again, 82), ids[2]);

    let split = view(&[(1, 1), (1, 2), (1, 0)], &[&[80], &[81, 82]]);
    let after = steer(&split, &keys, &first, 64);
    assert_eq!(table_of(&after, 80), ids[0]);
    assert_eq!(
        table_of(&after, 81),
        table_of(&after, 82),
        "it joined the other group"
    );
    assert_eq!(table_of(&after, 82), ids[2]);

    let few = steer(&one, &keys, &Steering::default(), 2);
    assert_eq!([80, 81, 82, 83].map(|port| table_of(&few, port)), [1, 1, 0, 0]);
    assert_eq!(few.without_table, 2);
    let kept = steer(&one, &keys, &few, 2);
    assert_eq!(kept.table_of, few.table_of, "nobody is pushed out");

    let all = view(&[(1, 0), (2, 0)], &[]);
    let shared = steer(&all, &keys, &first, 64);
    assert!(shared.table_of.values().all(|id| *id == TABLE_OF_ALL));
    assert_eq!((shared.tables.len(), shared.without_table), (1, 0));
}

/// A cluster that changes by chance, by the code that changes clusters.
struct Life {
    rng: StdRng,
    lineage: Lineage,
    nodes: Vec<Profile>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let profile = |index: u16| Profile {
            name: format!("gw-{index}"),
            listen: ([127, 0, 0, 1], 1).into(),
            address: None,
            address_v6: None,
            weight: 1,
            state: State::Ready,
            standing: Standing::Newcomer,
            incarnation: 1,
            serves: Served::All,
        };
        Self {
            rng: StdRng::seed_from_u64(seed),
            lineage: Lineage::origin([1, 2]),
            nodes: (0..6).map(profile).collect(),
        }
    }

    fn change(&mut self) {
        let rng = &mut self.rng;
        for node in &mut self.nodes {
            match rng.random_range(0..8) {
                0 => node.weight = rng.random_range(1..5),
                1 => {
                    node.state = if rng.random() {
                        State::Ready
                    } else {
                        State::Draining
                    }
                }
                2 => node.serves = Served::These(set(&[80, 81][..rng.random_range(0..=2)])),
                3 => node.serves = Served::All,
                _ => {}
            }
        }
        let there: Vec<&Profile> = self.nodes.iter().filter(|_| rng.random_bool(0.85)).collect();
        if !there.is_empty() {
            self.lineage = Lineage::next(&self.lineage, &there, self.lineage.view.number + 1);
        }
    }
}

/// A share, and the set that it is of.
type OfSet = (Share, Option<Vec<Fingerprint>>);

#[test]
fn previous_owners_are_those_that_a_node_saw_that_was_there_all_along() {
    for seed in 0..40 {
        let mut life = Life::new(seed);
        let mut cache = OwnersCache::default();
        // What such a node saw: distinct shares of all, the latest last, with the owners of one VIP.
        let mut seen: Vec<(Vec<OfSet>, Vec<NodeId>)> = Vec::new();
        for _ in 0..8 {
            life.change();
            let view = &life.lineage.view;
            let Some(steering) = (!view.members.is_empty())
                .then(|| steering(view, NodeId::NOBODY, &[key(80)], &HashMap::new(), 64, &mut cache))
            else {
                continue;
            };
            let slots = &steering.tables[&steering.table_of[&key(80)]];
            let content: Vec<_> = (view.shares().0.iter())
                .map(|share| {
                    let set = view.set(share.serves).map(<[Fingerprint]>::to_vec);
                    let share = Share {
                        serves: SetId::ALL,
                        ..*share
                    };
                    (share, set)
                })
                .collect();
            seen.retain(|(earlier, _)| *earlier != content);
            let earlier: Vec<&Vec<NodeId>> = seen
                .iter()
                .rev()
                .take(HISTORY_VIEWS_MAX)
                .map(|(_, owners)| owners)
                .collect();
            let is_member = |id: &NodeId| view.members.iter().any(|member| member.id == *id);
            for (index, slot) in slots.iter().enumerate().step_by(97) {
                let mut expected: Vec<NodeId> = Vec::new();
                for id in earlier.iter().map(|owners| owners[index]) {
                    if id != slot.owner() && is_member(&id) && !expected.contains(&id) {
                        expected.push(id);
                    }
                }
                expected.resize(2, NodeId::NOBODY);
                let found = [slot.previous(), slot.second_previous()];
                // A node that nobody chose, for all that serve the VIP drained: no history says so.
                let by_chance = |owners: &&Vec<NodeId>| owners[index].is_nobody();
                if !earlier.iter().any(by_chance) {
                    assert_eq!(
                        found[..],
                        expected[..2],
                        "seed {seed}, view {}, slot {index}",
                        view.number
                    );
                }
            }
            let served = Eligible::new(view, NodeId::NOBODY).sets_of(&key(80));
            let serves =
                |share: &&Share| share.serves == SetId::ALL || served >> (share.serves.0 - 1) & 1 == 1;
            let owners = if view.shares().0.iter().any(|share| serves(&share)) {
                slots.iter().map(|slot| slot.owner()).collect()
            } else {
                vec![NodeId::NOBODY; SLOTS as usize]
            };
            seen.push((content, owners));
        }
    }
}

#[test]
fn nodes_with_equal_views_build_equal_tables_but_for_successors() {
    for seed in 0..20 {
        let mut life = Life::new(seed);
        (0..6).for_each(|_| life.change());
        let view = &life.lineage.view;
        let keys = [key(80), key(81), key(82)];
        let ids: Vec<NodeId> = view.members.iter().map(|member| member.id).collect();
        let of = |me: NodeId, cache: &mut OwnersCache| -> Vec<Vec<u64>> {
            let steering = steering(view, me, &keys, &HashMap::new(), 64, cache);
            let without_successor =
                |slots: &Arc<[Slot]>| slots.iter().map(|slot| slot.0 & u64::MAX >> 16).collect();
            keys.iter()
                .map(|key| without_successor(&steering.tables[&steering.table_of[key]]))
                .collect()
        };
        // One node has computed much before, the others have not.
        let mut cache = OwnersCache::default();
        let first = of(ids[0], &mut cache);
        for id in &ids {
            assert!(
                of(*id, &mut OwnersCache::default()) == first,
                "seed {seed}: {id:?} differs"
            );
            assert!(
                of(*id, &mut cache) == first,
                "seed {seed}: {id:?} differs by what it computed before"
            );
        }
    }
}

#[test]
fn vips_that_share_a_table_spread_a_client_differently() {
    let vip = |last: u8| VipEntry {
        salt: vip_salt(&Address::from(std::net::Ipv4Addr::new(192, 0, 2, last)), 6),
        ..VipEntry::default()
    };
    let at = |vip: &VipEntry, port: u16| {
        let flow = FlowKey {
            source: Address::from(std::net::Ipv4Addr::new(198, 51, 100, 7)),
            ports: [port.to_be(), 443_u16.to_be()],
            ..FlowKey::default()
        };
        spread([1, 2], Some(vip), &flow).slot(SLOTS)
    };
    let together = (1..1_000)
        .filter(|port| at(&vip(1), *port) == at(&vip(2), *port))
        .count();
    assert!(
        together < 3,
        "{together} of 1,000 connections fall on the same slot"
    );
}
