//! How long a death takes until all tables in the kernel are without the node, and how long one table takes to be
//! published: `cargo run --release --bin gateway-tables`. Needs root, for the maps are the kernel's.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aya::EbpfLoader;
use clap::Parser;
use gateway::l4::desired::Desired;
use gateway::l4::maps::Maps;
use gateway::l4::object;
use gateway::l4::owners::{OwnersCache, Successors};
use gateway::l4::plan::{Step, plan, record};
use gateway::l4::tables::{Steering, steering};
use gateway::view::{Fingerprint, HISTORY_VIEWS_MAX, Member, SetId, View};
use gateway_common::abi::{self, NODES_MAX, TABLES_MAX, VIPS_MAX};
use gateway_common::node::{NodeEntry, NodeId, Settings};
use gateway_common::vip::{Address, VipEntry, VipKey};
use gateway_tests::demo::figures::{Figures, count};

/// Measures how fast tables follow a death, in the kernel's maps.
#[derive(Debug, Parser)]
#[command(name = "gateway-tables")]
struct Arguments {
    /// Write all figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Deaths, of which the median counts.
const ROUNDS: usize = 9;

/// Groups of VIPs, each of other nodes; the first is served by all.
const GROUPS: u32 = 64;

/// What the issue asks for.
const DEATH_MS_MAX: f64 = 150.0;
const PUBLISH_US_MAX: f64 = 100.0;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(figures) if figures.all_hold() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Figures> {
    let mut bench = Bench::start()?;
    // The first fills what every later one finds in the cache, and in memory.
    bench.publish()?;
    let mut phases: [Vec<f64>; 5] = Default::default();
    for round in 0..ROUNDS {
        bench.kill(u16::try_from(NODES_MAX)? - u16::try_from(round)?);
        let times = bench.publish()?;
        for (phase, time) in phases.iter_mut().zip(times) {
            phase.push(time.as_secs_f64() * 1e3);
        }
    }
    let mut one = Vec::new();
    for _ in 0..ROUNDS {
        one.push(bench.publish_one()?.as_secs_f64() * 1e6);
    }
    let mut figures = Figures::default();
    let death = "tables-death-512-vips-1024-nodes";
    let names = ["ms", "ms_computed", "ms_planned", "ms_written", "ms_successors"];
    for (name, times) in names.iter().zip(phases) {
        figures.row(death, "gateway", name, median(times)?, "ms");
    }
    figures.row("tables-publish-one", "gateway", "us", median(one)?, "us");
    figures.row(
        death,
        "gateway",
        "tables_written",
        count(bench.written as u64),
        "tables",
    );
    for (scenario, metric, limit) in [
        (death, "ms", DEATH_MS_MAX),
        ("tables-publish-one", "us", PUBLISH_US_MAX),
    ] {
        let found = figures
            .rows
            .iter()
            .find(|row| row.scenario == scenario && row.metric == metric);
        let value = found.map_or(f64::NAN, |row| row.value);
        figures.target(scenario, metric, limit, value);
    }
    for row in &figures.rows {
        println!(
            "{:<34} {:<15} {:>9.1} {}",
            row.scenario, row.metric, row.value, row.unit
        );
    }
    for target in &figures.targets {
        let holds = if target.holds { "holds" } else { "MISSED" };
        println!(
            "target {:<34} {:>9.1} of at most {:.0}: {holds}",
            target.scenario, target.value, target.limit
        );
    }
    if let Some(path) = &arguments.json {
        figures.write(path)?;
    }
    Ok(figures)
}

fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    values
        .get(values.len() / 2)
        .copied()
        .context("nothing was measured")
}

struct Bench {
    maps: Maps,
    view: View,
    keys: Vec<VipKey>,
    now: Desired,
    cache: OwnersCache,
    /// Tables that the last change wrote.
    written: usize,
}

const ME: NodeId = NodeId(1);

/// The VIPs of one group, each with the key of its address.
fn keys_of(group: u32) -> impl Iterator<Item = VipKey> {
    let vips = VIPS_MAX / GROUPS;
    (group * vips..(group + 1) * vips).flat_map(|vip| {
        let address = Address::from(Ipv4Addr::from(0xc633_0000 + vip));
        [
            VipKey::of_address(address),
            VipKey::new(address, 443_u16.to_be(), 6),
        ]
    })
}

