//! ICMP and ICMPv6 as the packet's way meets them: errors about a VIP's flows, echo requests, and the one error that a
//! director sends itself, for packets that do not fit into the way to their owner.
//!
//! Source: RFC 792, RFC 4443; RFC 1191 and RFC 8201 for the MTU.

use crate::checksum;
use crate::encap::LinkHeader;
use crate::flow::FlowKey;
use crate::frame::{Frame, OutOfBounds, Wire};
use crate::headers::{
    IPV4_BYTES, IPV6_BYTES, Ipv4, Ipv6, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP,
};
use crate::parse::{Family, Matter, Network};
use crate::verdict::Reason;

/// Hop limit of what a director answers itself.
pub const ANSWER_TTL: u8 = 64;

/// Bytes of an ICMP header of either family.
const ICMP_BYTES: usize = 8;

/// Bytes that an error quotes of what is behind the IP header, at least (RFC 792): ports, and TCP's sequence number.
const QUOTED_PAYLOAD_BYTES: usize = 8;

/// Bytes that an ICMP error of ours quotes: an IPv4 header with all options and what must be quoted behind it.
const QUOTED_BYTES_V4: usize = 68;

/// The same for ICMPv6: an IPv6 header, all extension headers that are walked over, and as much behind them.
const QUOTED_BYTES_V6: usize = 176;

/// Bytes that an IPv6 host need not go below (RFC 8200, 5).
const IPV6_MTU_MIN: u16 = 1_280;

/// An ICMP header: type and code, checksum, and four bytes that depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Icmp([u16; 4]);

// SAFETY: four u16, no padding, every pattern valid.
unsafe impl Wire for Icmp {}

impl Icmp {
    #[inline(always)]
    fn kind(&self) -> u8 {
        (u16::from_be(self.0[0]) >> 8) as u8
    }

    #[inline(always)]
    fn code(&self) -> u8 {
        u16::from_be(self.0[0]) as u8
    }
}

/// Source and destination port of whatever transport.
#[derive(Clone, Copy)]
#[repr(C)]
struct Ports([u16; 2]);

// SAFETY: two u16, no padding, every pattern valid.
unsafe impl Wire for Ports {}

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const UNREACHABLE_V4: u8 = 3;
const TIME_EXCEEDED_V4: u8 = 11;
const PARAMETER_PROBLEM_V4: u8 = 12;
/// "Fragmentation needed and DF set": code of `UNREACHABLE_V4`.
const FRAGMENTATION_NEEDED: u8 = 4;

const UNREACHABLE_V6: u8 = 1;
const TOO_BIG_V6: u8 = 2;
const PARAMETER_PROBLEM_V6: u8 = 4;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Reads what an ICMP packet is about; of an error, the flow that it quotes, as seen from the client.
///
/// # Errors
/// It is about no flow, or cut short.
#[inline(always)]
pub fn read<F: Frame>(frame: &F, network: &Network, flow: &mut FlowKey) -> Result<Matter, Reason> {
    // A read alone would take Ethernet's padding for a header.
    if network.payload_at + ICMP_BYTES > network.header_at + network.total_bytes {
        return Err(Reason::TruncatedTransport);
    }
    let header: Icmp = frame.read(network.payload_at).ok_or(Reason::TruncatedTransport)?;
    let (is_echo, is_error) = match network.family {
        Family::V4 => (
            header.kind() == ECHO_REQUEST_V4,
            matches!(
                header.kind(),
                UNREACHABLE_V4 | TIME_EXCEEDED_V4 | PARAMETER_PROBLEM_V4
            ),
        ),
        Family::V6 => (
            header.kind() == ECHO_REQUEST_V6,
            matches!(header.kind(), UNREACHABLE_V6..=PARAMETER_PROBLEM_V6),
        ),
    };
    if is_echo && header.code() == 0 {
        return Ok(Matter::Echo);
    }
    if !is_error {
        return Err(Reason::NotAVip);
    }
    let at = network.payload_at + ICMP_BYTES;
    let (quoted_bytes, protocol, source, destination) = match network.family {
        Family::V4 => {
            let quoted: Ipv4 = frame.read(at).ok_or(Reason::TruncatedTransport)?;
            if quoted.version() != 4 || quoted.header_bytes() < IPV4_BYTES || quoted.is_later_fragment() {
                return Err(Reason::NotAVip);
            }
            (
                quoted.header_bytes(),
                quoted.protocol(),
                quoted.source(),
                quoted.destination(),
            )
        }
        Family::V6 => {
            let quoted: Ipv6 = frame.read(at).ok_or(Reason::TruncatedTransport)?;
            if quoted.version() != 6 {
                return Err(Reason::NotAVip);
            }
            (
                IPV6_BYTES,
                quoted.next_header(),
                quoted.source(),
                quoted.destination(),
            )
        }
    };
    // What was sent by somebody else is nothing of ours: the stack may know it.
    let is_of_a_flow = protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP;
    if !is_of_a_flow || source != network.destination {
        return Err(Reason::NotAVip);
    }
    let end = at + quoted_bytes + QUOTED_PAYLOAD_BYTES;
    if end > network.header_at + network.total_bytes {
        return Err(Reason::TruncatedTransport);
    }
    let Ports([from, to]) = frame.read(at + quoted_bytes).ok_or(Reason::TruncatedTransport)?;
    flow.source = destination;
    flow.ports = [to, from];
    flow.protocol = u16::from(protocol);
    Ok(Matter::Error)
}

