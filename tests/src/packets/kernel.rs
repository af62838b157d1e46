//! The cases in the kernel, by `BPF_PROG_TEST_RUN`, with real sockets in a network namespace of their own.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{HashMap, MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use gateway::l4::maps::Maps;
use gateway::l4::object;
use gateway::l4::plan::Step;
use gateway_common::abi::{self, Count};
use gateway_common::flow::{FlowEntry, FlowKey};
use gateway_common::maglev::SLOTS;
use gateway_common::node::NodeId;
use gateway_common::verdict::{Fate, Reason};
use gateway_common::vip::{TableId, VipKey};
use netlink_packet_route::address::AddressHeaderFlags;
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, Socket, Type};

use super::cases::{Case, Outcome, Twist};
use super::world::{self, CONNECTED_PORT, SITUATIONS, TABLES, Version};

/// Longest frame that a case may make.
const FRAME_BYTES_MAX: usize = 4_096;

/// `CLOCK_BOOTTIME` now.
fn boot_ns() -> Result<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

/// The program in the kernel, with the maps of the world.
pub struct Kernel {
    object: Ebpf,
    maps: Maps,
    flows: HashMap<MapData, FlowKey, FlowEntry>,
    counts: PerCpuArray<MapData, Count>,
    _connections: Vec<(TcpStream, TcpStream)>,
    _listeners: Vec<TcpListener>,
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
        let (listeners, connections) = sockets()?;
        let mut object = EbpfLoader::new()
            .map_max_entries(abi::SLOT_WORDS, abi::slot_words(TABLES))
            .map_max_entries(abi::HALVES, abi::table_half(TABLES))
            .map_max_entries(abi::FLOWS, 65_536)
            .load(object::bytes()?)
            .context("the kernel object does not load")?;
        let program: &mut Xdp = object
            .program_mut(abi::PROGRAM)
            .context("no program")?
            .try_into()?;
        program.load().context("the verifier refuses the program")?;
        let maps = Maps::take(&mut object, TABLES)?;
        let flows = HashMap::try_from(object.take_map(abi::FLOWS).context("no flow table")?)?;
        let counts = PerCpuArray::try_from(object.take_map(abi::REASON_COUNTS).context("no counters")?)?;
        let mut kernel = Self {
            object,
            maps,
            flows,
            counts,
            _connections: connections,
            _listeners: listeners,
        };
        kernel.fill()?;
        Ok(kernel)
    }

    fn fill(&mut self) -> Result<()> {
        for (id, node) in world::nodes() {
            self.maps.carry_out(&Step::PutNode(id, node))?;
            for address in [node.address, node.address_v6] {
                self.maps.carry_out(&Step::PutNodeAddress(address, id))?;
            }
        }
        for situation in SITUATIONS {
            let slots = vec![situation.slot(); SLOTS as usize];
            self.maps.carry_out(&Step::SwapTable(
                TableId(u32::from(situation as u16)),
                slots.into(),
            ))?;
        }
        for (key, vip) in world::vips() {
            self.maps.carry_out(&Step::PutVip(key, vip))?;
        }
        Ok(())
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
        let settings = if case.twist == Twist::NotConfigured {
            Default::default()
        } else {
            world::settings()
        };
        self.maps.carry_out(&Step::SwapSettings(settings))?;
        // Test runs come in by the namespace's lo, which is interface 1.
        let interfaces: &[u32] = if case.twist == Twist::ForeignInterface {
            &[]
        } else {
            &[1]
        };
        self.maps.set_cluster_interfaces(interfaces)?;
        let old: Vec<FlowKey> = self.flows.keys().collect::<Result<_, _>>()?;
        for key in old {
            self.flows.remove(&key)?;
        }
        if let Some((key, mut entry, age_ns)) = case.remembered {
            entry.since_ns = boot_ns()?.wrapping_sub(age_ns);
            self.flows.insert(key, entry, 0)?;
        }
        let before = self.reasons()?;
        let mut out = vec![0; FRAME_BYTES_MAX];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&case.frame);
        options.data_out = Some(&mut out);
        let program: &mut Xdp = self
            .object
            .program_mut(abi::PROGRAM)
            .context("no program")?
            .try_into()?;
        let result = program
            .test_run(options)
            .with_context(|| format!("cannot run `{}`", case.name))?;
        let bytes = out
            .get(..result.data_size_out as usize)
            .unwrap_or_default()
            .to_vec();
        let fate = match result.return_value {
            1 => Fate::Drop,
            2 => Fate::Pass,
            3 => Fate::Transmit,
            other => bail!("`{}` ends with the XDP action {other}", case.name),
        };
        let remembers = case.watched.and_then(|key| self.flows.get(&key, 0).ok());
        let remembers = remembers.map(|entry| (entry.node, entry.phase));
        Ok(Outcome {
            fate,
            reason: counted(&before, &self.reasons()?)?,
            bytes,
            remembers,
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

fn bring_up_loopback() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (connection, netlink, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let up = rtnetlink::LinkUnspec::new_with_index(1).up().build();
        netlink.link().set(up).execute().await?;
        for version in Version::BOTH {
            for address in [version.client(), version.vip()] {
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

type Sockets = (Vec<TcpListener>, Vec<(TcpStream, TcpStream)>);

/// A listener at each situation's port, and one connection to each.
fn sockets() -> Result<Sockets> {
    let (mut listeners, mut connections) = (Vec::new(), Vec::new());
    for version in Version::BOTH {
        for situation in SITUATIONS {
            let address = SocketAddr::new(version.vip(), situation.port());
            let listener =
                TcpListener::bind(address).with_context(|| format!("cannot listen at {address}"))?;
            let client = SocketAddr::new(version.client(), CONNECTED_PORT);
            let socket = connect(client, address).with_context(|| format!("cannot connect to {address}"))?;
            let (accepted, _) = listener.accept()?;
            connections.push((socket, accepted));
            listeners.push(listener);
        }
    }
    Ok((listeners, connections))
}

/// Connects; tries again for a while, for the kernel routes to a new IPv6 address from a work queue.
fn connect(from: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
        match socket.connect(&to.into()) {
            Ok(()) => return Ok(socket.into()),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// A VIP's key, for cases that move one to a table of their own.
pub fn vip_key(address: IpAddr, port: u16) -> VipKey {
    VipKey {
        address: address.into(),
        port: port.to_be(),
        protocol: 6,
    }
}

/// The owner that a frame was sent to, by the hardware address that it now has.
pub fn receiver(frame: &[u8]) -> Option<NodeId> {
    frame.get(5).map(|last| NodeId(u16::from(*last)))
}
