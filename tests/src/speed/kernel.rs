//! The programs of one scenario in the kernel, with their maps filled; and a check that bytes, reason and counters are
//! those of the pure function, before anything is timed.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, Map, PerCpuArray, PerCpuValues};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use gateway::l4::counters::Counters;
use gateway::l4::flows::FlowLimits;
use gateway::l4::loader;
use gateway::l4::maps::Maps;
use gateway::l4::object;
use gateway_common::abi::{self, BENCH_LINK_BYTES, Bench};
use gateway_common::forward::{Notes, apply, decide};
use gateway_common::headers::ETHERNET_BYTES;
use gateway_common::memory::MemoryFrame;
use gateway_common::protection::Protection;
use gateway_common::trace::Traces;
use gateway_common::verdict::{Fate, Reason};

use super::scenario::{FlowTable, Scenario};
use super::world::{self, Port};

/// The interface of test runs: the namespace's `lo`.
const INTERFACE: u32 = 1;

/// Bytes of the longest frame that comes out.
const OUT_BYTES_MAX: usize = 512;

/// The programs that are run beside those that steer.
const OTHERS: [&str; 3] = [abi::BENCH_PROGRAM, abi::FLOOR_PROGRAM, abi::PASS_PROGRAM];

/// The kernel with the programs of one scenario.
pub struct Kernel {
    object: Ebpf,
    maps: Maps,
    counters: Counters,
    scenario: Scenario,
}

/// What one program is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Instructions as the compiler made them, after the verifier took out the dead ones and put in what is inlined.
    pub translated: u32,
    /// Instructions that the verifier looked at, of 1,000,000.
    pub verified: u32,
    /// How long loading took, in milliseconds.
    pub load_ms: f64,
}

/// Listens at the ports where the world says so, in this thread's namespace.
///
/// # Errors
/// A port is taken.
pub fn listeners() -> Result<Vec<TcpListener>> {
    let ports = Port::ALL.into_iter().filter(|port| port.has_listener());
    ports
        .map(|port| {
            let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port as u16));
            TcpListener::bind(address).with_context(|| format!("cannot listen at {address}"))
        })
        .collect()
}

impl Kernel {
    /// Loads the programs as the daemon loads its own, with the default sizes, and fills the maps.
    ///
    /// # Errors
    /// No root, no kernel object, or the verifier refuses a program.
    pub fn start(scenario: &Scenario) -> Result<Self> {
        let limits = match scenario.flow_table {
            FlowTable::Default => FlowLimits {
                tcp: abi::FLOWS_DEFAULT,
                udp: abi::UDP_FLOWS_DEFAULT,
            },
            FlowTable::None => FlowLimits { tcp: 0, udp: 0 },
        };
        let mut loader = EbpfLoader::new();
        limits.apply(&mut loader);
        let mut object = loader
            .map_max_entries(abi::SLOT_WORDS, abi::slot_words(world::TABLES))
            .map_max_entries(abi::HALVES, abi::table_half(world::TABLES))
            .load(object::bytes()?)
            .context("the kernel object does not load")?;
        loader::load_programs(&mut object)?;
        loader::join_chain(&mut object)?;
        for name in OTHERS {
            program(&mut object, name)?
                .load()
                .with_context(|| format!("the verifier refuses `{name}`"))?;
        }
        let mut maps = Maps::take(&mut object, world::TABLES)?;
        for step in world::steps(scenario.format) {
            maps.carry_out(&step)?;
        }
        maps.set_cluster_interfaces(&[INTERFACE])?;
        let protection = object.map_mut(abi::PROTECTION).context("no bounds")?;
        let mut protection: Array<_, Protection> = Array::try_from(protection)?;
        // That of all VIPs, and that of the one that there is.
        for place in [0, 1] {
            protection.set(place, world::protection(), 0)?;
        }
        let traces = object.map_mut(abi::TRACES).context("no traces")?;
        let mut traces: Array<_, Traces> = Array::try_from(traces)?;
        traces.set(0, world::traces(scenario.traced_one_of), 0)?;
        let counters = Counters::take(&mut object)?;
        let mut kernel = Self {
            object,
            maps,
            counters,
            scenario: scenario.clone(),
        };
        kernel.check()?;
        Ok(kernel)
    }

