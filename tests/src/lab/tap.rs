//! Watches the switch: when did a node last get something that was meant for a VIP?
//!
//! Reads what hosts send into the switch, before the switch forwards it, and sorts by the frame's destination. So it
//! sees what is still sent to a node whose cable is cut, and what other nodes steer to a dead one; heartbeats,
//! neighbour discovery and answers to the client do not count. A frame's time is the kernel's, so that a tap which
//! runs late on a busy machine makes no figure worse; and no figure is told before the tap has caught up.

use std::io::IoSliceMut;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use gateway_common::gue;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimeout, ReceiveTimestampns};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};

use super::Lab;
use super::addresses::{Family, NODES, Vip};
use super::settings::INTERFACE;
use super::wait::wait_until;
use super::wire;

/// Bytes read of each frame: Ethernet, the outer header, UDP, and no more.
const HEAD_BYTES: usize = 14 + 40 + 8;

/// Frames wait here while the tap's thread does not run: some 10,000 small ones.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// Between two looks at the stop flag.
const STOP_CHECK_MS: i64 = 100;

/// The tap catches up with traffic that goes on within this, also on a machine that does other things.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Two clocks that were read this close to each other tell the same time, for what is measured here.
const SAME_TIME_MAX: Duration = Duration::from_millis(1);

/// Readings of two clocks until they are close; a thread is not put off the processor every time.
const CLOCK_READS_MAX: usize = 10;

const ETHERTYPE_V4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_V6: [u8; 2] = [0x86, 0xdd];
const PROTOCOL_IPIP: u8 = 4;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_IP6IP6: u8 = 41;

/// A running tap.
#[derive(Debug)]
pub struct Tap {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Seen {
    stop: AtomicBool,
    frames: [AtomicU64; NODES],
    times: Mutex<Times>,
    director: AtomicUsize,
}

/// When each node was sent its first and its last frame for a VIP, by the kernel.
#[derive(Clone, Copy, Debug, Default)]
struct Times([Option<(Instant, Instant)>; NODES]);

impl Times {
    fn add(&mut self, index: usize, at: Instant) {
        if let Some(times) = self.0.get_mut(index) {
            *times = Some(times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        }
    }

    /// Whether any node was sent something after `moment`.
    fn reach(&self, moment: Instant) -> bool {
        self.0.iter().flatten().any(|(_, last)| *last > moment)
    }

    /// See [`Tap::quiet_after`].
    fn quiet_after(&self, index: usize, death: Instant) -> Option<Duration> {
        let (first, last) = self.0.get(index).copied().flatten()?;
        let others = self.0.iter().enumerate().filter(|(other, _)| *other != index);
        let others_last = others
            .filter_map(|(_, times)| times.map(|(_, last)| last))
            .max()?;
        let tells = first < death && others_last > death.max(last);
        tells.then(|| last.saturating_duration_since(death))
    }
}

/// How a frame for a VIP is on its way to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// From the client, unchanged: the node is the VIP's director.
    Direct,
    /// From another node, encapsulated.
    Steered,
}

/// Stands for a director that nobody knows yet.
const UNKNOWN: usize = usize::MAX;

/// What the tap knows of hosts before it starts.
struct Hosts {
    macs: Vec<[u8; 6]>,
    vips: Vec<IpAddr>,
    ports: Vec<usize>,
}

impl Tap {
    /// Starts to watch.
    ///
    /// # Errors
    /// Where no packet socket can be had.
    pub fn start(lab: &Lab) -> Result<Self> {
        let mut macs = Vec::new();
        let mut names = vec!["client".to_owned()];
        for node in lab.nodes() {
            macs.push(node.namespace().run(|| wire::hardware_address(INTERFACE))??);
            names.push(node.name().to_owned());
        }
        let mut vips = Vec::new();
        for vip in [Vip::FlowHash, Vip::IpHash] {
            vips.extend([vip.address(Family::V4), vip.address(Family::V6)]);
        }
        let seen = Arc::new(Seen {
            stop: AtomicBool::new(false),
            frames: Default::default(),
            times: Mutex::default(),
            director: AtomicUsize::new(UNKNOWN),
        });
        let filled = Arc::clone(&seen);
        let (socket, ports) = lab.switch().run(move || -> Result<_> {
            let ports: nix::Result<Vec<usize>> = names
                .iter()
                .map(|name| if_nametoindex(name.as_str()).map(|index| index as usize))
                .collect();
            Ok((open()?, ports.context("find the switch's ports")?))
        })??;
        let hosts = Hosts { macs, vips, ports };
        let thread = lab
            .switch()
            .spawn("tap", move || watch(&socket, &hosts, &filled))?;
        Ok(Self {
            seen,
            thread: Some(thread),
        })
    }