/// 1,024 nodes; each serves all groups of VIPs but one, so that every group has other nodes, and nearly all.
fn view() -> Result<View> {
    let mut sets = Vec::new();
    for left_out in 1..GROUPS {
        let served = (0..GROUPS).filter(|group| *group != left_out);
        let mut set: Vec<_> = served
            .flat_map(keys_of)
            .map(|key| Fingerprint::of(&key))
            .collect();
        set.sort_unstable();
        sets.push(set);
    }
    sets.sort();
    let count = u16::try_from(sets.len())?;
    let mut members = Vec::new();
    for id in 1..=u16::try_from(NODES_MAX)? {
        members.push(Member {
            id: NodeId(id),
            name: format!("gw-{id}"),
            address: Some(Ipv4Addr::from(0x0a00_0000 + u32::from(id))),
            address_v6: None,
            weight: 1,
            incarnation: 1,
            serves: SetId(u8::try_from(id % count)? + 1),
        });
    }
    Ok(View {
        number: 1,
        hash_key: [1, 2],
        members,
        history: Vec::new(),
        sets,
    })
}

impl Bench {
    fn start() -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the kernel's maps need root: run this as root"
        );
        let mut object = EbpfLoader::new()
            .map_max_entries(abi::SLOT_WORDS, abi::slot_words(TABLES_MAX))
            .map_max_entries(abi::HALVES, abi::table_half(TABLES_MAX))
            .load(object::bytes()?)
            .context("the kernel object does not load")?;
        Ok(Self {
            maps: Maps::take(&mut object, TABLES_MAX)?,
            view: view()?,
            keys: (0..GROUPS).flat_map(keys_of).collect(),
            now: Desired::default(),
            cache: OwnersCache::default(),
            written: 0,
        })
    }

    fn kill(&mut self, id: u16) {
        let before = self.view.shares();
        self.view.members.retain(|member| member.id.0 != id);
        self.view.history.insert(0, before);
        self.view.history.truncate(HISTORY_VIEWS_MAX);
        self.view.number += 1;
    }

    /// Brings the maps to the view, owners and previous owners first, as the node does with so many tables: the time in
    /// all, of computing, of planning and of writing; and what the successors then took.
    fn publish(&mut self) -> Result<[Duration; 5]> {
        self.cache.set_successors(Successors::Later);
        let times = self.bring()?;
        self.cache.set_successors(Successors::Awaited);
        let begun = Instant::now();
        self.bring()?;
        let [all, computed, planned, written] = times;
        Ok([all, computed, planned, written, begun.elapsed()])
    }

    /// As the node does it: what the maps lack, and in an order that forwards.
    fn bring(&mut self) -> Result<[Duration; 4]> {
        let begun = Instant::now();
        let steering = steering(
            &self.view,
            ME,
            &self.keys,
            &self.now.vips,
            TABLES_MAX,
            &mut self.cache,
        );
        let next = self.desired(steering);
        let computed = Instant::now();
        let steps = plan(&self.now, &next);
        let planned = Instant::now();
        for step in &steps {
            self.maps.carry_out(step)?;
            record(&mut self.now, step);
        }
        let written = Instant::now();
        ensure!(
            next.without_table == 0,
            "{} VIPs have no table",
            next.without_table
        );
        self.written = steps
            .iter()
            .filter(|step| matches!(step, Step::SwapTable(..)))
            .count();
        Ok([
            written - begun,
            computed - begun,
            planned - computed,
            written - planned,
        ])
    }

    fn desired(&self, steering: Steering) -> Desired {
        let node = |member: &Member| NodeEntry {
            address: member.address.map(Address::from).unwrap_or_default(),
            mac: [1, 2, 3],
            incarnation: member.incarnation,
            ..NodeEntry::default()
        };
        let entry = |key: &VipKey| VipEntry {
            table: steering.table_of.get(key).copied().unwrap_or_default(),
            ..VipEntry::default()
        };
        let nodes = self.view.members.iter().map(|member| (member.id, node(member)));
        let addresses = self
            .view
            .members
            .iter()
            .filter_map(|member| Some((member.address?.into(), member.id)));
        let vips: HashMap<VipKey, VipEntry> = self.keys.iter().map(|key| (*key, entry(key))).collect();
        Desired {
            settings: Settings {
                hash_key: self.view.hash_key,
                node: ME,
                ..Settings::default()
            },
            nodes: nodes.collect(),
            node_addresses: addresses.collect(),
            vips,
            without_table: steering.without_table,
            tables: steering.tables,
            ..Desired::default()
        }
    }

    /// Fills the idle half of one table and flips, after its readers are done.
    fn publish_one(&mut self) -> Result<Duration> {
        let Some((id, slots)) = self.now.tables.last_key_value() else {
            bail!("there is no table");
        };
        let step = Step::SwapTable(*id, slots.clone());
        self.maps.carry_out(&Step::Grace)?;
        let begun = Instant::now();
        self.maps.carry_out(&step)?;
        Ok(begun.elapsed())
    }
}
