//! Kernel settings of one network namespace, by writing `/proc/sys/net` from a thread inside it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A setting below `/proc/sys/net`, and its value.
pub type Setting = (&'static str, &'static str);

/// Addresses are usable at once (no duplicate address detection), and none comes by advertisement.
pub const EVERYWHERE: &[Setting] = &[
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    // The loss of the carrier does not take IPv6 addresses with it.
    ("ipv6/conf/all/keep_addr_on_down", "1"),
];

/// What a node with VIPs on its loopback needs on a shared segment, as docs and README say it for real machines.
pub const NODE: &[Setting] = &[
    // Only userspace answers ARP requests for a VIP.
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/default/arp_ignore", "1"),
    // A request of our own names an address of the segment as its source, never a VIP.
    ("ipv4/conf/all/arp_announce", "2"),
    ("ipv4/conf/default/arp_announce", "2"),
    // Decapsulated packets come from another node, answers leave directly.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
];

/// The client sends from addresses that it holds by a route alone.
pub const CLIENT: &[Setting] = &[
    ("ipv4/conf/all/arp_announce", "2"),
    ("ipv4/conf/default/arp_announce", "2"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/ip_nonlocal_bind", "1"),
    ("ipv6/ip_nonlocal_bind", "1"),
    // Thousands of short connections to one VIP from one address.
    ("ipv4/ip_local_port_range", "10000 64000"),
];

/// A router with several ways to a VIP chooses among them by the flow, as routers with ECMP do.
pub const ROUTER: &[Setting] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/fib_multipath_hash_policy", "1"),
    ("ipv6/fib_multipath_hash_policy", "1"),
];

/// The bridge is a switch: no addresses of its own, no packet filter on its way.
pub const SWITCH: &[Setting] = &[
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
];

/// Present only where the bridge's packet filter hook is: absence is what we want.
pub const SWITCH_WHERE_PRESENT: &[Setting] = &[
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    ("bridge/bridge-nf-call-arptables", "0"),
];

/// Writes settings for the network namespace of the calling thread.
///
/// # Errors
/// Names the setting that the kernel refused or does not have.
pub fn write(settings: &[Setting]) -> Result<()> {
    for (name, value) in settings {
        write_value(name, value)?;
    }
    Ok(())
}

/// Writes one setting, for values that are no constants.
///
/// # Errors
/// As [`write()`].
pub fn write_value(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys/net").join(name);
    fs::write(&path, value).with_context(|| format!("write {value} to {}", path.display()))
}

/// As [`write()`], but passes over settings that this kernel does not have.
///
/// # Errors
/// Names the setting that the kernel refused.
pub fn write_where_present(settings: &[Setting]) -> Result<()> {
    for setting in settings {
        if Path::new("/proc/sys/net").join(setting.0).exists() {
            write(std::slice::from_ref(setting))?;
        }
    }
    Ok(())
}
