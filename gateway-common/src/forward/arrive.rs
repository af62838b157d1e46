//! What other nodes send to this one: heard, believed, taken out of what they put around it.

use crate::encap::{HOPS_MASK, HOPS_MAX, Outer};
use crate::frame::Frame;
use crate::gue::{self, Gue, Inside};
use crate::headers::{Ethernet, PROTOCOL_IPIP, PROTOCOL_IPV6, PROTOCOL_UDP, UDP_BYTES, Udp};
use crate::node::{EncapsulationCode, NodeId, Settings};
use crate::parse::{self, Fragment, Network};
use crate::tables::Tables;
use crate::verdict::Reason;

/// A packet that another node sent to this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// What was put around it; `None`: it came by hardware address alone.
    pub(super) outer: Option<Outer>,
    /// Who sent it.
    pub(super) sender: NodeId,
    /// Times that it was sent from node to node.
    pub(super) hops: u16,
}

/// Takes a packet that is for this node's own address out of what another node put around it, if any did: `packet` is then
/// the one inside, and `arrival` says whose it was.
///
/// It is noted, not returned: of an arrival that is none, the compiler would copy what was never written, which the
/// verifier refuses.
///
/// An encapsulated packet is believed only if all of it says that a node sent it: a forged outer source must not get in.
///
/// # Errors
/// It is encapsulated and not believed; or it is a heartbeat, which is noted.
#[inline(always)]
pub(super) fn encapsulated<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    settings: &Settings,
    packet: &mut Network,
    arrival: &mut Option<Arrival>,
) -> Result<(), Reason> {
    let payload_bytes = packet.total_bytes - (packet.payload_at - packet.header_at);
    let is_gue = match packet.protocol {
        PROTOCOL_IPIP | PROTOCOL_IPV6 => false,
        PROTOCOL_UDP if packet.fragment == Fragment::Whole && payload_bytes >= UDP_BYTES => {
            let header: Udp = frame.read(packet.payload_at).ok_or(Reason::TruncatedTransport)?;
            let [_, port] = header.ports();
            if port == settings.heartbeat_port && port != 0 {
                return heartbeat(tables, settings, packet);
            }
            if port != gue::PORT.to_be() {
                return Ok(());
            }
            if header.total_bytes() != payload_bytes {
                return Err(Reason::UnexpectedEncapsulation);
            }
            true
        }
        _ => return Ok(()),
    };
    // Neither options nor extension headers: nodes write none.
    let is_plain = packet.payload_at - packet.header_at == packet.family.header_bytes();
    if !is_plain || packet.fragment != Fragment::Whole {
        return Err(Reason::UnexpectedEncapsulation);
    }
    if !tables.is_cluster_interface() {
        return Err(Reason::ForeignInterface);
    }
    if super::is_for_a_group(frame) {
        return Err(Reason::GroupAddress);
    }
    let sender = tables.node_at(&packet.source).ok_or(Reason::UnknownNode)?;
    let node = tables.node(sender).ok_or(Reason::UnknownNode)?;
    if sender == settings.node {
        return Err(Reason::UnknownNode);
    }
    let (inside, inner_at, hops) = if is_gue {
        let at = packet.payload_at + UDP_BYTES;
        if payload_bytes < gue::BYTES {
            return Err(Reason::UnexpectedEncapsulation);
        }
        let header: Gue = frame.read(at).ok_or(Reason::TruncatedTransport)?;
        if header.inside() != Inside::Unexpected && header.cookie() != node.cookie {
            return Err(Reason::BadCookie);
        }
        (header.inside(), packet.payload_at + gue::BYTES, header.hops())
    } else {
        if node.mac(packet.family) != Some(sender_mac(frame)?) {
            return Err(Reason::WrongMac);
        }
        let inside = if packet.protocol == PROTOCOL_IPIP {
            Inside::V4
        } else {
            Inside::V6
        };
        (inside, packet.payload_at, packet.mark & HOPS_MASK)
    };
    if inside == Inside::Unexpected {
        return Err(Reason::UnexpectedEncapsulation);
    }
    if hops == 0 || hops > HOPS_MAX {
        return Err(Reason::BadHops);
    }
    let header_at = packet.header_at;
    let end = header_at + packet.total_bytes;
    let outer = Outer {
        header_at: header_at as u16,
        bytes: (inner_at - header_at) as u16,
        ttl: packet.ttl,
    };
    match inside {
        Inside::V6 => parse::ipv6(frame, inner_at, packet),
        _ => parse::ipv4(frame, inner_at, packet),
    }?;
    if inner_at + packet.total_bytes > end {
        return Err(Reason::TruncatedNetwork);
    }
    tables.hear(sender);
    *arrival = Some(Arrival {
        outer: Some(outer),
        sender,
        hops,
    });
    Ok(())
}

/// Notes that a node lives. Only its address is looked at: whoever could forge it on the cluster's segment could at most
/// keep a dead node in use, and only while this node's control plane is dead, too.
#[inline(always)]
fn heartbeat<T: Tables>(tables: &T, settings: &Settings, packet: &Network) -> Result<(), Reason> {
    if !tables.is_cluster_interface() {
        return Ok(());
    }
    match tables.node_at(&packet.source) {
        Some(node) if node != settings.node => {
            tables.hear(node);
            Err(Reason::Heartbeat)
        }
        _ => Ok(()),
    }
}

/// Notes the arrival of a packet that another node sent by hardware address alone, if one did.
#[inline(always)]
pub(super) fn by_mac<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    settings: &Settings,
    arrival: &mut Option<Arrival>,
) {
    if settings.encapsulation != EncapsulationCode::L2 || !tables.is_cluster_interface() {
        return;
    }
    let sender = sender_mac(frame).ok().and_then(|mac| tables.node_with(mac));
    if let Some(sender) = sender
        && sender != settings.node
    {
        tables.hear(sender);
        *arrival = Some(Arrival {
            outer: None,
            sender,
            hops: 1,
        });
    }
}

#[inline(always)]
fn sender_mac<F: Frame>(frame: &F) -> Result<[u16; 3], Reason> {
    let ethernet: Ethernet = frame.read(0).ok_or(Reason::TruncatedLink)?;
    Ok(ethernet.source())
}