/// Turns an echo request into its reply, and sends it back where it came from.
///
/// # Errors
/// The frame is shorter than it was when it was parsed, which cannot be.
#[inline(always)]
pub fn answer_echo<F: Frame>(frame: &mut F, packet: &Network) -> Result<(), OutOfBounds> {
    LinkHeader::read(frame, packet.header_at)?
        .returned()
        .restore(frame)?;
    let reply = match packet.family {
        Family::V4 => {
            let header: Ipv4 = frame.read(packet.header_at).ok_or(OutOfBounds)?;
            frame.write(packet.header_at, header.answered(ANSWER_TTL))?;
            ECHO_REPLY_V4
        }
        Family::V6 => {
            // Extension headers of the request, if there are any, stay before the reply.
            let header: Ipv6 = frame.read(packet.header_at).ok_or(OutOfBounds)?;
            let bytes = packet.total_bytes - IPV6_BYTES;
            let header = Ipv6::new(
                bytes,
                header.next_header(),
                ANSWER_TTL,
                packet.destination,
                packet.source,
            );
            frame.write(packet.header_at, header)?;
            ECHO_REPLY_V6
        }
    };
    let mut icmp: Icmp = frame.read(packet.payload_at).ok_or(OutOfBounds)?;
    let kind = (u16::from(reply) << 8).to_be();
    // ICMPv6 sums the addresses, too: they change places, which changes no sum.
    icmp.0[1] = checksum::updated(icmp.0[1], icmp.0[0], kind);
    if icmp.0[1] == 0 {
        // Of a reply of zeros alone this is the only one of the two zeros that holds, and of others it does, too.
        icmp.0[1] = 0xffff;
    }
    icmp.0[0] = kind;
    frame.write(packet.payload_at, icmp)
}

/// Turns a packet that does not fit into the error that says what would, from its destination to its sender.
///
/// `mtu` is the longest packet that would have fitted, in bytes, before encapsulation.
///
/// # Errors
/// The frame is shorter than what is quoted, or has no headroom.
#[inline(always)]
pub fn answer_too_big<F: Frame>(frame: &mut F, packet: &Network, mtu: u16) -> Result<(), OutOfBounds> {
    let at = packet.header_at;
    let link = LinkHeader::read(frame, at)?.returned();
    match packet.family {
        Family::V4 => {
            frame.truncate(at + QUOTED_BYTES_V4)?;
            let first = (u16::from(UNREACHABLE_V4) << 8 | u16::from(FRAGMENTATION_NEEDED)).to_be();
            let mut icmp = [first, 0, 0, mtu.to_be()];
            let quoted = frame.sum::<QUOTED_BYTES_V4>(at).ok_or(OutOfBounds)?;
            icmp[1] = !checksum::fold(u32::from(checksum::fold(quoted)) + sum(&icmp));
            frame.grow_head::<{ IPV4_BYTES + ICMP_BYTES }>()?;
            link.restore(frame)?;
            let bytes = IPV4_BYTES + ICMP_BYTES + QUOTED_BYTES_V4;
            let header = Ipv4::new(
                bytes,
                PROTOCOL_ICMP,
                ANSWER_TTL,
                packet.destination,
                packet.source,
            );
            frame.write(at, header.marked(0, 0))?;
            frame.write(at + IPV4_BYTES, Icmp(icmp))
        }
        Family::V6 => {
            frame.truncate(at + QUOTED_BYTES_V6)?;
            let bytes = ICMP_BYTES + QUOTED_BYTES_V6;
            let mtu = if mtu < IPV6_MTU_MIN { IPV6_MTU_MIN } else { mtu };
            let mut icmp = [(u16::from(TOO_BIG_V6) << 8).to_be(), 0, 0, mtu.to_be()];
            // The pseudo-header (RFC 8200, 8.1): both addresses, the length, the protocol.
            let pseudo = sum(&packet.source.words())
                + sum(&packet.destination.words())
                + u32::from((bytes as u16).to_be())
                + u32::from(u16::from(PROTOCOL_ICMPV6).to_be());
            let quoted = frame.sum::<QUOTED_BYTES_V6>(at).ok_or(OutOfBounds)?;
            icmp[1] = !checksum::fold(u32::from(checksum::fold(quoted)) + pseudo + sum(&icmp));
            frame.grow_head::<{ IPV6_BYTES + ICMP_BYTES }>()?;
            link.restore(frame)?;
            let header = Ipv6::new(
                bytes,
                PROTOCOL_ICMPV6,
                ANSWER_TTL,
                packet.destination,
                packet.source,
            );
            frame.write(at, header)?;
            frame.write(at + IPV6_BYTES, Icmp(icmp))
        }
    }
}

#[inline(always)]
fn sum(words: &[u16]) -> u32 {
    let mut sum = 0;
    for word in words {
        sum += u32::from(*word);
    }
    sum
}
