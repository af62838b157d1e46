//! A flood of SYNs from forged addresses, put right behind the switch's ports to the nodes.
//!
//! By packet sockets that pass the queues over; each SYN is of another source and port. What reaches a node is what its
//! kernel program judges: nothing on the way is slower than that.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::net::if_::if_nametoindex;

use crate::lab::Lab;
use crate::lab::node;
use crate::lab::settings::INTERFACE;
use crate::lab::wire;

/// Frames of one call.
const BATCH: usize = 256;

/// Ethernet, IPv4, TCP, and what the shortest frame has behind them.
const FRAME_BYTES: usize = 60;

/// A running flood.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
    began: Instant,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Frames.
    pub frames: u64,
    /// For so long.
    pub during: Duration,
}

impl Sent {
    /// Frames a second.
    pub fn per_second(&self) -> f64 {
        self.frames as f64 / self.during.as_secs_f64()
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} SYNs in {:.1?}, {:.0} a second",
            self.frames,
            self.during,
            self.per_second()
        )
    }
}

impl Flood {
    /// Sends to all nodes by turns, as fast as one thread can, until it is ended.
    ///
    /// # Errors
    /// Where there are no packet sockets to be had; and for targets of IPv6.
    pub fn start(lab: &Lab, target: SocketAddr) -> Result<Self> {
        let IpAddr::V4(address) = target.ip() else {
            bail!("floods are of IPv4");
        };
        let mut macs = Vec::new();
        for node in lab.nodes() {
            macs.push(node.namespace().run(|| wire::hardware_address(INTERFACE))??);
        }
        let frames: Vec<Vec<u8>> = macs
            .iter()
            .map(|mac| syn(*mac, address.octets(), target.port()))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sent = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&sent);
        let thread = lab
            .switch()
            .spawn("flood", move || send(&frames, &stopped, &counted))?;
        Ok(Self {
            stop,
            sent,
            thread: Some(thread),
            began: Instant::now(),
        })
    }

    /// Frames that were sent so far.
    pub fn frames(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it, and says what was sent.
    ///
    /// # Errors
    /// Where it ended before.
    pub fn end(mut self) -> Result<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let during = self.began.elapsed();
        let thread = self.thread.take().context("the flood has ended")?;
        thread.join().map_err(|_| anyhow!("the flood has panicked"))??;
        Ok(Sent {
            frames: self.frames(),
            during,
        })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whoever wanted to know what was sent has ended it.
            drop(thread.join());
        }
    }
}

/// A SYN without source, port and checksum.
fn syn(to: [u8; 6], address: [u8; 4], port: u16) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend([2, 0, 0, 0, 0xff, 1, 8, 0]);
    frame.extend([0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0]);
    frame.extend(address);
    frame.extend([0, 0]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    frame.resize(FRAME_BYTES, 0);
    frame
}

/// The sum of RFC 1071.
fn sum(bytes: &[u8], start: u32) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| match word {
        [high, low] => u32::from(*high) << 8 | u32::from(*low),
        _ => 0,
    });
    let mut sum = start + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Gives a SYN another sender, and checksums that hold: a node's stack must take it for what it says.
fn forge(frame: &mut [u8], number: u64) {
    // 100.64.0.0/10 and the like are nobody's here; multiplied, so that neighbours are far from each other.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [a, b, c, d, e, f, ..] = mixed.to_be_bytes();
    let source = [100, 64 | a & 0x3f, b, c];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = frame.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(26, &source);
    put(34, &[d | 0x80, e]);
    put(38, &[f, e, d, c]);
    put(24, &[0, 0]);
    put(50, &[0, 0]);
    let header = sum(frame.get(14..34).unwrap_or_default(), 0);
    // The pseudo header: addresses, protocol, length.
    let pseudo = frame.get(26..34).unwrap_or_default();
    let start = u32::from(!sum(pseudo, 6 + 20));
    let segment = sum(frame.get(34..54).unwrap_or_default(), start);
    let mut put = |at: usize, word: u16| {
        if let Some(place) = frame.get_mut(at..at + 2) {
            place.copy_from_slice(&word.to_be_bytes());
        }
    };
    put(24, header);
    put(50, segment);
}

/// Sends until it is told to stop, and counts what left.
fn send(frames: &[Vec<u8>], stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let sockets = (0..frames.len())
        .map(|index| packet_socket(&node::name(index)))
        .collect::<Result<Vec<_>>>()?;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for (socket, template) in sockets.iter().zip(frames) {
            let mut batch = vec![template.clone(); BATCH];
            for frame in &mut batch {
                number += 1;
                forge(frame, number);
            }
            sent.fetch_add(send_batch(socket, &mut batch)?, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn packet_socket(interface: &str) -> Result<OwnedFd> {
    let index = if_nametoindex(interface).with_context(|| format!("find {interface}"))?;
    // SAFETY: a system call without pointers.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error()).context("open a packet socket");
    }
    // SAFETY: the kernel gave a descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let on: libc::c_int = 1;
    // SAFETY: the option is an int that lives across the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error()).context("pass queues over");
    }
    // SAFETY: zeroes are an address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index as i32;
    let bytes = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address lives across the call, and is as long as said.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), bytes) };
    if bound < 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("bind to {interface}"));
    }
    Ok(socket)
}

/// Sends a batch; those that a full queue refuses are lost, as on a wire.
fn send_batch(socket: &OwnedFd, batch: &mut [Vec<u8>]) -> Result<u64> {
    let mut parts: Vec<libc::iovec> = batch
        .iter_mut()
        .map(|frame| libc::iovec {
            iov_base: frame.as_mut_ptr().cast(),
            iov_len: frame.len(),
        })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: zeroes are a message of nothing.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    let count = messages.len() as libc::c_uint;
    // SAFETY: messages, parts and frames live across the call, and nobody else touches them.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
    match u64::try_from(sent) {
        Ok(sent) => Ok(sent),
        Err(_) => match io::Error::last_os_error() {
            error
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR)
                ) =>
            {
                Ok(0)
            }
            error => Err(error).context("send a batch of SYNs"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_syns_have_checksums_that_hold_and_senders_that_differ() {
        let template = syn([2, 0, 0, 0, 0, 1], [10, 77, 0, 100], 80);
        let mut senders = std::collections::HashSet::new();
        for number in 1..5_000 {
            let mut frame = template.clone();
            forge(&mut frame, number);
            assert_eq!(sum(&frame[14..34], 0), 0, "the header's checksum");
            let pseudo = u32::from(!sum(&frame[26..34], 26));
            assert_eq!(sum(&frame[34..54], pseudo), 0, "the segment's checksum");
            senders.insert(frame[26..36].to_vec());
        }
        assert!(senders.len() > 4_990, "{} senders", senders.len());
    }
}
