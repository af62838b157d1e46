//! Watches the switch: when did a node last get something that was meant for a VIP?
//!
//! Reads what hosts send into the switch, before the switch forwards it, and sorts by the frame's destination. So it
//! sees what is still sent to a node whose cable is cut, and what other nodes steer to a dead one; heartbeats,
//! neighbour discovery and answers to the client do not count.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::{RcvBuf, ReceiveTimeout};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::Lab;
use super::addresses::{Family, NODES, Vip};
use super::settings::INTERFACE;
use super::wire;

/// Bytes read of each frame: Ethernet, the outer header, and no more.
const HEAD_BYTES: usize = 14 + 40;

/// Frames wait here while the tap's thread does not run: some 10,000 small ones.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// Between two looks at the stop flag.
const STOP_CHECK_MS: i64 = 100;

const ETHERTYPE_V4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_V6: [u8; 2] = [0x86, 0xdd];
const PROTOCOL_IPIP: u8 = 4;
const PROTOCOL_TCP: u8 = 6;
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
    last: Mutex<[Option<Instant>; NODES]>,
    director: AtomicUsize,
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
            last: Mutex::default(),
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

    /// When the last frame for a VIP was sent to node `index`.
    pub fn last(&self, index: usize) -> Option<Instant> {
        let last = self.seen.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(index).copied().flatten()
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
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("lab: the tap ended early: {error:#}");
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
    // The kernel halves what its own limit does not allow; a frame lost here only shortens a figure by a frame.
    setsockopt(&socket, RcvBuf, &BUFFER_BYTES).context("set a receive buffer")?;
    Ok(socket)
}

fn watch(socket: &OwnedFd, hosts: &Hosts, seen: &Seen) -> Result<()> {
    let mut head = [0; HEAD_BYTES];
    while !seen.stop.load(Ordering::Relaxed) {
        let (length, from) = match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut head) {
            Ok((length, Some(from))) => (length, from),
            Ok((_, None)) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => continue,
            Err(error) => return Err(error).context("read from the packet socket"),
        };
        let outgoing = from.pkttype() == libc::PACKET_OUTGOING;
        if outgoing || !hosts.ports.contains(&from.ifindex()) {
            continue;
        }
        let frame = head.get(..length.min(HEAD_BYTES)).unwrap_or_default();
        if let Some((index, way)) = receiver(frame, hosts) {
            if way == Way::Direct {
                seen.director.store(index, Ordering::Relaxed);
            }
            if let Some(count) = seen.frames.get(index) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            let mut last = seen.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(last) = last.get_mut(index) {
                *last = Some(Instant::now());
            }
        }
    }
    Ok(())
}

/// The node that a frame is sent to, and how, if it carries something for a VIP.
fn receiver(frame: &[u8], hosts: &Hosts) -> Option<(usize, Way)> {
    let (mac, rest) = frame.split_first_chunk::<6>()?;
    let index = hosts.macs.iter().position(|known| known == mac)?;
    let (_, rest) = rest.split_first_chunk::<6>()?;
    let (ethertype, packet) = rest.split_first_chunk::<2>()?;
    let (protocol, destination) = match *ethertype {
        ETHERTYPE_V4 => (
            *packet.get(9)?,
            IpAddr::from(*packet.get(16..)?.first_chunk::<4>()?),
        ),
        ETHERTYPE_V6 => (
            *packet.get(6)?,
            IpAddr::from(*packet.get(24..)?.first_chunk::<16>()?),
        ),
        _ => return None,
    };
    match protocol {
        PROTOCOL_IPIP | PROTOCOL_IP6IP6 => Some((index, Way::Steered)),
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
