//! One instance of the program in the kernel, and rows run through it by `BPF_PROG_TEST_RUN`.

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use gateway::l4::flows::FlowLimits;
use gateway::l4::loader;
use gateway::l4::maps::Maps;
use gateway::l4::object;
use gateway_common::abi::{self, Count};
use gateway_common::verdict::Reason;
use nix::sched::{CloneFlags, unshare};
use socket2::Socket;

use super::config::Config;
use super::rows::{FRAME_BYTES_MAX, Row, XdpAction};
use super::sockets;
use super::world::world;

/// Bytes of the longest frame that comes out: headroom can be added to what came in.
const OUT_BYTES_MAX: usize = FRAME_BYTES_MAX + 256;

/// Entries of the flow tables: more than anybody writes rows.
const FLOWS: FlowLimits = FlowLimits {
    tcp: 65_536,
    udp: 65_536,
};

/// Where frames of test runs come in: the namespace's `lo`.
const INTERFACE: u32 = 1;

/// The program with its maps filled, and the sockets that it may find.
pub struct Kernel {
    object: Ebpf,
    counts: PerCpuArray<MapData, Count>,
    _maps: Maps,
    _sockets: Vec<Socket>,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// What the kernel does with it.
    pub action: XdpAction,
    /// Why, by the program's counters.
    pub reason: Reason,
    /// The frame after it.
    pub frame: Vec<u8>,
}

impl Kernel {
    /// Moves this thread into a network namespace of its own, loads the program there and fills its maps.
    ///
    /// # Errors
    /// No root, no kernel object, or the verifier refuses the program.
    pub fn start(config: &Config) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "rows run in the kernel, which needs root"
        );
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        let sockets = sockets::open(config)?;
        let world = world(config);
        let mut loader = EbpfLoader::new();
        FLOWS.apply(&mut loader);
        let mut object = loader
            .map_max_entries(abi::SLOT_WORDS, abi::slot_words(world.tables))
            .map_max_entries(abi::HALVES, abi::table_half(world.tables))
            .load(object::bytes()?)
            .context("the kernel object does not load")?;
        loader::load_programs(&mut object).context("the verifier refuses a program")?;
        loader::join_chain(&mut object)?;
        let mut maps = Maps::take(&mut object, world.tables)?;
        for step in &world.steps {
            maps.carry_out(step)?;
        }
        maps.set_cluster_interfaces(&[INTERFACE])?;
        let counts = object.take_map(abi::REASON_COUNTS).context("no counters")?;
        Ok(Self {
            object,
            counts: PerCpuArray::try_from(counts)?,
            _maps: maps,
            _sockets: sockets,
        })
    }

    /// Runs the program on one row's frame.
    ///
    /// # Errors
    /// The program cannot be run on it.
    pub fn run(&mut self, row: &Row) -> Result<Ran> {
        let before = self.reasons()?;
        let mut out = vec![0; OUT_BYTES_MAX];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&row.frame);
        options.data_out = Some(&mut out);
        let result = program(&mut self.object)?
            .test_run(options)
            .with_context(|| format!("the kernel does not run the frame of `{}`", row.name))?;
        let action = match result.return_value {
            1 => XdpAction::Drop,
            2 => XdpAction::Pass,
            3 => XdpAction::Tx,
            other => bail!("`{}` ends with the XDP action {other}", row.name),
        };
        out.truncate(result.data_size_out as usize);
        Ok(Ran {
            action,
            reason: counted(&before, &self.reasons()?)?,
            frame: out,
        })
    }

    fn reasons(&self) -> Result<Vec<u64>> {
        let count = |reason: &Reason| {
            let values = self.counts.get(&(*reason as u32), 0)?;
            Ok(values.iter().map(|count| count.packets).sum())
        };
        Reason::ALL.iter().map(count).collect()
    }
}

fn program(object: &mut Ebpf) -> Result<&mut Xdp> {
    let program = object.program_mut(abi::PROGRAM).context("no program")?;
    Ok(program.try_into()?)
}

/// The one reason whose counter went up by one.
fn counted(before: &[u64], after: &[u64]) -> Result<Reason> {
    let counters = Reason::ALL.iter().zip(before.iter().zip(after));
    let changed: Vec<Reason> = counters
        .filter(|(_, (before, after))| before != after)
        .map(|(reason, _)| *reason)
        .collect();
    match changed.as_slice() {
        [reason] => Ok(*reason),
        other => bail!("one packet counted as {other:?}"),
    }
}
