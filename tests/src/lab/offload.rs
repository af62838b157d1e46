//! Switches checksum and segmentation offload off, as `ethtool -K IF tx off tso off gso off` does.
//!
//! A veth leaves checksums to "hardware" that is not there. The stack of the other end knows that and does not look;
//! an encapsulated packet carries the unfinished checksum past that knowledge, and is dropped.
//! Source: linux/ethtool.h, `ETHTOOL_STXCSUM` and its neighbours.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

const SIOCETHTOOL: libc::c_ulong = 0x8946;
/// Transmit checksums, segmentation of TCP by the device, segmentation by software just above it.
const SWITCHES: [(u32, &str); 3] = [
    (0x17, "transmit checksums"),
    (0x1f, "TCP segmentation offload"),
    (0x24, "generic segmentation offload"),
];

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Switches transmit offloads of `interface` off, in the network namespace of the calling thread.
///
/// # Errors
/// Where there is no such interface, or its driver refuses.
pub fn switch_off(interface: &str) -> Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .context("open a socket for ethtool")?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
    };
    // The last byte stays 0: the name is a C string.
    for (to, from) in request
        .ifr_name
        .iter_mut()
        .take(libc::IFNAMSIZ - 1)
        .zip(interface.bytes())
    {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    for (command, what) in SWITCHES {
        let mut value = EthtoolValue { command, data: 0 };
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: `request` and the `value` it points at live through the call, and have the layouts that
        // SIOCETHTOOL with these commands reads and writes.
        let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        nix::errno::Errno::result(outcome).with_context(|| format!("switch off {what} of {interface}"))?;
    }
    Ok(())
}
