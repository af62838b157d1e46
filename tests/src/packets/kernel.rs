//! The cases in the kernel, by `BPF_PROG_TEST_RUN`, with real sockets in a network namespace of their own.

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use gateway::l4::flows::{FlowLimits, Flows, FlowsOf};
use gateway::l4::loader;
use gateway::l4::maps::{self, Maps};
use gateway::l4::object;
use gateway::l4::plan::Step;
use gateway_common::abi::{self, Budget, Count, mac_key};
use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::forward::TABLE_OF_ALL;
use gateway_common::fragment::{FragmentEntry, FragmentKey};
use gateway_common::headers::mac_words;
use gateway_common::node::NodeId;
use gateway_common::verdict::{Fate, Reason};
use netlink_packet_route::address::AddressHeaderFlags;
use nix::sched::{CloneFlags, unshare};

use filter::Filter;

use super::cases::{After, Case, ErrorsLeft, Interface, Outcome, Written};
use super::world::{self, COOKIE_MARK, EXIT, SITUATIONS, Situation, TABLES, Version};

mod chain;
mod connect;
mod cookie;
mod filter;
mod sockets;
mod traced;

pub use chain::{MARK, Tiny};
use sockets::Sockets;
use traced::Traced;
pub use traced::everything;

/// Longest frame that a case may make.
const FRAME_BYTES_MAX: usize = 4_096;

/// Flows that the tables have room for: few, for all sets are looked at after each case.
const FLOWS: FlowLimits = FlowLimits { tcp: 64, udp: 64 };

/// Entries of the table of fragments: far more than a case leaves there.
const FRAGMENTS: u32 = 1_024;

/// The kernel program's clock may be behind by a tick of 10 ms, and the times of flows by one of 4 ms: what is older than
/// that was there before.
const CLOCK_NS: u64 = 20_000_000;

/// Numbers of nodes whose last signs of life are looked at.
const NODES: std::ops::RangeInclusive<u16> = 0..=9;

/// `CLOCK_BOOTTIME` now.
fn boot_ns() -> Result<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

/// The program in the kernel, with the maps of the world.
pub struct Kernel {
    object: Ebpf,
    maps: Maps,
    flows: Flows,
    udp_flows: Flows,
    fragments: HashMap<MapData, FragmentKey, FragmentEntry>,
    heard: Array<MapData, u64>,
    lease: Array<MapData, u64>,
    budget: PerCpuArray<MapData, Budget>,
    counts: PerCpuArray<MapData, Count>,
    filter: Filter,
    traced: Traced,
    table_of_all: Option<Situation>,
    sockets: Sockets,
}

