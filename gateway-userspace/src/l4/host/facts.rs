//! What there is to know of a machine, as plain data; nothing here judges it.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::l4::interfaces::Mode;
use crate::l4::others::Other;

/// A machine, as far as a node's data plane depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// As `uname -r` says it.
    pub release: String,
    /// Capabilities that are needed and missing.
    pub missing_capabilities: Vec<&'static str>,
    /// Whether the kernel has type information.
    pub btf: bool,
    /// The directory for pins, where it is not on bpffs.
    pub not_bpffs: Option<PathBuf>,
    /// Whether `bpf_skc_lookup_tcp` may be called from XDP; `None`: the kernel does not let this process ask.
    pub socket_lookup: Option<bool>,
    /// Whether array maps can be mapped into memory; `None`: as above.
    pub mappable_arrays: Option<bool>,
    /// `net.core.bpf_jit_enable`; `None`: there is no such setting, as the kernel has nothing but the compiler.
    pub jit: Option<u32>,
    /// Whether `membarrier(MEMBARRIER_CMD_GLOBAL)` is to be had.
    pub membarrier: bool,
    /// Whether a thread may have real-time priority.
    pub realtime: bool,
    /// Bound of locked memory in bytes; `None`: there is none.
    pub locked_memory: Option<u64>,
    /// The interfaces that were asked for, in their order.
    pub interfaces: Vec<Interface>,
    /// The addresses of all interfaces.
    pub addresses: Vec<Address>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What there is of it; `None`: there is no such interface.
    pub link: Option<Link>,
}

/// What there is of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether it is switched on.
    pub is_up: bool,
    /// Longest IP packet, in bytes.
    pub mtu: u32,
    /// VLAN interfaces over it.
    pub vlans: Vec<String>,
    /// Its driver.
    pub driver: Option<String>,
    /// What its driver can do in XDP; `None`: the kernel does not say (before 6.3).
    pub xdp: Option<XdpFeatures>,
    /// Whether large receive offload is on.
    pub lro: bool,
    /// Whether the card joins segments (GRO-HW).
    pub gro_hw: bool,
    /// Whether the card takes VLAN tags off frames.
    pub vlan_stripping: bool,
    /// `rp_filter` as it counts for this interface: the larger of its own and that of `all`.
    pub rp_filter: Option<u32>,
    /// `arp_ignore`, in the same way.
    pub arp_ignore: Option<u32>,
    /// `arp_announce`, in the same way.
    pub arp_announce: Option<u32>,
    /// The program that is on it.
    pub program: Program,
}

/// The XDP program of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// None.
    #[default]
    None,
    /// This node's.
    Own(Mode),
    /// Another one.
    Other(Box<Other>),
}

/// Bits of `NETDEV_A_DEV_XDP_FEATURES` (include/uapi/linux/netdev.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpFeatures(pub u64);

impl XdpFeatures {
    /// `NETDEV_XDP_ACT_BASIC`: pass, drop, abort, and send back.
    pub const BASIC: u64 = 1;

    /// `NETDEV_XDP_ACT_NDO_XMIT`: takes frames that programs on other interfaces send.
    pub const TAKES_FRAMES: u64 = 4;

    /// Whether frames that came in by another interface can leave by this one, from native mode.
    pub fn takes_frames(self) -> bool {
        self.0 & Self::TAKES_FRAMES != 0
    }

    /// Whether a program runs in the driver.
    pub fn is_native(self) -> bool {
        self.0 & Self::BASIC != 0
    }
}

/// An address of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Whether source selection passes it over (`preferred_lft 0`).
    pub is_deprecated: bool,
}
