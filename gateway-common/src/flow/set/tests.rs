//! Sets on their own: what is put is found, what is torn is not, and who makes room.

use core::net::{IpAddr, Ipv4Addr};
use std::cell::Cell;

use super::*;
use crate::flow::{FINISHED_NS, RESET_NS};

const NOW_NS: u64 = 1_000_000_000_000;

struct Set(Vec<Cell<u64>>);

impl Set {
    fn new(words: usize) -> Self {
        Self(vec![Cell::new(0); words])
    }
}

impl Words for Set {
    fn load(&self, index: usize) -> u64 {
        self.0[index].get()
    }

    fn store(&self, index: usize, word: u64) {
        self.0[index].set(word);
    }
}

fn key(port: u16) -> FlowKey {
    FlowKey {
        source: Ipv4Addr::new(198, 51, 100, 7).into(),
        destination: Ipv4Addr::new(192, 0, 2, 1).into(),
        ports: [port, 80],
        protocol: 6,
        zero: 0,
    }
}

fn key_v6(port: u16) -> FlowKey {
    let address = |text: &str| text.parse::<IpAddr>().unwrap().into();
    FlowKey {
        source: address("2001:db8:7::7"),
        destination: address("2001:db8::1"),
        ..key(port)
    }
}

fn entry(node: u16, phase: FlowPhase, age_ns: u64) -> FlowEntry {
    FlowEntry {
        node: NodeId(node),
        phase,
        incarnation: 0xdead_beef,
        since_ns: (NOW_NS - age_ns) >> TICK_SHIFT << TICK_SHIFT,
    }
}

fn put_v4(set: &Set, port: u16, new: FlowEntry) {
    put(set, &Key::<2>::words(&key(port)), new, u64::from(port), NOW_NS);
}

fn find_v4(set: &Set, port: u16) -> Option<FlowEntry> {
    find(set, &Key::<2>::words(&key(port)), || NOW_NS)
}

#[test]
fn flows_of_both_families_are_found_as_they_were_put() {
    let (v4, v6) = (Set::new(SET_WORDS_V4), Set::new(SET_WORDS_V6));
    for (port, phase) in [
        (1, FlowPhase::OPEN),
        (2, FlowPhase::FINISHED),
        (3, FlowPhase::RESET),
    ] {
        let new = entry(port, phase, 1_000_000_000);
        put_v4(&v4, port, new);
        put(&v6, &Key::<5>::words(&key_v6(port)), new, 0, NOW_NS);
        assert_eq!(find_v4(&v4, port), Some(new));
        assert_eq!(find(&v6, &Key::<5>::words(&key_v6(port)), || NOW_NS), Some(new));
        assert!(all_v4(&v4, 6, NOW_NS).any(|found| found == (key(port), new)));
        assert!(all_v6(&v6, 6, NOW_NS).any(|found| found == (key_v6(port), new)));
    }
    assert_eq!(find_v4(&v4, 4), None);
    clear(&v4, CELL_WORDS_V4);
    assert_eq!(all_v4(&v4, 6, NOW_NS).count(), 0);
}

#[test]
fn a_flow_has_one_cell() {
    let set = Set::new(SET_WORDS_V4);
    for node in 1..=9 {
        put_v4(&set, 1, entry(node, FlowPhase::OPEN, 0));
        assert_eq!(find_v4(&set, 1).unwrap().node, NodeId(node));
    }
    assert_eq!(all_v4(&set, 6, NOW_NS).count(), 1);
}

#[test]
fn a_full_set_forgets_those_that_ended_first_and_else_one() {
    let rows = [
        ("reset", FlowPhase::RESET, RESET_NS, true),
        ("finished", FlowPhase::FINISHED, FINISHED_NS, true),
        ("just reset", FlowPhase::RESET, RESET_NS / 2, false),
        ("open", FlowPhase::OPEN, FINISHED_NS, false),
    ];
    for (name, phase, age_ns, is_replaced) in rows {
        let set = Set::new(SET_WORDS_V4);
        put_v4(&set, 0, entry(1, phase, age_ns));
        for port in 1..WAYS as u16 {
            put_v4(&set, port, entry(1, FlowPhase::OPEN, 0));
        }
        // Its hash picks another cell.
        put_v4(&set, 41, entry(1, FlowPhase::OPEN, 0));
        assert_eq!(find_v4(&set, 0).is_none(), is_replaced, "{name}");
        assert!(find_v4(&set, 41).is_some(), "{name}");
        assert_eq!(all_v4(&set, 6, NOW_NS).count(), WAYS);
    }
}

/// Every mixture of two or three cells, word by word, as readers and writers of several CPUs can come to see it.
#[test]
fn a_torn_cell_names_no_node_but_its_own_flows() {
    let flows = [(1_u16, 2_u16), (2, 3), (3, 2)];
    let cells = flows.map(|(port, node)| {
        let set = Set::new(SET_WORDS_V4);
        put_v4(&set, port, entry(node, FlowPhase::OPEN, 0));
        [0, 1, 2].map(|word| set.load(word))
    });
    for mixture in 0..27 {
        let set = Set::new(SET_WORDS_V4);
        let from = [mixture % 3, mixture / 3 % 3, mixture / 9];
        for (word, from) in from.into_iter().enumerate() {
            set.store(word, cells[from][word]);
        }
        for (port, node) in flows {
            let found = find_v4(&set, port).map(|entry| entry.node);
            assert!(
                found.is_none() || found == Some(NodeId(node)),
                "{from:?}: flow {port} at {found:?}"
            );
        }
    }
}

#[test]
fn times_come_back_in_ticks_and_never_from_the_future() {
    let tick_ns = 1 << TICK_SHIFT;
    for age_ns in [0, tick_ns, 1_000_000_000, 3_600_000_000_000 / 4] {
        let time = ((NOW_NS - age_ns) >> TICK_SHIFT) as u32;
        let since = since_ns(time, || NOW_NS);
        assert!((NOW_NS - age_ns).abs_diff(since) < tick_ns, "{age_ns}");
    }
    let ahead = ((NOW_NS >> TICK_SHIFT) + 3) as u32;
    assert!(since_ns(ahead, || NOW_NS) <= NOW_NS);
}

#[test]
fn every_set_is_used() {
    let sets = sets_v4(1_000);
    assert_eq!(sets, 500);
    assert_eq!(set_of(0, sets), 0);
    assert_eq!(set_of(u64::MAX, sets), sets - 1);
    assert_eq!([sets_v4(0), sets_v6(0), sets_v6(5)], [1, 1, 2]);
}
