//! `[dataplane]` as given: how packets are steered in the kernel, and how much it remembers.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Time, limits, time_text};
use crate::config::snapshot::{AttachMode, Encapsulation};

/// Steering in the kernel.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["interfaces"]))]
pub struct Dataplane {
    /// Interfaces that the XDP program is attached to: those on which packets for VIPs arrive, and those by which the other
    /// nodes are reached. A packet for another node leaves by the one that the kernel's routes name.
    #[schemars(length(min = 1, max = limits::INTERFACES_MAX), extend("examples" = [["eth0", "eth1"]]))]
    pub interfaces: Option<Vec<String>>,
    /// How the program is attached.
    #[schemars(extend("default" = AttachMode::Auto))]
    pub mode: Option<AttachMode>,
    /// How packets travel from the node that received them to the one that owns the connection.
    #[schemars(extend("default" = Encapsulation::Gue))]
    pub encapsulation: Option<Encapsulation>,
    /// Interfaces that encapsulated packets are taken from; each must stand in `interfaces` too. Default: all of them.
    #[schemars(length(min = 1, max = limits::INTERFACES_MAX), extend("examples" = [["eth0"]]))]
    pub cluster_interfaces: Option<Vec<String>>,
    /// Connections that the kernel remembers on this node, as many of IPv4 as of IPv6, at 48 bytes each. Near that many
    /// some are forgotten, and steered by table; with 0 all are.
    #[schemars(
        range(min = limits::FLOW_TABLE_ENTRIES_MIN, max = limits::FLOW_TABLE_ENTRIES_MAX),
        extend("default" = limits::FLOW_TABLE_ENTRIES)
    )]
    pub flow_table_entries: Option<u32>,
    /// UDP flows that the kernel remembers on this node, as many of IPv4 as of IPv6, at 48 bytes each. Near that many some
    /// are forgotten, and steered by table; with 0 all are.
    #[schemars(
        range(min = limits::FLOW_TABLE_ENTRIES_MIN, max = limits::FLOW_TABLE_ENTRIES_MAX),
        extend("default" = limits::UDP_FLOW_TABLE_ENTRIES)
    )]
    pub udp_flow_table_entries: Option<u32>,
    /// How long a UDP flow without datagrams is remembered. After it, its next datagram goes where the table says.
    #[schemars(extend(
        "default" = time_text(limits::UDP_IDLE),
        "x-range" = [time_text(limits::UDP_IDLE_MIN), time_text(limits::UDP_IDLE_MAX)]
    ))]
    pub udp_idle: Option<Time>,
    /// Steering tables at most; VIPs that are served by the same nodes share one.
    #[schemars(range(min = 1, max = limits::TABLES_MAX), extend("default" = limits::TABLES_MAX))]
    pub tables: Option<u32>,
    /// Prefixes that each list of `[protection]` has at most in the kernel, which takes memory for those there are.
    #[schemars(
        range(min = 1, max = limits::PREFIXES_MAX_MAX),
        extend("default" = limits::PREFIXES_MAX)
    )]
    pub prefixes_max: Option<u32>,
    /// Directory on bpffs below which maps and links are pinned, in a directory named after the node.
    #[schemars(extend("default" = limits::PIN_DIRECTORY))]
    pub pin_directory: Option<PathBuf>,
    /// Largest IP packet, in bytes, that passes between nodes. Listeners ask clients for segments that still fit
    /// after encapsulation; who sends longer ones all the same is told by ICMP. Where the interface takes less, that
    /// counts.
    #[schemars(
        range(min = limits::PATH_MTU_MIN, max = limits::PATH_MTU_MAX),
        extend("default" = limits::PATH_MTU)
    )]
    pub path_mtu: Option<u16>,
}
