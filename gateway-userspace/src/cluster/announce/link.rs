//! Packet sockets on one interface: what is asked there, answered and announced.
//!
//! Two sockets, so that the kernel hands over nothing but ARP and, by a filter, neighbour solicitations.
//!
//! Source: packet(7); linux/filter.h (classic BPF).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::LinkAddr;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::AnnounceError;
use super::carrier::{self, Carrier, Voice};
use crate::cluster::arp::{self, Mac};
use crate::cluster::ndp;

/// Bytes of a frame that are looked at: no request with sensible options is longer.
const FRAME_BYTES_MAX: usize = 512;

/// What the kernel drops before it wakes us: all but ICMPv6 (58) with hop limit 255 and type 135.
///
/// Offsets from the Ethernet header: next header 20, hop limit 21, ICMPv6 type 54.
const SOLICITATIONS: [SockFilter; 8] = [
    SockFilter::new(LOAD_BYTE, 0, 0, 20),
    SockFilter::new(JUMP_IF_EQUAL, 0, 5, 58),
    SockFilter::new(LOAD_BYTE, 0, 0, 21),
    SockFilter::new(JUMP_IF_EQUAL, 0, 3, 255),
    SockFilter::new(LOAD_BYTE, 0, 0, 54),
    SockFilter::new(JUMP_IF_EQUAL, 0, 1, 135),
    SockFilter::new(RETURN, 0, 0, 0xffff),
    SockFilter::new(RETURN, 0, 0, 0),
];
/// `BPF_LD | BPF_B | BPF_ABS`.
const LOAD_BYTE: u16 = 0x30;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const JUMP_IF_EQUAL: u16 = 0x15;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

/// One interface.
#[derive(Debug)]
pub struct Link {
    name: String,
    index: i32,
    arp: Socket,
    ndp: Socket,
    /// Groups joined on `ndp`.
    groups: BTreeSet<Mac>,
    carrier: Carrier,
}