    /// From a death to the last frame for a VIP that was sent to node `index`; zero where none was after it.
    ///
    /// `None` where what was seen says nothing: no frame to that node before its death, or none to another node after
    /// it and after that node's last. Waits until the tap has seen a frame that is younger than this call.
    ///
    /// # Errors
    /// Where the tap has ended.
    pub fn quiet_after(&self, index: usize, death: Instant) -> Result<Option<Duration>> {
        let called = Instant::now();
        let caught_up = wait_until(called + CATCH_UP_TIMEOUT, || {
            (self.times().reach(called) || self.has_ended()).then_some(())
        });
        if self.has_ended() {
            bail!("the tap on the switch ended early: nobody saw what was sent to the nodes");
        }
        Ok(caught_up.and_then(|()| self.times().quiet_after(index, death)))
    }

    /// Ends the tap.
    ///
    /// # Errors
    /// Where it ended by itself before.
    pub fn end(mut self) -> Result<()> {
        self.stop()
    }

    /// The node that the client sent its last frame for a VIP to; `None` before the first.
    pub fn director(&self) -> Option<usize> {
        let index = self.seen.director.load(Ordering::Relaxed);
        (index != UNKNOWN).then_some(index)
    }

    /// Frames for a VIP that were sent to node `index` so far.
    pub fn frames(&self, index: usize) -> u64 {
        self.seen
            .frames
            .get(index)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn times(&self) -> Times {
        // Each time is whole on its own.
        *self.seen.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn stop(&mut self) -> Result<()> {
        self.seen.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome.context("the tap on the switch ended early"),
            Some(Err(_)) => Err(anyhow!("the tap's thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // Where nobody called `end`, something else has failed and is told.
        if let Err(error) = self.stop() {
            eprintln!("lab: {error:#}");
        }
    }
}

fn open() -> Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .context("open a packet socket")?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(STOP_CHECK_MS))
        .context("set a receive timeout")?;
    setsockopt(&socket, RcvBufForce, &BUFFER_BYTES).context("set a receive buffer")?;
    setsockopt(&socket, ReceiveTimestampns, &true).context("ask for the time of each frame")?;
    Ok(socket)
}

fn watch(socket: &OwnedFd, hosts: &Hosts, seen: &Seen) -> Result<()> {
    let mut head = [0; HEAD_BYTES];
    let mut control = nix::cmsg_space!(TimeSpec);
    while !seen.stop.load(Ordering::Relaxed) {
        let mut parts = [IoSliceMut::new(&mut head)];
        let fd = socket.as_raw_fd();
        let message = match recvmsg::<LinkAddr>(fd, &mut parts, Some(&mut control), MsgFlags::empty()) {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => continue,
            Err(error) => return Err(error).context("read from the packet socket"),
        };
        let Some(from) = message.address else {
            continue;
        };
        let outgoing = from.pkttype() == libc::PACKET_OUTGOING;
        if outgoing || !hosts.ports.contains(&from.ifindex()) {
            continue;
        }
        let stamp = message
            .cmsgs()
            .context("read a frame's time")?
            .find_map(|part| match part {
                ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
                _ => None,
            });
        let length = message.bytes;
        let received = when(stamp.context("a frame came without its time")?)?;
        let frame = head.get(..length.min(HEAD_BYTES)).unwrap_or_default();
        if let Some((index, way)) = receiver(frame, hosts) {
            if way == Way::Direct {
                seen.director.store(index, Ordering::Relaxed);
            }
            if let Some(count) = seen.frames.get(index) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            let mut times = seen.times.lock().unwrap_or_else(PoisonError::into_inner);
            times.add(index, received);
        }
    }
    Ok(())
}

/// The monotonic time of a stamp by the wall clock, taken a moment ago: a step of that clock spoils no more than one.
fn when(stamp: TimeSpec) -> Result<Instant> {
    let mut best: Option<(Duration, Instant, SystemTime)> = None;
    for _ in 0..CLOCK_READS_MAX {
        let (before, wall) = (Instant::now(), SystemTime::now());
        let apart = before.elapsed();
        if best.is_none_or(|(least, ..)| apart < least) {
            best = Some((apart, before, wall));
        }
        if apart <= SAME_TIME_MAX {
            break;
        }
    }
    let (_, now, wall) = best.context("read the clocks")?;
    let stamp = UNIX_EPOCH + Duration::from(stamp);
    let age = wall.duration_since(stamp).unwrap_or_default();
    now.checked_sub(age)
        .context("a frame from before the machine's start")
}

/// The node that a frame is sent to, and how, if it carries something for a VIP.
fn receiver(frame: &[u8], hosts: &Hosts) -> Option<(usize, Way)> {
    let (mac, rest) = frame.split_first_chunk::<6>()?;
    let index = hosts.macs.iter().position(|known| known == mac)?;
    let (_, rest) = rest.split_first_chunk::<6>()?;
    let (ethertype, packet) = rest.split_first_chunk::<2>()?;
    let (protocol, destination, header_bytes) = match *ethertype {
        ETHERTYPE_V4 => (
            *packet.get(9)?,
            IpAddr::from(*packet.get(16..)?.first_chunk::<4>()?),
            20,
        ),
        ETHERTYPE_V6 => (
            *packet.get(6)?,
            IpAddr::from(*packet.get(24..)?.first_chunk::<16>()?),
            40,
        ),
        _ => return None,
    };
    let udp_port = || packet.get(header_bytes + 2..).and_then(<[u8]>::first_chunk::<2>);
    match protocol {
        PROTOCOL_IPIP | PROTOCOL_IP6IP6 => Some((index, Way::Steered)),
        PROTOCOL_UDP if udp_port().copied().map(u16::from_be_bytes) == Some(gue::PORT) => {
            Some((index, Way::Steered))
        }
        PROTOCOL_TCP if hosts.vips.contains(&destination) => Some((index, Way::Direct)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(last_mac: u8, ethertype: [u8; 2], packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, last_mac, 2, 0, 0, 0, 0, 9];
        frame.extend(ethertype);
        frame.extend(packet);
        frame
    }

    fn v4(protocol: u8, destination: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 77, 0, 1];
        packet.extend(destination);
        packet
    }

    fn udp(port: u16) -> Vec<u8> {
        let mut packet = v4(PROTOCOL_UDP, [10, 77, 0, 11]);
        packet.extend([0xc0, 0]);
        packet.extend(port.to_be_bytes());
        packet
    }

    #[test]
    fn silence_tells_only_with_frames_before_the_death_and_to_others_after_it() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        // What was seen, the frames as (node, when), how long node 0 that died at 1,000 was sent something.
        type Row = (&'static str, &'static [(usize, u64)], Option<u64>);
        let rows: [Row; 6] = [
            ("nothing", &[], None),
            ("only others", &[(1, 500), (1, 2_000)], None),
            ("nothing after the death", &[(0, 900), (1, 999)], None),
            ("not before the death", &[(0, 1_100), (1, 2_000)], None),
            ("a while on", &[(0, 900), (0, 1_300), (1, 2_000)], Some(300)),
            ("nothing more", &[(0, 900), (2, 1_200)], Some(0)),
        ];
        for (what, frames, expected) in rows {
            let mut times = Times::default();
            for (index, milliseconds) in frames {
                times.add(*index, at(*milliseconds));
            }
            let quiet = times.quiet_after(0, at(1_000));
            assert_eq!(quiet, expected.map(Duration::from_millis), "{what}");
        }
    }

    #[test]
    fn a_stamp_keeps_its_age() {
        let before = Instant::now();
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time after 1970");
        let found = when(TimeSpec::from(wall - Duration::from_millis(5))).expect("an instant");
        assert!(found <= before + Duration::from_millis(50) && found + Duration::from_secs(1) > before);
    }

    #[test]
    fn only_vip_traffic_counts_and_for_the_node_of_its_mac() {
        let hosts = Hosts {
            macs: vec![[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]],
            vips: vec![IpAddr::from([10, 77, 0, 100])],
            ports: Vec::new(),
        };
        let rows = [
            (
                "to a VIP",
                frame(2, ETHERTYPE_V4, &v4(PROTOCOL_TCP, [10, 77, 0, 100])),
                Some((1, Way::Direct)),
            ),
            (
                "encapsulated",
                frame(1, ETHERTYPE_V4, &v4(PROTOCOL_IPIP, [10, 77, 0, 11])),
                Some((0, Way::Steered)),
            ),
            (
                "encapsulated by GUE",
                frame(1, ETHERTYPE_V4, &udp(gue::PORT)),
                Some((0, Way::Steered)),
            ),
            ("other UDP", frame(1, ETHERTYPE_V4, &udp(gue::PORT + 1)), None),
            (
                "to the node itself",
                frame(1, ETHERTYPE_V4, &v4(PROTOCOL_TCP, [10, 77, 0, 11])),
                None,
            ),
            (
                "a heartbeat",
                frame(1, ETHERTYPE_V4, &v4(17, [10, 77, 0, 11])),
                None,
            ),
            (
                "to another host",
                frame(7, ETHERTYPE_V4, &v4(PROTOCOL_TCP, [10, 77, 0, 100])),
                None,
            ),
            ("cut off", frame(1, ETHERTYPE_V4, &[0x45, 0]), None),
            ("ARP", frame(1, [8, 6], &[0; 28]), None),
        ];
        for (what, frame, expected) in rows {
            assert_eq!(receiver(&frame, &hosts), expected, "{what}");
        }
    }
}