impl Kernel {
    /// Moves this thread into a network namespace of its own and builds the world there.
    ///
    /// # Errors
    /// No root, no kernel object, or the verifier refuses the program.
    pub fn start() -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "packet cases in the kernel need root: run the tests as root"
        );
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        bring_up_loopback()?;
        let sockets = Sockets::open()?;
        let mut loader = EbpfLoader::new();
        FLOWS.apply(&mut loader);
        let mut object = loader
            .map_max_entries(abi::SLOT_WORDS, abi::slot_words(TABLES))
            .map_max_entries(abi::HALVES, abi::table_half(TABLES))
            .map_max_entries(abi::FRAGMENTS, FRAGMENTS)
            .load(object::bytes()?)
            .context("the kernel object does not load")?;
        loader::load_programs(&mut object).context("the verifier refuses a program")?;
        loader::join_chain(&mut object)?;
        // User space holds the lease through memory alone; here it goes back in time.
        let lease = object.map(abi::LEASE).context("no lease")?;
        let aya::maps::Map::Array(lease) = lease else {
            bail!("the lease is no array");
        };
        let lease = aya::maps::Map::Array(MapData::from_id(lease.info()?.id())?);
        let maps = Maps::take(&mut object, TABLES)?;
        let [flows, udp_flows] =
            [FlowsOf::Tcp, FlowsOf::Udp].map(|of| Flows::open(of, |name| maps::take(&mut object, name)));
        let mut take = |name: &'static str| object.take_map(name).context(name);
        let mut kernel = Self {
            flows: flows?,
            udp_flows: udp_flows?,
            fragments: take(abi::FRAGMENTS)?.try_into()?,
            heard: take(abi::HEARD)?.try_into()?,
            lease: lease.try_into()?,
            budget: take(abi::ERROR_BUDGET)?.try_into()?,
            counts: take(abi::REASON_COUNTS)?.try_into()?,
            filter: Filter::take(&mut take)?,
            traced: Traced::take(&mut take)?,
            object,
            maps,
            table_of_all: None,
            sockets,
        };
        kernel.fill()?;
        Ok(kernel)
    }

    fn fill(&mut self) -> Result<()> {
        self.maps.set_exits(&[EXIT])?;
        for (id, node) in world::nodes() {
            self.maps.carry_out(&Step::PutNode(id, node))?;
            for address in [node.address, node.address_v6] {
                if !address.is_unset() {
                    self.maps.carry_out(&Step::PutNodeAddress(address, id))?;
                }
            }
            let mac = mac_key(mac_words(world::node_mac(id.0)));
            self.maps.carry_out(&Step::PutNodeMac(mac, id))?;
        }
        for situation in SITUATIONS {
            self.maps
                .carry_out(&Step::SwapTable(situation.table(), situation.slots().into()))?;
        }
        let vips = world::vips().into_iter().map(|(key, vip)| (key, Some(vip)));
        Ok(self.maps.carry_out(&Step::SwapVips(vips.collect()))?)
    }

    /// Fills one table and moves a VIP's port to it.
    ///
    /// # Errors
    /// A map cannot be written.
    pub fn carry_out(&mut self, steps: &[Step]) -> Result<()> {
        steps.iter().try_for_each(|step| Ok(self.maps.carry_out(step)?))
    }

    /// Runs one case.
    ///
    /// # Errors
    /// A map or the program cannot be used.
    pub fn run(&mut self, case: &Case) -> Result<Outcome> {
        self.prepare(case)?;
        let counts_before = self.reasons()?;
        let began_ns = boot_ns()?;
        let (action, bytes) = self.run_once(case)?;
        let reason = counted(&counts_before, &self.reasons()?)?;
        let fate = match action {
            1 => Fate::Drop,
            2 => Fate::Pass,
            3 => Fate::Transmit,
            4 => Fate::Redirect,
            other => bail!("`{}` ends with the XDP action {other}", case.name),
        };
        let heard: Result<Vec<(u16, u64)>> = NODES
            .map(|node| Ok((node, self.heard.get(&u32::from(node), 0)?)))
            .collect();
        let after = After::new(
            self.flows.all(began_ns)?.into_iter(),
            self.udp_flows.all(began_ns)?.into_iter(),
            self.fragments.iter().collect::<Result<Vec<_>, _>>()?.into_iter(),
            heard?.into_iter(),
            |at_ns| {
                if at_ns + CLOCK_NS > began_ns {
                    Written::Now
                } else {
                    Written::Before
                }
            },
        );
        Ok(Outcome {
            fate,
            reason,
            bytes,
            after,
        })
    }

    /// Puts into the maps what the case has there before.
    fn prepare(&mut self, case: &Case) -> Result<()> {
        let before = &case.before;
        self.maps
            .carry_out(&Step::SwapSettings(before.settings.unwrap_or_default()))?;
        // Test runs come in by the namespace's lo, which is interface 1.
        let interfaces: &[u32] = match before.interface {
            Interface::Cluster => &[1],
            Interface::Foreign => &[],
        };
        self.maps.set_cluster_interfaces(interfaces)?;
        if self.table_of_all != Some(before.table_of_all) {
            let slots = before.table_of_all.slots().into();
            self.maps.carry_out(&Step::SwapTable(TABLE_OF_ALL, slots))?;
            self.table_of_all = Some(before.table_of_all);
        }
        let now = boot_ns()?;
        let at = |age_ns: u64| now.saturating_sub(age_ns + CLOCK_NS);
        self.lease.set(0, before.lease_age_ns.map_or(0, at), 0)?;
        for node in NODES {
            let heard = before.heard.iter().find(|(heard, _)| *heard == node);
            self.heard
                .set(u32::from(node), heard.map_or(0, |(_, age)| at(*age)), 0)?;
        }
        let budget = match before.errors_left {
            ErrorsLeft::Some => Budget::default(),
            // Too late for any token while the case runs.
            ErrorsLeft::None => Budget {
                empty_at_ns: now + 60_000_000_000,
            },
        };
        let budgets = vec![budget; aya::util::nr_cpus().map_err(|(_, error)| error)?];
        self.budget.set(0, PerCpuValues::try_from(budgets)?, 0)?;
        self.filter.prepare(case, now)?;
        let hash_key = before.settings.unwrap_or_default().hash_key;
        refill(&mut self.flows, hash_key, before.flows(at), now)?;
        refill(&mut self.udp_flows, hash_key, before.udp_flows(at), now)?;
        fill(&mut self.fragments, before.fragments(at))
    }

    /// Runs the program over the case's frame: its action, and the frame after.
    fn run_once(&mut self, case: &Case) -> Result<(u32, Vec<u8>)> {
        let version = if case.name.starts_with("V4") {
            Version::V4
        } else {
            Version::V6
        };
        let numbers = self.sockets.cookie(version);
        let mut frame = case.frame.clone();
        cookie::replace(&mut frame, &COOKIE_MARK, &numbers);
        let mut out = vec![0; FRAME_BYTES_MAX];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        options.data_out = Some(&mut out);
        let program: &mut Xdp = self
            .object
            .program_mut(abi::PROGRAM)
            .context("no program")?
            .try_into()?;
        let result = program
            .test_run(options)
            .with_context(|| format!("cannot run `{}`", case.name))?;
        let action = result.return_value;
        let length = result.data_size_out as usize;
        let mut bytes = out.get(..length).unwrap_or_default().to_vec();
        if frame != case.frame {
            cookie::replace(&mut bytes, &numbers, &COOKIE_MARK);
        }
        Ok((action, bytes))
    }

    fn reasons(&self) -> Result<Vec<u64>> {
        let count = |reason: &Reason| {
            let values = self.counts.get(&(*reason as u32), 0)?;
            Ok(values.iter().map(|count| count.packets).sum())
        };
        Reason::ALL.iter().map(count).collect()
    }
}