impl Link {
    /// Opens the sockets, in the caller's network namespace.
    pub fn open(name: &str) -> Result<Link, AnnounceError> {
        let interface = || name.to_owned();
        let system = |doing| {
            move |source| AnnounceError::System {
                interface: name.to_owned(),
                doing,
                source,
            }
        };
        // Protocol 0: they receive nothing before they are bound to this interface, filtered.
        let open = || {
            Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).map_err(|source| {
                match source.raw_os_error() {
                    Some(libc::EPERM | libc::EACCES) => AnnounceError::NotPermitted {
                        interface: interface(),
                    },
                    _ => system("opening a packet socket")(source),
                }
            })
        };
        let (arp, ndp) = (open()?, open()?);
        let index = nix::net::if_::if_nametoindex(name)
            .ok()
            .and_then(|index| i32::try_from(index).ok())
            .ok_or_else(|| AnnounceError::NoInterface {
                interface: interface(),
            })?;
        ndp.attach_filter(&SOLICITATIONS)
            .map_err(system("attaching a filter"))?;
        for (socket, protocol) in [(&arp, libc::ETH_P_ARP), (&ndp, libc::ETH_P_IPV6)] {
            socket
                .set_nonblocking(true)
                .map_err(system("making a socket non-blocking"))?;
            bind(socket, index, protocol).map_err(system("binding a packet socket"))?;
        }
        let link = Link {
            name: interface(),
            index,
            arp,
            ndp,
            groups: BTreeSet::new(),
            carrier: Carrier::default(),
        };
        match link.mac() {
            Ok(Some(_)) => Ok(link),
            Ok(None) => Err(AnnounceError::NotEthernet {
                interface: interface(),
            }),
            Err(source) => Err(system("reading the hardware address")(source)),
        }
    }

    /// Whether its interface is still the one that it was opened on.
    pub fn is_there(&self) -> bool {
        let index = nix::net::if_::if_nametoindex(self.name.as_str()).ok();
        index.and_then(|index| i32::try_from(index).ok()) == Some(self.index)
    }

    /// The name of its interface.
    pub fn into_name(self) -> String {
        self.name
    }

    /// One whose interface was not there before: it is silent at first, as after a loss of carrier.
    pub fn come_back(mut self) -> Self {
        self.carrier = Carrier::Lost;
        self
    }

    /// Whether addresses may be claimed here now, while the update of that number is in force.
    pub fn voice(&mut self, update: u64) -> Voice {
        // An interface that is gone has no carrier either.
        let is_up = carrier::is_up(&self.arp, &self.name).unwrap_or(false);
        self.carrier.step(is_up, update, Instant::now())
    }

    /// What to wait for.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.arp.as_fd(), self.ndp.as_fd()]
    }

    /// Makes the interface let solicitations for these addresses through, and no longer others.
    pub fn listen_for(&mut self, held: &BTreeSet<IpAddr>) {
        let wanted: BTreeSet<Mac> = held.iter().filter_map(v6).map(ndp::solicited_node_mac).collect();
        let left = self
            .groups
            .difference(&wanted)
            .map(|group| (libc::PACKET_DROP_MEMBERSHIP, group));
        let joined = wanted
            .difference(&self.groups)
            .map(|group| (libc::PACKET_ADD_MEMBERSHIP, group));
        for (operation, group) in left.chain(joined) {
            if let Err(error) = membership(&self.ndp, self.index, operation, *group) {
                // Announcements still reach the neighbours; only their questions do not reach us.
                tracing::warn!(interface = self.name, %error, "joining or leaving a multicast group");
            }
        }
        self.groups = wanted;
    }

    /// Tells the segment that these addresses are here.
    pub fn announce(&mut self, held: &BTreeSet<IpAddr>) {
        // Read each time: bonds and drivers change it while they run.
        let Some(mac) = self.current_mac().filter(|_| !held.is_empty()) else {
            return;
        };
        for address in held {
            match address {
                IpAddr::V4(v4) => self.send(&self.arp, &arp::announcement(*v4, mac)),
                IpAddr::V6(v6) => self.send(&self.ndp, &ndp::announcement(*v6, mac)),
            }
        }
    }

    /// Answers what waits in the sockets, at most so many frames of each, if it asks for these addresses.
    pub fn answer(&mut self, held: &BTreeSet<IpAddr>, frames_max: usize) {
        let mut frame = [0; FRAME_BYTES_MAX];
        for _ in 0..frames_max {
            let Some(length) = self.receive(&self.arp, &mut frame) else {
                break;
            };
            let request = frame.get(..length).and_then(arp::parse);
            if let Some(request) = request.filter(|request| held.contains(&IpAddr::V4(request.target)))
                && let Some(mac) = self.current_mac()
            {
                self.send(&self.arp, &arp::reply(&request, mac));
            }
        }
        for _ in 0..frames_max {
            let Some(length) = self.receive(&self.ndp, &mut frame) else {
                break;
            };
            let asked = frame.get(..length).and_then(ndp::parse);
            if let Some(asked) = asked.filter(|asked| held.contains(&IpAddr::V6(asked.target)))
                && let Some(mac) = self.current_mac()
            {
                self.send(&self.ndp, &ndp::reply(&asked, mac));
            }
        }
    }

    /// Length of the next frame that was meant for this interface; `None` if none waits. Others count 0 bytes.
    fn receive(&self, socket: &Socket, frame: &mut [u8]) -> Option<usize> {
        match nix::sys::socket::recvfrom::<LinkAddr>(socket.as_raw_fd(), frame) {
            // Seen in passing, as with tagged frames of a VLAN that is not set up: not ours to answer.
            Ok((_, Some(from))) if from.pkttype() == libc::PACKET_OTHERHOST => Some(0),
            Ok((length, _)) => Some(length),
            Err(Errno::EAGAIN | Errno::EINTR) => None,
            Err(error) => {
                tracing::debug!(interface = self.name, %error, "receiving neighbour requests");
                None
            }
        }
    }

    fn send(&self, socket: &Socket, frame: &[u8]) {
        if let Err(error) = socket.send(frame) {
            // The link is down, or its queue full: said again with the next announcement.
            tracing::debug!(interface = self.name, %error, "sending a neighbour frame");
        }
    }

    fn current_mac(&self) -> Option<Mac> {
        match self.mac() {
            Ok(mac) => mac,
            Err(error) => {
                tracing::debug!(interface = self.name, %error, "reading the hardware address");
                None
            }
        }
    }

    /// The hardware address as the kernel knows it for the bound socket; `None` if it is not Ethernet.
    fn mac(&self) -> io::Result<Option<Mac>> {
        let mut address = link_address(0, 0);
        let mut length = LINK_ADDRESS_BYTES;
        let pointer = std::ptr::from_mut(&mut address).cast::<libc::sockaddr>();
        // SAFETY: `pointer` and `length` describe `address`, which outlives the call.
        let result = unsafe { libc::getsockname(self.arp.as_raw_fd(), pointer, &mut length) };
        check(result)?;
        let is_ethernet = address.sll_hatype == libc::ARPHRD_ETHER && address.sll_halen == 6;
        Ok(address
            .sll_addr
            .first_chunk::<6>()
            .filter(|_| is_ethernet)
            .copied())
    }
}

/// What every `sockaddr_ll` measures.
#[expect(clippy::cast_possible_truncation, reason = "20 bytes; try_from is not const")]
const LINK_ADDRESS_BYTES: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

fn v6(address: &IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(v6) => Some(*v6),
        IpAddr::V4(_) => None,
    }
}

fn link_address(index: i32, protocol: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: protocol.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn bind(socket: &Socket, index: i32, protocol: i32) -> io::Result<()> {
    let address = link_address(index, u16::try_from(protocol).unwrap_or_default());
    let pointer = std::ptr::from_ref(&address).cast::<libc::sockaddr>();
    // SAFETY: `pointer` and its length describe `address`, which outlives the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), pointer, LINK_ADDRESS_BYTES) };
    check(result)
}

fn membership(socket: &Socket, index: i32, operation: i32, group: Mac) -> io::Result<()> {
    let mut request = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: u16::try_from(libc::PACKET_MR_MULTICAST).unwrap_or_default(),
        mr_alen: 6,
        mr_address: [0; 8],
    };
    request
        .mr_address
        .iter_mut()
        .zip(group)
        .for_each(|(byte, value)| *byte = value);
    let pointer = std::ptr::from_ref(&request).cast::<libc::c_void>();
    let length = libc::socklen_t::try_from(size_of_val(&request)).unwrap_or_default();
    // SAFETY: `pointer` and `length` describe `request`, which outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, operation, pointer, length) };
    check(result)
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
