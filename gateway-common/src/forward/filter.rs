//! The filter, once, at the director, on what a client sends: what no client sends, who is denied, who begins too many
//! connections.
//!
//! What another node passed on was filtered there.

use crate::hash::{self, Spread};
use crate::headers::TcpFlags;
use crate::node::Settings;
use crate::parse::{About, Matter, Network};
use crate::protection::{
    FOREVER_NS, HOT_MIN, Lists, Protection, SHARE_ALL, Source, VipBuckets, source_set, source_tag,
};
use crate::tables::{Noted, Tables};
use crate::verdict::Reason;
use crate::vip::{Address, SteeringCode, VipEntry};

/// What is done with a packet that the filter lets through.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Admitted {
    /// Whether a connection that it opens is remembered.
    pub(super) memory: Memory,
    /// What chooses its slot, where that is not what the VIP says.
    pub(super) source: Heat,
}

/// Whether a connection that opens is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Memory {
    /// It is.
    #[default]
    Kept,
    /// Its source or its VIP has used up what it may have remembered: it goes by its slot alone.
    Spared,
}

/// Whether a source has more than its share of a VIP that keeps each source on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Heat {
    /// Nobody asks.
    #[default]
    Unwatched,
    /// It has not.
    Usual,
    /// It has: its new connections are spread over all nodes.
    Hot,
}

/// Whether the lists hold for what is for no VIP, too.
#[inline(always)]
pub(super) fn is_of_host(protection: Option<&Protection>) -> bool {
    protection.is_some_and(|protection| protection.lists.has(Lists::OF_HOST))
}

/// Whether what the packet's sender sends is dropped whatever it is for.
#[inline(always)]
pub(super) fn is_denied_here<T: Tables>(tables: &T, packet: &Network) -> bool {
    let protection = tables.protection();
    is_of_host(protection)
        && protection.is_some_and(|protection| is_denied(tables, protection, &packet.source))
}

/// Judges a client's packet for a VIP.
///
/// # Errors
/// No client sends such a one; its sender is denied; or begins too many connections, or the VIP has too many new ones.
#[inline(always)]
pub(super) fn client<T: Tables>(
    tables: &T,
    settings: &Settings,
    packet: &Network,
    about: &About,
    vip: &VipEntry,
) -> Result<Admitted, Reason> {
    sender(&packet.source, &packet.destination)?;
    if about.matter == Matter::Segment && is_impossible(about.flags) {
        return Err(Reason::BadFlags);
    }
    let opens = match (about.matter, about.flags.opens()) {
        (Matter::Segment, true) => Opening::New,
        _ => Opening::None,
    };
    admit(tables, settings, tables.protection(), &packet.source, opens, vip)
}

/// Whether a packet opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// It does.
    New,
    /// It does not.
    None,
}

/// Judges addresses.
///
/// # Errors
/// No client sends from there.
#[inline(always)]
pub(super) fn sender(source: &Address, destination: &Address) -> Result<(), Reason> {
    if source == destination {
        return Err(Reason::Land);
    }
    if is_no_sender(source) {
        return Err(Reason::BadSource);
    }
    Ok(())
}

/// Judges who sends a packet for a VIP, and how many connections he and others open.
///
/// # Errors
/// He is denied; or begins too many connections, or the VIP has too many new ones.
#[inline(always)]
pub(super) fn admit<T: Tables>(
    tables: &T,
    settings: &Settings,
    protection: Option<&Protection>,
    source: &Address,
    opening: Opening,
    vip: &VipEntry,
) -> Result<Admitted, Reason> {
    let Some(protection) = protection else {
        return Ok(Admitted::default());
    };
    // Else it was looked for before.
    if !protection.lists.has(Lists::OF_HOST) && is_denied(tables, protection, source) {
        return Err(Reason::Denied);
    }
    // Others are free: whoever cannot open a connection has none.
    match opening {
        Opening::New => opens(tables, settings, protection, source, vip),
        Opening::None => Ok(Admitted::default()),
    }
}

/// Judges a packet that opens a connection.
#[inline(always)]
fn opens<T: Tables>(
    tables: &T,
    settings: &Settings,
    protection: &Protection,
    source: &Address,
    vip: &VipEntry,
) -> Result<Admitted, Reason> {
    let (Some(bounds), Some(buckets)) = (tables.bounds(vip.id), tables.vip_buckets(vip.id)) else {
        return Ok(Admitted::default());
    };
    let tag = source_tag(settings.hash_key, source) ^ bounds.own_sources;
    let Some(sources) = tables.sources(source_set(tag)) else {
        return Ok(Admitted::default());
    };
    let now = tables.now_ns();
    let source = sources.source(tag);
    // The source first: what one of them begins in excess is not taken from the others of the VIP.
    if !source.connections.take(bounds.source_connections, now) {
        return Err(Reason::SourceLimit);
    }
    if !buckets.connections.take(bounds.vip_connections, now) {
        return Err(Reason::VipLimit);
    }
    let mut admitted = Admitted::default();
    if !source.flows.take(bounds.source_flows, now) || !buckets.flows.take(bounds.vip_flows, now) {
        tables.note(Noted::FlowSpared);
        admitted.memory = Memory::Spared;
    }
    if is_watched(protection, vip) {
        admitted.source = Heat::Usual;
        if is_hot(protection, source, buckets, now) {
            tables.note(Noted::SourceSpread);
            admitted.source = Heat::Hot;
        }
    }
    Ok(admitted)
}

