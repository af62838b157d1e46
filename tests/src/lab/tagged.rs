//! Frames with VLAN tags, sent to a node and read from it at its port on the switch.
//!
//! The kernel takes the outer tag out of each frame that it receives and hands it out beside the frame; here it is put
//! back, so that a frame reads as it was on the wire. Source: packet(7), `PACKET_AUXDATA`.

use std::mem::{size_of, size_of_val};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};

/// The longest frame of the lab, with two tags.
const FRAME_BYTES_MAX: usize = 1_600;

/// Room for one `tpacket_auxdata` with its header, aligned as control messages are.
const CONTROL_WORDS: usize = 16;

/// Between two looks at the deadline.
const LOOK_MS: i64 = 50;

/// Both addresses of an Ethernet header.
const MACS_BYTES: usize = 12;

const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_V4: u16 = 0x0800;

/// A node's port on the switch.
#[derive(Debug)]
pub struct Port {
    socket: OwnedFd,
    index: i32,
}

impl Port {
    /// Opens the port of that name in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Where there is none, or no packet socket can be had.
    pub fn open(name: &str) -> Result<Self> {
        let index = if_nametoindex(name).with_context(|| format!("find port {name}"))?;
        let index = i32::try_from(index).context("an interface's number beyond its range")?;
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .context("open a packet socket")?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(LOOK_MS))
            .context("set a receive timeout")?;
        let on: libc::c_int = 1;
        // SAFETY: the option takes an integer, which lives through the call.
        let outcome = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_AUXDATA,
                (&raw const on).cast(),
                length_of(&on),
            )
        };
        Errno::result(outcome).context("ask for the tags of frames")?;
        let port = Self { socket, index };
        let address = port.address();
        // SAFETY: the address lives through the call, and is given with its length.
        let outcome = unsafe {
            libc::bind(
                port.socket.as_raw_fd(),
                (&raw const address).cast(),
                length_of(&address),
            )
        };
        Errno::result(outcome).with_context(|| format!("watch port {name}"))?;
        Ok(port)
    }

    /// A link header with these tags, outermost first, before an IPv4 packet.
    pub fn link(to: [u8; 6], from: [u8; 6], tags: &[u16]) -> Vec<u8> {
        let mut header = [to, from].concat();
        for tag in tags {
            header.extend(ETHERTYPE_VLAN.to_be_bytes());
            header.extend(tag.to_be_bytes());
        }
        header.extend(ETHERTYPE_V4.to_be_bytes());
        header
    }

    /// Sends an IPv4 packet to the node, behind a link header with these tags.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn send(&self, to: [u8; 6], from: [u8; 6], tags: &[u16], packet: &[u8]) -> Result<()> {
        let mut frame = Self::link(to, from, tags);
        frame.extend(packet);
        let address = self.address();
        // SAFETY: frame and address live through the call, and are given with their lengths.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                length_of(&address),
            )
        };
        Errno::result(sent).context("send a frame").map(drop)
    }

    /// The next frame that the node sent; `None` where none came before the deadline.
    ///
    /// # Errors
    /// Where the socket fails.
    pub fn receive(&self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        loop {
            match self.receive_once() {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => {}
                Err(error) => return Err(error).context("read from the packet socket"),
            }
            if deadline.saturating_duration_since(Instant::now()) == Duration::ZERO {
                return Ok(None);
            }
        }
    }

    /// One frame with its outer tag; `None` for one that goes to the node.
    fn receive_once(&self) -> nix::Result<Option<Vec<u8>>> {
        let mut frame = vec![0_u8; FRAME_BYTES_MAX];
        let mut control = [0_u64; CONTROL_WORDS];
        let mut from = self.address();
        let mut part = libc::iovec {
            iov_base: frame.as_mut_ptr().cast(),
            iov_len: frame.len(),
        };
        // SAFETY: all zeros are a valid `msghdr`: null pointers and no lengths.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = length_of(&from);
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: all that the message points at lives through the call, and is given with its length.
        let read = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let read = usize::try_from(Errno::result(read)?).unwrap_or(0);
        frame.truncate(read);
        if from.sll_pkttype == libc::PACKET_OUTGOING {
            return Ok(None);
        }
        if let Some((kind, tag)) = outer_tag(&message) {
            let tail = frame.split_off(MACS_BYTES.min(frame.len()));
            frame.extend(kind.to_be_bytes());
            frame.extend(tag.to_be_bytes());
            frame.extend(tail);
        }
        Ok(Some(frame))
    }

    fn address(&self) -> libc::sockaddr_ll {
        // SAFETY: all zeros are a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = self.index;
        address
    }
}

/// The tag that the kernel took out of a frame: its kind, and itself.
fn outer_tag(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: the message was filled by the kernel, and its control part is still there.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null or, as the kernel wrote it, a whole header.
    let facts = unsafe { header.as_ref() }?;
    let bytes = size_of::<libc::cmsghdr>() + size_of::<libc::tpacket_auxdata>();
    let is_ours = facts.cmsg_level == libc::SOL_PACKET
        && facts.cmsg_type == libc::PACKET_AUXDATA
        && facts.cmsg_len >= bytes;
    if !is_ours {
        return None;
    }
    // SAFETY: the header says that data follow it.
    let data = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: a whole `tpacket_auxdata`, by the length that was checked; it may lie at any address.
    let aux = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
    let has_tag = aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
    has_tag.then_some((aux.tp_vlan_tpid, aux.tp_vlan_tci))
}

fn length_of<T>(value: &T) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of_val(value)).unwrap_or(0)
}

/// Where something comes from or goes to.
pub type End = (Ipv4Addr, u16);

/// A TCP segment that opens a connection; its checksum is left out, as no stack is to take it.
pub fn tcp_syn(from: End, to: End) -> Vec<u8> {
    const SYN: u8 = 2;
    let mut segment = ports(from, to);
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    ipv4(libc::IPPROTO_TCP, from, to, &segment)
}

/// A datagram of four bytes, without a checksum.
pub fn udp_datagram(from: End, to: End) -> Vec<u8> {
    let mut datagram = ports(from, to);
    datagram.extend([0, 12, 0, 0]);
    datagram.extend(b"tags");
    ipv4(libc::IPPROTO_UDP, from, to, &datagram)
}

fn ports(from: End, to: End) -> Vec<u8> {
    [from.1.to_be_bytes(), to.1.to_be_bytes()].concat()
}

fn ipv4(protocol: i32, from: End, to: End, payload: &[u8]) -> Vec<u8> {
    const HEADER_BYTES: usize = 20;
    const TTL: u8 = 64;
    let length = u16::try_from(HEADER_BYTES + payload.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, TTL, u8::try_from(protocol).unwrap_or(0), 0, 0]);
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    let words = packet.chunks(2).filter_map(<[u8]>::first_chunk::<2>);
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).unwrap_or(0);
    for (to, from) in packet.iter_mut().skip(10).zip(checksum.to_be_bytes()) {
        *to = from;
    }
    packet.extend(payload);
    packet
}