/// The one reason whose counter went up by one.
fn counted(before: &[u64], after: &[u64]) -> Result<Reason> {
    let changed: Vec<(Reason, u64)> = (Reason::ALL.iter().zip(before.iter().zip(after)))
        .filter(|(_, (before, after))| before != after)
        .map(|(reason, (before, after))| (*reason, after - before))
        .collect();
    match changed.as_slice() {
        [(reason, 1)] => Ok(*reason),
        other => bail!("one packet counted as {other:?}"),
    }
}

/// Makes a table remember these flows and no others.
fn refill(
    flows: &mut Flows,
    hash_key: [u64; 2],
    entries: impl Iterator<Item = (FlowKey, FlowEntry)>,
    now_ns: u64,
) -> Result<()> {
    flows.clear()?;
    for (key, entry) in entries {
        flows.put(hash_key, &key, entry, now_ns)?;
    }
    Ok(())
}

/// Makes a map hold these entries and no others.
fn fill<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    entries: impl Iterator<Item = (K, V)>,
) -> Result<()> {
    let old: Vec<K> = map.keys().collect::<Result<_, _>>()?;
    for key in old {
        map.remove(&key)?;
    }
    for (key, entry) in entries {
        map.insert(key, entry, 0)?;
    }
    Ok(())
}

fn bring_up_loopback() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (connection, netlink, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let up = rtnetlink::LinkUnspec::new_with_index(1).up().build();
        netlink.link().set(up).execute().await?;
        let mut other = rtnetlink::LinkVeth::new("exit", "exit-peer").build();
        other.header.index = EXIT;
        netlink.link().add(other).execute().await?;
        for version in Version::BOTH {
            for address in [version.client(), version.vip(), version.vip_of_all_ports()] {
                let prefix = if address.is_ipv4() { 32 } else { 128 };
                let mut request = netlink.address().add(1, address, prefix);
                // Usable at once: nobody else is on this lo.
                request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
                request.execute().await?;
            }
        }
        Ok(())
    })
}

/// The owner that a frame was sent to, by the hardware address that it now has.
pub fn receiver(frame: &[u8]) -> Option<NodeId> {
    frame.get(5).map(|last| NodeId(u16::from(*last)))
}