/// Whether sources of that VIP that have more than their share are spread by 5-tuple.
#[inline(always)]
fn is_watched(protection: &Protection, vip: &VipEntry) -> bool {
    protection.hot_share != 0 && vip.steering == SteeringCode::IP_HASH
}

/// Whether connections to that VIP may be with a node that their slot does not name.
#[inline(always)]
pub(super) fn may_be_spread(protection: Option<&Protection>, vip: &VipEntry) -> bool {
    protection.is_some_and(|protection| is_watched(protection, vip))
}

/// Where a flow of a source that was hot once may have gone: the slot of its 5-tuple, if the VIP's sources are watched.
#[inline(always)]
pub(super) fn spread_if_hot<T: Tables>(
    tables: &T,
    settings: &Settings,
    about: &About,
    vip: &VipEntry,
) -> Option<Spread> {
    may_be_spread(tables.protection(), vip).then(|| spread_by_flow(settings, about, vip))
}

/// Where a flow falls by its 5-tuple, whatever its VIP says.
#[inline(always)]
pub(super) fn spread_by_flow(settings: &Settings, about: &About, vip: &VipEntry) -> Spread {
    let by_flow = VipEntry {
        steering: SteeringCode::FLOW_HASH,
        ..*vip
    };
    hash::spread(settings.hash_key, Some(&by_flow), &about.flow)
}

/// Whether the source begins more than its share of what the VIP's clients begin now.
#[inline(always)]
fn is_hot(protection: &Protection, source: &Source, vip: &VipBuckets, now_ns: u64) -> bool {
    let (of_source, of_vip) = (source.window.count(now_ns), vip.window.count(now_ns));
    of_source > HOT_MIN && u64::from(of_source) * SHARE_ALL > u64::from(of_vip) * protection.hot_share
}

/// Whether the sender is denied, and neither a node nor allowed.
#[inline(always)]
fn is_denied<T: Tables>(tables: &T, protection: &Protection, source: &Address) -> bool {
    let family = match source.is_ipv4() {
        true => Lists::DENIES_IPV4,
        false => Lists::DENIES_IPV6,
    };
    if !protection.lists.has(family) {
        return false;
    }
    // A copy: whose address the kernel gets, that cannot be kept in registers before either.
    let source = Address::from_halves(source.halves());
    // The lists are short of hits: what overrules them is asked only behind one.
    let Some(until) = tables.denied_until_ns(&source) else {
        return false;
    };
    if until != FOREVER_NS && until <= tables.now_ns() {
        return false;
    }
    !tables.is_allowed(&source) && tables.node_at(&source).is_none()
}

/// Whether no machine sends from that address: "this network", loopback, multicast and broadcast of IPv4; the unspecified
/// address, loopback and multicast of IPv6. IPv4-mapped ones were refused as they were read.
///
/// Source: RFC 1122, 3.2.1.3; RFC 4291, 2.5 to 2.7; what Linux takes for martian sources (net/ipv4/route.c,
/// net/ipv6/ip6_input.c).
#[inline(always)]
fn is_no_sender(source: &Address) -> bool {
    if !source.is_ipv4() {
        let [high, low] = source.halves();
        let is_multicast = high.to_ne_bytes()[0] == 0xff;
        return is_multicast || (high == 0 && u64::from_be(low) <= 1);
    }
    let address = source.ipv4();
    matches!(address.to_ne_bytes()[0], 0 | 127 | 224..=239) || address == u32::MAX
}

/// Whether no TCP sends such flags: none at all, SYN with FIN or RST, FIN without ACK, and what else has no meaning.
/// PSH, ECE and CWR are not looked at.
///
/// Source: RFC 9293, 3.10.7; the table of what Linux's connection tracking takes for valid (`tcp_valid_flags` in
/// net/netfilter/nf_conntrack_proto_tcp.c).
#[inline(always)]
pub(super) fn is_impossible(flags: TcpFlags) -> bool {
    const URG: u8 = 0x20;
    const fn bit(flags: u8) -> u32 {
        // FIN, SYN and RST as they stand, ACK and URG behind them.
        1 << ((flags & 0x07) | (flags & 0x30) >> 1)
    }
    const VALID: u32 = bit(TcpFlags::SYN)
        | bit(TcpFlags::SYN | URG)
        | bit(TcpFlags::SYN | TcpFlags::ACK)
        | bit(TcpFlags::RST)
        | bit(TcpFlags::RST | TcpFlags::ACK)
        | bit(TcpFlags::FIN | TcpFlags::ACK)
        | bit(TcpFlags::FIN | TcpFlags::ACK | URG)
        | bit(TcpFlags::ACK)
        | bit(TcpFlags::ACK | URG);
    VALID & bit(flags.0) == 0
}