    /// What one of the programs is.
    ///
    /// # Errors
    /// It cannot be loaded, or not be asked.
    pub fn size(name: &str) -> Result<Size> {
        let mut object = EbpfLoader::new().load(object::bytes()?)?;
        let program = program(&mut object, name)?;
        let began = std::time::Instant::now();
        program.load()?;
        let load_ms = began.elapsed().as_secs_f64() * 1e3;
        let info = program.info()?;
        Ok(Size {
            translated: info.size_translated().unwrap_or(0) / 8,
            verified: info.verified_instruction_count().unwrap_or(0),
            load_ms,
        })
    }

    /// Bytes of memory that the maps take, by map.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn memory() -> Result<Vec<(String, u64)>> {
        let mut object = EbpfLoader::new().load(object::bytes()?)?;
        loader::load_programs(&mut object)?;
        let mut sizes = Vec::new();
        for (name, map) in object.maps() {
            let data = match map {
                Map::Array(data)
                | Map::DevMapHash(data)
                | Map::HashMap(data)
                | Map::LpmTrie(data)
                | Map::LruHashMap(data)
                | Map::PerCpuArray(data)
                | Map::ProgramArray(data)
                | Map::RingBuf(data) => data,
                _ => bail!("the map {name} is of a kind that is not known here"),
            };
            let path = format!("/proc/self/fdinfo/{}", data.fd().as_fd().as_raw_fd());
            let text = std::fs::read_to_string(path)?;
            let bytes = text
                .lines()
                .find_map(|line| line.strip_prefix("memlock:"))
                .and_then(|value| value.trim().parse().ok())
                .context("no memlock")?;
            sizes.push((name.to_owned(), bytes));
        }
        sizes.sort();
        Ok(sizes)
    }

    /// Compares one run of the program that steers with the pure function, and one of the benchmark's with the frame that
    /// went in; opens the flows; then sees that the packets of all flows are steered for the scenario's reason.
    fn check(&mut self) -> Result<()> {
        let scenario = self.scenario.clone();
        let tables = world::tables(scenario.format);
        tables.now_ns.set(1_000_000_000_000);
        self.maps.renew_lease()?;
        let mut notes = Notes::default();
        let frames: Vec<&Vec<u8>> = scenario.opened_by.iter().chain([&scenario.frame]).collect();
        for (index, frame) in frames.iter().enumerate() {
            let mut expected = MemoryFrame::new(frame.to_vec());
            let mut verdict = decide(&expected, &tables, &mut notes);
            let fate = apply(&mut expected, &mut verdict, &notes);
            let before = self.count(verdict.reason)?;
            let (action, bytes) = self.once(abi::PROGRAM, frame)?;
            let name = scenario.name;
            ensure!(
                action == code(fate),
                "`{name}`: the kernel says {action}, not {fate:?}"
            );
            ensure!(bytes == expected.bytes, "`{name}`: the kernel makes other bytes");
            let counted = self.count(verdict.reason)? - before;
            ensure!(
                counted == 1,
                "`{name}`: {} is counted {counted} times",
                verdict.reason.name()
            );
            if index + 1 == frames.len() {
                ensure!(
                    verdict.reason == scenario.reason,
                    "`{name}`: {}",
                    verdict.reason.name()
                );
            }
        }
        self.prepare(scenario.flows, &scenario.frame)?;
        for program in [abi::BENCH_PROGRAM, abi::FLOOR_PROGRAM] {
            // A change that is not undone would show in the second run.
            let first = self.repeat(program, &scenario.frame, 1)?;
            let second = self.repeat(program, &scenario.frame, 2)?;
            for (action, bytes) in [first, second] {
                let is_same = bytes.get(..scenario.frame.len()) == Some(&scenario.frame);
                ensure!(action != 0, "`{}`: `{program}` fails", scenario.name);
                ensure!(
                    scenario.flows > 1 || is_same,
                    "`{}`: `{program}` does not undo what it does",
                    scenario.name
                );
            }
        }
        if let Some(opening) = &scenario.opened_by {
            self.prepare(scenario.flows, opening)?;
            self.repeat(abi::BENCH_PROGRAM, opening, scenario.flows)?;
        }
        self.prepare(scenario.flows, &scenario.frame)
    }

    /// Share of the flows whose packets are steered for the scenario's reason.
    ///
    /// # Errors
    /// The program cannot be run.
    pub fn share_as_expected(&mut self) -> Result<f64> {
        let (frame, reason, flows) = (
            self.scenario.frame.clone(),
            self.scenario.reason,
            self.scenario.flows,
        );
        self.maps.renew_lease()?;
        let before = self.count(reason)?;
        self.repeat(abi::BENCH_PROGRAM, &frame, flows)?;
        Ok((self.count(reason)? - before) as f64 / f64::from(flows))
    }

    /// Says on which frames the benchmark's programs run.
    fn prepare(&mut self, flows: u32, frame: &[u8]) -> Result<()> {
        let mut start = [0; BENCH_LINK_BYTES / 2];
        for (word, two) in start.iter_mut().zip(frame.chunks_exact(2)) {
            *word = u16::from_ne_bytes([two[0], two[1]]);
        }
        let [grow_bytes, shrink_bytes] = self.scenario.outer_bytes;
        let tag_bytes = if frame.get(12..14) == Some(&[0x81, 0]) {
            4
        } else {
            0
        };
        let bench = |cpu: usize| Bench {
            flows,
            // CPUs are not on the same flow at once.
            next: (u64::from(flows) * cpu as u64 / 2 % u64::from(flows)) as u32,
            client_at: self.scenario.client_at,
            grow_bytes,
            shrink_bytes,
            restored_bytes: ETHERNET_BYTES as u32 + shrink_bytes + tag_bytes,
            frame_bytes: 0,
            start,
            zero: 0,
        };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let map = self
            .object
            .map_mut(abi::BENCH)
            .context("no map of the benchmark")?;
        let mut map: PerCpuArray<_, Bench> = PerCpuArray::try_from(map)?;
        let values: Vec<Bench> = (0..cpus).map(bench).collect();
        Ok(map.set(0, PerCpuValues::try_from(values)?, 0)?)
    }

    fn count(&self, reason: Reason) -> Result<u64> {
        let counts = self.counters.reasons()?;
        let found = counts.iter().find(|count| count.reason == reason.name());
        Ok(found.map_or(0, |count| count.packets))
    }

    fn once(&mut self, name: &str, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        self.repeat(name, frame, 1)
    }

    fn repeat(&mut self, name: &str, frame: &[u8], times: u32) -> Result<(u32, Vec<u8>)> {
        let mut out = vec![0; OUT_BYTES_MAX];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.repeat = times;
        let result = program(&mut self.object, name)?.test_run(options)?;
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value, out))
    }

    /// A program, about to be timed.
    ///
    /// # Errors
    /// There is none of that name, or the lease cannot be renewed, as the daemon does ten times a second.
    pub fn ready(&self, name: &str) -> Result<&Xdp> {
        self.maps.renew_lease()?;
        Ok(self.object.program(name).context("no program")?.try_into()?)
    }
}

/// Nanoseconds that a run of a program on that frame takes, on average of so many.
///
/// # Errors
/// It cannot be run.
pub fn time(program: &Xdp, frame: &[u8], times: u32) -> Result<f64> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.repeat = times;
    Ok(program.test_run(options)?.duration.as_nanos() as f64)
}

fn program<'o>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut Xdp> {
    let program = object
        .program_mut(name)
        .with_context(|| format!("the kernel object has no program `{name}`"))?;
    Ok(program.try_into()?)
}

/// What the kernel calls it.
fn code(fate: Fate) -> u32 {
    match fate {
        Fate::Drop => 1,
        Fate::Pass => 2,
        Fate::Transmit => 3,
        Fate::Redirect => 4,
    }
}
