//! What the flow table forgets at which load, by the code that the kernel runs; and how long a change of tables takes.

use std::cell::Cell;
use std::time::Instant;

use anyhow::Result;
use gateway_common::flow::set::{self, Key, SET_WORDS_V4, SET_WORDS_V6, Words};
use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::hash;
use gateway_common::node::NodeId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::figures::row;

/// Flows that the table is made for.
const FLOWS: u32 = 1_000_000;

/// Loads, in percent of them.
const LOADS: [u32; 3] = [50, 80, 100];

struct SetOf<'s>(&'s [Cell<u64>]);

impl Words for SetOf<'_> {
    fn load(&self, index: usize) -> u64 {
        self.0.get(index).map_or(0, Cell::get)
    }

    fn store(&self, index: usize, word: u64) {
        if let Some(at) = self.0.get(index) {
            at.set(word);
        }
    }
}

/// Prints what share of live flows is forgotten, of both families.
pub fn forgotten() {
    for load in LOADS {
        let flows = FLOWS / 100 * load;
        let shares = [
            (
                "ipv4",
                share::<2>(flows, set::sets_v4(FLOWS), SET_WORDS_V4, client_v4),
            ),
            (
                "ipv6",
                share::<5>(flows, set::sets_v6(FLOWS), SET_WORDS_V6, client_v6),
            ),
        ];
        for (family, share) in shares {
            let scenario = format!("forgotten-at-{load}-percent");
            row(&scenario, "gateway", family, share * 100.0, "%");
        }
    }
}

fn client_v4(numbers: &mut StdRng) -> FlowKey {
    FlowKey {
        source: std::net::Ipv4Addr::from(numbers.random::<u32>()).into(),
        destination: std::net::Ipv4Addr::new(192, 0, 2, 1).into(),
        ..ports(numbers)
    }
}

fn client_v6(numbers: &mut StdRng) -> FlowKey {
    let address = 0x2001_0db8_u128 << 96 | u128::from(numbers.random::<u64>());
    FlowKey {
        source: std::net::IpAddr::V6(address.into()).into(),
        destination: std::net::IpAddr::V6((0x2001_0db8_u128 << 96 | 1).into()).into(),
        ..ports(numbers)
    }
}

fn ports(numbers: &mut StdRng) -> FlowKey {
    FlowKey {
        ports: [numbers.random(), 443_u16.to_be()],
        protocol: 6,
        ..FlowKey::default()
    }
}

/// Opens so many flows one after the other, and then looks for each.
fn share<const KEY_WORDS: usize>(
    flows: u32,
    sets: u32,
    set_words: usize,
    client: impl Fn(&mut StdRng) -> FlowKey,
) -> f64
where
    FlowKey: Key<KEY_WORDS>,
{
    const HASH_KEY: [u64; 2] = [1, 2];
    let words = vec![Cell::new(0); sets as usize * set_words];
    let set_at = |hash: u64| {
        let start = set::set_of(hash, sets) as usize * set_words;
        SetOf(words.get(start..start + set_words).unwrap_or_default())
    };
    let all = || {
        let mut numbers = StdRng::seed_from_u64(7);
        let client = &client;
        (0..flows).map(move |_| client(&mut numbers))
    };
    for key in all() {
        let hash = hash::of_flow(HASH_KEY, &key);
        let entry = FlowEntry::new(NodeId(2), 7, 0);
        set::put(&set_at(hash), &Key::<KEY_WORDS>::words(&key), entry, hash, 0);
    }
    let is_forgotten = |key: &FlowKey| {
        let hash = hash::of_flow(HASH_KEY, key);
        set::find(&set_at(hash), &Key::<KEY_WORDS>::words(key), || 0).is_none()
    };
    all().filter(is_forgotten).count() as f64 / f64::from(flows)
}

/// Prints how long it takes to compute a table, and to put it into the maps.
///
/// # Errors
/// A map cannot be written.
pub fn rebuild() -> Result<()> {
    use gateway_common::maglev::{Chooser, SLOTS, fill};
    for nodes in [3_u16, 64, 1_024] {
        let shares: Vec<(NodeId, u32)> = (1..=nodes).map(|id| (NodeId(id), 1)).collect();
        let mut choosers = vec![Chooser::default(); shares.len()];
        let mut owners = vec![NodeId(0); SLOTS as usize];
        let times = (0..9).map(|_| {
            let began = Instant::now();
            fill(&shares, &mut choosers, &mut owners);
            began.elapsed().as_secs_f64() * 1e3
        });
        let least = times.fold(f64::INFINITY, f64::min);
        row(
            "table-rebuild",
            "gateway",
            &format!("owners_of_{nodes}_nodes"),
            least,
            "ms",
        );
    }
    Ok(())
}
