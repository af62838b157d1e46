//! What a packet's numbers mean, in words.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_common::flow::FlowKey;
use gateway_common::headers::{
    ETHER_TYPE_SERVICE_VLAN, ETHER_TYPE_VLAN, ETHERNET_BYTES, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_IPIP,
    PROTOCOL_IPV6, PROTOCOL_TCP, PROTOCOL_UDP,
};
use gateway_common::parse::Matter;
use gateway_common::trace::PacketEvent;
use gateway_common::verdict::{Action, Fate, Reason};
use gateway_common::vip::Address;
use nix::net::if_::if_indextoname;

use super::Names;
use crate::l4::maps::now_ns;
use crate::trace::Packet;

/// Control bits of TCP as tcpdump writes them, in its order.
const FLAGS: [(u16, char); 8] = [
    (0x01, 'F'),
    (0x02, 'S'),
    (0x04, 'R'),
    (0x08, 'P'),
    (0x10, '.'),
    (0x20, 'U'),
    (0x40, 'E'),
    (0x80, 'W'),
];

/// One moment on both clocks, so that the kernel's times can be told as those of the wall.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    wall: SystemTime,
    boot_ns: u64,
}

impl Moment {
    /// This one.
    pub(super) fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            boot_ns: now_ns().unwrap_or(0),
        }
    }

    fn wall_at(self, boot_ns: u64) -> SystemTime {
        if boot_ns <= self.boot_ns {
            let ago = Duration::from_nanos(self.boot_ns - boot_ns);
            self.wall.checked_sub(ago).unwrap_or(self.wall)
        } else {
            self.wall + Duration::from_nanos(boot_ns - self.boot_ns)
        }
    }
}

/// What became of a packet.
pub(super) fn packet(event: &PacketEvent, names: &Names, moment: Moment) -> Packet {
    let node = |id: u16| {
        let name = names.nodes.get(&id).cloned();
        (id != 0).then(|| name.unwrap_or_else(|| format!("node {id}")))
    };
    let reason = Reason::ALL.get(usize::from(event.reason));
    let verdict = match reason.map(|reason| reason.fate()) {
        // One that was to be sent and found no headroom.
        Some(Fate::Drop) => Action::Drop.name(),
        _ => Action::ALL
            .get(usize::from(event.action))
            .map_or("unknown", |action| action.name()),
    };
    let ends = Ends::of(event);
    let vip = event.vip.0;
    Packet {
        time: humantime::format_rfc3339_nanos(moment.wall_at(event.at_ns)).to_string(),
        verdict: verdict.to_owned(),
        reason: reason.map_or("unknown", |reason| reason.name()).to_owned(),
        vip: (vip != 0).then(|| {
            let name = names.vips.get(&vip).cloned();
            name.unwrap_or_else(|| format!("VIP {vip}"))
        }),
        protocol: ends.protocol,
        source: ends.source,
        destination: ends.destination,
        flags: (event.matter() == Some(Matter::Segment)).then(|| flags(event.flags)),
        about: (event.matter() == Some(Matter::Error)).then(|| flow_text(&event.flow)),
        bytes: event.frame_bytes,
        interface: interface(event.interface),
        from: node(event.sender.0),
        hops: event.hops,
        node: names.node.clone(),
        to: node(event.node.0),
        frame: None,
    }
}

/// The same with the start of its frame.
pub(super) fn with_frame(packet: &Packet, event: &PacketEvent, snap: usize) -> Packet {
    let bytes: Vec<u8> = head(event).take(event.captured_bytes().min(snap)).collect();
    Packet {
        frame: Some(STANDARD.encode(bytes)),
        ..packet.clone()
    }
}

/// Says in the log what became of a packet.
pub(super) fn log(packet: &Packet) {
    tracing::info!(
        verdict = packet.verdict,
        reason = packet.reason,
        vip = packet.vip,
        protocol = packet.protocol,
        source = packet.source,
        destination = packet.destination,
        flags = packet.flags,
        bytes = packet.bytes,
        interface = packet.interface,
        from = packet.from,
        to = packet.to,
        at = packet.time,
        "a sampled packet"
    );
}

/// Between whom a packet goes.
struct Ends {
    protocol: String,
    source: String,
    destination: String,
}

impl Ends {
    fn of(event: &PacketEvent) -> Self {
        if event.source.is_unset() && event.destination.is_unset() {
            return Self::of_link(event);
        }
        let [a, b] = event.flow.ports.map(u16::from_be);
        let (source, destination) = (IpAddr::from(event.source), IpAddr::from(event.destination));
        let (source, destination) = match event.matter() {
            Some(Matter::Segment | Matter::Datagram) => (
                SocketAddr::new(source, a).to_string(),
                SocketAddr::new(destination, b).to_string(),
            ),
            _ => (source.to_string(), destination.to_string()),
        };
        Self {
            protocol: protocol(event.protocol),
            source,
            destination,
        }
    }

    /// Of what is no IP, or too short for it: by hardware addresses, as far as they came.
    fn of_link(event: &PacketEvent) -> Self {
        let bytes: Vec<u8> = head(event).take(event.captured_bytes()).collect();
        let mac = |at: usize| {
            let bytes = bytes.get(at..at + 6)?;
            let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(pairs.join(":"))
        };
        let mac = |at| mac(at).unwrap_or_else(|| "-".to_owned());
        Self {
            protocol: ether_type(&bytes).unwrap_or_else(|| "-".to_owned()),
            source: mac(6),
            destination: mac(0),
        }
    }
}

/// The EtherType behind up to two tags.
fn ether_type(bytes: &[u8]) -> Option<String> {
    let mut at = ETHERNET_BYTES - 2;
    loop {
        let kind = u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]);
        match kind {
            0x0806 => return Some("arp".to_owned()),
            ETHER_TYPE_VLAN | ETHER_TYPE_SERVICE_VLAN if at < ETHERNET_BYTES + 6 => at += 4,
            kind => return Some(format!("{kind:#06x}")),
        }
    }
}

fn head(event: &PacketEvent) -> impl Iterator<Item = u8> + '_ {
    event.head.iter().flatten().flat_map(|word| word.to_ne_bytes())
}

fn protocol(number: u16) -> String {
    let name = match u8::try_from(number) {
        Ok(PROTOCOL_TCP) => "tcp",
        Ok(PROTOCOL_UDP) => "udp",
        Ok(PROTOCOL_ICMP) => "icmp",
        Ok(PROTOCOL_ICMPV6) => "icmpv6",
        Ok(PROTOCOL_IPIP) => "ipip",
        Ok(PROTOCOL_IPV6) => "ipv6",
        _ => return number.to_string(),
    };
    name.to_owned()
}

fn flags(bits: u16) -> String {
    let set = FLAGS.iter().filter(|(bit, _)| bits & bit != 0);
    let text: String = set.map(|(_, letter)| letter).collect();
    if text.is_empty() { "none".to_owned() } else { text }
}

fn flow_text(flow: &FlowKey) -> String {
    let [a, b] = flow.ports.map(u16::from_be);
    let end = |address: Address, port| SocketAddr::new(address.into(), port);
    let (source, destination) = (end(flow.source, a), end(flow.destination, b));
    format!("{} {source} > {destination}", protocol(flow.protocol))
}

fn interface(index: u32) -> String {
    let name = if_indextoname(index);
    name.map_or_else(|_| index.to_string(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
