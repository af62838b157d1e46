//! Which VIP a packet is about, and what becomes of one of which that cannot be told.

use super::arrive::Arrival;
use crate::headers::PROTOCOL_TCP;
use crate::parse::{About, Matter, Network};
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};
use crate::vip::{VipEntry, VipFlags, VipKey};

/// The VIP that a packet is about: of its port, or of all ports; of its address, if it has no ports.
#[inline(always)]
pub(super) fn vip_of<'t, T: Tables>(tables: &'t T, about: &About) -> Option<&'t VipEntry> {
    let [_, port] = about.flow.ports;
    let mut key = VipKey::new(about.flow.destination, port, about.flow.protocol);
    let has_ports = !matches!(about.matter, Matter::Echo | Matter::LaterFragment);
    if has_ports && let Some(vip) = tables.vip(&key) {
        return Some(vip);
    }
    key.port = 0;
    key.protocol = 0;
    let address = tables.vip(&key)?;
    if !has_ports {
        return Some(address);
    }
    let any_port = if about.flow.protocol == u16::from(PROTOCOL_TCP) {
        VipFlags::ANY_TCP_PORT
    } else {
        VipFlags::ANY_UDP_PORT
    };
    if !address.flags.has(any_port) {
        return None;
    }
    key.protocol = about.flow.protocol;
    tables.vip(&key)
}

/// What becomes of a packet that is about no flow, or whose flow cannot be read.
#[inline(always)]
pub(super) fn not_understood<T: Tables>(
    tables: &T,
    packet: &Network,
    arrival: Option<Arrival>,
    reason: Reason,
) -> Verdict {
    match (reason, arrival) {
        (Reason::NotAVip, None) => Verdict::early(Reason::NotAVip),
        (Reason::NotAVip, Some(_)) => Verdict::early(Reason::UnknownVipInside),
        (Reason::TooManyExtensions, None)
            if tables.vip(&VipKey::of_address(packet.destination)).is_none() =>
        {
            Verdict::early(Reason::NotAVip)
        }
        _ => Verdict::early(reason),
    }
}
